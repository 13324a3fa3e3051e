# keepalived runs, starts at boot, and takes a new configuration by reload: a restart would move the VIP.
include:
  - mysql_ha.director.kernel
  - mysql_ha.director.config

mysql_ha-director-service-service-running:
  service.running:
    - name: keepalived
    - enable: true
    - reload: true
    - require:
      - sls: mysql_ha.director.kernel
    - watch:
      - keepalived: mysql_ha-director-config-keepalived-configured
