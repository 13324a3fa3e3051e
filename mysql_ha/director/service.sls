# keepalived runs, starts at boot, and takes a new configuration by reload: a restart would move the VIP.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.director.kernel
  - mysql_ha.director.config

mysql_ha-director-service-service-running:
  service.running:
    - name: keepalived
    - enable: true
    - require:
      - sls: mysql_ha.director.kernel
      - keepalived: mysql_ha-director-config-keepalived-configured

mysql_ha-director-service-keepalived-loaded:
  keepalived.loaded:
    - name: /etc/keepalived/keepalived.conf
    - settings: {{ yaml(settings) }}
    - require:
      - service: mysql_ha-director-service-service-running
    - watch:
      - keepalived: mysql_ha-director-config-keepalived-configured
