# salt-run state.orchestrate mysql_ha.orch.upgrade_directors: the directors get what the pillar says, and a keepalived
# that waits for a restart gets it, the standby first. The addresses move once. The first failure stops it.
{%- set given = salt['pillar.get']('mysql_ha', {}) %}
{%- set nodes = given.get('nodes', {}) if given is mapping else {} %}
{%- set directors = [] %}
{%- for id, entry in nodes.items() if entry is mapping and entry.get('role') == 'director' %}
{%-   do directors.append(id) %}
{%- endfor %}
{%- set steps = {'install': 'director.config', 'standby': 'director.restart_standby', 'holder': 'director.restart',
                 'rest': 'director'} %}
{%- set before = namespace(step='') %}
{%- for step, sls in steps.items() %}
{%-   for id in directors %}

mysql_ha-orch-upgrade_directors-salt-state-{{ step }}-{{ id }}:
  salt.state:
    - tgt: {{ id }}
    - sls: mysql_ha.{{ sls }}
    - queue: true
    - failhard: true
{%-     if before.step %}
    - require:
      - salt: {{ before.step }}
{%-     endif %}
{%-     set before.step = 'mysql_ha-orch-upgrade_directors-salt-state-' ~ step ~ '-' ~ id %}
{%-   endfor %}
{%- endfor %}
{%- if not directors %}

mysql_ha-orch-upgrade_directors-test-fail_without_changes:
  test.fail_without_changes:
    - name: >-
        The master's own pillar has no directors in mysql_ha:nodes. Give `mysql_ha` to '*_master' too in the pillar's
        top.sls, or say them: salt-run state.orchestrate mysql_ha.orch.upgrade_directors pillar='{mysql_ha: {nodes: ...} }'
    - failhard: true
{%- endif %}
