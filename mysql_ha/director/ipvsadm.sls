# ipvsadm from its pinned tarball: for people; the formula itself speaks to the kernel directly.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.sync

mysql_ha-director-ipvsadm-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(settings.os.ipvsadm.build_packages) }}
    - require:
      - sls: mysql_ha.sync

mysql_ha-director-ipvsadm-source_build-installed:
  source_build.installed:
    - name: ipvsadm
    - version: {{ yaml(settings.ipvsadm.version) }}
    - source: {{ yaml(settings.ipvsadm.source) }}
    - source_hash: {{ yaml(settings.ipvsadm.source_hash) }}
    - build:
      - make
    # Its init script is of no use under systemd and stays in the source tree.
    - stage: make install BUILD_ROOT={stage} SBIN={stage}/usr/sbin MANDIR=usr/share/man INIT={source}/unused
    - proof: usr/sbin/ipvsadm --version
    - require:
      - pkg: mysql_ha-director-ipvsadm-pkg-installed
