# salt-run state.orchestrate mysql_ha.orch.restart: the replicas and then the databases, one after the other, are
# restarted if a setting waits for that. The first failure stops it: the other database then still serves.
{%- set given = salt['pillar.get']('mysql_ha', {}) %}
{%- set nodes = given.get('nodes', {}) if given is mapping else {} %}
{%- set databases, replicas = [], [] %}
{%- for id, entry in nodes.items() if entry is mapping and entry.get('role') in ('database', 'replica') %}
{%-   do (databases if entry.role == 'database' else replicas).append(id) %}
{%- endfor %}
{%- for id in replicas + databases %}

mysql_ha-orch-restart-salt-state-{{ id }}:
  salt.state:
    - tgt: {{ id }}
    - sls: mysql_ha.database.restart
    - queue: true
    - failhard: true
{%-   if not loop.first %}
    - require:
      - salt: mysql_ha-orch-restart-salt-state-{{ loop.previtem }}
{%-   endif %}
{%- else %}

mysql_ha-orch-restart-test-fail_without_changes:
  test.fail_without_changes:
    - name: >-
        The master's own pillar has no databases in mysql_ha:nodes. Give `mysql_ha` to '*_master' too in the pillar's
        top.sls, or say them: salt-run state.orchestrate mysql_ha.orch.restart pillar='{mysql_ha: {nodes: ...} }'
    - failhard: true
{%- endfor %}
