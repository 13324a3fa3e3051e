# keepalived from its pinned tarball.
{%- from 'mysql_ha/map.jinja' import settings with context %}

include:
  - mysql_ha.sync

mysql_ha-director-keepalived-pkg-installed:
  pkg.installed:
    - pkgs: {{ settings.os.keepalived.build_packages | json }}
    - require:
      - sls: mysql_ha.sync

mysql_ha-director-keepalived-source_build-installed:
  source_build.installed:
    - name: keepalived
    - version: {{ settings.keepalived.version | json }}
    - source: {{ settings.keepalived.source | json }}
    - source_hash: {{ settings.keepalived.source_hash | json }}
    - build:
      - >-
        ./configure --prefix=/usr --sysconfdir=/etc --runstatedir=/run --localstatedir=/var
        --with-init=systemd --with-systemdsystemunitdir=/usr/lib/systemd/system
        --enable-json --enable-bfd --disable-iptables
      - make -j{jobs}
    - stage: make install DESTDIR={stage}
    - proof: usr/sbin/keepalived --version
    - require:
      - pkg: mysql_ha-director-keepalived-pkg-installed
