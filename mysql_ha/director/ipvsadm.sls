# ipvsadm from its pinned tarball: for people; the formula itself speaks to the kernel directly.
{%- from 'mysql_ha/map.jinja' import settings with context %}

include:
  - mysql_ha.sync

mysql_ha-director-ipvsadm-pkg-installed:
  pkg.installed:
    - pkgs: {{ settings.os.ipvsadm.build_packages | json }}
    - require:
      - sls: mysql_ha.sync

mysql_ha-director-ipvsadm-source_build-installed:
  source_build.installed:
    - name: ipvsadm
    - version: {{ settings.ipvsadm.version | json }}
    - source: {{ settings.ipvsadm.source | json }}
    - source_hash: {{ settings.ipvsadm.source_hash | json }}
    - build:
      - make
    # Its init script is of no use under systemd and stays in the source tree.
    - stage: make install BUILD_ROOT={stage} SBIN={stage}/usr/sbin MANDIR=usr/share/man INIT={source}/unused
    - proof: usr/sbin/ipvsadm --version
    - require:
      - pkg: mysql_ha-director-ipvsadm-pkg-installed
