# keepalived from its pinned tarball, and the user that its programs run as.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.sync

mysql_ha-director-keepalived-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(settings.os.keepalived.build_packages) }}
    - require:
      - sls: mysql_ha.sync

mysql_ha-director-keepalived-source_build-installed:
  source_build.installed:
    - name: keepalived
    - version: {{ yaml(settings.keepalived.version) }}
    - source: {{ yaml(settings.keepalived.source) }}
    - source_hash: {{ yaml(settings.keepalived.source_hash) }}
    - build:
      - >-
        ./configure --prefix=/usr --sysconfdir=/etc --runstatedir=/run --localstatedir=/var
        --with-init=systemd --with-systemdsystemunitdir=/usr/lib/systemd/system
        --enable-json --enable-bfd --enable-regex --disable-iptables
      - make -j{jobs}
    - stage: make install DESTDIR={stage}
    - proof: usr/sbin/keepalived --version
    - require:
      - pkg: mysql_ha-director-keepalived-pkg-installed

mysql_ha-director-keepalived-user-present:
  user.present:
    - name: keepalived_script
    - system: true
    - usergroup: true
    - home: /nonexistent
    - createhome: false
    - shell: /usr/sbin/nologin
    - require:
      - sls: mysql_ha.sync
