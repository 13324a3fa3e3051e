# VRRP, and what the directors tell of connections, from the other director alone if the pillar wants it; else no trace.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.sync
{%- if settings.firewall.vrrp is sameas true %}

mysql_ha-director-firewall-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(settings.os.firewall.packages) }}
    - require:
      - sls: mysql_ha.sync

mysql_ha-director-firewall-director_firewall-loaded:
  director_firewall.loaded:
    - name: /etc/mysql_ha/firewall.nft
    - settings: {{ yaml(settings) }}
    - require:
      - pkg: mysql_ha-director-firewall-pkg-installed
{%- else %}

mysql_ha-director-firewall-director_firewall-absent:
  director_firewall.absent:
    - name: /etc/mysql_ha/firewall.nft
    - require:
      - sls: mysql_ha.sync
{%- endif %}
