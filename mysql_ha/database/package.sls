# The database server, installed but not started: what it is started with comes next.
{%- from 'mysql_ha/database/map.jinja' import flavor, server with context %}
{%- from 'mysql_ha/map.jinja' import yaml with context %}

include:
  - mysql_ha.sync

mysql_ha-database-package-mysql_server-held:
  mysql_server.held:
    - name: {{ server.service }}
    - flavor: {{ flavor }}
    - require:
      - sls: mysql_ha.sync

{%- for socket in server.sockets %}

# systemd would listen here for a database that is stopped, and start it for the next health check.
mysql_ha-database-package-service-masked-{{ socket }}:
  service.masked:
    - name: {{ socket }}
    - require:
      - sls: mysql_ha.sync
    - require_in:
      - pkg: mysql_ha-database-package-pkg-installed
{%- endfor %}

mysql_ha-database-package-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(server.packages) }}
    - require:
      - mysql_server: mysql_ha-database-package-mysql_server-held
