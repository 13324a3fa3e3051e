# The server's configuration. It is there before the package, so the first start already has it.
# A running server is never restarted from here.
{%- from 'mysql_ha/map.jinja' import settings, node, yaml with context %}

include:
  - mysql_ha.sync

mysql_ha-database-config-file-managed:
  file.managed:
    - name: {{ settings.os.database.config }}
    - source: salt://mysql_ha/database/files/mysql_ha.cnf.jinja
    - template: jinja
    - mode: '0644'
    - makedirs: true
    - context:
        server_id: {{ yaml(node.get('server_id')) }}
        port: {{ yaml(settings.database.port) }}
        options: {{ yaml(settings.database.settings) }}
    - require:
      - sls: mysql_ha.sync
