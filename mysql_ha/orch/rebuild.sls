# salt-run state.orchestrate mysql_ha.orch.rebuild pillar='{rebuild: {node: mysql2, from: mysql1, limit: 50}}': a
# database is made anew as a copy of the other one, which serves on. What it had is kept aside. `from` may be left out,
# and so may `limit`, the most MiB a second. The node may be a replica too.
{%- set given = salt['pillar.get']('mysql_ha', {}) %}
{%- set nodes = given.get('nodes', {}) if given is mapping else {} %}
{%- set databases, replicas = [], [] %}
{%- for id, entry in nodes.items() if entry is mapping and entry.get('role') in ('database', 'replica') %}
{%-   do (databases if entry.role == 'database' else replicas).append(id) %}
{%- endfor %}
{%- set asked = salt['pillar.get']('rebuild', {}) %}
{%- set asked = asked if asked is mapping else {} %}
{%- set node, limit = asked.get('node'), asked.get('limit', 0) %}
{%- set others = databases | reject('equalto', node) | list %}
{%- set from = asked.get('from', nodes[node].get('replicates_from') if node in replicas else others | first) %}
{%- if node in databases + replicas and from in others and limit is integer and limit >= 0 %}

mysql_ha-orch-rebuild-salt-state-copy:
  salt.state:
    - tgt: {{ node }}
    - sls: mysql_ha.database.rebuild
    - pillar: {rebuild: {from: {{ from }}, limit: {{ limit }} } }
    - queue: true
    - failhard: true

mysql_ha-orch-rebuild-salt-state-node:
  salt.state:
    - tgt: {{ node }}
    - sls: {{ 'mysql_ha.replica' if node in replicas else 'mysql_ha.database' }}
    - queue: true
    - failhard: true
    - require:
      - salt: mysql_ha-orch-rebuild-salt-state-copy
{%-   if node in databases %}

# Its replication from the rebuilt one may have stopped meanwhile.
mysql_ha-orch-rebuild-salt-state-from:
  salt.state:
    - tgt: {{ from }}
    - sls: mysql_ha.database.replication
    - queue: true
    - failhard: true
    - require:
      - salt: mysql_ha-orch-rebuild-salt-state-node
{%-   endif %}
{%- else %}

mysql_ha-orch-rebuild-test-fail_without_changes:
  test.fail_without_changes:
    - name: >-
        Nothing was changed. Say which database is rebuilt, and from which:
        pillar='{rebuild: {node: mysql2, from: mysql1, limit: 50} }', with `node` and `from` two of
        {{ databases | join(', ') or 'mysql_ha:nodes, which the master must have in its own pillar (see mysql_ha.orch.restart)' }},
        (`node` also a replica), and `limit` in whole MiB a second (0: as fast as it goes).
    - failhard: true
{%- endif %}
