"""
Which virtual addresses are in none of the networks of the interface that gets them. Plain Python that knows nothing of
Salt.

A neighbour asks by ARP or neighbour discovery only for what is in its own network (RFC 826, RFC 4861 section 5.2). For
any other address a router must have been told where it is; that is legal, and more often a slip of the keyboard.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keepalived_endpoints
import keepalived_vrrp as vrrp


def foreign_addresses(settings: Mapping[str, Any], node: str, present: Mapping[str, Iterable[str]]) -> list[str]:
    """
    Return a sentence for each virtual address that its interface has no network for.

    settings
        The value of the pillar key ``mysql_ha`` with its defaults, valid by the rules of ``mysql_ha_pillar.errors``.
    node
        Which director.
    present
        What the host's interfaces have, as 'address/prefix' or 'address/netmask' by interface.

    Not judged are addresses with a prefix of their own, which bring their network along, and interfaces without any
    network of the address's family: there, addresses are a router's affair from the start (clouds), or the VIP is the
    only one.
    """
    networks = {name: list(_networks(texts)) for name, texts in present.items()}
    found = []
    for name, instance in vrrp.instances(settings).items():
        device = vrrp.interface(settings, instance, node)
        for vip in vrrp.vips(settings, name):
            own = str(vip.options.get("interface") or device)
            known = [one for one in networks.get(own, ()) if one.version == vip.address.version]
            is_alone = vip.options.get("prefix", vip.address.max_prefixlen) == vip.address.max_prefixlen
            if is_alone and known and not any(vip.address in one for one in known):
                texts = ", ".join(dict.fromkeys(map(str, known)))
                found.append(
                    f"mysql_ha:{_place(settings, name, vip)}: {vip.address} is in none of the networks of {own} on "
                    f"this host ({texts}): nobody there asks for it, so it works only where a router sends its packets "
                    "to the directors"
                )
    return list(dict.fromkeys(found))


def _networks(texts: Iterable[str]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Yield the networks that are more than one address, and more than one link's own."""
    for text in texts:
        own = ipaddress.ip_interface(text)
        if own.network.num_addresses > 1 and not own.is_link_local:
            yield own.network


def _place(settings: Mapping[str, Any], instance: str, vip: vrrp.Vip) -> str:
    """Return the pillar key that an address comes from."""
    for name in vrrp.endpoints_of(settings)[instance] if not vip.options else ():
        texts = keepalived_endpoints.addresses(settings["endpoints"][name])
        if vip.address in map(vrrp.host, texts):
            return f"endpoints:{name}"
    return f"vrrp:instances:{instance}:addresses"
