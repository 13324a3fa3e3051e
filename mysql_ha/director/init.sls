# A director: holds the VIPs by VRRP and balances over the databases with IPVS.
include:
  - mysql_ha.director.kernel
  - mysql_ha.director.ipvsadm
  - mysql_ha.director.keepalived
  - mysql_ha.director.config
  - mysql_ha.director.firewall
  - mysql_ha.director.service
  - mysql_ha.director.table
  - mysql_ha.director.services
