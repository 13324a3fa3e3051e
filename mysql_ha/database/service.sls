# The database server has a data directory, runs, starts at boot, and can be copied.
{%- from 'mysql_ha/database/map.jinja' import flavor, server with context %}

include:
  - mysql_ha.database.config

mysql_ha-database-service-mysql_data-present:
  mysql_data.present:
    - name: {{ server.service }}
    - flavor: {{ flavor }}
    - require:
      - sls: mysql_ha.database.config

mysql_ha-database-service-mysql_server-running:
  mysql_server.running:
    - name: {{ server.service }}
    - require:
      - mysql_data: mysql_ha-database-service-mysql_data-present

mysql_ha-database-service-mysql_data-copyable:
  mysql_data.copyable:
    - name: {{ server.service }}
    - flavor: {{ flavor }}
    - require:
      - mysql_server: mysql_ha-database-service-mysql_server-running
