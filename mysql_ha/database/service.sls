# The database server runs and starts at boot.
{%- from 'mysql_ha/map.jinja' import settings with context %}

include:
  - mysql_ha.database.package

mysql_ha-database-service-service-running:
  service.running:
    - name: {{ settings.os.database.service }}
    - enable: true
    - require:
      - sls: mysql_ha.database.package
