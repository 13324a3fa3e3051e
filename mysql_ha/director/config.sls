# keepalived.conf from the pillar, checked by keepalived itself before it replaces the old one.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.director.keepalived

mysql_ha-director-config-keepalived-configured:
  keepalived.configured:
    - name: /etc/keepalived/keepalived.conf
    - settings: {{ yaml(settings) }}
    - require:
      - sls: mysql_ha.director.keepalived
