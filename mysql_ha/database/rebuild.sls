# This server's data are replaced by a copy of another one's, whatever is here, and it replicates from there again. One
# server at a time, so this is no part of mysql_ha; mysql_ha.orch.rebuild says which, and from where.
{%- from 'mysql_ha/database/map.jinja' import flavor, node, server, tls_files with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}
{%- set asked = salt['pillar.get']('rebuild', {}) %}
{%- set asked = asked if asked is mapping else {} %}
{%- set from = asked.get('from') if asked.get('from') is string else '' %}
{%- set origin = settings.nodes.get(from, {}) %}
{%- set origin = origin if origin is mapping else {} %}
{%- set stream = asked.get('stream') %}
{%- set stream = dict(stream, address=node.get('address')) if stream is mapping else none %}

include:
  - mysql_ha.sync

mysql_ha-database-rebuild-mysql_data-rebuilt:
  mysql_data.rebuilt:
    - name: {{ yaml(from) }}
    - source:
        host: {{ yaml(origin.get('address')) }}
        port: {{ yaml(settings.database.port) }}
        user: {{ yaml(settings.database.replication.user) }}
        tls: {{ yaml(settings.database.replication.tls) }}
        ca_file: {{ yaml(tls_files.ca if tls_files else '') }}
    - server: {{ yaml({'service': server.service, 'flavor': flavor, 'config': server.config}) }}
    - limit: {{ yaml(asked.get('limit', 0)) }}
    - stream: {{ yaml(stream) }}
    - why: {{ yaml(asked.get('why', '')) }}
    - require:
      - sls: mysql_ha.sync
