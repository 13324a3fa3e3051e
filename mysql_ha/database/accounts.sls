# The applications' databases and accounts, and the account that the others replicate with.
{%- from 'mysql_ha/database/map.jinja' import database_addresses, flavor with context %}
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.database.service

mysql_ha-database-accounts-mysql_account-databases:
  mysql_account.databases:
    - databases: {{ yaml(settings.database.databases) }}
    - require:
      - sls: mysql_ha.database.service

mysql_ha-database-accounts-mysql_account-managed:
  mysql_account.managed:
    - flavor: {{ flavor }}
    - accounts: {{ yaml(settings.database.accounts) }}
    - replication:
        user: {{ yaml(settings.database.replication.user) }}
        hosts: {{ yaml(database_addresses) }}
        require: {{ 'ssl' if settings.database.replication.tls else 'none' }}
    - require:
      - mysql_account: mysql_ha-database-accounts-mysql_account-databases
