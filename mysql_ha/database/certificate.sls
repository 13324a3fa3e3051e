# The running server shows its peer and its clients the certificate that it has now, and reads a new one without a restart.
{%- from 'mysql_ha/database/map.jinja' import node, tls_files, tls_made with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.database.accounts
{%- if tls_files %}

mysql_ha-database-certificate-mysql_server-tls_loaded:
  mysql_server.tls_loaded:
    - certificate: {{ yaml(tls_files.certificate) }}
    - address: {{ yaml(node.get('address')) }}
    - port: {{ yaml(settings.database.port) }}
    - made: {{ yaml(tls_made) }}
    - require:
      - sls: mysql_ha.database.accounts
{%- endif %}
