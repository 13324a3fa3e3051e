# The certificate that this server shows its peer and its clients: made here with the pillar's CA, or a given one.
# With neither, the server makes its own.
{%- from 'mysql_ha/database/map.jinja' import node, tls_kind, tls_made with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.database.package
{%- if tls_kind == 'made' %}

mysql_ha-database-tls-mysql_tls-certificate:
  mysql_tls.certificate:
{%-   for argument, value in tls_made.items() %}
    - {{ argument }}: {{ yaml(value) }}
{%-   endfor %}
    - require:
      - sls: mysql_ha.database.package
{%- elif tls_kind == 'given' %}

mysql_ha-database-tls-mysql_tls-given:
  mysql_tls.given:
    - name: {{ yaml(settings.database.tls.certificate_file) }}
    - ca_file: {{ yaml(settings.database.tls.ca_file) }}
    - key_file: {{ yaml(settings.database.tls.key_file) }}
    - address: {{ yaml(node.get('address')) }}
    - require:
      - sls: mysql_ha.database.package
{%- endif %}
