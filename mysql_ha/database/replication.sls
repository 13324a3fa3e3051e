# This server replicates from its peer; the peer's own run sets up the other direction.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.database.service

mysql_ha-database-replication-mysql_replication-replicating:
  mysql_replication.replicating:
    - name: {{ grains['id'] }}
    - nodes: {{ yaml(settings.nodes) }}
    - port: {{ yaml(settings.database.port) }}
    - user: {{ yaml(settings.database.replication.user) }}
    - wait: {{ yaml(settings.database.replication.wait) }}
    - require:
      - sls: mysql_ha.database.service
