# The database server.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.database.config

mysql_ha-database-package-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(settings.os.database.packages) }}
    - require:
      - sls: mysql_ha.database.config
