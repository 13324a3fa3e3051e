# A backup is put into this node, which has to be empty; no part of mysql_ha, mysql_ha.orch.restore asks for it.
{%- from 'mysql_ha/database/map.jinja' import server, tls_files with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}
{%- set asked = salt['pillar.get']('restore', {}) %}
{%- set asked = asked if asked is mapping else {} %}

include:
  - mysql_ha.sync

mysql_ha-database-restore-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(server.backup_packages) }}
    - require:
      - sls: mysql_ha.sync

mysql_ha-database-restore-mysql_backup-restored:
  mysql_backup.restored:
    - name: {{ yaml(asked.get('backup', 'latest')) }}
    - service: {{ server.service }}
    - config: {{ server.config }}
    - directory: {{ yaml(settings.database.backup.directory) }}
    - nodes: {{ yaml(settings.nodes) }}
    - node: {{ yaml(grains['id']) }}
    - port: {{ yaml(settings.database.port) }}
    - user: {{ yaml(settings.database.replication.user) }}
    - tls: {{ yaml(settings.database.replication.tls) }}
    - ca_file: {{ yaml(tls_files.ca if tls_files else '') }}
    - alone: {{ yaml(asked.get('alone', false)) }}
    - require:
      - pkg: mysql_ha-database-restore-pkg-installed
