# salt-run state.orchestrate mysql_ha.orch.rebuild pillar='{rebuild: {node: mysql2, from: mysql1, limit: 50}}': a
# database is made anew as a copy of the other one, which serves on. What it had is kept aside. `from` may be left out,
# and so may `limit`, the most MiB a second. The node may be a replica too.
#
# MariaDB's files come as a stream of mariadb-backup, over TLS on a port of its own (`port`, 4444). For that both hosts
# make a certificate, and this SLS is run once more, since only then can it read them and give each host the other's.
{%- set given = salt['pillar.get']('mysql_ha', {}) %}
{%- set given = given if given is mapping else {} %}
{%- set nodes = given.nodes if given.nodes is mapping else {} %}
{%- set databases, replicas = [], [] %}
{%- for id, entry in nodes.items() if entry is mapping and entry.get('role') in ('database', 'replica') %}
{%-   do (databases if entry.role == 'database' else replicas).append(id) %}
{%- endfor %}
{%- set asked = salt['pillar.get']('rebuild', {}) %}
{%- set asked = asked if asked is mapping else {} %}
{%- set node, limit, port = asked.get('node'), asked.get('limit', 0), asked.get('port', 4444) %}
{%- set others = databases | reject('equalto', node) | list %}
{%- set from = asked.get('from', nodes[node].get('replicates_from') if node in replicas else others | first) %}
{%- set clones = given.database is mapping and given.database.get('flavor') == 'mysql' %}
{%- if not (node in databases + replicas and from in others and limit is integer and limit >= 0 and port is integer) %}

mysql_ha-orch-rebuild-test-fail_without_changes:
  test.fail_without_changes:
    - name: >-
        Nothing was changed. Say which database is rebuilt, and from which:
        pillar='{rebuild: {node: mysql2, from: mysql1, limit: 50} }', with `node` and `from` two of
        {{ databases | join(', ') or 'mysql_ha:nodes, which the master must have in its own pillar (see mysql_ha.orch.restart)' }},
        (`node` also a replica), and `limit` in whole MiB a second (0: as fast as it goes).
    - failhard: true
{%- elif not clones and asked.get('introduced') is not true %}

# Where one of them has no mariadb-backup a dump is made, and the comment says why.
mysql_ha-orch-rebuild-salt-state-tools:
  salt.state:
    - tgt: {{ [node, from] | json }}
    - tgt_type: list
    - sls: mysql_ha.database.copy_tools
    - queue: true
    - fail_minions: {{ [node, from] | json }}
    - failhard: true

mysql_ha-orch-rebuild-salt-function-introduce:
  salt.function:
    - name: mysql_data.introduce
    - tgt: {{ [node, from] | json }}
    - tgt_type: list
    - fail_minions: {{ [node, from] | json }}
    - failhard: true
    - require:
      - salt: mysql_ha-orch-rebuild-salt-state-tools

mysql_ha-orch-rebuild-salt-runner-copy:
  salt.runner:
    - name: state.orchestrate
    - kwarg:
        mods: mysql_ha.orch.rebuild
        pillar: {{ {'rebuild': dict(asked, introduced=true)} | json }}
    - failhard: true
    - require:
      - salt: mysql_ha-orch-rebuild-salt-function-introduce
{%- else %}
{%-   set copy = {'from': from, 'limit': limit} %}
{%-   if not clones %}
{%-     set offers = {} %}
{%-     for id in [node, from] %}
{%-       set said = salt['saltutil.cmd'](id, 'mysql_data.offer').get(id, {}).get('ret') %}
{%-       set said = said if said is mapping and said.get('series') is string else {'why': id ~ ' did not answer'} %}
{%-       do offers.update({id: dict({'certificate': '', 'series': '', 'why': ''}, **said) }) %}
{%-     endfor %}
{%-     set missing = offers.values() | map(attribute='why') | select | list %}
{%-     if missing %}
{%-       do copy.update({'why': missing | join('; ')}) %}
{%-     elif offers[node].series != offers[from].series %}
{%-       do copy.update({'why': 'it is ' ~ offers[from].series ~ ' on ' ~ from ~ ' and ' ~ offers[node].series ~ ' on ' ~ node}) %}
{%-     else %}
{%-       do copy.update({'stream': {'port': port, 'certificate': offers[from].certificate} }) %}

mysql_ha-orch-rebuild-salt-function-send:
  salt.function:
    - name: mysql_data.send
    - tgt: {{ from }}
    - kwarg:
        address: {{ nodes[node].get('address') | json }}
        port: {{ port }}
        peer: {{ offers[node].certificate | json }}
        limit: {{ limit }}
    - parallel: true
    - require_in:
      - salt: mysql_ha-orch-rebuild-salt-state-node
{%-     endif %}
{%-   endif %}

mysql_ha-orch-rebuild-salt-state-copy:
  salt.state:
    - tgt: {{ node }}
    - sls: mysql_ha.database.rebuild
    - pillar: {{ {'rebuild': copy} | json }}
    - queue: true
{%-   if copy.get('stream') %}
    - parallel: true
{%-   else %}
    - failhard: true
{%-   endif %}

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
{%-     for id in replicas %}

# It says so if it has transactions that the rebuilt one lost.
mysql_ha-orch-rebuild-salt-state-{{ id }}:
  salt.state:
    - tgt: {{ id }}
    - sls: mysql_ha.replica.replication
    - queue: true
    - require:
      - salt: mysql_ha-orch-rebuild-salt-state-from
{%-     endfor %}
{%-   endif %}
{%- endif %}
