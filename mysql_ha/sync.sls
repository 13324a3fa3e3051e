# Brings this formula's modules to a minion that lacks them or has old ones, then checks the pillar.
#
# state.apply does not do the former, a highstate does. It happens while rendering, the one exception to
# the rule that nothing does: only so do the states below exist in the very first run, test=True included.
{%- set synced = [] %}
{%- if opts.get('autoload_dynamic_modules', True) %}
{%-   for kind in ['utils', 'modules', 'states'] %}
{%-     do synced.extend(salt['saltutil.sync_' ~ kind](saltenv=saltenv, refresh=False) or []) %}
{%-   endfor %}
{%- endif %}
{%- if synced %}

mysql_ha-sync-test-nop:
  test.nop:
    - name: {{ ('brought up to date: ' ~ synced | join(', ')) | json }}
    - order: 1
    - force_reload_modules: true
{%- endif %}

mysql_ha-sync-mysql_ha-pillar_valid:
  mysql_ha.pillar_valid:
    - order: 2
    - failhard: true
