"""
What has to change in the kernel's table so that it is what the pillar asks for, in what keepalived looks after.

Plain Python that knows nothing of Salt, and changes nothing itself. keepalived compares its new configuration with its
old one and never looks at the kernel: it does not see what others changed, leaves what was there before it started, and
applies new thresholds only along with something else (2.2.7 to 2.4.3, ``clear_diff_services`` in
``keepalived/check/ipwrapper.c``). So the table is compared here, and each of its parts has one owner:

- Which services there are, what they are set to, which servers may be in them, and how these are reached: the pillar.
- Which of these servers are in the table right now, and with what weight: keepalived, by its checks. A server that a
  check has taken out stays out; where a check or a file sets weights, they stay.
- Everything else in these services is nobody's and goes. Every other service is somebody else's and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import ipvs_plan as plan
import ipvs_rules as rules
import keepalived_endpoints as endpoints
from ipvs_model import Entry, Server, ServerKey, Service, ServiceKey, Table
from ipvs_plan import Change
from keepalived_dump import Held, HeldServer, HeldService
from pillar_rules import part

#: The sorry servers of services.
Sorry = dict[ServiceKey, dict[ServerKey, Server]]


class Asked(NamedTuple):
    """What the pillar asks for."""

    wanted: Table
    """The table while all checks pass."""
    sorry: Sorry
    unnamed: frozenset[ServiceKey]
    """Services that keepalived makes firewall marks of, whose numbers it chooses itself."""
    dump_file: str
    """What the pillar says of where keepalived writes its data."""


def asked(settings: Mapping[str, Any]) -> Asked:
    """
    Return what the pillar asks for.

    settings
        The value of the pillar key ``mysql_ha``, valid by the rules of ``mysql_ha_pillar.errors``. Defaults need not be
        applied. ``ValueError`` and the like for what is not valid.
    """
    given = {"nodes": {}, "endpoints": {}, **settings}
    global_defs = part(part(given, "keepalived"), "global_defs")
    unnamed: frozenset[ServiceKey] = frozenset()
    if "nftables_ipvs" in global_defs:
        groups = [server for server in endpoints.virtual_servers(given) if server.kind == "group"]
        names = (name for server in groups for service in server.services for name in service.names)
        unnamed = frozenset(map(rules.service_key, names))
    wanted = {key: entry for key, entry in rules.table(endpoints.table(given)).items() if key not in unnamed}
    sorry: Sorry = {}
    for name, servers in endpoints.sorry_table(given).items():
        key = rules.service_key(name)
        sorry[key] = {}
        for server_name, words in servers.items():
            server_key = rules.server_key(server_name, key)
            sorry[key][server_key] = rules.server(key, server_key, words, f"{name} -> {server_name}")
    return Asked(wanted, sorry, unnamed, str(global_defs.get("state_dump_file") or ""))


def corrections(wanted: Table, present: Table, held: Held | None, sorry: Sorry | None = None) -> list[Change]:
    """
    Return what makes the kernel's table right, in the least disruptive order; empty when it is.

    wanted
        The table while all checks pass.
    present
        The kernel's.
    held
        What keepalived itself has. ``None`` if that is not known: then servers that are missing and weights are left as
        they are, since a check may be the reason, and the rest is made right.
    sorry
        The sorry servers.
    """
    target: Table = {}
    for key, entry in wanted.items():
        own = present.get(key)
        there = own.servers if own else {}
        stand_ins = (sorry or {}).get(key, {})
        if held is None:
            if own is not None:
                target[key] = Entry(entry.service, _as_they_are(entry, there, stand_ins))
        elif key in held:
            target[key] = Entry(entry.service, _as_held(entry, held[key], there, stand_ins))
    return plan.changes(target, present)


def _as_they_are(
    entry: Entry, there: Mapping[ServerKey, Server], stand_ins: Mapping[ServerKey, Server]
) -> dict[ServerKey, Server]:
    """Return the servers that a service should have, as far as that can be said without knowing its checks."""
    servers = {}
    for key, server in there.items():
        known = entry.servers.get(key, stand_ins.get(key))
        if known is not None:
            servers[key] = known._replace(weight=server.weight)
    return servers


def _as_held(
    entry: Entry, held: HeldService, there: Mapping[ServerKey, Server], stand_ins: Mapping[ServerKey, Server]
) -> dict[ServerKey, Server]:
    """Return the servers that a service should have while keepalived knows this of them."""
    servers = {}
    for key, server in entry.servers.items():
        own = held.servers.get(key)
        if own is not None and own.is_in_table:
            servers[key] = server._replace(weight=_weight(own, held))
    for key, server in stand_ins.items():
        if key in entry.servers:
            # Server and sorry server in one: which of the two it is at the moment, keepalived does not say.
            servers.pop(key, None)
            if key in there:
                servers[key] = there[key]
        elif held.sorry is not None and held.sorry.is_in_table:
            servers[key] = server._replace(weight=server.weight if held.sorry.is_in_use else 0)
    return servers


def _weight(server: HeldServer, held: HeldService) -> int:
    """Return the weight with which keepalived has put a server into the table."""
    sorry_is_in_use = held.sorry is not None and held.sorry.is_in_use
    return 0 if server.inhibit and (not server.is_alive or sorry_is_in_use) else server.effective


def disagreements(wanted: Table, held: Held) -> list[str]:
    """Return in what keepalived has it otherwise than the pillar, as sentences; empty once it has read it."""
    found = [f"it has no {key.name}" for key in wanted if key not in held]
    found += [f"it still has {key.name}" for key in held if key not in wanted]
    for key, entry in wanted.items():
        own = held.get(key)
        if own is None:
            continue
        found += [f"{key.name}: {words}" for words in _set_otherwise(key, own.service, entry.service)]
        found += [
            f"{key.name}: it has no server {server.name}" for server in entry.servers if server not in own.servers
        ]
        found += [f"{key.name}: it still has {server.name}" for server in own.servers if server not in entry.servers]
        for server, value in entry.servers.items():
            there = own.servers.get(server)
            if there is not None:
                found += [f"{key.name} -> {server.name}: it has the {words}" for words in _unlike(there, value)]
    return found


def _set_otherwise(key: ServiceKey, own: Service, wanted: Service) -> Iterator[str]:
    """Yield what a service is set to otherwise. Each of it: a reload is over only when keepalived has all of it."""
    here, there = (service._replace(engine="").as_dict(key.family) for service in (own, wanted))
    for name in here | there:
        if name not in here:
            yield f"it has no {name} {there[name]} yet"
        elif name not in there:
            yield f"it still has the {name} {here[name]}"
        elif here[name] != there[name]:
            yield f"it has the {name} {here[name]}, not {there[name]}"


def _unlike(there: HeldServer, value: Server) -> Iterable[str]:
    """Yield what of a server keepalived has otherwise."""
    for name in ("weight", "upper_threshold", "lower_threshold"):
        if getattr(there, name) != getattr(value, name):
            yield f"{name} {getattr(there, name)}, not {getattr(value, name)}"
    if there.method != value.method:
        yield "forward method of before"


def after_reload(wanted: Table, present: Table, held: Held) -> tuple[Table, Held]:
    """
    Return what the kernel's table will be, and what keepalived will have, once it has read what is wanted.

    wanted
        The table while all checks pass, by the new configuration.
    present
        The kernel's, now.
    held
        What keepalived has now, by the old one; empty if it does not run yet.
    """
    after = {key: Entry(entry.service, dict(entry.servers)) for key, entry in present.items()
             if key in wanted or key not in held}  # fmt: skip
    will_hold: Held = {}
    for key, entry in wanted.items():
        before = held.get(key)
        there = after.get(key)
        if there is None and before is None:
            there = after[key] = Entry(entry.service, {})
        elif there is not None and before is not None and _differs(before, entry):
            there = after[key] = Entry(entry.service, there.servers)
        servers = {}
        for server, value in entry.servers.items():
            own = before.servers.get(server) if before else None
            servers[server] = new = _held_then(own, value)
            if there is None:
                # Somebody took the service away, and keepalived goes on as if it were there.
                continue
            if own is None:
                there.servers.setdefault(server, value)
            elif new.is_in_table and (own.method, _weight_of(own)) != (new.method, _weight_of(new)):
                there.servers[server] = value._replace(weight=_weight_of(new))
        for server in before.servers if before and there is not None else ():
            if server not in servers:
                there.servers.pop(server, None)
        will_hold[key] = HeldService(entry.service, servers, before.sorry if before else None)
    return after, will_hold


def _differs(before: HeldService, entry: Entry) -> bool:
    """Return whether keepalived edits a service. (Its data do not tell the persistence engine.)"""
    return before.service != entry.service._replace(engine="")


def _held_then(own: HeldServer | None, value: Server) -> HeldServer:
    """Return what keepalived will know of a server."""
    of_checks = own.effective - own.weight if own else 0
    return HeldServer(
        method=value.method,
        weight=value.weight,
        effective=max(value.weight + of_checks, 0),
        upper_threshold=value.upper_threshold,
        lower_threshold=value.lower_threshold,
        is_alive=own.is_alive if own else True,
        is_in_table=own.is_in_table if own else True,
        inhibit=own.inhibit if own else False,
    )


def _weight_of(server: HeldServer) -> int:
    return server.effective if server.is_alive or not server.inhibit else 0
