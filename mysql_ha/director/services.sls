# Static services: of the pillar, in the kernel's table now and after every boot, and none of keepalived's business.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.director.table

# After keepalived has taken what is its own and let go of what is not: a service can move from one to the other.
mysql_ha-director-services-ipvs-static:
  ipvs.static:
    - name: /etc/mysql_ha/ipvs.rules
    - settings: {{ yaml(settings) }}
    - require:
      - sls: mysql_ha.director.table
