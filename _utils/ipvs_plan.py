"""
What has to change in an IPVS table so that it becomes the wanted one, in the order that disturbs least. Knows nothing
of Salt, and changes nothing itself.

Order: what is new is added first, then what differs is edited in place, and last is removed what has to go. Additions
first is more than courtesy: the kernel keeps removed servers for two minutes in a list that each addition walks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import ipvs_rules as rules
from ipvs_model import Entry, Server, ServerKey, Service, ServiceKey, Table

ADD, EDIT, DELETE = "add", "edit", "delete"


class Change(NamedTuple):
    """One change of one service (``server`` is None then) or one server."""

    action: str
    key: ServiceKey
    server: ServerKey | None
    old: Service | Server | None
    new: Service | Server | None

    @property
    def name(self) -> str:
        return self.key.name if self.server is None else f"{self.key.name} -> {self.server.name}"

    def fields(self) -> dict[str, dict[str, Any]]:
        """What changes, as ``{field: {old, new}}``."""
        old, new = self._words(self.old), self._words(self.new)
        names = [*new, *(name for name in old if name not in new)]
        return {name: {"old": old.get(name), "new": new.get(name)} for name in names if old.get(name) != new.get(name)}

    def _words(self, value: Service | Server | None) -> dict[str, Any]:
        if value is None:
            return {}
        return value.as_dict(self.key.family) if isinstance(value, Service) else value.as_dict()


class Scope:
    """Which services a wanted table speaks for. Without words it is all of them."""

    def __init__(self, words: Iterable[object] | None = None, what: str = "scope") -> None:
        self._names: set[ServiceKey] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._marks: set[int] = set()
        self.is_everything = words is None
        for word in [words] if isinstance(words, str) else words or ():
            self._take(word, what)

    def _take(self, word: object, what: str) -> None:
        parts = word.split() if isinstance(word, str) else []
        if len(parts) == 2 and parts[0] == "fwmark":
            self._marks.add(rules.number(f"{what}: the fwmark", parts[1], 1, rules.MAX_FWMARK))
        elif len(parts) > 1:
            self._names.add(rules.service_key(word, what))
        else:
            try:
                self._networks.append(ipaddress.ip_network(word if isinstance(word, str) else ""))
            except ValueError:
                allowed = f"an address, a network such as 192.168.1.0/24, 'fwmark 5', or a service: {rules.NAMES}"
                raise rules.refuse(what, word, allowed) from None

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, ServiceKey):
            return False
        if self.is_everything or key in self._names or (key.fwmark and key.fwmark in self._marks):
            return True
        if not key.address or not self._networks:
            return False
        address = ipaddress.ip_address(key.address)
        return any(address in network for network in self._networks)


class Nothing(Scope):
    """The scope that holds no service."""

    def __init__(self) -> None:
        super().__init__(())


def scope_of(words: Iterable[object] | None, what: str, default: type[Scope] = Scope) -> Scope:
    """The scope in an operator's words; without any, the default."""
    return default() if words is None else Scope(words, what)


def overlap(wanted: Iterable[ServiceKey], ignore: Scope) -> list[str]:
    """The wanted services that are to be ignored at the same time: somebody else owns them."""
    return sorted(key.name for key in wanted if key in ignore)


def changes(
    wanted: Table, present: Table, purge: bool = False, scope: Scope | None = None, ignore: Scope | None = None
) -> list[Change]:
    """
    What makes ``present`` hold ``wanted``, in the least disruptive order; empty when it does.

    purge
        Remove services that are not wanted, if they are in ``scope`` and not in ``ignore``. Servers of wanted services
        are always made equal.
    """
    added: list[Change] = []
    new_servers: list[Change] = []
    edited: list[Change] = []
    edited_servers: list[Change] = []
    removed_servers: list[Change] = []
    for key, entry in wanted.items():
        there = present.get(key)
        if there is None:
            added.append(Change(ADD, key, None, None, entry.service))
            new_servers += [Change(ADD, key, server, None, value) for server, value in entry.servers.items()]
            continue
        if there.service != entry.service:
            edited.append(Change(EDIT, key, None, there.service, entry.service))
        if there.servers == entry.servers:
            continue
        for server, value in entry.servers.items():
            old = there.servers.get(server)
            if old is None:
                new_servers.append(Change(ADD, key, server, None, value))
            elif old != value:
                edited_servers.append(Change(EDIT, key, server, old, value))
        removed_servers += [
            Change(DELETE, key, server, value, None)
            for server, value in there.servers.items()
            if server not in entry.servers
        ]
    removed = unwanted(wanted, present, scope or Scope(), ignore or Nothing()) if purge else []
    return [*added, *edited, *new_servers, *edited_servers, *removed_servers, *removed]


def unwanted(wanted: Mapping[ServiceKey, Any], present: Table, scope: Scope, ignore: Scope) -> list[Change]:
    """The removal of the services that nobody wants; a service's servers go with it."""
    return [
        Change(DELETE, key, None, entry.service, None)
        for key, entry in present.items()
        if key not in wanted and key in scope and key not in ignore
    ]


def leaving(planned: Iterable[Change], present: Table) -> list[tuple[ServiceKey, ServerKey, Server]]:
    """The servers that these changes take away, with those of services that go."""
    found: list[tuple[ServiceKey, ServerKey, Server]] = []
    for change in planned:
        if change.action != DELETE:
            continue
        entry: Entry | None = present.get(change.key)
        if change.server is None:
            found += [(change.key, server, value) for server, value in (entry.servers if entry else {}).items()]
        elif isinstance(change.old, Server):
            found.append((change.key, change.server, change.old))
    return found


def as_dict(planned: Iterable[Change]) -> dict[str, dict[str, dict[str, Any]]]:
    """Changes as a state shows them: ``{service or server: {field: {old, new}}}``."""
    return {change.name: change.fields() for change in planned}
