# A database: MySQL or MariaDB, configured before its first start, replicating from its peer and the peer from it.
include:
  - mysql_ha.database.package
  - mysql_ha.database.tls
  - mysql_ha.database.config
  - mysql_ha.database.service
  - mysql_ha.database.accounts
  - mysql_ha.database.certificate
  - mysql_ha.database.replication
  - mysql_ha.database.backup
