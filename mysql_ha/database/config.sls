# The server's configuration, checked by the server itself before it is used. A running server takes what it can
# without a restart, and is never restarted from here.
{%- from 'mysql_ha/database/map.jinja' import flavor, node, server, tls_files with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.database.package
  - mysql_ha.database.tls

mysql_ha-database-config-mysql_server-configured:
  mysql_server.configured:
    - name: {{ server.config }}
    - flavor: {{ flavor }}
    - node: {{ yaml(node) }}
    - port: {{ yaml(settings.database.port) }}
    - settings: {{ yaml(settings.database.settings) }}
    - tls: {{ yaml(tls_files) }}
    - require:
      - sls: mysql_ha.database.package
{%- if tls_files %}
      - sls: mysql_ha.database.tls
{%- endif %}
