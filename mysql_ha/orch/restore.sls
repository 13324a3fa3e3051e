# salt-run state.orchestrate mysql_ha.orch.restore pillar='{restore: {node: mysql1, from: mysql2, backup: latest}}': puts a
# backup into an empty node, which then has all that its peer has, and joins it again. The first failure stops it.
{%- set given, asked = salt['pillar.get']('mysql_ha', {}), salt['pillar.get']('restore', {}) %}
{%- set nodes = given.get('nodes', {}) if given is mapping else {} %}
{%- set asked = asked if asked is mapping else {} %}
{%- set databases = [] %}
{%- for id, entry in nodes.items() if entry is mapping and entry.get('role') == 'database' %}
{%-   do databases.append(id) %}
{%- endfor %}
{%- set node, backup = asked.get('node'), asked.get('backup', 'latest') %}
{%- set holder = asked.get('from', node) %}
{%- if node in databases and holder in databases and backup is string %}

mysql_ha-orch-restore-salt-state-restore:
  salt.state:
    - tgt: {{ node }}
    - sls: mysql_ha.database.restore
    - pillar: {{ {'restore': {'backup': backup, 'alone': asked.get('alone', false) is true}} | json }}
    - queue: true
    - failhard: true

mysql_ha-orch-restore-salt-state-join:
  salt.state:
    - tgt: {{ node }}
    - sls: mysql_ha
    - queue: true
    - failhard: true
    - require:
      - salt: mysql_ha-orch-restore-salt-state-restore
{%- else %}

mysql_ha-orch-restore-test-fail_without_changes:
  test.fail_without_changes:
    - name: >-
        Say into which node, from where, and which backup: salt-run state.orchestrate mysql_ha.orch.restore
        pillar='{restore: {node: mysql1, from: mysql2, backup: latest} }'. The databases in the master's own pillar
        (mysql_ha:nodes) are: {{ databases | join(', ') or 'none; give mysql_ha to *_master too in top.sls' }}
    - failhard: true
{%- endif %}
