# salt-run state.orchestrate mysql_ha.orch.restore pillar='{restore: {node: mysql1, from: mysql2, backup: latest}}': puts a
# backup into an empty node, which then has all that its peer has, and joins it again. The first failure stops it.
#
# A backup on another host is sent over TLS. For that both hosts make a certificate, and this SLS is run once more, since
# only then can it read them and give each host the other's.
{%- set given, asked = salt['pillar.get']('mysql_ha', {}), salt['pillar.get']('restore', {}) %}
{%- set given = given if given is mapping else {} %}
{%- set asked = asked if asked is mapping else {} %}
{%- set nodes = given.nodes if given.nodes is mapping else {} %}
{%- set databases = [] %}
{%- for id, entry in nodes.items() if entry is mapping and entry.get('role') == 'database' %}
{%-   do databases.append(id) %}
{%- endfor %}
{%- set node, backup, alone = asked.get('node'), asked.get('backup', 'latest'), asked.get('alone', false) is true %}
{%- set holder, port = asked.get('from', node), asked.get('port', 4444) %}
{%- set place = given.get('database', {}).get('backup', {}).get('directory', '/var/backups/mysql_ha')
                if given.get('database') is mapping and given.database.get('backup', {}) is mapping
                else '/var/backups/mysql_ha' %}
{%- if node not in databases or holder not in databases or backup is not string or port is not integer %}

mysql_ha-orch-restore-test-fail_without_changes:
  test.fail_without_changes:
    - name: >-
        Say into which node, from where, and which backup: salt-run state.orchestrate mysql_ha.orch.restore
        pillar='{restore: {node: mysql1, from: mysql2, backup: latest} }'. The databases in the master's own pillar
        (mysql_ha:nodes) are: {{ databases | join(', ') or 'none; give mysql_ha to *_master too in top.sls' }}
    - failhard: true
{%- elif holder != node and asked.get('introduced') is not true %}

mysql_ha-orch-restore-salt-function-introduce:
  salt.function:
    - name: mysql_backup.introduce
    - tgt: {{ [node, holder] | json }}
    - tgt_type: list
    - failhard: true

mysql_ha-orch-restore-salt-runner-send:
  salt.runner:
    - name: state.orchestrate
    - kwarg:
        mods: mysql_ha.orch.restore
        pillar: {{ {'restore': dict(asked, introduced=true)} | json }}
    - failhard: true
    - require:
      - salt: mysql_ha-orch-restore-salt-function-introduce
{%- else %}
{%-   if holder != node %}
{#-     What has no answer is not text, and is then told by the function that needs it. #}
{%-     set found = {} %}
{%-     for id, function, words in [(node, 'mysql_backup.certificate', []), (holder, 'mysql_backup.certificate', []),
                                    (holder, 'mysql_backup.find', [backup, place])] %}
{%-       do found.update({function ~ id: salt['saltutil.cmd'](id, function, arg=words).get(id, {}).get('ret')}) %}
{%-     endfor %}
{%-     set backup = (found['mysql_backup.find' ~ holder] | string).split('/') | last %}

mysql_ha-orch-restore-salt-function-receive:
  salt.function:
    - name: mysql_backup.receive
    - tgt: {{ node }}
    - kwarg:
        address: {{ nodes[node].get('address') | json }}
        port: {{ port }}
        peer: {{ found['mysql_backup.certificate' ~ holder] | string | json }}
        directory: {{ place | json }}
    - parallel: true

mysql_ha-orch-restore-salt-function-send:
  salt.function:
    - name: mysql_backup.send
    - tgt: {{ holder }}
    - kwarg:
        name: {{ backup | json }}
        address: {{ nodes[node].get('address') | json }}
        port: {{ port }}
        peer: {{ found['mysql_backup.certificate' ~ node] | string | json }}
        directory: {{ place | json }}
    - parallel: true
{%-   endif %}
{%-   for peer in databases if peer != node and not alone %}

mysql_ha-orch-restore-salt-function-await_applied:
  salt.function:
    - name: mysql_backup.await_applied
    - tgt: {{ peer }}
    - failhard: true
    - require_in:
      - salt: mysql_ha-orch-restore-salt-state-restore
{%-   endfor %}

mysql_ha-orch-restore-salt-state-restore:
  salt.state:
    - tgt: {{ node }}
    - sls: mysql_ha.database.restore
    - pillar: {{ {'restore': {'backup': backup, 'alone': alone} } | json }}
    - queue: true
    - failhard: true
{%-   if holder != node %}
    - require:
      - salt: mysql_ha-orch-restore-salt-function-receive
      - salt: mysql_ha-orch-restore-salt-function-send
{%-   endif %}

mysql_ha-orch-restore-salt-state-join:
  salt.state:
    - tgt: {{ node }}
    - sls: mysql_ha
    - queue: true
    - failhard: true
    - require:
      - salt: mysql_ha-orch-restore-salt-state-restore
{%- endif %}
