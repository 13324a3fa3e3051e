# A database takes packets for the VIPs (DR), yet never answers ARP for them.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}
{%- from 'mysql_ha/realserver/vips.jinja' import vips with context %}

include:
  - mysql_ha.sync

mysql_ha-realserver-init-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(settings.os.realserver.packages) }}
    - require:
      - sls: mysql_ha.sync

# Before any VIP: a single answer from here would draw clients past the directors.
{%- for key, value in {'arp_ignore': 1, 'arp_announce': 2}.items() %}

mysql_ha-realserver-init-sysctl-present-{{ key }}:
  sysctl.present:
    - name: net.ipv4.conf.all.{{ key }}
    - value: {{ value }}
    - require:
      - pkg: mysql_ha-realserver-init-pkg-installed
    - require_in:
      - file: mysql_ha-realserver-init-file-managed
{%- endfor %}

mysql_ha-realserver-init-file-managed:
  file.managed:
    - name: /etc/systemd/system/mysql_ha-vip@.service
    - source: salt://mysql_ha/realserver/files/mysql_ha-vip@.service
    - mode: '0644'

{%- for vip in vips %}

mysql_ha-realserver-init-service-running-{{ vip }}:
  service.running:
    - name: mysql_ha-vip@{{ vip }}
    - enable: true
    - require:
      - file: mysql_ha-realserver-init-file-managed
{%- endfor %}
