# IPVS in the kernel, now and after every boot, with the pillar's settings, and forwarding where NAT needs it.
{%- from 'mysql_ha/map.jinja' import settings, yaml with context %}

include:
  - mysql_ha.sync

mysql_ha-director-kernel-pkg-installed:
  pkg.installed:
    - pkgs: {{ yaml(settings.os.kernel.packages) }}
    - require:
      - sls: mysql_ha.sync

{#- Salt's kmod raises where there is no lsmod: in test mode, before the package above is there. An `onlyif` would say so
    too, and have Salt load all states that there are, for seconds, to see if there is a `kmod.mod_run_check`. #}
{%- set has_lsmod = salt['cmd.which']('lsmod') or not opts.get('test') %}
{%- if has_lsmod %}

mysql_ha-director-kernel-kmod-present:
  kmod.present:
    - name: ip_vs
    - persist: true
    - require:
      - pkg: mysql_ha-director-kernel-pkg-installed
{%- endif %}

mysql_ha-director-kernel-director_sysctl-managed:
  director_sysctl.managed:
    - name: /etc/sysctl.d/90-mysql_ha.conf
    - settings: {{ yaml(settings) }}
    - require:
      - {{ 'kmod: mysql_ha-director-kernel-kmod-present' if has_lsmod else 'pkg: mysql_ha-director-kernel-pkg-installed' }}
