"""
The rules for ``mysql_ha:vrrp``, each part for itself. What the parts say of each other: ``keepalived_vrrp_joints``.

Plain Python that knows nothing of Salt. No function here raises, whatever the pillar holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keepalived_vrrp_joints
from keepalived_globals import REFUSED_ANYWHERE, extra_errors
from keepalived_text import UNSAFE, is_word
from keepalived_values import Key, too_new
from keepalived_vrrp import (
    BESIDE,
    GARP,
    GARP_GLOBAL,
    HOST,
    INSTANCE_NAME,
    KINDS,
    NOTIFY,
    NOTIFY_GROUP,
    SYNC_DAEMON,
    TRACKED_INTERFACE,
    VMAC,
    WORDS,
    host,
    is_host,
)
from pillar_rules import (
    BOOLEAN,
    INTERFACE,
    Rule,
    check_leaves,
    check_name,
    check_secret,
    check_section,
    check_value,
    decimal,
    is_step,
    label,
    not_mappings,
    part,
    seconds,
    unknown_keys,
    whole,
)
from pillar_words import is_whole, kind, literal, unquote

PATH = "mysql_ha:vrrp"

#: What defaults.yaml says, for the rules that join two keys of which one may be left out.
DEFAULTS = {"virtual_router_id": 51, "version": 3, "advert_interval": 0.3, "preempt": False, "unicast": True}

_SHARED = {
    "virtual_router_id": whole(1, 255),
    "version": Rule("2, 3", lambda value: is_whole(value, 2, 3), unquote),
    "preempt": BOOLEAN,
    "unicast": BOOLEAN,
    "preempt_delay": seconds("0", "1000"),
}
# RFC 3768 counts whole seconds in 8 bits, RFC 5798 hundredths of a second in 12 bits.
ADVERT = {
    2: Rule(
        "whole seconds from 1 to 255 with VRRP version 2",
        lambda value: is_step(value, "1", "255", "1"),
        unquote,
    ),
    3: Rule(
        "seconds from 0.01 to 40.95 in steps of 0.01 with VRRP version 3",
        lambda value: is_step(value, "0.01", "40.95", "0.01"),
        unquote,
    ),
}
_SECTIONS = ("garp", "track", "instances", "groups", "scripts", "files", "processes", "bfds")
_KEYS = (*_SHARED, "advert_interval", *_SECTIONS, "sync_daemon")

_UNICAST = Rule(
    "true, false, or a mapping of every director to its address on the instance's interface",
    lambda value: isinstance(value, (bool, Mapping)),
)
_OWN = {
    **{key: rule for key, rule in _SHARED.items() if key != "unicast"},
    "unicast": _UNICAST,
    "interface": INTERFACE,
    **{key: rule for key, (_, rule) in {**NOTIFY, **VMAC}.items()},
}
_OWN_SECTIONS = ("priorities", "garp", "track")
_OWN_LISTS = ("endpoints", "addresses", "routes", "rules")
_INSTANCE_KEYS = (
    "virtual_router_id", "endpoints", "addresses", "priorities", "interface", "version", "advert_interval", "preempt",
    "preempt_delay", "unicast", "garp", "track", "routes", "rules", *NOTIFY, *VMAC, "extra",
)  # fmt: skip
_GROUP_KEYS = ("instances", "track", *NOTIFY_GROUP, "extra")
_DUE = {"scripts": "script", "files": "file", "processes": "process", "bfds": "neighbour"}
_PRIORITY = whole(1, 254)
_FURTHER = (
    "an address with or without a prefix length, such as '192.168.1.1/24', or a mapping with the keys address, prefix, "
    "interface, label, scope"
)
_FURTHER_KEYS = {
    "address": HOST,
    "prefix": whole(1, 128),
    "interface": INTERFACE,
    "label": Rule(
        "1 to 15 characters that keepalived.conf can hold, such as eth0:1",
        lambda value: isinstance(value, str) and len(value) <= 15 and is_word(value),
    ),
    "scope": Rule(
        "global, site, link, host, nowhere, or a number from 0 to 255",
        lambda value: (
            is_whole(value, 0, 255)
            or (isinstance(value, str) and value in ("global", "site", "link", "host", "nowhere"))
        ),
    ),
}
_OLD_WORDS = {"gw": "via", "or": "nexthop"}

_SELF = "this formula writes it itself"
_REFUSED_INSTANCE = {
    **REFUSED_ANYWHERE,
    **dict.fromkeys(
        ("state", "interface", "version", "virtual_router_id", "priority", "advert_int", "preempt", "nopreempt",
         "preempt_delay", "unicast_src_ip", "unicast_peer", "virtual_ipaddress", "virtual_ipaddress_excluded",
         "no_virtual_ipaddress", "virtual_routes", "virtual_rules", *(kind.head for kind in KINDS.values()),
         *(line.keyword for line, _ in {**GARP, **NOTIFY, **VMAC}.values())),
        "the instance has a key for it",
    ),
    "lvs_sync_daemon_interface": "mysql_ha:vrrp:sync_daemon is there for it",
    "linkbeat_use_polling": "keepalived no longer wants it here",
    "thread_timer_expired": "keepalived calls it timer_expired_backup",
}  # fmt: skip
_REFUSED_GROUP = {
    **REFUSED_ANYWHERE,
    **dict.fromkeys(
        ("group", *(kind.head for kind in KINDS.values()), *(line.keyword for line, _ in NOTIFY_GROUP.values())),
        "the group has a key for it",
    ),
    "global_tracking": "keepalived no longer wants it",
}


def errors(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:vrrp``."""
    section, version = part(pillar, "vrrp"), part(pillar, "keepalived").get("version")
    yield from unknown_keys(PATH, section, _KEYS)
    yield from check_leaves(PATH, section, _SHARED)
    yield from _advert(PATH, section)
    yield from not_mappings(PATH, section, _SECTIONS)
    yield from check_section(f"{PATH}:garp", part(section, "garp"), _rules(GARP_GLOBAL))
    yield from _track(f"{PATH}:track", part(section, "track"))
    yield from _sync_daemon(f"{PATH}:sync_daemon", section.get("sync_daemon", True))
    for name, own in part(section, "instances").items():
        yield from _instance(f"{PATH}:instances:{label(name)}", name, own, section, version)
    for name, own in part(section, "groups").items():
        yield from _group(f"{PATH}:groups:{label(name)}", name, own, version)
    for objects in _DUE:
        for name, own in part(section, objects).items():
            yield from _object(f"{PATH}:{objects}:{label(name)}", objects, name, own, version)
    yield from keepalived_vrrp_joints.errors(keepalived_vrrp_joints.view(pillar, DEFAULTS, well_formed), pillar)


def secret_errors(path: str, value: object, pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with the VRRP passwords: one for all instances, or a mapping by their names."""
    section = part(pillar, "vrrp")
    shared = section.get("version", DEFAULTS["version"])
    versions = {
        name: own.get("version", shared) for name, own in part(section, "instances").items() if isinstance(own, Mapping)
    } or {pillar.get("cluster"): shared}
    if not isinstance(value, Mapping):
        if all(is_whole(version, 3, 3) for version in versions.values()):
            yield f"{path}: is set (hidden), but VRRP version 3 has no authentication; allowed: only version 2"
        else:
            yield from _password(path, value)
        return
    for index, (name, password) in enumerate(value.items()):
        # A slip of YAML makes a value a key, so no key is shown that is no name.
        if not isinstance(name, str) or name not in versions:
            known = ", ".join(label(known) for known in versions)
            yield f"{path}: holds a key, number {index + 1} (hidden), that names no instance; allowed: {known}"
        elif is_whole(versions[name], 3, 3):
            what = "is set (hidden), but the instance has VRRP version 3, which has no authentication"
            yield f"{path}:{label(name)}: {what}; allowed: only version 2"
        else:
            yield from _password(f"{path}:{label(name)}", password)


def well_formed(own: Mapping[Any, Any]) -> dict[str, Any]:
    """Return those of an instance's keys, or of ``vrrp``, whose values are right when seen alone."""
    found = {key: own[key] for key, rule in _OWN.items() if key in own and rule.accepts(own[key])}
    if any(rule.accepts(own.get("advert_interval")) for rule in ADVERT.values()):
        found["advert_interval"] = own["advert_interval"]
    found["addresses"] = [item for item in _list(own.get("addresses")) if not any(_further("", item))]
    for key in ("endpoints", "routes", "rules"):
        found[key] = [item for item in _list(own.get(key)) if isinstance(item, str)]
    found["priorities"] = {name: value for name, value in part(own, "priorities").items() if _PRIORITY.accepts(value)}
    if "unicast" in own and "unicast" not in found:
        # Nothing follows from it.
        found["unicast"] = False
    if isinstance(found.get("unicast"), Mapping):
        found["unicast"] = {name: value for name, value in found["unicast"].items() if is_host(value)}
    if "track" in own:
        found["track"] = {
            key: [item for item in _list(part(own, "track").get(key)) if not any(_tracked("", key, item))]
            for key in KINDS
        }
    return found


def _list(value: object) -> list[Any]:
    """Return a list as one, and an empty one for all else."""
    return list(value) if isinstance(value, (list, tuple)) else []


def _rules(table: Mapping[str, Key]) -> dict[str, Rule]:
    """Return the rules of a table."""
    return {key: rule for key, (_, rule) in table.items()}


def _advert(path: str, section: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with the time between adverts, which depends on the version."""
    version = section.get("version", DEFAULTS["version"])
    if not _SHARED["version"].accepts(version):
        return
    if "advert_interval" in section:
        yield from check_value(f"{path}:advert_interval", section["advert_interval"], ADVERT[version])
    elif version == 2:
        missing = f"{path}:advert_interval: is missing, and the default is for version 3"
        yield f"{missing}; allowed: {ADVERT[2].allowed}"


def _password(path: str, value: object) -> Iterator[str]:
    """Say what is wrong with one password."""
    allowed = f"1 to 8 printable ASCII characters except spaces and {' '.join(UNSAFE)}, in quotes"
    yield from check_secret(path, value, 1, 8, is_word, allowed)


# ---- instances


def _instance(path: str, name: object, own: object, shared: Mapping[Any, Any], version: object) -> Iterator[str]:
    """Say what is wrong with one instance, as far as it can be told without the others."""
    yield from check_name(path, name, INSTANCE_NAME)
    if not isinstance(own, Mapping):
        yield f"{path}: is {kind(own)}; allowed: a mapping with the keys {', '.join(_INSTANCE_KEYS)}"
        return
    yield from unknown_keys(path, own, _INSTANCE_KEYS)
    yield from check_leaves(path, own, _OWN, ("virtual_router_id",))
    yield from _own_advert(path, own, shared)
    yield from not_mappings(path, own, _OWN_SECTIONS)
    yield from _garp(f"{path}:garp", part(own, "garp"))
    yield from _track(f"{path}:track", part(own, "track"))
    yield from _lists(path, own, version)
    if "extra" in own:
        yield from extra_errors(f"{path}:extra", own["extra"], _REFUSED_INSTANCE, version)


def _lists(path: str, own: Mapping[Any, Any], version: object) -> Iterator[str]:
    """Say what is wrong with an instance's priorities, endpoints, addresses, routes and rules."""
    for key in _OWN_LISTS:
        if key in own and not isinstance(own[key], (list, tuple)):
            yield f"{path}:{key}: is {kind(own[key])}; allowed: a list"
    for node, priority in part(own, "priorities").items():
        yield from check_value(f"{path}:priorities:{label(node)}", priority, _PRIORITY)
    for index, item in enumerate(_list(own.get("endpoints"))):
        if not isinstance(item, str):
            yield f"{path}:endpoints:{index}: is {literal(item)}; allowed: the name of an endpoint"
    for index, item in enumerate(_list(own.get("addresses"))):
        yield from _further(f"{path}:addresses:{index}", item)
    for key in ("routes", "rules"):
        for index, item in enumerate(_list(own.get(key))):
            yield from _route(f"{path}:{key}:{index}", key, item, version)


def _own_advert(path: str, own: Mapping[Any, Any], shared: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with the time between an instance's adverts."""
    version = own.get("version", shared.get("version", DEFAULTS["version"]))
    if not _SHARED["version"].accepts(version):
        return
    if "advert_interval" in own:
        yield from check_value(f"{path}:advert_interval", own["advert_interval"], ADVERT[version])
    elif "version" in own:
        of_all = shared.get("advert_interval", DEFAULTS["advert_interval"])
        if not ADVERT[version].accepts(of_all) and decimal(of_all) is not None:
            missing = f"{path}:advert_interval: is missing, and {PATH}:advert_interval is {literal(of_all)}"
            yield f"{missing}; allowed: {ADVERT[version].allowed}"


def _garp(path: str, section: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with an instance's own gratuitous ARP."""
    for key in GARP_GLOBAL:
        if key in section and key not in GARP:
            yield f"{path}:{key}: is not a key of an instance; allowed: only in {PATH}:garp, for all instances"
    yield from check_section(path, {key: value for key, value in section.items()
                                    if not isinstance(key, str) or key not in GARP_GLOBAL or key in GARP},
                             _rules(GARP))  # fmt: skip


def _further(path: str, item: object) -> Iterator[str]:
    """Say what is wrong with an address that an instance holds beside those of endpoints."""
    if isinstance(item, str):
        text, slash, prefix = item.partition("/")
        limit = host(text).max_prefixlen if is_host(text) else 0
        if not limit or (slash and not (re.fullmatch("[0-9]{1,3}", prefix) and 1 <= int(prefix) <= limit)):
            yield f"{path}: is {literal(item)}; allowed: {_FURTHER}"
        return
    if not isinstance(item, Mapping):
        yield f"{path}: is {literal(item)}; allowed: {_FURTHER}"
        return
    yield from unknown_keys(path, item, _FURTHER_KEYS)
    yield from check_leaves(path, item, _FURTHER_KEYS, ("address",))
    if not is_host(item.get("address")):
        return
    address, prefix = host(item["address"]), item.get("prefix", 1)
    if address.version == 4 and is_whole(prefix, 33, 128):
        yield f"{path}:prefix: is {prefix}; allowed: a whole number from 1 to 32 for an IPv4 address"
    for key in ("label", "scope"):
        if address.version == 6 and key in item:
            yield f"{path}:{key}: is given for an IPv6 address; allowed: only for IPv4"


def _route(path: str, key: str, item: object, version: object) -> Iterator[str]:
    """Say what is wrong with a route or a rule that goes with an instance."""
    if not WORDS.accepts(item):
        yield f"{path}: is {literal(item)}; allowed: {WORDS.allowed}, as ip-{key[:-1]}(8) has them"
        return
    found = str(item).split()
    for old in _OLD_WORDS if key == "routes" else ():
        if old in found:
            yield f"{path}: has the word {old}, which keepalived no longer wants; allowed: {_OLD_WORDS[old]}"
    if key == "routes":
        before, hops = (found[: found.index("nexthop")], True) if "nexthop" in found else (found, False)
        if hops and "no_track" in found and "no_track" not in before:
            yield f"{path}: has no_track after a nexthop; allowed: no_track before the first nexthop"
        elif not {"dev", "oif", "no_track"} & set(before):
            yield from too_new(f"{path}: a route without dev and no_track", "2.3.2", version)
    if key == "rules" and not {"preference", "order", "priority"} & set(found):
        yield f"{path}: has no preference, so that its place would be by chance; allowed: a rule with preference NUMBER"


# ---- what is tracked


def _track(path: str, section: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with what an instance, a group or every instance tracks."""
    yield from unknown_keys(path, section, KINDS)
    for key in KINDS:
        if key in section and not isinstance(section[key], (list, tuple)):
            yield f"{path}:{key}: is {kind(section[key])}; allowed: a list"
        first: set[str] = set()
        for index, item in enumerate(_list(section.get(key))):
            own = f"{path}:{key}:{index}"
            wrong = list(_tracked(own, key, item))
            yield from wrong
            name = item.get("name") if isinstance(item, Mapping) else item
            if not wrong and name in first:
                yield f"{own}: is {literal(name)}, which is tracked already; allowed: each one once"
            elif not wrong:
                first.add(name)


def _tracked(path: str, key: str, item: object) -> Iterator[str]:
    """Say what is wrong with one entry of what is tracked."""
    rules = {
        "name": TRACKED_INTERFACE if key == "interfaces" else INSTANCE_NAME,
        "weight": KINDS[key].weight,
        "reverse": BOOLEAN,
    }
    if not isinstance(item, Mapping):
        yield from check_value(path, item, rules["name"])
        return
    yield from unknown_keys(path, item, rules)
    yield from check_leaves(path, item, rules, ("name",))
    yield from _reverse(path, item)


def _reverse(path: str, item: Mapping[Any, Any]) -> Iterator[str]:
    """Say that a weight is missing that could count the other way round."""
    if "reverse" in item and "weight" not in item:
        yield f"{path}:reverse: is given without weight; allowed: both, or neither"


def _object(path: str, objects: str, name: object, own: object, version: object) -> Iterator[str]:
    """Say what is wrong with a script, file, process or BFD session that can be tracked."""
    table, beside = KINDS[objects].table, BESIDE[objects]
    known = (*table, *beside, "extra")
    yield from check_name(path, name, INSTANCE_NAME)
    if not isinstance(own, Mapping):
        yield f"{path}: is {kind(own)}; allowed: a mapping with the keys {', '.join(known)}"
        return
    yield from unknown_keys(path, own, known)
    yield from check_leaves(path, own, {**_rules(table), **beside}, (_DUE[objects],))
    yield from _reverse(path, own)
    for key, (line, _) in table.items():
        if key in own:
            yield from too_new(f"{path}:{key}", line.since, version)
    if "extra" in own:
        taken = dict.fromkeys((line.keyword for line, _ in table.values()), "there is a key for it")
        yield from extra_errors(f"{path}:extra", own["extra"], {**REFUSED_ANYWHERE, **taken}, version)
    if objects == "scripts":
        yield from _script(path, own, version)
    elif objects == "processes":
        yield from _process(path, own)
    elif objects == "bfds":
        yield from _bfd(path, name, own)


def _script(path: str, own: Mapping[Any, Any], version: object) -> Iterator[str]:
    """Say what a script's keys say of each other."""
    for key in ("interval", "timeout"):
        value = decimal(own.get(key))
        if value is not None and value % 1:
            yield from too_new(f"{path}:{key}: a part of a second", "2.3.2", version)
    user = own.get("user")
    if isinstance(user, str) and user.split(" ")[0] != "root":
        # That one's -t ends itself with SIGTERM.
        yield from too_new(f"{path}:user: another user than root", "2.2.8", version)


def _process(path: str, own: Mapping[Any, Any]) -> Iterator[str]:
    """Say what a process's keys say of each other."""
    low, high = own.get("quorum", 1), own.get("quorum_max")
    none_wanted = is_whole(high, 0, 0) and "quorum" not in own
    if is_whole(low, 1, 65535) and is_whole(high, 0, 65535) and high < low and not none_wanted:
        yield f"{path}:quorum_max: is {high}; allowed: at least the quorum, which is {low}"


def _bfd(path: str, name: object, own: Mapping[Any, Any]) -> Iterator[str]:
    """Say what the keys of a BFD session say of each other."""
    if isinstance(name, str) and len(name) > 31:
        yield f"{path}: has a name of {len(name)} characters; allowed: at most 31"
    neighbour, source = own.get("neighbour"), own.get("source")
    if is_host(neighbour) and is_host(source) and host(neighbour).version != host(source).version:
        yield f"{path}:source: is {literal(source)}; allowed: an IPv{host(neighbour).version} address, as the neighbour"
    hops, ttl = own.get("max_hops"), own.get("ttl")
    if is_whole(hops, -1, 255) and is_whole(ttl, 1, 255) and hops > ttl:
        yield f"{path}:max_hops: is {hops}; allowed: at most the ttl, which is {ttl}"


# ---- groups and the sync daemon


def _group(path: str, name: object, own: object, version: object) -> Iterator[str]:
    """Say what is wrong with one sync group, as far as it can be told without the instances."""
    yield from check_name(path, name, INSTANCE_NAME)
    if not isinstance(own, Mapping):
        yield f"{path}: is {kind(own)}; allowed: a mapping with the keys {', '.join(_GROUP_KEYS)}"
        return
    yield from unknown_keys(path, own, _GROUP_KEYS)
    yield from check_leaves(path, own, _rules(NOTIFY_GROUP))
    members = own.get("instances")
    if not isinstance(members, (list, tuple)) or len(members) < 2:
        what = "is missing" if "instances" not in own else f"is {kind(members)}"
        if isinstance(members, (list, tuple)):
            what = f"holds {len(members)} of them"
        yield f"{path}:instances: {what}; allowed: a list of two or more instances"
    yield from not_mappings(path, own, ("track",))
    yield from _track(f"{path}:track", part(own, "track"))
    if "extra" in own:
        yield from extra_errors(f"{path}:extra", own["extra"], _REFUSED_GROUP, version)


def _sync_daemon(path: str, value: object) -> Iterator[str]:
    """Say what is wrong with how the directors tell each other of their connections."""
    if isinstance(value, bool):
        return
    known: Iterable[str] = (*SYNC_DAEMON, "interface", "instance")
    if not isinstance(value, Mapping):
        yield f"{path}: is {literal(value)}; allowed: true, false, or a mapping with the keys {', '.join(known)}"
        return
    yield from unknown_keys(path, value, known)
    instance = Rule(
        "the name of an instance, or false for both directors at once",
        lambda value: value is False or INSTANCE_NAME.accepts(value),
    )
    yield from check_leaves(path, value, {**_rules(SYNC_DAEMON), "interface": INTERFACE, "instance": instance})
