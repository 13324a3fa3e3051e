# What sends and takes a stream of a MariaDB server's files; no part of mysql_ha, mysql_ha.orch.rebuild asks for it.
{%- from 'mysql_ha/database/map.jinja' import flavor, server with context %}
{%- from 'mysql_ha/map.jinja' import yaml with context %}

include:
  - mysql_ha.sync
{%- if flavor == 'mariadb' %}

mysql_ha-database-copy_tools-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(server.backup_packages) }}
    - require:
      - sls: mysql_ha.sync
{%- endif %}
