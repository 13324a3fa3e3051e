# keepalived is restarted if an upgrade waits for that; the addresses go to the other director. One director at a time,
# so this is no part of mysql_ha; mysql_ha.orch.upgrade_directors goes from one to the next.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.director.kernel
  - mysql_ha.director.config

mysql_ha-director-restart-keepalived-restarted:
  keepalived.restarted:
    - name: /etc/keepalived/keepalived.conf
    - settings: {{ yaml(settings) }}
    - require:
      - sls: mysql_ha.director.kernel
      - keepalived: mysql_ha-director-config-keepalived-configured
