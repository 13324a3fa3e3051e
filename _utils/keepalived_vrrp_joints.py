"""
What the parts of ``mysql_ha:vrrp`` say of each other, and of nodes and endpoints: the rules that join them.

Plain Python that knows nothing of Salt. The rules look at a view of the pillar that holds only what is right by itself,
so that they can ask ``keepalived_vrrp`` what would be written. No function here raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import keepalived_endpoints
from keepalived_globals import uses_scripts
from keepalived_values import is_older, too_new
from keepalived_vrrp import (
    GARP_GLOBAL,
    INSTANCE_NAME,
    KINDS,
    SINCE_NO_ADDRESS,
    Address,
    advert_family,
    endpoints_of,
    further_address,
    host,
    instances,
    interface,
    is_host,
    of_role,
    priorities,
    split,
    tracked,
    unicast_addresses,
    vips,
)
from pillar_rules import ADDRESS, NAME, is_interface, label, part
from pillar_words import did_you_mean, is_whole, literal

_PATH = "mysql_ha:vrrp"

#: Stands for an address that is wrong, so that nothing follows from it.
_NO_ADDRESS = "192.0.2.1"

View = Mapping[str, Any]


# ---- the view


def view(
    pillar: Mapping[Any, Any], defaults: Mapping[str, Any], well_formed: Callable[[Mapping[Any, Any]], dict[str, Any]]
) -> View:
    """Return of a pillar what is right by itself, with its defaults, in the form that ``keepalived_vrrp`` reads."""
    vrrp, cluster, device = part(pillar, "vrrp"), pillar.get("cluster"), pillar.get("interface")
    shared = {**defaults, **well_formed(vrrp)}
    if not isinstance(shared["unicast"], bool):
        shared["unicast"] = defaults["unicast"]
    given = {
        name: well_formed(own)
        for name, own in part(vrrp, "instances").items()
        if isinstance(name, str) and isinstance(own, Mapping)
    }
    return {
        "cluster": cluster if NAME.accepts(cluster) else "cluster",
        "interface": device if is_interface(device) else "eth0",
        "nodes": {name: node for name, node in _directors(pillar)},
        "endpoints": {
            name: _endpoint(own)
            for name, own in part(pillar, "endpoints").items()
            if isinstance(name, str) and isinstance(own, Mapping)
        },
        "vrrp": {**shared, "instances": given},
        "keepalived": part(pillar, "keepalived"),
    }


def _directors(pillar: Mapping[Any, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the directors with what is right of them; what is wrong is replaced by what harms nothing."""
    for name, own in part(pillar, "nodes").items():
        if isinstance(name, str) and isinstance(own, Mapping) and own.get("role") == "director":
            device, priority = own.get("interface"), own.get("priority")
            is_right = ADDRESS.accepts(own.get("address")) and is_host(own.get("address"))
            node = {
                "role": "director",
                "address": own["address"] if is_right else _NO_ADDRESS,
                "is_right": is_right,
                "priority": priority if is_whole(priority, 1, 254) else None,
            }
            yield name, {**node, "interface": device} if is_interface(device) else node


def _endpoint(own: Mapping[Any, Any]) -> dict[str, Any]:
    """Return of an endpoint the addresses that are right."""
    found: dict[str, Any] = {"address": own["address"]} if is_host(own.get("address")) else {}
    group = own.get("group")
    members = [text for text in group if _is_member(text)] if isinstance(group, (list, tuple)) else []
    if members:
        found["group"] = members
    # What is wrong may be meant to be an address.
    found["is_clear"] = bool(found) or "fwmark" in own
    return found


def _is_member(text: object) -> bool:
    """Return whether a line of a group is right, with the addresses of hosts if it has any."""
    try:
        return all(map(is_host, keepalived_endpoints.addresses({"group": [text]})))
    except ValueError:
        return False


def _path(seen: View, name: str) -> str:
    """Return where an instance stands in the pillar; the one that is not written is described by ``vrrp``."""
    return f"{_PATH}:instances:{label(name)}" if seen["vrrp"]["instances"] else _PATH


# ---- the rules


def errors(seen: View, pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what does not go together."""
    has_mapping = isinstance(part(pillar, "vrrp").get("instances", {}), Mapping)
    if has_mapping and isinstance(pillar.get("vrrp", {}), Mapping):
        yield from _endpoints(seen)
        yield from _addresses(seen, pillar)
        yield from _router_ids(seen)
        for name, instance in instances(seen).items():
            yield from _unicast(_path(seen, name), seen, instance)
            yield from _priorities(_path(seen, name), seen, instance)
            yield from _family(_path(seen, name), seen, name, instance)
        yield from _preempt_delays(seen, part(pillar, "vrrp"))
        yield from _tracks(seen, part(pillar, "vrrp"))
        yield from _groups(seen, part(pillar, "vrrp"))
        yield from _sync_daemon(seen, pillar)
    yield from _garp(pillar)
    yield from _bfds(part(pillar, "vrrp"))
    yield from _script_user(pillar)


def _unknown(path: str, name: object, known: Mapping[str, Any], what: str) -> Iterator[str]:
    """Say that something is named that there is not."""
    if not isinstance(name, str) or name not in known:
        names = [key for key in known if isinstance(key, str)]
        told = ", ".join(map(label, names)) or "there are none"
        yield f"{path}: is {literal(name)}; allowed: {what}: {told}{did_you_mean(name, names)}"


def _endpoints(seen: View) -> Iterator[str]:
    """Say which endpoints are named that are none, or by two instances."""
    first: dict[str, str] = {}
    for name, instance in seen["vrrp"]["instances"].items():
        for index, endpoint in enumerate(instance["endpoints"]):
            path = f"{_path(seen, name)}:endpoints:{index}"
            yield from _unknown(path, endpoint, seen["endpoints"], "one of the endpoints")
            if first.setdefault(endpoint, path) != path:
                yield f"{path}: is {literal(endpoint)}, as is {first[endpoint]}; allowed: each endpoint once"


def _known_endpoints(seen: View, name: str) -> list[str]:
    """Return those endpoints of an instance that there are."""
    return [own for own in endpoints_of(seen)[name] if own in seen["endpoints"]]


def _addresses(seen: View, pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say which addresses belong to a node, or to two instances, or are given twice."""
    owners: dict[Address, str] = {}
    for node, own in part(pillar, "nodes").items():
        if isinstance(own, Mapping) and is_host(own.get("address")):
            owners.setdefault(host(own["address"]), f"mysql_ha:nodes:{label(node)}:address")
    holder: dict[Address, tuple[str, str]] = {}
    told: set[str] = set()
    for name, instance in instances(seen).items():
        # An endpoint that two instances name has its sentence already.
        for endpoint in [own for own in dict.fromkeys(_known_endpoints(seen, name)) if own not in told]:
            told.add(endpoint)
            place = f"mysql_ha:endpoints:{label(endpoint)}"
            for address in map(host, keepalived_endpoints.addresses(seen["endpoints"][endpoint])):
                other, where = holder.setdefault(address, (name, place))
                if other != name:
                    yield (
                        f"{place}: is at {address}, as is {where}, which another instance holds;"
                        " allowed: one instance for both"
                    )
        for item in instance.get("addresses") or ():
            address = further_address(item).address
            place = f"{_path(seen, name)}:addresses"
            _, where = holder.setdefault(address, (name, ""))
            where = owners.get(address) or where
            if where:
                yield f"{place}: holds {address}, as does {where}; allowed: another one"
            holder[address] = (name, place)


def _router_ids(seen: View) -> Iterator[str]:
    """Say which instances would take each other's adverts for their own."""
    families = {name: _advert_family(seen, name) for name in instances(seen)}
    for (one, own), (other, second) in combinations(instances(seen).items(), 2):
        same_lan = any(interface(seen, own, node) == interface(seen, second, node) for node in seen["nodes"])
        same_id = own.get("virtual_router_id") == second.get("virtual_router_id")
        written = all("virtual_router_id" in seen["vrrp"]["instances"][name] for name in (one, other))
        if same_lan and same_id and written and families[one] == families[other]:
            yield (
                f"{_path(seen, other)}:virtual_router_id: is {second['virtual_router_id']}, as is that of"
                f" {label(one)} on the same interface; allowed: another one"
            )


def _held(seen: View, name: str) -> list[Any]:
    """Return the addresses of an instance, as far as its endpoints are known."""
    known = set(seen["endpoints"])
    trimmed = {
        own: {**instance, "endpoints": [endpoint for endpoint in instance["endpoints"] if endpoint in known]}
        for own, instance in seen["vrrp"]["instances"].items()
    }
    return vips({**seen, "vrrp": {**seen["vrrp"], "instances": trimmed}}, name)


def _whole_unicast(seen: View, instance: Mapping[str, Any]) -> bool:
    """Return whether the addresses of all directors are known, or none is needed."""
    if isinstance(instance["unicast"], Mapping):
        return set(instance["unicast"]) == set(seen["nodes"])
    return not instance["unicast"] or all(node["is_right"] for node in seen["nodes"].values())


def _advert_family(seen: View, name: str) -> int:
    """Return the IP version of an instance's adverts; 4 if it cannot be told."""
    instance = instances(seen)[name]
    return advert_family(seen, instance, _held(seen, name)) if _whole_unicast(seen, instance) else 4


def _unicast(path: str, seen: View, instance: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the addresses at which directors talk to each other."""
    if isinstance(instance["unicast"], Mapping):
        for node in instance["unicast"]:
            yield from _unknown(f"{path}:unicast", node, seen["nodes"], "one of the directors")
        for node in seen["nodes"]:
            if node not in instance["unicast"]:
                yield f"{path}:unicast:{label(node)}: is missing or wrong; allowed: the address of that director"
    if not _whole_unicast(seen, instance):
        return
    addresses = {node: host(text) for node, text in unicast_addresses(seen, instance).items()}
    if isinstance(instance["unicast"], Mapping) and len(set(addresses.values())) < len(addresses):
        yield f"{path}:unicast: has the same address for two directors; allowed: another one for each"
    if len({address.version for address in addresses.values()}) > 1:
        yield f"{path}:unicast: is between an IPv4 and an IPv6 address; allowed: directors of one family, or false"
    for node, own in seen["nodes"].items() if instance["unicast"] is True and addresses else ():
        device, usual = interface(seen, instance, node), own.get("interface") or seen["interface"]
        if device != usual:
            what = f"is true, and the address of {label(node)} is on {usual}, not on the instance's {device}"
            yield f"{path}:unicast: {what}; allowed: false, or a mapping of every director to its address there"
            return


def _priorities(path: str, seen: View, instance: Mapping[str, Any]) -> Iterator[str]:
    """Say which priorities are for no director, and which are equal."""
    own = instance.get("priorities") or {}
    for node in own:
        yield from _unknown(f"{path}:priorities", node, seen["nodes"], "the names of directors")
    first: dict[int, str] = {}
    for node, value in priorities(seen, instance).items():
        if own and value is not None and first.setdefault(value, node) != node:
            yield f"{path}:priorities: gives {label(node)} {value}, as {label(first[value])}; allowed: different ones"


def _family(path: str, seen: View, name: str, instance: Mapping[str, Any]) -> Iterator[str]:
    """Say that an instance has nothing to hold, or nothing that its adverts can carry."""
    if not _whole_unicast(seen, instance):
        return
    held, family, version = _held(seen, name), _advert_family(seen, name), seen["keepalived"].get("version")
    if family == 6 and instance.get("version") == 2:
        yield f"{path}:version: is 2, and the adverts go over IPv6; allowed: 3"
    if not held and seen["endpoints"] and all(own["is_clear"] for own in seen["endpoints"].values()):
        yield f"{path}: holds no address; allowed: endpoints with an address, or addresses"
    elif held and not split(held, family)[0] and is_older(version, SINCE_NO_ADDRESS):
        what = f"holds no IPv{family} address, and its adverts go over IPv{family}"
        allowed = f"an IPv{family} address, or keepalived {SINCE_NO_ADDRESS}"
        yield f"{path}: {what}, which keepalived {version} does not take; allowed: {allowed}"


def _preempt_delays(seen: View, vrrp: Mapping[Any, Any]) -> Iterator[str]:
    """Say which delays are for instances that never preempt."""
    of_all = instances(seen)
    for name, instance in seen["vrrp"]["instances"].items():
        if instance.get("preempt_delay") and of_all[name]["preempt"] is False:
            yield f"{_path(seen, name)}:preempt_delay: is given, and preempt is false; allowed: only with preempt: true"
    if seen["vrrp"].get("preempt_delay") and not any(instance["preempt"] for instance in of_all.values()):
        yield f"{_PATH}:preempt_delay: is given, and preempt is false; allowed: only with preempt: true"


# ---- what is tracked


def _trackers(seen: View, vrrp: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[str, Any], list[str], str]]:
    """Yield where something is tracked, what, by which instances, and the group if it is one's."""
    everybody = list(instances(seen))
    heirs = [name for name in everybody if "track" not in seen["vrrp"]["instances"].get(name, {})]
    if "track" in seen["vrrp"]:
        yield f"{_PATH}:track", seen["vrrp"]["track"], heirs, ""
    for name, instance in seen["vrrp"]["instances"].items():
        if "track" in instance:
            yield f"{_path(seen, name)}:track", instance["track"], [name], ""
    for group, own in part(vrrp, "groups").items():
        if isinstance(group, str) and isinstance(own, Mapping):
            members = own.get("instances")
            names = members if isinstance(members, (list, tuple)) else ()
            yield (
                f"{_PATH}:groups:{label(group)}:track",
                part(own, "track"),
                [name for name in everybody if name in names],
                group,
            )


def _items(track: Mapping[Any, Any], kind: str) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Yield the number and the name of each thing of a kind that is tracked, and what is said of it."""
    items = track.get(kind)
    for index, item in enumerate(items if isinstance(items, (list, tuple)) else ()):
        name, options = tracked(item)
        if isinstance(name, str):
            yield index, name, options


def _tracks(seen: View, vrrp: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is tracked that there is not, or cannot be tracked there, and which scripts nobody tracks."""
    used: set[str] = set()
    fixed = _of_fixed_priority(vrrp)
    for path, track, names, group in _trackers(seen, vrrp):
        for kind in KINDS:
            for index, name, options in _items(track, kind):
                place = f"{path}:{kind}:{index}"
                if kind == "interfaces":
                    yield from _own_interface(place, seen, name, options, names, group)
                elif INSTANCE_NAME.accepts(name):
                    yield from _unknown(place, name, part(vrrp, kind), f"one of {_PATH}:{kind}")
                if not group and not fixed.isdisjoint(names):
                    yield from _weight(place, part(part(vrrp, kind), name), kind, options)
                used |= {name} if kind == "scripts" else set()
    for name in part(vrrp, "scripts"):
        if isinstance(name, str) and name not in used:
            what = "is tracked by no instance and no group, so that keepalived leaves it out"
            yield f"{_PATH}:scripts:{label(name)}: {what}; allowed: a script that is tracked"


def _own_interface(
    path: str, seen: View, name: str, options: Mapping[str, Any], names: list[str], group: str
) -> Iterator[str]:
    """Say that an instance's own interface is tracked, which keepalived does anyway, or one a second time."""
    for instance in names:
        own = instances(seen)[instance]
        is_own = any(interface(seen, own, node) == name for node in seen["nodes"])
        again = any(name == known for _, known, _ in _items(own.get("track") or {}, "interfaces"))
        if group and (is_own or again):
            what = "the own interface of" if is_own else "tracked already by"
            yield f"{path}: is {literal(name)}, {what} {label(instance)}; allowed: other interfaces"
        elif is_own and options.get("weight"):
            what = f"the own interface of {label(instance)}, without which it is in FAULT"
            yield f"{path}:weight: is given for {what}; allowed: other interfaces, or no weight"


def _of_fixed_priority(vrrp: Mapping[Any, Any]) -> set[str]:
    """Return the instances whose priority must stay as it is, because they are in a group."""
    found: set[str] = set()
    for _, own, members in _group_members(vrrp):
        if "sync_group_tracking_weight" not in part(own, "extra"):
            found |= set(members)
    return found


def _weight(path: str, definition: Mapping[Any, Any], kind: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Say that a weight would change the priority of an instance in a group, which keepalived does not let it."""
    weight = options.get("weight", definition.get("weight", KINDS[kind].default_weight))
    if weight != 0:
        yield (
            f"{path}: has the weight {literal(weight)}, and the instance is in a group; allowed: the weight 0, to track"
            " it in the group, or sync_group_tracking_weight: true in the group's extra"
        )


# ---- groups


def _group_members(vrrp: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any], list[str]]]:
    """Yield the groups with their members, as far as they are names."""
    for group, own in part(vrrp, "groups").items():
        if isinstance(group, str) and isinstance(own, Mapping):
            members = own.get("instances")
            given = members if isinstance(members, (list, tuple)) else ()
            yield group, own, [name for name in given if isinstance(name, str)]


def _groups(seen: View, vrrp: Mapping[Any, Any]) -> Iterator[str]:
    """Say which groups have members that are none, or another group's, or that want different masters."""
    first: dict[str, str] = {}
    known = instances(seen)
    for group, own, members in _group_members(vrrp):
        path = f"{_PATH}:groups:{label(group)}:instances"
        for index, name in enumerate(own.get("instances") if isinstance(own.get("instances"), (list, tuple)) else ()):
            place = f"{path}:{index}"
            yield from _unknown(place, name, known, "one of the instances")
            if isinstance(name, str) and first.setdefault(name, place) != place:
                yield f"{place}: is {literal(name)}, as is {first[name]}; allowed: each instance in one group"
        preferred = {name: _preferred(seen, known[name]) for name in members if name in known}
        if len(set(preferred.values()) - {""}) > 1:
            wanted = ", ".join(f"{label(name)} on {label(node)}" for name, node in preferred.items() if node)
            what = f"would be pulled apart by their priorities ({wanted})"
            yield f"{path}: {what}; allowed: the same director first in all"


def _preferred(seen: View, instance: Mapping[str, Any]) -> str:
    """Return the director with the highest priority; nothing if that cannot be told."""
    found = {node: value for node, value in priorities(seen, instance).items() if value is not None}
    return max(found, key=lambda node: found[node]) if len(found) == len(seen["nodes"]) and found else ""


# ---- the rest


def _sync_daemon(seen: View, pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what keeps the directors from telling each other of their connections."""
    path, given = f"{_PATH}:sync_daemon", part(pillar, "vrrp").get("sync_daemon", True)
    if isinstance(given, Mapping):
        bound = given.get("instance", False)
        if isinstance(bound, str) and INSTANCE_NAME.accepts(bound):
            yield from _unknown(f"{path}:instance", bound, instances(seen), "one of the instances")
        if "lvs_sync_daemon" in part(part(pillar, "keepalived"), "global_defs"):
            other = "mysql_ha:keepalived:global_defs:lvs_sync_daemon"
            yield f"{path}: is given, as is {other}; allowed: one of both"
    if given is False or len(of_role(seen, "director")) < 2:
        return
    for name, own in part(pillar, "endpoints").items():
        for server in _foreign_servers(own, part(pillar, "nodes")):
            what = f"is on, and {label(server)} is of another address family than mysql_ha:endpoints:{label(name)}"
            yield f"{path}: {what}, which Linux does not take together; allowed: false"


def _foreign_servers(endpoint: object, nodes: Mapping[Any, Any]) -> Iterator[object]:
    """Yield the servers that are of another address family than their endpoint."""
    if not isinstance(endpoint, Mapping):
        return
    if is_host(endpoint.get("address")):
        family = host(endpoint["address"]).version
    elif "fwmark" in endpoint:
        family = 6 if endpoint.get("family") == "ipv6" else 4
    else:
        return
    for name in part(endpoint, "servers"):
        address = part(endpoint["servers"], name).get("address", part(nodes, name).get("address"))
        if is_host(address) and host(address).version != family:
            yield name


def _garp(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say which keys are given twice: in ``vrrp:garp`` and as keywords."""
    given = part(part(pillar, "keepalived"), "global_defs")
    for key in part(part(pillar, "vrrp"), "garp"):
        if isinstance(key, str) and key in GARP_GLOBAL and GARP_GLOBAL[key].line.keyword in given:
            other = f"mysql_ha:keepalived:global_defs:{GARP_GLOBAL[key].line.keyword}"
            yield f"{_PATH}:garp:{key}: is given, as is {other}; allowed: one of both"


def _bfds(vrrp: Mapping[Any, Any]) -> Iterator[str]:
    """Say which BFD sessions are the same."""
    first: dict[tuple[Any, Any, bool], str] = {}
    for name, own in part(vrrp, "bfds").items():
        if isinstance(own, Mapping) and is_host(own.get("neighbour")):
            source = host(own["source"]) if is_host(own.get("source")) else None
            place = f"{_PATH}:bfds:{label(name)}"
            other = first.setdefault((host(own["neighbour"]), source, own.get("multihop") is True), place)
            if other != place:
                yield f"{place}: is between the same addresses as {other}; allowed: another neighbour or source"


def _script_user(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say that keepalived 2.2.7 cannot test a configuration whose programs run as another user than root."""
    keepalived = part(pillar, "keepalived")
    user = part(keepalived, "global_defs").get("script_user")
    if isinstance(user, str) and user.split(" ")[0] != "root" and uses_scripts(pillar):
        yield from too_new(
            "mysql_ha:keepalived:global_defs:script_user: another user than root", "2.2.8", keepalived.get("version")
        )
