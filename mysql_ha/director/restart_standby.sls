# keepalived is restarted if an upgrade waits for that, unless this director holds an address: nobody notices.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.director.config

mysql_ha-director-restart_standby-keepalived-restarted:
  keepalived.restarted:
    - name: /etc/keepalived/keepalived.conf
    - settings: {{ yaml(settings) }}
    - only_standby: true
    - require:
      - keepalived: mysql_ha-director-config-keepalived-configured
