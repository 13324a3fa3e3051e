"""
The packet filter of a director, for nftables: VRRP, and what the kernels tell each other of connections, from the other
director alone. The rules for the pillar, the file, and the unit of systemd that loads it at boot.

Plain Python that knows nothing of Salt. No rule raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keepalived_vrrp as vrrp
import keepalived_vrrp_joints
from director_sysctls import sync_ports
from keepalived_vrrp_rules import DEFAULTS, well_formed
from pillar_rules import (
    BOOLEAN,
    INTERFACE,
    check_leaves,
    check_value,
    is_interface,
    label,
    not_mappings,
    part,
    repeated,
    unknown_keys,
)
from pillar_words import kind

PATH = "mysql_ha:firewall"
FAMILY, TABLE = "inet", "mysql_ha"
SERVICE = "mysql_ha-firewall.service"
VRRP = 112
KEYS = ("vrrp", "sources")

_IP = {4: "ip", 6: "ip6"}
_HEADER = "# Managed by Salt (mysql_ha.director.firewall); change mysql_ha:firewall in the pillar instead.\n"


class Hears(NamedTuple):
    """From where one director hears another one."""

    what: str
    """Whose adverts, for a sentence; empty for the sync daemon."""
    interface: str
    """Empty where the packets may come in by another one."""
    family: int
    sources: tuple[str, ...]
    """Empty if they cannot be known."""


# ---- what comes in from where


def hears(settings: Mapping[str, Any], node: str, peer: str) -> Iterator[Hears]:
    """Yield from where a director hears the adverts of another one. Wrong settings: ``KeyError``, ``ValueError``."""
    for name, instance in vrrp.instances(settings).items():
        family = vrrp.advert_family(settings, instance, vrrp.vips(settings, name))
        # On a virtual MAC address the packets come in by its interface, or by the one below.
        device = "" if instance.get("use_vmac") else vrrp.interface(settings, instance, node)
        addresses = vrrp.unicast_addresses(settings, instance)
        if addresses:
            sources: tuple[str, ...] = (str(vrrp.host(addresses[peer])),)
        else:
            sources = _multicast(settings, peer, vrrp.interface(settings, instance, peer), family)
        yield Hears(name, device, family, sources)


def hears_sync(settings: Mapping[str, Any], node: str, peer: str) -> Hears | None:
    """Return from where the kernel of a director hears of another one's connections; ``None`` if it does not."""
    channel, other = vrrp.sync_channel(settings, node), vrrp.sync_channel(settings, peer)
    if channel is None or other is None:
        return None
    family = channel.group.version
    return Hears("", channel.interface, family, _multicast(settings, peer, other.interface, family))


def _multicast(settings: Mapping[str, Any], peer: str, device: str, family: int) -> tuple[str, ...]:
    """
    Return the addresses that multicast of a director comes from on one interface, as far as the pillar has them.

    keepalived and the kernel send from the interface's own address: for IPv4 the first, for IPv6 the link-local one.
    """
    found = [address for address in map(vrrp.host, _declared(settings, peer)) if address.version == family]
    own = vrrp.host(settings["nodes"][peer]["address"])
    if own.version == family and device == vrrp.interface(settings, {}, peer):
        found.insert(0, own)
    return tuple(dict.fromkeys(map(str, found)))


def _declared(settings: Mapping[str, Any], peer: str) -> list[str]:
    """Return the addresses that the pillar says a director sends from, besides its own."""
    given = part(part(settings, "firewall"), "sources").get(peer)
    return [text for text in given if vrrp.is_host(text)] if isinstance(given, (list, tuple)) else []


# ---- the file, and the unit


def text(settings: Mapping[str, Any], node: str) -> str:
    """
    Return what nft loads on one director; equal settings give equal text.

    settings
        The value of the pillar key ``mysql_ha`` with its defaults, valid by the rules of ``mysql_ha_pillar.errors``.
    node
        The minion id of the director.

    Raises ``ValueError`` if ``node`` is no director, or where it cannot be known from where another one is heard.
    """
    directors = vrrp.of_role(settings, "director")
    if node not in directors:
        raise ValueError(f"{node!r} is not a director in mysql_ha:nodes")
    peers = [name for name in directors if name != node]
    adverts = [one for peer in peers for one in hears(settings, node, peer)]
    syncs = [one for one in (hears_sync(settings, node, peer) for peer in peers) if one]
    if not all(one.sources for one in (*adverts, *syncs)):
        raise ValueError("it is not known from which addresses the other director is heard")
    channel = vrrp.sync_channel(settings, node)
    jumps = [f"meta l4proto {VRRP} jump vrrp"]
    chains = [("vrrp", _accepts(adverts))]
    if channel:
        last = channel.port + sync_ports(settings) - 1
        ports = str(channel.port) if last == channel.port else f"{channel.port}-{last}"
        # Only what goes to the group: the kernel listens there alone, and the port may be somebody else's.
        jumps.append(f"{_IP[channel.group.version]} daddr {channel.group} udp dport {ports} jump sync")
        chains.append(("sync", _accepts(syncs)))
    return _HEADER + (
        "# One transaction. The first line is there so that the second never fails.\n"
        f"add table {FAMILY} {TABLE}\n"
        f"delete table {FAMILY} {TABLE}\n"
        f"table {FAMILY} {TABLE} {{\n"
        + _chain("input", ["type filter hook input priority -10; policy accept;", *jumps])
        + "".join(_chain(name, [*_OWN, *accepts, "counter drop"]) for name, accepts in chains)
        + "}\n"
    )


#: What this host sends to itself. For IPv6 not by its addresses: from outside they would be believed, where the kernel
#: drops packets that claim to come from its own IPv4 addresses.
_OWN = ('iifname "lo" accept', "meta nfproto ipv4 fib saddr type local accept")


def _accepts(heard: list[Hears]) -> list[str]:
    """Return the rules that let in what is heard, each once."""
    found = []
    for one in heard:
        start = f"iifname {_quoted(one.interface)} " if one.interface else ""
        found += [f"{start}{_IP[one.family]} saddr {source} accept" for source in one.sources]
    return list(dict.fromkeys(found))


def _quoted(device: str) -> str:
    """Return the name of an interface as nft reads it, which takes a star at its end for any text."""
    if not is_interface(device):
        raise ValueError(f"not the name of an interface: {device[:40]!r}")
    return f'"{device[:-1]}\\*"' if device.endswith("*") else f'"{device}"'


def _chain(name: str, rules: list[str]) -> str:
    """Return a chain."""
    return "".join(f"{line}\n" for line in (f"    chain {name} {{", *(f"        {rule}" for rule in rules), "    }"))


def unit(nft: str, path: str) -> str:
    """
    Return the unit that loads the rules at boot, before there is a network (systemd.special(7), network-pre.target).

    It follows the distribution's nftables.service, which empties all tables when it starts or reloads, so that this one
    is there again afterwards.

    nft
        Where that program is.
    path
        The file that it loads.
    """
    load = f"{nft} -f {path}"
    return _HEADER + (
        "[Unit]\n"
        "Description=VRRP and the synchronisation of connections from the other director alone\n"
        "DefaultDependencies=no\n"
        "Wants=network-pre.target\n"
        "Before=network-pre.target keepalived.service shutdown.target\n"
        "After=local-fs.target nftables.service\n"
        "Conflicts=shutdown.target\n"
        "PartOf=nftables.service\n"
        "ReloadPropagatedFrom=nftables.service\n\n"
        "[Service]\n"
        "Type=oneshot\n"
        "RemainAfterExit=yes\n"
        f"ExecStart={load}\n"
        f"ExecReload={load}\n"
        f'ExecStop={nft} "{REMOVE}"\n\n'
        "[Install]\n"
        "WantedBy=sysinit.target\n"
    )


#: Takes the table away, whether it is there or not.
REMOVE = f"add table {FAMILY} {TABLE}; delete table {FAMILY} {TABLE}"


# ---- rules


def errors(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:firewall``."""
    section = part(pillar, "firewall")
    yield from unknown_keys(PATH, section, KEYS)
    yield from check_leaves(PATH, section, {"vrrp": BOOLEAN})
    yield from not_mappings(PATH, section, ("sources",))
    yield from _sources(pillar, part(section, "sources"))
    instances = part(pillar, "vrrp").get("instances", {})
    if section.get("vrrp") is not True or not isinstance(instances, Mapping):
        return
    if "lvs_sync_daemon" in part(part(pillar, "keepalived"), "global_defs"):
        what = "is not understood by this formula, so the firewall would not know what to let in"
        yield f"mysql_ha:keepalived:global_defs:lvs_sync_daemon: {what}; allowed: mysql_ha:vrrp:sync_daemon instead"
    yield from _unknown(pillar)


def _sources(pillar: Mapping[Any, Any], sources: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with the addresses that directors send from."""
    directors = [name for name, own in part(pillar, "nodes").items()
                 if isinstance(own, Mapping) and own.get("role") == "director"]  # fmt: skip
    given: list[tuple[str, object]] = []
    for name, addresses in sources.items():
        path = f"{PATH}:sources:{label(name)}"
        if name not in directors:
            yield f"{path}: is no director; allowed: {', '.join(map(label, directors)) or 'there are none'}"
        if not isinstance(addresses, (list, tuple)) or not addresses:
            what = "an empty list" if isinstance(addresses, (list, tuple)) else kind(addresses)
            yield f"{path}: is {what}; allowed: a list of addresses, such as 10.0.0.3 or fe80::5054:ff:fe01:203"
            continue
        for index, address in enumerate(addresses):
            yield from check_value(f"{path}:{index}", address, vrrp.HOST)
            given.append((f"{path}:{index}", address))
    yield from repeated(given, vrrp.HOST, "addresses that no other director has, each once")


def _unknown(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say of which directors it is not known where they are heard from."""
    seen = {**keepalived_vrrp_joints.view(pillar, DEFAULTS, well_formed), "firewall": part(pillar, "firewall")}
    seen["vrrp"] = {**seen["vrrp"], "sync_daemon": _daemon(seen, part(pillar, "vrrp").get("sync_daemon", True))}
    directors = list(vrrp.of_role(seen, "director"))
    told: set[tuple[str, str]] = set()
    for node, peer in ((node, peer) for node in directors for peer in directors if node != peer):
        for one in _of_view(seen, node, peer):
            if one.sources or (peer, one.what) in told:
                continue
            told.add((peer, one.what))
            what = f"the adverts of the instance {label(one.what)} come" if one.what else "the sync daemon's word comes"
            where = f"by multicast from one{f' on {one.interface}' if one.interface else ''} that no other key says"
            hint = "the link-local one there" if one.family == 6 else "the first one there"
            other = ", or unicast for the instance" if one.what else ""
            missing = f"holds no IPv{one.family} address, and {what} {where}"
            yield f"{PATH}:sources:{label(peer)}: {missing}; allowed: a list with {hint}{other}"


def _of_view(seen: Mapping[str, Any], node: str, peer: str) -> list[Hears]:
    """Return from where a director hears another one, as far as a pillar with mistakes says so."""
    try:
        sync = hears_sync(seen, node, peer)
        return [*hears(seen, node, peer), *([sync] if sync else [])]
    except (KeyError, ValueError):
        # The rules for VRRP have said what is wrong.
        return []


def _daemon(seen: Mapping[str, Any], given: object) -> bool | dict[str, Any]:
    """Return of the sync daemon what is right by itself."""
    if not isinstance(given, Mapping):
        return given is not False
    found = {
        key: given[key] for key in ("group", "port") if key in given and vrrp.SYNC_DAEMON[key].rule.accepts(given[key])
    }
    if INTERFACE.accepts(given.get("interface")):
        found["interface"] = given["interface"]
    bound = given.get("instance")
    if bound is False or (isinstance(bound, str) and bound in vrrp.instances(seen)):
        found["instance"] = bound
    return found
