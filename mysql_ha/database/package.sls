# The database server.
{%- from 'mysql_ha/map.jinja' import settings with context %}

include:
  - mysql_ha.database.config

mysql_ha-database-package-pkg-installed:
  pkg.installed:
    - pkgs: {{ settings.os.database.packages | json }}
    - require:
      - sls: mysql_ha.database.config
