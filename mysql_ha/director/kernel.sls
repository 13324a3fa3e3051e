# IPVS in the kernel, now and after every boot, and how it treats connections whose server is gone.
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

# Without these a client whose database left the table hangs until its own timeout instead of being told.
{%- for key in ['expire_nodest_conn', 'expire_quiescent_template'] %}

mysql_ha-director-kernel-sysctl-present-{{ key }}:
  sysctl.present:
    - name: net.ipv4.vs.{{ key }}
    - value: 1
    - require:
      - {{ 'kmod: mysql_ha-director-kernel-kmod-present' if has_lsmod else 'pkg: mysql_ha-director-kernel-pkg-installed' }}
{%- endfor %}
