# The kernel's table is what the pillar says; what keepalived does not put right by itself is put right.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.director.service

mysql_ha-director-table-keepalived-table_verified:
  keepalived.table_verified:
    - settings: {{ yaml(settings) }}
    - require:
      - sls: mysql_ha.director.service
