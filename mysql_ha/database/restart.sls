# This server is restarted if a setting waits for that, and then replicates again. One server at a time, so this is
# no part of mysql_ha; mysql_ha.orch.restart goes from one to the next.
{%- from 'mysql_ha/database/map.jinja' import flavor, node, server, tls_files with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.sync

mysql_ha-database-restart-mysql_replication-healthy:
  mysql_replication.healthy:
    - name: {{ grains['id'] }}
    - alone: true
    - wait: 60
    - require:
      - sls: mysql_ha.sync

mysql_ha-database-restart-mysql_server-restarted:
  mysql_server.restarted:
    - name: {{ server.config }}
    - service: {{ server.service }}
    - flavor: {{ flavor }}
    - node: {{ yaml(node) }}
    - port: {{ yaml(settings.database.port) }}
    - settings: {{ yaml(settings.database.settings) }}
    - tls: {{ yaml(tls_files) }}
    - require:
      - mysql_replication: mysql_ha-database-restart-mysql_replication-healthy

mysql_ha-database-restart-mysql_replication-healthy-again:
  mysql_replication.healthy:
    - name: {{ grains['id'] }}
    - alone: true
    - wait: 120
    - require:
      - mysql_server: mysql_ha-database-restart-mysql_server-restarted
