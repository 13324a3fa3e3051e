# This server replicates from its peer; the peer's own run sets up the other direction.
{%- from 'mysql_ha/database/map.jinja' import flavor, server, tls_files with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.database.accounts

mysql_ha-database-replication-mysql_replication-replicating:
  mysql_replication.replicating:
    - name: {{ grains['id'] }}
    - nodes: {{ yaml(settings.nodes) }}
    - port: {{ yaml(settings.database.port) }}
    - user: {{ yaml(settings.database.replication.user) }}
    - wait: {{ yaml(settings.database.replication.wait) }}
    - tls: {{ yaml(settings.database.replication.tls) }}
    - ca_file: {{ yaml(tls_files.ca if tls_files else '') }}
    - connect_retry: {{ yaml(settings.database.replication.connect_retry) }}
    - heartbeat: {{ yaml(settings.database.replication.heartbeat) }}
    - seed: {{ yaml(settings.database.seed) }}
    - server: {{ yaml({'service': server.service, 'flavor': flavor, 'config': server.config}) }}
    - require:
      - sls: mysql_ha.database.accounts
