# Backups by a timer on the databases that make them; on the others, and when it is switched off, there is no timer.
{%- from 'mysql_ha/database/map.jinja' import has_backups, server with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.database.service
{%- if has_backups %}

mysql_ha-database-backup-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(server.backup_packages) }}
    - require:
      - sls: mysql_ha.database.service

mysql_ha-database-backup-mysql_backup-scheduled:
  mysql_backup.scheduled:
    - name: {{ yaml(settings.database.backup.directory) }}
    - method: {{ yaml(settings.database.backup.method) }}
    - schedule: {{ yaml(settings.database.backup.schedule) }}
    - keep: {{ yaml(settings.database.backup.keep) }}
    - prove: {{ yaml(settings.database.backup.prove) }}
    - require:
      - pkg: mysql_ha-database-backup-pkg-installed
{%- else %}

mysql_ha-database-backup-mysql_backup-unscheduled:
  mysql_backup.unscheduled:
    - require:
      - sls: mysql_ha.database.service
{%- endif %}
