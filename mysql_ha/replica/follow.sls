# The service that has this replica follow the other master while its own is gone.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.replica.replication

mysql_ha-replica-follow-mysql_follow-running:
  mysql_follow.running:
    - nodes: {{ yaml(settings.nodes) }}
    - port: {{ yaml(settings.database.port) }}
    - require:
      - sls: mysql_ha.replica.replication
