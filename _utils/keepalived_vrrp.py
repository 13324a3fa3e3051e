"""
VRRP as the pillar has it, and as ``keepalived.conf`` has it: instances, groups, and what they track.

Plain Python that knows nothing of Salt. The tables here say for each key of the pillar what keepalived calls it, what
may stand there, and since which version; ``keepalived_vrrp_rules`` judges by the same tables. Facts: keepalived 2.2.7
to 2.3.4, ``vrrp/vrrp_parser.c`` and ``vrrp_complete_instance`` in ``vrrp/vrrp.c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

import keepalived_endpoints
from keepalived_text import (
    Line,
    block,
    extra,
    is_keyword,
    is_line,
    is_text,
    is_word,
    lines,
    number,
    quoted,
    word,
    words,
)
from keepalived_values import MAX_U32, Key, yes_no
from pillar_rules import BOOLEAN, INTERFACE, NAME, Rule, is_interface, one_of, seconds, whole

Address = IPv4Address | IPv6Address

#: How many addresses an advert has room for, by IP version: a count of 8 bits, and the smallest packet of IPv6.
MAX_ADVERTISED = {4: 255, 6: 76}

#: Where the kernels of the directors tell each other of their connections (``net/netfilter/ipvs/ip_vs_sync.c``).
DEFAULT_SYNC_GROUP = "224.0.0.81"
DEFAULT_SYNC_PORT = 8848

#: The version that knows an instance without an address of the family of its adverts.
SINCE_NO_ADDRESS = "2.2.8"


class Vip(NamedTuple):
    """An address that an instance holds."""

    address: Address
    options: Mapping[str, Any]
    """What the pillar says of it: ``prefix``, ``interface``, ``label``, ``scope``."""


class SyncChannel(NamedTuple):
    """Where the directors tell each other of their connections."""

    interface: str
    group: Address
    port: int


def _match(value: object) -> str:
    """Return how a process's parameters are compared; exactly needs no word."""
    return "" if value == "exact" else word(value)


def _milliseconds(value: object) -> str:
    """Return a time in milliseconds."""
    return number(float(Decimal(number(value)) * 1000))


def _optional_word(value: object) -> str:
    """Return nothing for true, and else the word."""
    return "" if value is True else word(value)


def _is_script(value: object) -> bool:
    """Return whether this is the absolute path of a program, with or without arguments."""
    return is_text(value) and re.match(r"/[^ /]", str(value)) is not None and not str(value).split(" ")[0].endswith("/")


def _is_file(value: object) -> bool:
    """Return whether this is the absolute path of a file."""
    return _is_script(value) and " " not in str(value)


def is_name(value: object) -> bool:
    """Return whether this can name an instance, a group or a thing that is tracked, and start a line."""
    return NAME.accepts(value) and is_keyword(value)


def host(value: object) -> Address:
    """Return the address of one host, of either family; ``ValueError`` if it is none."""
    if not isinstance(value, str) or len(value) > 45 or not is_word(value) or "%" in value:
        raise ValueError(f"not an address: {str(value)[:60]!r}")
    found = ip_address(value)
    first = int(found) >> 24 if found.version == 4 else 1
    if found.is_unspecified or found.is_loopback or found.is_multicast or first == 0 or first >= 240:
        raise ValueError(f"not the address of a host: {value!r}")
    return found


def is_host(value: object) -> bool:
    """Return whether this is the address of one host, of either family."""
    try:
        host(value)
    except ValueError:
        return False
    return True


def _is_group(value: object) -> bool:
    """Return whether this is a multicast address."""
    try:
        return isinstance(value, str) and "%" not in value and len(value) <= 45 and ip_address(value).is_multicast
    except ValueError:
        return False


SCRIPT = Rule(
    "the absolute path of a program, perhaps with arguments, in characters that keepalived.conf can hold", _is_script
)
FILE = Rule("the absolute path of a file, in characters that keepalived.conf can hold", _is_file)
HOST = Rule("the address of one host, such as 192.168.1.5 or 2001:db8::5", is_host)
INSTANCE_NAME = Rule(f"{NAME.allowed}, and not include", is_name)
WORDS = Rule("words in characters that keepalived.conf can hold", is_line)
TRACKED_INTERFACE = Rule(f"{INTERFACE.allowed}, and not include", lambda value: is_interface(value) and is_line(value))
USER = Rule(
    "the name of a user, or of a user and a group",
    lambda value: (
        isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}( [A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?",
                                                value) is not None
    ),
)  # fmt: skip
PROGRAM = Rule(
    "the name or the absolute path of a program, one word that keepalived.conf can hold",
    lambda value: isinstance(value, str) and is_word(value),
)
_DELAY = seconds("0.000001", "3600")
_INTERVAL = seconds("0.001", "10")

#: ``vrrp:garp``, for all instances, and those of its keys that an instance can have for itself.
GARP_GLOBAL = {
    "delay": Key(Line("vrrp_garp_master_delay", number), whole(0, 4294, " of seconds")),
    "repeat": Key(Line("vrrp_garp_master_repeat", number), whole(1, MAX_U32)),
    "refresh": Key(Line("vrrp_garp_master_refresh", number), whole(0, MAX_U32, " of seconds; 0 for never")),
    "refresh_repeat": Key(Line("vrrp_garp_master_refresh_repeat", number), whole(1, MAX_U32)),
    "lower_priority_delay": Key(Line("vrrp_garp_lower_prio_delay", number), whole(0, 4294, " of seconds")),
    "lower_priority_repeat": Key(Line("vrrp_garp_lower_prio_repeat", number), whole(0, 2147483647)),
    "interval": Key(Line("vrrp_garp_interval", number), seconds("0.000001", "4294")),
    "gna_interval": Key(Line("vrrp_gna_interval", number), seconds("0.000001", "4294")),
}
GARP = {
    key: Key(Line(line.keyword.removeprefix("vrrp_"), line.write), rule)
    for key, (line, rule) in GARP_GLOBAL.items()
    if not key.endswith("interval")
}

_NOTIFY = {
    "notify_master": Key(Line("notify_master", quoted), SCRIPT),
    "notify_backup": Key(Line("notify_backup", quoted), SCRIPT),
    "notify_fault": Key(Line("notify_fault", quoted), SCRIPT),
    "notify_stop": Key(Line("notify_stop", quoted), SCRIPT),
    "notify": Key(Line("notify", quoted), SCRIPT),
    "smtp_alert": Key(Line("smtp_alert", yes_no), BOOLEAN),
}
NOTIFY_GROUP = _NOTIFY
NOTIFY = {
    **_NOTIFY,
    "notify_deleted": Key(Line("notify_deleted", quoted), SCRIPT),
    "notify_master_rx_lower_pri": Key(Line("notify_master_rx_lower_pri", quoted), SCRIPT),
}

#: A virtual MAC address. Without these keys an instance's addresses are on the interface itself.
VMAC = {
    "use_vmac": Key(
        Line("use_vmac", _optional_word),
        Rule(f"true, false, or a name for the interface: {INTERFACE.allowed}",
             lambda value: isinstance(value, bool) or is_interface(value)),
    ),
    "use_vmac_addr": Key(Line("use_vmac_addr"), BOOLEAN),
    "vmac_xmit_base": Key(Line("vmac_xmit_base"), BOOLEAN),
}  # fmt: skip

_WEIGHT_253, _WEIGHT_254 = whole(-253, 253), whole(-254, 254)

SCRIPTS = {
    "script": Key(Line("script", quoted), SCRIPT),
    "interval": Key(Line("interval", number), seconds("0.001", "4294")),
    "timeout": Key(Line("timeout", number), seconds("0.001", "4294")),
    "weight": Key(Line("weight", words), _WEIGHT_253),
    "rise": Key(Line("rise", number), whole(1, 2147483647)),
    "fall": Key(Line("fall", number), whole(1, 2147483647)),
    "user": Key(Line("user", words), USER),
    "init_fail": Key(Line("init_fail"), BOOLEAN),
}
FILES = {
    "file": Key(Line("file", word), FILE),
    "weight": Key(Line("weight", words), _WEIGHT_254),
    "init": Key(Line("init_file", words), _WEIGHT_254),
}
PROCESSES = {
    "process": Key(Line("process", words), PROGRAM),
    "param_match": Key(Line("param_match", _match), one_of("exact", "initial", "partial")),
    "full_command": Key(Line("full_command"), BOOLEAN),
    "weight": Key(Line("weight", words), _WEIGHT_254),
    "quorum": Key(Line("quorum", number), whole(1, 65535)),
    "quorum_max": Key(Line("quorum_max", number), whole(0, 65535)),
    "delay": Key(Line("delay", number), _DELAY),
    "terminate_delay": Key(Line("terminate_delay", number), _DELAY),
    "fork_delay": Key(Line("fork_delay", number), _DELAY),
}
#: keepalived has the times in milliseconds, and complains of more than ten seconds.
BFDS = {
    "neighbour": Key(Line("neighbor_ip", lambda value: str(host(value))), HOST),
    "source": Key(Line("source_ip", lambda value: str(host(value))), HOST),
    "min_rx": Key(Line("min_rx", _milliseconds), _INTERVAL),
    "min_tx": Key(Line("min_tx", _milliseconds), _INTERVAL),
    "idle_tx": Key(Line("idle_tx", _milliseconds), seconds("1", "10")),
    "multiplier": Key(Line("multiplier", number), whole(1, 255)),
    "passive": Key(Line("passive"), BOOLEAN),
    "ttl": Key(Line("ttl", number), whole(1, 255)),
    "max_hops": Key(Line("max_hops", number), whole(-1, 255)),
    "multihop": Key(Line("multihop", since="2.2.8"), BOOLEAN),
    "weight": Key(Line("weight", words), _WEIGHT_253),
}
#: What an object has beside its lines: the word after the weight, after the file's first value, after the process.
BESIDE = {
    "scripts": {"reverse": BOOLEAN},
    "files": {"reverse": BOOLEAN, "overwrite": BOOLEAN},
    "processes": {"reverse": BOOLEAN, "parameters": WORDS},
    "bfds": {"reverse": BOOLEAN, "interval": _INTERVAL},
}


class Kind(NamedTuple):
    """A kind of thing that an instance or a group can track."""

    head: str
    """The block in which a tracker names it."""
    defined: str
    """The block that defines it; empty for interfaces, which the host has."""
    table: Mapping[str, Key]
    weight: Rule
    default_weight: int


KINDS = {
    "interfaces": Kind("track_interface", "", {}, _WEIGHT_253, 0),
    "scripts": Kind("track_script", "vrrp_script", SCRIPTS, _WEIGHT_253, 0),
    "files": Kind("track_file", "track_file", FILES, _WEIGHT_254, 1),
    "processes": Kind("track_process", "vrrp_track_process", PROCESSES, _WEIGHT_254, 0),
    "bfds": Kind("track_bfd", "bfd_instance", BFDS, _WEIGHT_253, 0),
}

#: What instances take from ``vrrp`` where they say nothing themselves.
INHERITED = ("virtual_router_id", "version", "advert_interval", "preempt", "preempt_delay", "unicast", "track")

#: ``vrrp:sync_daemon`` as a mapping. An ``id`` of 0 is the one that keepalived cannot take up by a reload: it then
#: compares the new interface with none (``ipvs_syncd_changed`` in ``check/ipvswrapper.c``).
SYNC_DAEMON = {
    "id": Key(Line("id", number), whole(1, 255)),
    "maxlen": Key(Line("maxlen", number), whole(1, 65507, " of bytes")),
    "port": Key(Line("port", number), whole(1, 65535)),
    "ttl": Key(Line("ttl", number), whole(1, 255)),
    "group": Key(Line("group", word), Rule("a multicast address, such as 224.0.0.81", _is_group)),
}


# ---- the pillar, with what it leaves out


def of_role(settings: Mapping[str, Any], role: str) -> dict[str, Mapping[str, Any]]:
    """Return the nodes of one role in the order of the pillar."""
    return {name: node for name, node in settings["nodes"].items() if node["role"] == role}


def instances(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the VRRP instances by name, each with what ``vrrp`` says for all of them."""
    vrrp = settings["vrrp"]
    shared = {key: vrrp[key] for key in INHERITED if key in vrrp}
    return {name: {**shared, **own} for name, own in (vrrp.get("instances") or {settings["cluster"]: {}}).items()}


def interface(settings: Mapping[str, Any], instance: Mapping[str, Any], node: str) -> str:
    """Return the interface of an instance on one director."""
    return word(instance.get("interface") or settings["nodes"][node].get("interface") or settings["interface"])


def endpoints_of(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return which endpoints each instance is for; the first one has those that none names."""
    given = {name: list(instance.get("endpoints") or ()) for name, instance in instances(settings).items()}
    named = {endpoint for names in given.values() for endpoint in names}
    first = next(iter(given))
    given[first] += [name for name in settings["endpoints"] if name not in named]
    return given


def further_address(item: object) -> Vip:
    """Return an address that an instance holds beside those of endpoints."""
    if isinstance(item, Mapping):
        return Vip(host(item["address"]), item)
    text, slash, prefix = str(item).partition("/")
    if slash and not re.fullmatch("[0-9]{1,3}", prefix):
        raise ValueError(f"not a prefix length: {prefix[:40]!r}")
    return Vip(host(text), {"prefix": int(prefix)} if slash else {})


def vips(settings: Mapping[str, Any], name: str) -> list[Vip]:
    """Return the addresses of an instance: first those of its endpoints, then its further ones."""
    texts = [
        text
        for own in endpoints_of(settings)[name]
        for text in keepalived_endpoints.addresses(settings["endpoints"][own])
    ]
    found = [Vip(address, {}) for address in dict.fromkeys(map(host, texts))]
    return found + [further_address(item) for item in instances(settings)[name].get("addresses") or ()]


def unicast_addresses(settings: Mapping[str, Any], instance: Mapping[str, Any]) -> dict[str, str]:
    """Return at which address each director talks to the others; empty for multicast."""
    directors, unicast = of_role(settings, "director"), instance["unicast"]
    if not unicast or len(directors) < 2:
        return {}
    if isinstance(unicast, Mapping):
        return {name: unicast[name] for name in directors}
    return {name: node["address"] for name, node in directors.items()}


def advert_family(settings: Mapping[str, Any], instance: Mapping[str, Any], held: list[Vip]) -> int:
    """Return the IP version of an instance's adverts, 4 or 6."""
    addresses = unicast_addresses(settings, instance)
    if addresses:
        return host(next(iter(addresses.values()))).version
    return min((vip.address.version for vip in held), default=4)


def split(held: list[Vip], family: int) -> tuple[list[Vip], list[Vip]]:
    """Return the addresses that adverts carry, and those that the instance holds beside."""
    advertised: list[Vip] = []
    beside: list[Vip] = []
    for vip in held:
        fits = vip.address.version == family and len(advertised) < MAX_ADVERTISED[family]
        (advertised if fits else beside).append(vip)
    return advertised, beside


def priorities(settings: Mapping[str, Any], instance: Mapping[str, Any]) -> dict[str, int]:
    """Return the priority of an instance on each director."""
    own = instance.get("priorities") or {}
    return {name: own.get(name, node["priority"]) for name, node in of_role(settings, "director").items()}


# ---- as keepalived.conf has it


def _lines(values: Mapping[str, Any], table: Mapping[str, Key]) -> list[str]:
    """Return the lines for the keys that are given."""
    return [line.rstrip(" ") for line in lines(values, {key: known.line for key, known in table.items()})]


def objects(settings: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the blocks that define what is tracked: scripts, files, processes and BFD sessions."""
    for kind, (_, head, table, _, _) in KINDS.items():
        for name, given in (settings["vrrp"].get(kind) or {}).items() if head else ():
            content = [*_lines(_with_beside(given), table), *extra(given.get("extra") or {})]
            yield block(f"{head} {_name(name)}", content)


def _with_beside(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with those of its keys joined that keepalived has on one line."""
    values = dict(given)
    if values.get("weight") is not None:
        values["weight"] = _weight(values["weight"], values.get("reverse"))
    if values.get("overwrite") or values.get("init") is not None:
        values["init"] = number(values.get("init", 0)) + (" overwrite" if values.get("overwrite") else "")
    if values.get("parameters") is not None:
        values["process"] = f"{word(values['process'])} {words(values['parameters'])}"
    if values.get("interval") is not None and "neighbour" in values:
        values = {"min_rx": values["interval"], "min_tx": values["interval"], **values}
    return values


def _weight(weight: object, reverse: object, is_item: bool = False) -> str:
    """Return a weight and whether it counts the other way round."""
    if reverse is not None and not isinstance(reverse, bool):
        raise ValueError(f"neither true nor false: {reverse!r}")
    return number(weight) + (" reverse" if reverse else " noreverse" if is_item and reverse is False else "")


def _name(value: object) -> str:
    """Return the name of an instance or of something that is tracked."""
    if not is_name(value):
        raise ValueError(f"not a name: {value!r}")
    return str(value)


def tracked(item: object) -> tuple[object, Mapping[str, Any]]:
    """Return the name of something that is tracked, and what is said of it beside."""
    return (item.get("name"), item) if isinstance(item, Mapping) else (item, {})


def _tracks(track: Mapping[str, Any], own_interface: str = "") -> Iterator[str]:
    """Yield the lines of the blocks in which an instance or a group says what it tracks."""
    for kind, (head, defined, *_) in KINDS.items():
        content = []
        for name, options in map(tracked, track.get(kind) or ()):
            if kind == "interfaces" and name == own_interface:
                # keepalived tracks it anyway, and calls it an error when told to.
                continue
            start = _name(name) if defined else _free_line(word(name))
            weight = options.get("weight")
            if weight is not None:
                start += f" weight {_weight(weight, options.get('reverse'), bool(defined))}"
            content.append(start)
        if content:
            yield from block(head, content)


def _free_line(value: object) -> str:
    """Return words that make a line of their own."""
    if not is_line(value):
        raise ValueError(f"not a line for keepalived.conf: {value!r}")
    return words(value)


def groups(settings: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the blocks of the sync groups."""
    for name, group in (settings["vrrp"].get("groups") or {}).items():
        content = [
            *block("group", map(_name, group["instances"])),
            *_tracks(group.get("track") or {}),
            *_lines(group, NOTIFY_GROUP),
            *extra(group.get("extra") or {}),
        ]
        yield block(f"vrrp_sync_group {_name(name)}", content)


def instance_blocks(settings: Mapping[str, Any], node: str, secrets: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the blocks of the VRRP instances for one director."""
    for name, instance in instances(settings).items():
        yield block(f"vrrp_instance {_name(name)}", _instance(settings, node, secrets, name, instance))


def _instance(
    settings: Mapping[str, Any], node: str, secrets: Mapping[str, Any], name: str, instance: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the lines of an instance; keepalived understands some only after others."""
    device, held = interface(settings, instance, node), vips(settings, name)
    family, version = advert_family(settings, instance, held), instance["version"]
    of_directors = priorities(settings, instance)
    yield from _state(instance, of_directors, node)
    yield f"interface {device}"
    yield from _lines({key: instance[key] for key in VMAC if instance.get(key)}, VMAC)
    if version != settings["vrrp"]["version"]:
        yield f"version {number(version)}"
    yield f"virtual_router_id {number(instance['virtual_router_id'])}"
    yield f"priority {number(of_directors[node])}"
    yield f"advert_int {number(instance['advert_interval'])}"
    yield from _lines(instance.get("garp") or {}, GARP)
    addresses = unicast_addresses(settings, instance)
    if addresses:
        yield f"unicast_src_ip {host(addresses[node])}"
        yield from block("unicast_peer", [str(host(peer)) for other, peer in addresses.items() if other != node])
    password = secret(secrets, name)
    if version == 2 and password:
        yield from block("authentication", ["auth_type PASS", f"auth_pass {_password(password)}"])
    yield from _tracks(instance.get("track") or {}, device)
    yield from _addresses(held, family, "" if instance.get("use_vmac") else device)
    for key, head in (("routes", "virtual_routes"), ("rules", "virtual_rules")):
        if instance.get(key):
            yield from block(head, map(_free_line, instance[key]))
    yield from _lines(instance, NOTIFY)
    yield from extra(instance.get("extra") or {})


def _state(instance: Mapping[str, Any], of_directors: Mapping[str, int], node: str) -> Iterator[str]:
    """Yield how a director starts; keepalived accepts ``nopreempt`` and a delay only with ``state BACKUP``."""
    if not instance["preempt"]:
        yield "state BACKUP"
        yield "nopreempt"
    elif instance.get("preempt_delay"):
        yield "state BACKUP"
        yield f"preempt_delay {number(instance['preempt_delay'])}"
    else:
        first = max(of_directors, key=lambda name: of_directors[name])
        yield "state MASTER" if node == first else "state BACKUP"


def _addresses(held: list[Vip], family: int, device: str) -> Iterator[str]:
    """Yield the blocks of the virtual addresses."""
    advertised, excluded = split(held, family)
    if advertised:
        yield from block("virtual_ipaddress", [_vip(vip, device) for vip in advertised])
    else:
        yield "no_virtual_ipaddress"
    if excluded:
        yield from block("virtual_ipaddress_excluded", [_vip(vip, device) for vip in excluded])


def _vip(vip: Vip, device: str) -> str:
    """Return the line of one virtual address; on a virtual MAC address its interface is that of the instance."""
    options = vip.options
    prefix, own = options.get("prefix"), options.get("interface") or device
    result = f"{vip.address}/{number(vip.address.max_prefixlen if prefix is None else prefix)}"
    result += f" dev {word(own)}" if own else ""
    return result + "".join(f" {key} {word(str(options[key]))}" for key in ("scope", "label") if key in options)


def sync_daemon(settings: Mapping[str, Any], node: str) -> list[str]:
    """Return the line by which the directors tell each other of their connections, for ``global_defs``."""
    given = _sync_daemon(settings)
    if given is None:
        return []
    instance, bound = _sync_instance(settings, given)
    device = given.get("interface") or interface(settings, instance, node)
    options = _lines({"id": instance["virtual_router_id"], **given}, SYNC_DAEMON)
    # Not without the word inst: an instance may have the name of an option.
    return [" ".join([f"lvs_sync_daemon {word(device)}", *([f"inst {_name(bound)}"] if bound else []), *options])]


def sync_channel(settings: Mapping[str, Any], node: str) -> SyncChannel | None:
    """Return where a director hears of the other one's connections; ``None`` if they do not tell."""
    given = _sync_daemon(settings)
    if given is None:
        return None
    device = given.get("interface") or interface(settings, _sync_instance(settings, given)[0], node)
    group = ip_address(given.get("group") or DEFAULT_SYNC_GROUP)
    return SyncChannel(word(device), group, int(given.get("port") or DEFAULT_SYNC_PORT))


def _sync_daemon(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the pillar says of the sync daemon; ``None`` if there is none, or its line stands in global_defs."""
    given, globals_ = settings["vrrp"].get("sync_daemon", True), settings["keepalived"].get("global_defs") or {}
    if given is False or len(of_role(settings, "director")) < 2 or "lvs_sync_daemon" in globals_:
        return None
    return given if isinstance(given, Mapping) else {}


def _sync_instance(settings: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
    """Return the instance that the sync daemon goes by, and the name of the one that it follows, if any."""
    all_instances = instances(settings)
    bound = given.get("instance", next(iter(all_instances)))
    return all_instances[bound or next(iter(all_instances))], bound


def secret(secrets: Mapping[str, Any], name: str) -> object:
    """Return the password of an instance: its own, or the one for all."""
    given = secrets.get("vrrp")
    return given.get(name) if isinstance(given, Mapping) else given


def _password(value: object) -> str:
    """Return the VRRP password, or raise ``ValueError`` without showing it."""
    # keepalived would cut a longer one, and the directors would still agree; but -t calls it an error.
    if not isinstance(value, str) or not is_word(value) or len(value) > 8:
        raise ValueError("mysql_ha:secrets:vrrp (hidden) is not a password that keepalived.conf can hold")
    return value
