# What this minion is in the cluster decides what it gets; `mysql_ha:nodes` says it.
{%- from 'mysql_ha/map.jinja' import role with context %}

include:
  - mysql_ha.sync
{%- if role == 'director' %}
  - mysql_ha.director
{%- elif role == 'database' %}
  - mysql_ha.database
  - mysql_ha.realserver
{%- elif role == 'replica' %}
  - mysql_ha.replica
{%- else %}
  - mysql_ha.unlisted
{%- endif %}
