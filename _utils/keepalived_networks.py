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

#: How many addresses are told one by one.
MAX_SENTENCES = 10


def foreign_addresses(settings: Mapping[str, Any], node: str, present: Mapping[str, Iterable[str]]) -> list[str]:
    """
    Return a sentence for each virtual address that its interface has no network for.

    settings
        The value of the pillar key ``mysql_ha`` with its defaults, valid by the rules of ``mysql_ha_pillar.errors``.
    node
        Which director.
    present
        What the host's interfaces have, as 'address/prefix' or 'address/netmask' by interface.

    Not judged are addresses with a prefix of their own, which bring their network along, link-local ones, and
    interfaces without any network of the address's family: there, addresses are a router's affair from the start
    (clouds), or the VIP is the only one.
    """
    networks = {name: list(_networks(texts)) for name, texts in present.items()}
    found: dict[vrrp.Address, str] = {}
    for name, instance in vrrp.instances(settings).items():
        device = vrrp.interface(settings, instance, node)
        for place, vip in _places(settings, name, instance):
            own = str(vip.options.get("interface") or device)
            known = [one for one in networks.get(own, ()) if one.version == vip.address.version]
            if _is_judged(vip) and known and not any(vip.address in one for one in known):
                texts = ", ".join(dict.fromkeys(map(str, known)))
                found[vip.address] = (
                    f"mysql_ha:{place}: {vip.address} is in none of the networks of {own} on this host ({texts}): "
                    "nobody there asks for it, so it works only where a router sends its packets to the directors"
                )
    sentences = list(found.values())
    rest = len(sentences) - MAX_SENTENCES
    return sentences[:MAX_SENTENCES] + ([f"and {rest} more such addresses"] if rest > 0 else [])


def _is_judged(vip: vrrp.Vip) -> bool:
    """Return whether an address needs a network that is there already. One that is link-local has that on any link."""
    whole = vip.address.max_prefixlen
    return vip.options.get("prefix", whole) == whole and not vip.address.is_link_local


def _places(settings: Mapping[str, Any], name: str, instance: Mapping[str, Any]) -> Iterator[tuple[str, vrrp.Vip]]:
    """Yield the addresses of an instance, each after the pillar key that it comes from."""
    for own in vrrp.endpoints_of(settings)[name]:
        for text in keepalived_endpoints.addresses(settings["endpoints"][own]):
            yield f"endpoints:{own}", vrrp.Vip(vrrp.host(text), {})
    for item in instance.get("addresses") or ():
        yield f"vrrp:instances:{name}:addresses", vrrp.further_address(item)


def _networks(texts: Iterable[str]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Yield the networks that are more than one address, and more than one link's own."""
    for text in texts:
        own = ipaddress.ip_interface(text)
        if own.network.num_addresses > 1 and not own.is_link_local:
            yield own.network
