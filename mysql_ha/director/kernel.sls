# IPVS in the kernel, now and after every boot, and how it treats connections whose server is gone.
include:
  - mysql_ha.sync

mysql_ha-director-kernel-kmod-present:
  kmod.present:
    - name: ip_vs
    - persist: true
    - require:
      - sls: mysql_ha.sync

# Without these a client whose database left the table hangs until its own timeout instead of being told.
{%- for key in ['expire_nodest_conn', 'expire_quiescent_template'] %}

mysql_ha-director-kernel-sysctl-present-{{ key }}:
  sysctl.present:
    - name: net.ipv4.vs.{{ key }}
    - value: 1
    - require:
      - kmod: mysql_ha-director-kernel-kmod-present
{%- endfor %}
