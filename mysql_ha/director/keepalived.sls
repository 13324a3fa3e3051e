# keepalived from its pinned tarball, and the user that its programs run as.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}
{%- set configure -%}
./configure --prefix=/usr --sysconfdir=/etc --runstatedir=/run --localstatedir=/var
--with-init=systemd --with-systemdsystemunitdir=/usr/lib/systemd/system
--enable-json --enable-bfd --enable-regex --disable-iptables
{%- endset %}
{%- set more = {} %}
{%- for key in ['configure_options', 'build_packages'] %}
{%-   set value = settings.keepalived[key] %}
{%-   do more.update({key: value | list if value is iterable and value is not string else []}) %}
{%- endfor %}

include:
  - mysql_ha.sync

mysql_ha-director-keepalived-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(settings.os.keepalived.build_packages + more.build_packages) }}
    - require:
      - sls: mysql_ha.sync

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

mysql_ha-director-keepalived-source_build-installed:
  source_build.installed:
    - name: keepalived
    - version: {{ yaml(settings.keepalived.version) }}
    - source: {{ yaml(settings.keepalived.source) }}
    - source_hash: {{ yaml(settings.keepalived.source_hash) }}
    - build:
      - {{ yaml((configure.split() + more.configure_options) | join(' ')) }}
      - make -j{jobs}
    - stage: make install DESTDIR={stage}
    - proof: usr/sbin/keepalived --version
    # The new one has to take the configuration before it replaces the old one, which runs on until it is restarted.
    - accept: keepalived.accepts
    - accept_with:
        settings: {{ yaml(settings) }}
    - require:
      - pkg: mysql_ha-director-keepalived-pkg-installed
      - user: mysql_ha-director-keepalived-user-present
