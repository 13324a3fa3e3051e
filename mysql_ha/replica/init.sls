# A replica: a server like the databases, closed to writes, that replicates from one of them or the other.
include:
  - mysql_ha.database.package
  - mysql_ha.database.tls
  - mysql_ha.database.config
  - mysql_ha.database.service
  - mysql_ha.database.accounts
  - mysql_ha.database.certificate
  - mysql_ha.replica.replication
  - mysql_ha.replica.follow
