# This server replicates from its peer; the peer's own run sets up the other direction.
{%- from 'mysql_ha/map.jinja' import settings with context %}

include:
  - mysql_ha.database.service

mysql_ha-database-replication-mysql_replication-replicating:
  mysql_replication.replicating:
    - name: {{ grains['id'] }}
    - nodes: {{ settings.nodes | json(sort_keys=False) }}
    - port: {{ settings.database.port | json }}
    - user: {{ settings.database.replication.user | json }}
    - wait: {{ settings.database.replication.wait | json }}
    - require:
      - sls: mysql_ha.database.service
