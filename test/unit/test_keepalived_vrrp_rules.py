"""The rules for VRRP and keepalived in the pillar: every sentence, and no traceback whatever there is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import keepalived_conf
import mysql_ha_pillar

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
DEFAULTS = yaml.safe_load((ROOT / "mysql_ha" / "defaults.yaml").read_text(encoding="utf-8"))
DELETE = "(deleted)"

#: Two instances in a group, and one of each kind that can be tracked.
BASE = yaml.safe_load("""
vrrp:
  instances:
    front: {virtual_router_id: 51, endpoints: [write], track: {scripts: [gateway]}}
    back:
      virtual_router_id: 52
      addresses: [10.0.0.1/24]
      interface: eth1
      unicast: {lvs1: 10.0.0.2, lvs2: 10.0.0.3}
    third: {virtual_router_id: 53, addresses: ['2001:db8::1'], track: {files: [{name: drain, weight: 5}]}}
  groups:
    all: {instances: [front, back]}
  scripts:
    gateway: {script: /usr/bin/ping -c1 192.168.1.254, interval: 2}
  files:
    drain: {file: /run/drain}
  processes:
    proxy: {process: haproxy}
  bfds:
    gw: {neighbour: 192.168.1.254}
""")

VRID = "a whole number from 1 to 255"
V2 = "whole seconds from 1 to 255 with VRRP version 2"
V3 = "seconds from 0.01 to 40.95 in steps of 0.01 with VRRP version 3"
NAME = "1 to 32 of the characters A-Z a-z 0-9 _ - (in quotes if a number), and not include"
INTERFACE = '1 to 15 printable ASCII characters except spaces and / : % # ! { } " $ @ ~ \\, and not . or ..'
HOST = "the address of one host, such as 192.168.1.5 or 2001:db8::5"
SCRIPT = "the absolute path of a program, perhaps with arguments, in characters that keepalived.conf can hold"
FILE = "the absolute path of a file, in characters that keepalived.conf can hold"
WORDS = "words in characters that keepalived.conf can hold"
USER = "the name of a user, or of a user and a group"
FURTHER = (
    "an address with or without a prefix length, such as '192.168.1.1/24', or a mapping with the keys address, prefix, "
    "interface, label, scope"
)
INSTANCE_KEYS = (
    "virtual_router_id, endpoints, addresses, priorities, interface, version, advert_interval, preempt, preempt_delay, "
    "unicast, garp, track, routes, rules, notify_master, notify_backup, notify_fault, notify_stop, notify, smtp_alert, "
    "notify_deleted, notify_master_rx_lower_pri, use_vmac, use_vmac_addr, vmac_xmit_base, extra"
)
GROUP_KEYS = "instances, track, notify_master, notify_backup, notify_fault, notify_stop, notify, smtp_alert, extra"
GARP_KEYS = "delay, repeat, refresh, refresh_repeat, lower_priority_delay, lower_priority_repeat"
KINDS = "interfaces, scripts, files, processes, bfds"
SYNC_KEYS = "id, maxlen, port, ttl, group, interface, instance"
SCRIPT_KEYS = "script, interval, timeout, weight, rise, fall, user, init_fail, reverse, extra"
UNICAST = "true, false, or a mapping of every director to its address on the instance's interface"
EXTRA = "1 to 64 of the characters A-Z a-z 0-9 _ -, not include, and perhaps words after it, 200 together"
EXTRA_VALUE = "text, a number, true, false, a mapping, or a list of these"
UNSHOWN = 'text that is empty or holds one of # ! { } " $ @ ~ \\, a line break, or what is not ASCII'
SECONDS = "seconds from {} to {} with at most 6 decimals"
PASSWORD = '1 to 8 printable ASCII characters except spaces and # ! { } " $ @ ~ \\, in quotes'
TRACK_WEIGHT = (
    "and the instance is in a group; allowed: the weight 0, to track it in the group, or sync_group_tracking_weight: "
    "true in the group's extra"
)
GLOBAL = 'a number, true (for the keyword alone), or 1 to 512 printable ASCII characters except # ! { } " $ @ ~ \\'
LVS_TIMEOUTS = (
    "one or more of the words tcp, tcpfin and udp, each with a whole number of seconds, such as 'tcp 900 udp 300'"
)
V227 = "is not known to keepalived 2.2.7, the mysql_ha:keepalived:version; allowed: from version"


def merged(under: Any, over: Any) -> Any:
    """Return one mapping laid over another, as the formula does with its defaults."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return copy.deepcopy(over)
    return {**copy.deepcopy(under), **{key: merged(under.get(key), value) for key, value in over.items()}}


def base(*changes: tuple[str, Any]) -> dict[str, Any]:
    """Return the pillar with two instances, and changes: each a path with dots, and a value."""
    result = copy.deepcopy(EXAMPLE)
    result["vrrp"].update(copy.deepcopy(BASE["vrrp"]))
    for path, value in changes:
        *parents, last = path.split(".")
        place: Any = result
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if value is DELETE:
            del place[last]
        else:
            place[last] = value
    return result


# path of the change, value, the whole sentence without "mysql_ha:"
ONE_CHANGE = [
    # vrrp itself
    ("vrrp.preempt_delay", 1001, "vrrp:preempt_delay: is 1001; allowed: " + SECONDS.format(0, 1000)),
    ("vrrp.preempt_delay", 5, "vrrp:preempt_delay: is given, and preempt is false; allowed: only with preempt: true"),
    ("vrrp.garp", [], "vrrp:garp: is a list; allowed: a mapping"),
    ("vrrp.garp", {"delay": -1}, "vrrp:garp:delay: is -1; allowed: a whole number of seconds from 0 to 4294"),
    ("vrrp.garp", {"repeat": 0}, "vrrp:garp:repeat: is 0; allowed: a whole number from 1 to 4294967295"),
    ("vrrp.garp", {"interval": 0}, "vrrp:garp:interval: is 0; allowed: " + SECONDS.format("0.000001", 4294)),
    (
        "vrrp.garp",
        {"refersh": 1},
        f"vrrp:garp:refersh: is an unknown key; allowed: {GARP_KEYS}, interval, gna_interval (did you mean refresh?)",
    ),
    ("vrrp.instances", ["front"], "vrrp:instances: is a list; allowed: a mapping"),
    ("vrrp.groups", "all", "vrrp:groups: is text; allowed: a mapping"),
    ("vrrp.scripts", None, "vrrp:scripts: is empty; allowed: a mapping"),
    ("vrrp.track", True, "vrrp:track: is true or false; allowed: a mapping"),
    # the sync daemon
    ("vrrp.sync_daemon", "eth0",
     f"vrrp:sync_daemon: is 'eth0'; allowed: true, false, or a mapping with the keys {SYNC_KEYS}"),
    ("vrrp.sync_daemon", {"id": 0}, f"vrrp:sync_daemon:id: is 0; allowed: {VRID}"),
    ("vrrp.sync_daemon", {"id": 256}, f"vrrp:sync_daemon:id: is 256; allowed: {VRID}"),
    (
        "vrrp.sync_daemon",
        {"maxlen": 65508},
        "vrrp:sync_daemon:maxlen: is 65508; allowed: a whole number of bytes from 1 to 65507",
    ),
    ("vrrp.sync_daemon", {"port": 0}, "vrrp:sync_daemon:port: is 0; allowed: a whole number from 1 to 65535"),
    ("vrrp.sync_daemon", {"ttl": 256}, f"vrrp:sync_daemon:ttl: is 256; allowed: {VRID}"),
    (
        "vrrp.sync_daemon",
        {"group": "192.168.1.5"},
        "vrrp:sync_daemon:group: is '192.168.1.5'; allowed: a multicast address, such as 224.0.0.81",
    ),
    ("vrrp.sync_daemon", {"interface": "eth 0"}, f"vrrp:sync_daemon:interface: is 'eth 0'; allowed: {INTERFACE}"),
    (
        "vrrp.sync_daemon",
        {"instance": "fornt"},
        "vrrp:sync_daemon:instance: is 'fornt'; allowed: one of the instances: front, back, third (did you mean "
        "front?)",
    ),
    (
        "vrrp.sync_daemon",
        {"instance": True},
        "vrrp:sync_daemon:instance: is true; allowed: the name of an instance, or false for both directors at once",
    ),
    (
        "vrrp.sync_daemon",
        {"prot": 1},
        f"vrrp:sync_daemon:prot: is an unknown key; allowed: {SYNC_KEYS} (did you mean port?)",
    ),
    # instances
    ("vrrp.instances.front", None, f"vrrp:instances:front: is empty; allowed: a mapping with the keys {INSTANCE_KEYS}"),
    (
        "vrrp.instances.front.virtual_router_id",
        DELETE,
        f"vrrp:instances:front:virtual_router_id: is missing; allowed: {VRID}",
    ),
    ("vrrp.instances.front.virtual_router_id", 0, f"vrrp:instances:front:virtual_router_id: is 0; allowed: {VRID}"),
    (
        "vrrp.instances.front.virtual_router_id",
        "51",
        f"vrrp:instances:front:virtual_router_id: is '51', text in quotes and not a number; allowed: {VRID}",
    ),
    (
        "vrrp.instances.third.virtual_router_id",
        51,
        "vrrp:instances:third:virtual_router_id: is 51, as is that of front on the same interface; allowed: another "
        "one",
    ),
    (
        "vrrp.instances.front.priority",
        5,
        f"vrrp:instances:front:priority: is an unknown key; allowed: {INSTANCE_KEYS} (did you mean priorities?)",
    ),
    ("vrrp.instances.include", {"virtual_router_id": 9, "addresses": ["10.0.0.9"]},
     f"vrrp:instances:include: is not a usable name; allowed: {NAME}"),
    ("vrrp.instances.a b", {"virtual_router_id": 9, "addresses": ["10.0.0.9"]},
     f"vrrp:instances:'a b': is not a usable name; allowed: {NAME}"),
    ("vrrp.instances.front.version", 4, "vrrp:instances:front:version: is 4; allowed: 2, 3"),
    (
        "vrrp.instances.front.version",
        2,
        f"vrrp:instances:front:advert_interval: is missing, and mysql_ha:vrrp:advert_interval is 0.3; allowed: {V2}",
    ),
    ("vrrp.instances.front.advert_interval", 0.005, f"vrrp:instances:front:advert_interval: is 0.005; allowed: {V3}"),
    ("vrrp.instances.front.preempt", "no", "vrrp:instances:front:preempt: is 'no'; allowed: true, false"),
    (
        "vrrp.instances.front.preempt_delay",
        10,
        "vrrp:instances:front:preempt_delay: is given, and preempt is false; allowed: only with preempt: true",
    ),
    ("vrrp.instances.front.interface", "eth0/1", f"vrrp:instances:front:interface: is 'eth0/1'; allowed: {INTERFACE}"),
    (
        "vrrp.instances.front.interface",
        "eth2",
        "vrrp:instances:front:unicast: is true, and the address of lvs1 is on eth0, not on the instance's eth2; "
        "allowed: false, or a mapping of every director to its address there",
    ),
    ("vrrp.instances.back.unicast", "10.0.0.2", f"vrrp:instances:back:unicast: is '10.0.0.2'; allowed: {UNICAST}"),
    (
        "vrrp.instances.back.unicast.lvs2",
        DELETE,
        "vrrp:instances:back:unicast:lvs2: is missing or wrong; allowed: the address of that director",
    ),
    (
        "vrrp.instances.back.unicast.lvs2",
        "10.0.0.0/24",
        "vrrp:instances:back:unicast:lvs2: is missing or wrong; allowed: the address of that director",
    ),
    (
        "vrrp.instances.back.unicast.lvs2",
        "10.0.0.2",
        "vrrp:instances:back:unicast: has the same address for two directors; allowed: another one for each",
    ),
    (
        "vrrp.instances.back.unicast.lvs2",
        "fd00::2",
        "vrrp:instances:back:unicast: is between an IPv4 and an IPv6 address; allowed: directors of one "
        "family, or false",
    ),
    (
        "vrrp.instances.back.unicast.lvs3",
        "10.0.0.4",
        "vrrp:instances:back:unicast: is 'lvs3'; allowed: one of the directors: lvs1, lvs2 (did you mean lvs2?)",
    ),
    ("vrrp.instances.front.priorities", [1], "vrrp:instances:front:priorities: is a list; allowed: a mapping"),
    (
        "vrrp.instances.third.priorities",
        {"lvs1": 255},
        "vrrp:instances:third:priorities:lvs1: is 255; allowed: a whole number from 1 to 254",
    ),
    (
        "vrrp.instances.third.priorities",
        {"lvs1": 100},
        "vrrp:instances:third:priorities: gives lvs2 100, as lvs1; allowed: different ones",
    ),
    (
        "vrrp.instances.third.priorities",
        {"mysql1": 7},
        "vrrp:instances:third:priorities: is 'mysql1'; allowed: the names of directors: lvs1, lvs2",
    ),
    ("vrrp.instances.front.garp", {"delay": "5"}, "vrrp:instances:front:garp:delay: is '5', text in quotes and not a "
     "number; allowed: a whole number of seconds from 0 to 4294"),
    (
        "vrrp.instances.front.garp",
        {"interval": 0.1},
        "vrrp:instances:front:garp:interval: is not a key of an instance; allowed: only in mysql_ha:vrrp:garp, for all "
        "instances",
    ),
    ("vrrp.instances.front.endpoints", "write", "vrrp:instances:front:endpoints: is text; allowed: a list"),
    ("vrrp.instances.front.endpoints", [7], "vrrp:instances:front:endpoints:0: is 7; allowed: the name of an endpoint"),
    (
        "vrrp.instances.front.endpoints",
        ["write", "wirte"],
        "vrrp:instances:front:endpoints:1: is 'wirte'; allowed: one of the endpoints: write (did you mean write?)",
    ),
    (
        "vrrp.instances.front.endpoints",
        ["write", "write"],
        "vrrp:instances:front:endpoints:1: is 'write', as is mysql_ha:vrrp:instances:front:endpoints:0; allowed: each "
        "endpoint once",
    ),
    (
        "vrrp.instances.back.endpoints",
        ["write"],
        "vrrp:instances:back:endpoints:0: is 'write', as is mysql_ha:vrrp:instances:front:endpoints:0; allowed: each "
        "endpoint once",
    ),
    ("vrrp.instances.back.addresses", DELETE,
     "vrrp:instances:back: holds no address; allowed: endpoints with an address, or addresses"),
    ("vrrp.instances.front.addresses", {}, "vrrp:instances:front:addresses: is a mapping; allowed: a list"),
    ("vrrp.instances.front.addresses", [5], f"vrrp:instances:front:addresses:0: is 5; allowed: {FURTHER}"),
    ("vrrp.instances.front.addresses", ["10.0.0.7/33"],
     f"vrrp:instances:front:addresses:0: is '10.0.0.7/33'; allowed: {FURTHER}"),
    ("vrrp.instances.front.addresses", ["224.0.0.1"],
     f"vrrp:instances:front:addresses:0: is '224.0.0.1'; allowed: {FURTHER}"),
    ("vrrp.instances.front.addresses", ["fe80::1%eth0"],
     f"vrrp:instances:front:addresses:0: is 'fe80::1%eth0'; allowed: {FURTHER}"),
    ("vrrp.instances.front.addresses", ["10.0.0.7\n"],
     f"vrrp:instances:front:addresses:0: is '10.0.0.7\\n'; allowed: {FURTHER}"),
    ("vrrp.instances.front.addresses", [{"prefix": 24}],
     f"vrrp:instances:front:addresses:0:address: is missing; allowed: {HOST}"),
    ("vrrp.instances.front.addresses", [{"address": "10.0.0.7", "prefix": 64}],
     "vrrp:instances:front:addresses:0:prefix: is 64; allowed: a whole number from 1 to 32 for an IPv4 address"),
    ("vrrp.instances.front.addresses", [{"address": "2001:db8::7", "label": "eth0:1"}],
     "vrrp:instances:front:addresses:0:label: is given for an IPv6 address; allowed: only for IPv4"),
    ("vrrp.instances.front.addresses", [{"address": "10.0.0.7", "scope": "everywhere"}],
     "vrrp:instances:front:addresses:0:scope: is 'everywhere'; allowed: global, site, link, host, nowhere, or a number "
     "from 0 to 255"),
    ("vrrp.instances.front.addresses", [{"address": "10.0.0.7", "label": "x" * 16}],
     f"vrrp:instances:front:addresses:0:label: is '{'x' * 16}'; allowed: 1 to 15 characters that keepalived.conf can "
     "hold, such as eth0:1"),
    ("vrrp.instances.front.addresses", ["192.168.1.5"],
     "vrrp:instances:front:addresses: holds 192.168.1.5, as does mysql_ha:nodes:mysql1:address; allowed: another one"),
    ("vrrp.instances.front.addresses", ["192.168.1.100/24"],
     "vrrp:instances:front:addresses: holds 192.168.1.100, as does mysql_ha:endpoints:write; allowed: another one"),
    ("vrrp.instances.third.addresses", ["2001:db8::1", "2001:DB8:0::1/64"],
     "vrrp:instances:third:addresses: holds 2001:db8::1, as does mysql_ha:vrrp:instances:third:addresses; allowed: "
     "another one"),
    ("vrrp.instances.third.addresses", ["10.0.0.1"],
     "vrrp:instances:third:addresses: holds 10.0.0.1, as does mysql_ha:vrrp:instances:back:addresses; allowed: another "
     "one"),
    ("vrrp.instances.front.routes", "default", "vrrp:instances:front:routes: is text; allowed: a list"),
    ("vrrp.instances.front.routes", ["10.1.0.0/16 via 10.0.0.9 }"],
     f"vrrp:instances:front:routes:0: is '10.1.0.0/16 via 10.0.0.9 }}'; allowed: {WORDS}, as ip-route(8) has them"),
    ("vrrp.instances.front.routes", ["include /etc/passwd"],
     f"vrrp:instances:front:routes:0: is 'include /etc/passwd'; allowed: {WORDS}, as ip-route(8) has them"),
    ("vrrp.instances.front.routes", ["10.1.0.0/16 gw 10.0.0.9"],
     "vrrp:instances:front:routes:0: has the word gw, which keepalived no longer wants; allowed: via"),
    ("vrrp.instances.front.routes", ["10.1.0.0/16 nexthop via 10.0.0.9 no_track"],
     "vrrp:instances:front:routes:0: has no_track after a nexthop; allowed: no_track before the first nexthop"),
    ("vrrp.instances.front.rules", ["from 10.0.0.0/8 table 100"],
     "vrrp:instances:front:rules:0: has no preference, so that its place would be by chance; allowed: a rule with "
     "preference NUMBER"),
    ("vrrp.instances.front.rules", [None],
     f"vrrp:instances:front:rules:0: is empty; allowed: {WORDS}, as ip-rule(8) has them"),
    ("vrrp.instances.front.notify_master", "notify.sh",
     f"vrrp:instances:front:notify_master: is 'notify.sh'; allowed: {SCRIPT}"),
    ("vrrp.instances.front.notify", '/bin/x "y"', f"vrrp:instances:front:notify: is '/bin/x \"y\"'; allowed: {SCRIPT}"),
    ("vrrp.instances.front.smtp_alert", 1, "vrrp:instances:front:smtp_alert: is 1; allowed: true, false"),
    ("vrrp.instances.front.use_vmac", "a b",
     f"vrrp:instances:front:use_vmac: is 'a b'; allowed: true, false, or a name for the interface: {INTERFACE}"),
    # tracking
    ("vrrp.instances.front.track", {"script": []},
     f"vrrp:instances:front:track:script: is an unknown key; allowed: {KINDS} (did you mean scripts?)"),
    ("vrrp.instances.third.track.files", "drain", "vrrp:instances:third:track:files: is text; allowed: a list"),
    ("vrrp.instances.third.track.files", ["dran"],
     "vrrp:instances:third:track:files:0: is 'dran'; allowed: one of mysql_ha:vrrp:files: drain (did you mean drain?)"),
    ("vrrp.instances.third.track.bfds", ["gw", "gw"],
     "vrrp:instances:third:track:bfds:1: is 'gw', which is tracked already; allowed: each one once"),
    ("vrrp.instances.third.track.files", [{"name": "drain", "weight": 255}],
     "vrrp:instances:third:track:files:0:weight: is 255; allowed: a whole number from -254 to 254"),
    ("vrrp.instances.third.track.scripts", [{"name": "gateway", "weight": 254}],
     "vrrp:instances:third:track:scripts:0:weight: is 254; allowed: a whole number from -253 to 253"),
    ("vrrp.instances.third.track.processes", [{"name": "proxy", "reverse": True}],
     "vrrp:instances:third:track:processes:0:reverse: is given without weight; allowed: both, or neither"),
    ("vrrp.instances.third.track.interfaces", ["include"],
     f"vrrp:instances:third:track:interfaces:0: is 'include'; allowed: {INTERFACE}, and not include"),
    ("vrrp.instances.third.track.interfaces", [{"name": "eth0", "weight": 5}],
     "vrrp:instances:third:track:interfaces:0:weight: is given for the own interface of third, without which it is in "
     "FAULT; allowed: other interfaces, or no weight"),
    ("vrrp.instances.front.track.scripts", [{"name": "gateway", "weight": -20}],
     f"vrrp:instances:front:track:scripts:0: has the weight -20, {TRACK_WEIGHT}"),
    ("vrrp.instances.front.track.files", ["drain"],
     f"vrrp:instances:front:track:files:0: has the weight 1, {TRACK_WEIGHT}"),
    ("vrrp.scripts.gateway.weight", 10, f"vrrp:instances:front:track:scripts:0: has the weight 10, {TRACK_WEIGHT}"),
    # what is tracked
    ("vrrp.scripts.idle", {"script": "/bin/true"},
     "vrrp:scripts:idle: is tracked by no instance and no group, so that keepalived leaves it out; allowed: a script "
     "that is tracked"),
    ("vrrp.scripts.gateway", "/bin/true",
     f"vrrp:scripts:gateway: is text; allowed: a mapping with the keys {SCRIPT_KEYS}"),
    ("vrrp.scripts.gateway.script", DELETE, f"vrrp:scripts:gateway:script: is missing; allowed: {SCRIPT}"),
    ("vrrp.scripts.gateway.script", "ping", f"vrrp:scripts:gateway:script: is 'ping'; allowed: {SCRIPT}"),
    ("vrrp.scripts.gateway.interval", 0,
     "vrrp:scripts:gateway:interval: is 0; allowed: " + SECONDS.format("0.001", 4294)),
    ("vrrp.scripts.gateway.user", "no body here", f"vrrp:scripts:gateway:user: is 'no body here'; allowed: {USER}"),
    ("vrrp.scripts.gateway.rise", 0, "vrrp:scripts:gateway:rise: is 0; allowed: a whole number from 1 to 2147483647"),
    ("vrrp.scripts.gateway.reverse", True,
     "vrrp:scripts:gateway:reverse: is given without weight; allowed: both, or neither"),
    ("vrrp.scripts.gateway.intervall", 1,
     f"vrrp:scripts:gateway:intervall: is an unknown key; allowed: {SCRIPT_KEYS} (did you mean interval?)"),
    ("vrrp.scripts.gateway.extra", {"interval": 5},
     "vrrp:scripts:gateway:extra:interval: is refused, because there is a key for it; allowed: other keywords"),
    ("vrrp.files.drain.file", "drain", f"vrrp:files:drain:file: is 'drain'; allowed: {FILE}"),
    ("vrrp.files.drain.file", "/run/a b", f"vrrp:files:drain:file: is '/run/a b'; allowed: {FILE}"),
    ("vrrp.files.drain.init", 255, "vrrp:files:drain:init: is 255; allowed: a whole number from -254 to 254"),
    ("vrrp.processes.proxy.process", "a b",
     "vrrp:processes:proxy:process: is 'a b'; allowed: the name or the absolute path of a program, one word that "
     "keepalived.conf can hold"),
    ("vrrp.processes.proxy.param_match", "all",
     "vrrp:processes:proxy:param_match: is 'all'; allowed: exact, initial, partial"),
    ("vrrp.processes.proxy", {"process": "x", "quorum": 3, "quorum_max": 2},
     "vrrp:processes:proxy:quorum_max: is 2; allowed: at least the quorum, which is 3"),
    ("vrrp.processes.proxy.fork_delay", 3601,
     "vrrp:processes:proxy:fork_delay: is 3601; allowed: " + SECONDS.format("0.000001", 3600)),
    ("vrrp.bfds.gw.neighbour", "gateway", f"vrrp:bfds:gw:neighbour: is 'gateway'; allowed: {HOST}"),
    ("vrrp.bfds.gw.source", "fd00::1",
     "vrrp:bfds:gw:source: is 'fd00::1'; allowed: an IPv4 address, as the neighbour"),
    ("vrrp.bfds.gw.interval", 100, "vrrp:bfds:gw:interval: is 100; allowed: " + SECONDS.format("0.001", 10)),
    ("vrrp.bfds.gw", {"neighbour": "10.0.0.254", "max_hops": 9, "ttl": 8},
     "vrrp:bfds:gw:max_hops: is 9; allowed: at most the ttl, which is 8"),
    ("vrrp.bfds.again", {"neighbour": "192.168.1.254"},
     "vrrp:bfds:again: is between the same addresses as mysql_ha:vrrp:bfds:gw; allowed: another neighbour or source"),
    ("vrrp.bfds." + "x" * 32, {"neighbour": "10.0.0.254"},
     f"vrrp:bfds:{'x' * 32}: has a name of 32 characters; allowed: at most 31"),
    # groups
    ("vrrp.groups.all", [], f"vrrp:groups:all: is a list; allowed: a mapping with the keys {GROUP_KEYS}"),
    ("vrrp.groups.all.instances", DELETE,
     "vrrp:groups:all:instances: is missing; allowed: a list of two or more instances"),
    ("vrrp.groups.all.instances", "front",
     "vrrp:groups:all:instances: is text; allowed: a list of two or more instances"),
    ("vrrp.groups.all.instances", ["front"],
     "vrrp:groups:all:instances: holds 1 of them; allowed: a list of two or more instances"),
    ("vrrp.groups.all.instances", ["front", "bakc"],
     "vrrp:groups:all:instances:1: is 'bakc'; allowed: one of the instances: front, back, third (did you mean back?)"),
    ("vrrp.groups.more", {"instances": ["front", "third"], "extra": {"sync_group_tracking_weight": True}},
     "vrrp:groups:more:instances:0: is 'front', as is mysql_ha:vrrp:groups:all:instances:0; allowed: each instance in "
     "one group"),
    ("vrrp.groups.all.instances", ["front", "back", "back"],
     "vrrp:groups:all:instances:2: is 'back', as is mysql_ha:vrrp:groups:all:instances:1; allowed: each instance in "
     "one group"),
    ("vrrp.groups.all.track", {"interfaces": ["eth1"]},
     "vrrp:groups:all:track:interfaces:0: is 'eth1', the own interface of back; allowed: other interfaces"),
    ("vrrp.groups.all.track", {"scripts": ["gatway"]},
     "vrrp:groups:all:track:scripts:0: is 'gatway'; allowed: one of mysql_ha:vrrp:scripts: gateway (did you mean "
     "gateway?)"),
    ("vrrp.groups.all.notify_deleted", "/bin/true",
     f"vrrp:groups:all:notify_deleted: is an unknown key; allowed: {GROUP_KEYS} (did you mean notify_fault?)"),
    ("vrrp.groups.all.extra", {"global_tracking": True},
     "vrrp:groups:all:extra:global_tracking: is refused, because keepalived no longer wants it; allowed: other "
     "keywords"),
    ("vrrp.instances.back.priorities", {"lvs1": 1},
     "vrrp:groups:all:instances: would be pulled apart by their priorities (front on lvs1, back on lvs2); allowed: the "
     "same director first in all"),
    # extra
    ("vrrp.instances.front.extra", "debug 1",
     "vrrp:instances:front:extra: is text; allowed: a mapping of keepalived's keywords to their values"),
    ("vrrp.instances.front.extra", {"priority": 1},
     "vrrp:instances:front:extra:priority: is refused, because the instance has a key for it; allowed: other keywords"),
    ("vrrp.instances.front.extra", {"strict_mode": True},
     "vrrp:instances:front:extra:strict_mode: is refused, because it drops the packets to the virtual addresses; "
     "allowed: other keywords"),
    ("vrrp.instances.front.extra", {"authentication": {"auth_pass": "hunter2"}},
     "vrrp:instances:front:extra:authentication: is refused, because passwords belong in mysql_ha:secrets:vrrp; "
     "allowed: other keywords"),
    ("vrrp.instances.front.extra", {"a": {"auth_pass hunter": 2}},
     "vrrp:instances:front:extra:a:'auth_pass hunter': is refused, because passwords belong in mysql_ha:secrets:vrrp; "
     "allowed: other keywords"),
    ("vrrp.instances.front.extra", {"debug": "1 }"},
     f"vrrp:instances:front:extra:debug: is {UNSHOWN}; allowed: {EXTRA_VALUE}"),
    ("vrrp.instances.front.extra", {"debug": [[1]]},
     f"vrrp:instances:front:extra:debug:0: is a list; allowed: {EXTRA_VALUE}"),
    ("vrrp.instances.front.extra", {"a{": True},
     f"vrrp:instances:front:extra:'a{{': is not a usable keyword; allowed: {EXTRA}"),
    ("vrrp.instances.front.extra", {"include": "/etc/passwd"},
     f"vrrp:instances:front:extra:include: is not a usable keyword; allowed: {EXTRA}"),
    # keepalived
    ("keepalived.extra", [],
     "keepalived:extra: is a list; allowed: a mapping of keepalived's keywords to their values"),
    ("keepalived.extra", {"global_defs": {}},
     "keepalived:extra:global_defs: is refused, because its keywords belong in mysql_ha:keepalived:global_defs; "
     "allowed: other keywords"),
    ("keepalived.extra", {"static_routes": {"includea x": True}},
     "keepalived:extra:static_routes:'includea x': is not a usable keyword; allowed: words in characters that "
     "keepalived.conf can hold, not include at the beginning, 200 together"),
    ("keepalived.extra", {"vrrp_instance x": {"vrrp_strict": True}},
     "keepalived:extra:'vrrp_instance x':vrrp_strict: is refused, because it drops the packets to the virtual "
     "addresses; allowed: other keywords"),
    ("keepalived.global_defs.notify_fifo", "run/fifo",
     f"keepalived:global_defs:notify_fifo: is 'run/fifo'; allowed: the absolute path of a FIFO, and perhaps after "
     f"it {USER}"),
    ("keepalived.global_defs.vrrp_notify_fifo_script", "/bin/true",
     "keepalived:global_defs:vrrp_notify_fifo_script: is given without vrrp_notify_fifo; allowed: both, or neither"),
    ("keepalived.global_defs", {"notify_fifo": "/run/f", "lvs_notify_fifo": "/run/f root"},
     "keepalived:global_defs:lvs_notify_fifo: is at '/run/f', as is mysql_ha:keepalived:global_defs:notify_fifo; "
     "allowed: a FIFO of its own"),
    ("keepalived.global_defs.script_user", "a b c", f"keepalived:global_defs:script_user: is 'a b c'; allowed: {USER}"),
    ("keepalived.global_defs.lvs_timeouts", "tcp",
     f"keepalived:global_defs:lvs_timeouts: is 'tcp'; allowed: {LVS_TIMEOUTS}"),
    ("keepalived.global_defs.vrrp_garp_master_repeat", "none",
     "keepalived:global_defs:vrrp_garp_master_repeat: is 'none'; allowed: a whole number from 1 to 4294967295"),
    ("keepalived.global_defs.notification_email", [],
     "keepalived:global_defs:notification_email: is an empty list; allowed: a list of addresses such as "
     "ops@example.org"),
    ("keepalived.global_defs.notification_email", ["a b@c"],
     "keepalived:global_defs:notification_email:0: is 'a b@c'; allowed: an address such as ops@example.org"),
    ("keepalived.global_defs.vrrp_delay_after_boot", 5,
     "keepalived:global_defs:vrrp_delay_after_boot: is not known to keepalived 2.3.4, the mysql_ha:keepalived:version; "
     "allowed: from version 2.4.0 on"),
]  # fmt: skip


def test_the_base_is_valid() -> None:
    assert mysql_ha_pillar.errors(base()) == []
    assert keepalived_conf.render(base(), "lvs1")


@pytest.mark.parametrize(("path", "value", "expected"), ONE_CHANGE)
def test_one_wrong_value_gives_one_sentence(path: str, value: Any, expected: str) -> None:
    found = mysql_ha_pillar.errors(base((path, value)))
    assert f"mysql_ha:{expected}" in found, found
    assert "hunter2" not in " ".join(found)


# What makes other values wrong with it.
MANY = {
    "vrrp.instances",
    "vrrp.instances.front.track",
    "vrrp.groups",
    "vrrp.scripts",
    "vrrp.instances.front",
    "vrrp.scripts.gateway",
}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, value, _ in ONE_CHANGE if path not in MANY])
def test_one_wrong_value_gives_no_other_sentence(path: str, value: Any) -> None:
    found = mysql_ha_pillar.errors(base((path, value)))
    assert len(found) == 1, found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [("vrrp.garp", {"delay": 1}), ("keepalived.global_defs.vrrp_garp_master_delay", 2)],
            ["vrrp:garp:delay: is given, as is mysql_ha:keepalived:global_defs:vrrp_garp_master_delay; allowed: one of "
             "both"],
        ),
        (
            [("vrrp.sync_daemon", {"id": 1}), ("keepalived.global_defs.lvs_sync_daemon", "eth0 inst front id 1")],
            ["vrrp:sync_daemon: is given, as is mysql_ha:keepalived:global_defs:lvs_sync_daemon; allowed: one of both"],
        ),
        (
            [("vrrp.instances.third", {"virtual_router_id": 53, "addresses": ["2001:db8::1"], "unicast": False,
                                       "version": 2, "advert_interval": 1})],
            ["vrrp:instances:third:version: is 2, and the adverts go over IPv6; allowed: 3"],
        ),
        (
            [("keepalived.version", "2.2.7"), ("keepalived.global_defs.json_version", 2)],
            ["vrrp:instances:third: holds no IPv4 address, and its adverts go over IPv4, which keepalived 2.2.7 does "
             "not take; allowed: an IPv4 address, or keepalived 2.2.8",
             f"keepalived:global_defs:json_version: {V227} 2.2.8 on"],
        ),
        (
            [("keepalived.version", "2.2.7"), ("vrrp.instances.third.addresses", ["10.9.9.9"]),
             ("vrrp.scripts.gateway.interval", 0.5), ("vrrp.scripts.gateway.user", "nobody"),
             ("vrrp.bfds.gw.multihop", True), ("vrrp.instances.front.routes", ["10.1.0.0/16 via 10.0.0.9"]),
             ("vrrp.instances.back.routes", ["10.2.0.0/16 no_track nexthop via 10.0.0.9", "default dev eth1"]),
             ("vrrp.instances.third.extra", {"timer_expired_backup": 254})],
            [f"vrrp:instances:front:routes:0: a route without dev and no_track: {V227} 2.3.2 on",
             f"vrrp:instances:third:extra:timer_expired_backup: {V227} 2.2.8 on",
             f"vrrp:scripts:gateway:interval: a part of a second: {V227} 2.3.2 on",
             f"vrrp:scripts:gateway:user: another user than root: {V227} 2.2.8 on",
             f"vrrp:bfds:gw:multihop: {V227} 2.2.8 on"],
        ),
        (
            [("keepalived.version", "2.2.7"), ("vrrp.instances.third.addresses", ["10.9.9.9"]),
             ("keepalived.global_defs.script_user", "nobody")],
            [f"keepalived:global_defs:script_user: another user than root: {V227} 2.2.8 on"],
        ),
        (
            [("vrrp.instances.third.track", {"interfaces": ["eth7"]}), ("vrrp.groups.more", {
                "instances": ["third", "other"], "track": {"interfaces": ["eth7"]}}),
             ("vrrp.instances.other", {"virtual_router_id": 99, "addresses": ["10.9.9.9"]})],
            ["vrrp:groups:more:track:interfaces:0: is 'eth7', tracked already by third; allowed: other interfaces"],
        ),
        (
            [("endpoints.again", {**EXAMPLE["endpoints"]["write"], "port": 3307}), ("database.port", 3306),
             ("vrrp.instances.back.endpoints", ["again"])],
            ["endpoints:again:port: is 3307, and direct routing cannot change it to mysql_ha:database:port; allowed: "
             "3306",
             "endpoints:again: is at 192.168.1.100, as is mysql_ha:endpoints:write, which another instance holds; "
             "allowed: one instance for both"],
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together(changes: list[tuple[str, Any]], expected: list[str]) -> None:
    assert mysql_ha_pillar.errors(base(*changes)) == [f"mysql_ha:{sentence}" for sentence in expected]


def test_servers_of_another_family_and_the_sync_daemon_exclude_each_other() -> None:
    tried = base(("endpoints.write.servers", {"far": {"address": "2001:db8::9"}, "mysql1": {"weight": 1}}))
    expected = (
        "mysql_ha:vrrp:sync_daemon: is on, and far is of another address family than mysql_ha:endpoints:write, which "
        "Linux does not take together; allowed: false"
    )
    assert expected in mysql_ha_pillar.errors(tried)
    tried["vrrp"]["sync_daemon"] = False
    assert expected not in mysql_ha_pillar.errors(tried)


@pytest.mark.parametrize(
    "changes",
    [
        [("vrrp.preempt", True), ("vrrp.preempt_delay", 1000)],
        [("vrrp.instances.front.preempt", True), ("vrrp.preempt_delay", 0.5)],
        [("vrrp.instances.third.virtual_router_id", 52)],
        [("vrrp.instances.back.unicast", False)],
        [("vrrp.instances.back.unicast", {"lvs1": "fd00::1", "lvs2": "fd00::2"})],
        [("vrrp.instances.front.version", 2), ("vrrp.instances.front.advert_interval", 1)],
        [("vrrp.groups.all.extra", {"sync_group_tracking_weight": True}), ("vrrp.scripts.gateway.weight", -30)],
        [("vrrp.groups.all.track", {"interfaces": [{"name": "eth9", "weight": 20}], "files": ["drain"]})],
        [("vrrp.track", {"interfaces": ["eth0", "eth1"]})],
        [("vrrp.sync_daemon", {"instance": False, "group": "ff02::81"})],
        [("vrrp.instances.third.use_vmac", True), ("vrrp.instances.third.vmac_xmit_base", True)],
        [("keepalived.global_defs", {"vrrp_garp_master_refresh": "30", "vrrp_garp_interval": 0.001,
                                     "vrrp_garp_master_repeat": 5.0, "notification_email_from": "lvs"})],
        [("vrrp.processes.proxy", {"process": "x", "quorum_max": 0})],
        [("vrrp.instances", {}), ("vrrp.groups", {}), ("vrrp.scripts", {})],
    ],
)  # fmt: skip
def test_valid_pillars_render(changes: list[tuple[str, Any]]) -> None:
    tried = base(*changes)
    assert mysql_ha_pillar.errors(tried) == []
    for director in ("lvs1", "lvs2"):
        assert keepalived_conf.render(tried, director, tried["secrets"])


# ---- passwords

VERSION_2 = (
    ("vrrp.instances.front.version", 2),
    ("vrrp.instances.front.advert_interval", 1),
    ("vrrp.instances.third.version", 3),
)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("1111", []),
        ({"front": "1111"}, []),
        ({"front": "hunter222"}, [f"front: is set but too long (hidden); allowed: {PASSWORD}"]),
        ({"front": None}, [f"front: is empty and not text (hidden); allowed: {PASSWORD}"]),
        (["hunter2"], [f" is a list and not text (hidden); allowed: {PASSWORD}"]),
        (
            {"back": "hunter2"},
            [
                "back: is set (hidden), but the instance has VRRP version 3, which has no authentication; allowed: "
                "only version 2"
            ],
        ),
        (
            {"hunter2": "hunter2"},
            [" holds a key, number 1 (hidden), that names no instance; allowed: front, back, third"],
        ),
        (
            {7: "hunter2"},
            [" holds a key, number 1 (hidden), that names no instance; allowed: front, back, third"],
        ),
    ],
)
def test_passwords_by_instance(secret: Any, expected: list[str]) -> None:
    tried = base(*VERSION_2, ("secrets.vrrp", secret))
    found = mysql_ha_pillar.errors(tried)
    assert found == [f"mysql_ha:secrets:vrrp:{sentence}" for sentence in expected]
    assert "hunter2" not in " ".join(found)
    if not found:
        assert "auth_pass 1111" in keepalived_conf.render(tried, "lvs1", tried["secrets"])


def test_a_mapping_can_name_the_only_instance() -> None:
    tried = copy.deepcopy(EXAMPLE)
    tried["vrrp"].update(version=2, advert_interval=1)
    tried["secrets"]["vrrp"] = {"shop": "1111"}
    assert mysql_ha_pillar.errors(tried) == []
    assert "auth_pass 1111" in keepalived_conf.render(tried, "lvs1", tried["secrets"])


# ---- properties

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.dates(),
    st.sampled_from([2, 3, "front", "back", "lvs1", "gateway", "192.168.1.5", "::1", 10**25, "\ud800", "include", ()]),
)  # fmt: skip
KEYS = st.one_of(
    SCALARS, st.tuples(st.integers()), st.sampled_from([*BASE["vrrp"], "track", "name", "weight", "extra"])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything in nested mappings."""
    below = [path for key in value for path in paths(value[key], (*prefix, key))] if isinstance(value, dict) else []
    return [prefix, *below] if prefix else below


KNOWN = [
    path for path in paths(base()) if path[0] in ("vrrp", "keepalived", "secrets", "nodes", "endpoints", "cluster")
]
KNOWN += [("keepalived", "extra"), ("vrrp", "sync_daemon"), ("vrrp", "track"), ("vrrp", "garp"), ("secrets", "vrrp")]
for instance in ("front", "back"):
    KNOWN += [("vrrp", "instances", instance, key) for key in ("addresses", "routes", "rules", "priorities", "garp")]
    KNOWN += [("vrrp", "instances", instance, key) for key in ("extra", "unicast", "endpoints", "version", "preempt")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KNOWN), ANYTHING), min_size=1, max_size=3))
def test_nothing_is_raised_whatever_the_parts(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    tried = base()
    for path, value in changes:
        place: Any = tried
        for key in path[:-1]:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = value
    found = mysql_ha_pillar.errors(tried)
    for error in found:
        assert error.startswith("mysql_ha")
        assert "; allowed: " in error
        assert error.isprintable(), error
    if not found:
        for director in [name for name, node in tried["nodes"].items() if node["role"] == "director"]:
            keepalived_conf.render(merged(DEFAULTS, tried), director, tried["secrets"])


@settings(deadline=None)
@given(st.text(min_size=1), st.sampled_from([2, 3, None]))
def test_no_sentence_shows_a_password(secret: str, version: Any) -> None:
    marked = f"MARK{secret}MARK"
    tried = base(("vrrp.version", version), ("secrets.vrrp", {"front": marked, marked: marked, "third": [marked]}))
    assert "MARK" not in " ".join(mysql_ha_pillar.errors(tried))
