# The database server runs and starts at boot.
{%- from 'mysql_ha/map.jinja' import server with context %}

include:
  - mysql_ha.database.config

mysql_ha-database-service-mysql_server-running:
  mysql_server.running:
    - name: {{ server.service }}
    - require:
      - sls: mysql_ha.database.config
