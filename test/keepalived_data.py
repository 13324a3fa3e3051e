"""What keepalived writes on SIGUSR1 of its virtual servers, as text: for the tests of what is read from it."""

from __future__ import annotations

from typing import Any

GLOBAL = """------< Global definitions >------
 Network namespace = (default)
 Router ID = shop_lvs1
"""
END = """------< Health checkers >------
 [192.0.2.5]:tcp:3306
   Keepalive method = TCP_CHECK
   alive = 7
"""

#: What the pillar of the directors in these tests is.
PILLAR = {
    "cluster": "shop",
    "nodes": {
        "lvs1": {"role": "director", "address": "192.0.2.2", "priority": 100},
        "mysql1": {"role": "database", "address": "192.0.2.5", "weight": 3},
        "mysql2": {"role": "database", "address": "192.0.2.6", "weight": 3},
    },
    "endpoints": {"write": {"address": "192.0.2.1", "port": 3306, "serves": "all"}},
    "interface": "eth0",
    "vrrp": {"virtual_router_id": 51, "version": 3, "advert_interval": 0.3, "preempt": False, "unicast": True},
    "checks": {"interval": 1, "connect_timeout": 1, "retries": 1, "retry_interval": 1},
    "keepalived": {"version": "2.3.4", "global_defs": {}},
}


def real_server(address: str, port: int = 3306, **words: Any) -> str:
    """One real server; the words are ``weight``, ``effective``, ``upper``, ``lower``, ``alive``, ``set`` and so on."""
    weight = words.get("weight", 1)
    effective = words.get("effective", weight)
    alive, inhibit = words.get("alive", True), words.get("inhibit", False)
    is_set = words.get("set", alive or inhibit)
    return f"""   ------< Real server >------
   RIP = {address}, RPORT = {port}, WEIGHT = {max(effective, 0)} EFF WEIGHT = {effective}
   forwarding method = {words.get("method", "DR")}
   Alpha is OFF
   connection timeout = 1.000000
   connection limit range = {words.get("lower", 0)} -> {words.get("upper", 0)}
   Delay loop = 1.000000
   Inhibit on failure is {"ON" if inhibit else "OFF"}
   RS up notify script = /bin/x, params = '/bin/x alive = 0', uid:gid 0:0
   Using smtp notification = no
   initial weight = {weight}
   effective weight = {effective}
   previous effective_weight = {weight}
   alive = {alive:d}
   num failed checkers = {not alive:d}
   RS set = {is_set:d}
   reloaded = 0
"""


def virtual_server(head: str, *servers: str, **words: Any) -> str:
    """One virtual server; ``head`` is such as ``VS VIP = 192.0.2.1, VPORT = 80``. With ``old`` as 2.2.7 writes it."""
    old = words.get("old", False)
    scheduler = words.get("scheduler", "wrr")
    flags = "".join(f"   {name} = enabled\n" for name in words.get("flags", ()))
    persistence = "".join(f"   persistence {name} = {value}\n" for name, value in words.get("persistence", {}).items())
    sorry = ""
    if "sorry" in words:
        inhibit, in_use, is_set = words["sorry"]
        sorry = f"""   sorry server = [192.0.2.9]:tcp:3306
     forwarding method = DR
     Inhibit on failure is {"ON" if inhibit else "OFF"}
"""
        sorry += "" if old else f"     set = {is_set:d}\n     alive = {in_use:d}\n"
    quorum = words.get("quorum", True)
    return f""" ------< Virtual server >------
 {head}
   VirtualHost = protocol = UDP
   Address family = {words.get("family", "inet")}
   connection timeout = 5.000000
   delay_loop = 1.000000
   lvs_sched = {scheduler}
   Hashed = disabled
   flag-1 = disabled
{flags}   One packet scheduling = {words.get("one_packet", "disabled")}
{persistence}   protocol = {words.get("protocol", "TCP")}
   alpha is OFF
   Inhibit on failure is OFF
   quorum = 1, hysteresis = 0
   Using smtp notification = no
   default forwarding method = NAT
{sorry}   {"" if old else "VS "}alive = 1
   quorum_state_up = {quorum:d}
   reloaded = 0
{"".join(servers)}"""


def group(name: str, *lines: str) -> str:
    """A virtual server group, with lines such as ``VIP = 192.0.2.1, VPORT = 80``."""
    own = "".join(f"   {line}\n     Alive: 1 tcp, 0 udp, 0 sctp\n     reloaded = False\n" for line in lines)
    return f""" ------< Virtual server group >------
 Virtual Server Group = {name}, IPv4 = yes, IPv6 = no
{own}"""


def data(*parts: str) -> str:
    """All of it."""
    topology = "------< LVS Topology >------\n System is compiled with LVS v1.2.1\n" if parts else ""
    return GLOBAL + topology + "".join(parts) + END
