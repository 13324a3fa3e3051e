"""
Reading and changing this kernel's IPVS table (of the network namespace that we are in). Knows nothing of Salt.

One conversation with the kernel is an ``Ipvs``. It reads a table, carries out changes in batches, and tells of each
refusal what was asked, the kernel's error by name, and what that means there (net/netfilter/ipvs/ip_vs_ctl.c).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import ipvs_codec as codec
import ipvs_plan as plan
from ipvs_model import (
    Connections,
    ConnectionsTable,
    Daemon,
    Entry,
    Server,
    ServerKey,
    Service,
    ServiceKey,
    Table,
    Timeouts,
)
from ipvs_netlink import Connection, NetlinkError
from ipvs_plan import ADD, DELETE, EDIT, Change

READ_TRIES = 5
DRAIN_INTERVAL = 0.5
TELL_EVERY = 10.0
# What the kernel says when somebody else changed the table between our reading and our writing.
CONCURRENT = {errno.EEXIST, errno.ESRCH, errno.ENOENT}


class IpvsError(Exception):
    """The kernel refused something; the message says what was asked, the error's name and what it means there."""

    def __init__(self, message: str, number: int = 0, is_not_loaded: bool = False) -> None:
        super().__init__(message)
        self.errno = number
        self.is_not_loaded = is_not_loaded


class Refusal(NamedTuple):
    """One change that was not made, and why."""

    change: Change
    errno: int
    reason: str

    @property
    def sentence(self) -> str:
        kind = "service" if self.change.server is None else "server"
        return f"Cannot {self.change.action} the {kind} {self.change.name}: {self.reason}"


class Outcome(NamedTuple):
    """What became of changes."""

    done: list[Change]
    refused: list[Refusal]


class Ipvs:
    """A conversation with the kernel, for as long as a ``with`` block lasts."""

    def __init__(self) -> None:
        self._connection = Connection()

    def __enter__(self) -> Ipvs:
        try:
            self._connection.__enter__()
        except NetlinkError as error:
            raise IpvsError(_no_access(error), error.errno, error.errno == errno.ENOENT) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__()

    # --- reading ---

    def table(self) -> Table:
        """Every service with its servers."""
        return self.table_and_connections()[0]

    def table_and_connections(self) -> tuple[Table, ConnectionsTable]:
        """
        Every service with its servers, and how many connections each of those has.

        A dump during which others delete misses entries without a word, so the services are read until two readings
        in a row name the same ones.
        """
        before = self._services()
        for _ in range(READ_TRIES):
            table: Table = {}
            connections: ConnectionsTable = {}
            for key, service in before.items():
                servers = {}
                for server, value, now in self._servers(key):
                    servers[server] = value
                    connections[key, server] = now
                table[key] = Entry(service, servers)
            after = self._services()
            if after.keys() == before.keys():
                break
            before = after
        return table, connections

    def service(self, key: ServiceKey) -> Entry | None:
        """One service with its servers; None if there is none."""
        try:
            replies = self._connection.ask(codec.GET_SERVICE, codec.service_named(key))
        except NetlinkError as error:
            if error.errno == errno.ESRCH:
                return None
            raise _refused("read the service " + key.name, error) from error
        if not replies:
            return None
        return Entry(codec.service_of(replies[0])[1], {server: value for server, value, _ in self._servers(key)})

    def connections(self, key: ServiceKey) -> dict[ServerKey, Connections]:
        """How many connections each server of a service has."""
        return {server: now for server, _, now in self._servers(key)}

    def statistics(self) -> dict[ServiceKey, tuple[dict[str, int], dict[ServerKey, dict[str, int]]]]:
        """The 64-bit counters and rates of every service, and of its servers."""
        found = {}
        for reply in self._dump(codec.GET_SERVICE):
            key, _ = codec.service_of(reply)
            servers = {
                codec.server_of(server, key.family)[0]: codec.statistics_of(server, codec.DEST)
                for server in self._dump(codec.GET_DEST, codec.service_named(key))
            }
            found[key] = (codec.statistics_of(reply, codec.SERVICE), servers)
        return found

    def timeouts(self) -> Timeouts:
        return codec.timeouts_of(self._ask("read the timeouts", codec.GET_CONFIG)[0])

    def info(self) -> tuple[str, int]:
        """The version of the kernel's IPVS, and how many rows its table of connections has."""
        return codec.info_of(self._ask("read the version", codec.GET_INFO)[0])

    def daemons(self) -> dict[str, Daemon]:
        """The synchronisation daemons that run, by state (master, backup)."""
        found = [codec.daemon_of(reply) for reply in self._dump(codec.GET_DAEMON)]
        return {daemon.state: daemon for daemon in found}

    # --- changing ---

    def make(self, changes: Sequence[Change]) -> Outcome:
        """Carry out changes in their order. The kernel goes on after a refusal; so do we, and say which they were."""
        if not changes:
            return Outcome([], [])
        names: dict[ServiceKey, bytes] = {}
        requests = []
        for change in changes:
            name = names.get(change.key)
            if name is None:
                name = names[change.key] = codec.service_named(change.key)
            requests.append(_request(change, name))
        try:
            errors = self._connection.batch(requests)
        except NetlinkError as error:
            raise _refused(f"make {len(changes)} changes", error) from error
        if not errors:
            return Outcome(list(changes), [])
        done = [change for place, change in enumerate(changes) if place not in errors]
        lost = {change.key for change in map(changes.__getitem__, errors) if change.server is None}
        refused = [Refusal(changes[place], number, _meaning(changes[place], number, lost))
                   for place, number in sorted(errors.items())]  # fmt: skip
        return Outcome(done, refused)

    def zero(self, key: ServiceKey | None = None) -> None:
        """Set the counters of a service, or of all, to zero."""
        asked = "zero the counters" + (f" of {key.name}" if key else "")
        self._ask(asked, codec.ZERO, codec.service_named(key) if key else b"")

    def flush(self) -> None:
        """Remove everything."""
        self._ask("remove every service", codec.FLUSH)

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set the timeouts; 0 keeps one."""
        self._ask(f"set the timeouts {tuple(timeouts)}", codec.SET_CONFIG, codec.timeouts_set(timeouts))

    def start_daemon(self, daemon: Daemon) -> None:
        asked = f"start the {daemon.state} daemon on {daemon.interface}"
        self._ask(asked, codec.NEW_DAEMON, codec.daemon_set(daemon), _DAEMON_MEANINGS)

    def stop_daemon(self, state: str) -> None:
        try:
            self._ask(f"stop the {state} daemon", codec.DEL_DAEMON, codec.daemon_named(state), _DAEMON_MEANINGS)
        except IpvsError as error:
            # The kernel's word for a daemon that ended before it had its first turn (kthread() in kthread.c).
            if error.errno != errno.EINTR or state in self.daemons():
                raise

    # --- the conversation ---

    def _services(self) -> dict[ServiceKey, Service]:
        return dict(codec.service_of(reply) for reply in self._dump(codec.GET_SERVICE))

    def _servers(self, key: ServiceKey) -> Iterable[tuple[ServerKey, Server, Connections]]:
        for reply in self._dump(codec.GET_DEST, codec.service_named(key)):
            yield codec.server_of(reply, key.family)

    def _dump(self, command: int, payload: bytes = b"") -> list[bytes]:
        try:
            return self._connection.dump(command, payload)
        except NetlinkError as error:
            raise _refused("read the table", error) from error

    def _ask(
        self, asked: str, command: int, payload: bytes = b"", meanings: dict[int, str] | None = None
    ) -> list[bytes]:
        try:
            return self._connection.ask(command, payload)
        except NetlinkError as error:
            raise _refused(asked, error, meanings) from error


def apply(
    ipvs: Ipvs,
    decide: Callable[[Table], list[Change]],
    drain: float = 0,
    progress: Callable[[str], None] = lambda _: None,
    keys: Sequence[ServiceKey] | None = None,
) -> Outcome:
    """
    Bring the table (or only the services with these ``keys``) to what ``decide`` says has to change in it.

    When a refusal shows that somebody else changed the table at the same time, it is read and decided once more.
    Servers that have to go get no new connections for at most ``drain`` seconds, until the last one has ended.
    """
    outcome = _apply_once(ipvs, decide, drain, progress, keys)
    if not any(refusal.errno in CONCURRENT for refusal in outcome.refused):
        return outcome
    again = _apply_once(ipvs, decide, drain, progress, keys)
    return Outcome([*outcome.done, *again.done], again.refused)


def _apply_once(
    ipvs: Ipvs,
    decide: Callable[[Table], list[Change]],
    drain: float,
    progress: Callable[[str], None],
    keys: Sequence[ServiceKey] | None,
) -> Outcome:
    present = ipvs.table() if keys is None else {key: entry for key in keys if (entry := ipvs.service(key))}
    changes = decide(present)
    if not changes:
        return Outcome([], [])
    first = ipvs.make([change for change in changes if change.action != DELETE])
    removals = [change for change in changes if change.action == DELETE]
    if first.refused:
        # What could not be added may be what was to take over.
        kept = [Refusal(change, 0, _KEPT) for change in removals]
        return Outcome(first.done, [*first.refused, *kept])
    leaving = plan.leaving(removals, present) if drain else []
    if leaving:
        _drain(ipvs, leaving, drain, progress)
    last = ipvs.make(removals)
    return Outcome([*first.done, *last.done], last.refused)


def drain(
    ipvs: Ipvs, key: ServiceKey, server: ServerKey, seconds: float, progress: Callable[[str], None] = lambda _: None
) -> Connections:
    """Give a server no new connections and wait for the end of those it has; how many are left after ``seconds``."""
    entry = ipvs.service(key)
    if entry is None or server not in entry.servers:
        raise IpvsError(f"drain {server.name}: {key.name} has no such server", errno.ENOENT)
    return _drain(ipvs, [(key, server, entry.servers[server])], seconds, progress)[key, server]


def _drain(
    ipvs: Ipvs,
    leaving: Sequence[tuple[ServiceKey, ServerKey, Server]],
    seconds: float,
    progress: Callable[[str], None],
) -> ConnectionsTable:
    quiet = [Change(EDIT, key, server, old, old._replace(weight=0)) for key, server, old in leaving if old.weight]
    ipvs.make(quiet)
    end = time.monotonic() + seconds
    told = (-1, 0.0)
    while True:
        left: ConnectionsTable = {}
        for key in {key for key, _, _ in leaving}:
            now = ipvs.connections(key)
            gone = Connections(0, 0, 0)
            left.update({(key, server): now.get(server, gone) for one, server, _ in leaving if one == key})
        open_ones = sum(now.total for now in left.values())
        to_go = max(0.0, end - time.monotonic())
        if open_ones != told[0] or time.monotonic() - told[1] > TELL_EVERY:
            progress(f"{open_ones} connections left, {to_go:.0f} s to go")
            told = (open_ones, time.monotonic())
        if not open_ones or not to_go:
            return left
        time.sleep(min(DRAIN_INTERVAL, max(0.01, to_go)))


# --- commands and what their refusal means ---


def _request(change: Change, name: bytes) -> tuple[int, bytes]:
    if change.server is None:
        if change.action == DELETE:
            return codec.DEL_SERVICE, name
        command = codec.NEW_SERVICE if change.action == ADD else codec.SET_SERVICE
        assert isinstance(change.new, Service)  # noqa: S101 - for the reader and the type checker
        return command, codec.service_set(change.key, change.new)
    if change.action == DELETE:
        return codec.DEL_DEST, codec.server_named(name, change.server)
    command = codec.NEW_DEST if change.action == ADD else codec.SET_DEST
    assert isinstance(change.new, Server)  # noqa: S101
    return command, codec.server_set(name, change.server, change.new)


def _meaning(change: Change, number: int, lost: set[ServiceKey]) -> str:
    """Why the kernel refused a change, by what it was."""
    if change.server is not None and change.action == ADD and number == errno.ESRCH and change.key in lost:
        return "its service could not be added"
    return f"{_named(number)}: {_why(change, number)}"


def _why(change: Change, number: int) -> str:
    if number in _GENERAL_MEANINGS:
        return _GENERAL_MEANINGS[number]
    if change.server is None:
        if number == errno.ENOENT and isinstance(change.new, Service):
            engine = f", or no persistence engine {change.new.engine}" if change.new.engine else ""
            return (
                f"this kernel has no scheduler {change.new.scheduler}{engine}; "
                f"try: modprobe ip_vs_{change.new.scheduler.replace('-', '_')}"
            )
        return _SERVICE_MEANINGS.get(number, os.strerror(number))
    return _SERVER_MEANINGS.get(number, os.strerror(number))


def _refused(asked: str, error: NetlinkError, meanings: dict[int, str] | None = None) -> IpvsError:
    if not error.errno:
        return IpvsError(f"Cannot {asked}: {error}")
    meaning = {**_SERVICE_MEANINGS, **_GENERAL_MEANINGS, **(meanings or {})}.get(error.errno)
    return IpvsError(f"Cannot {asked}: {_named(error.errno)}: {meaning or os.strerror(error.errno)}", error.errno)


def _no_access(error: NetlinkError) -> str:
    if error.errno == errno.ENOENT:
        return "Cannot reach IPVS: this kernel has no IPVS loaded; load it with: modprobe ip_vs"
    if error.errno == errno.EPERM:
        return f"Cannot reach IPVS: {_GENERAL_MEANINGS[errno.EPERM]}"
    if error.errno == errno.EPROTONOSUPPORT:
        return "Cannot reach IPVS: this kernel has no generic netlink"
    return f"Cannot reach IPVS: {error.name or 'netlink'}: {error}"


def _named(number: int) -> str:
    return errno.errorcode.get(number, f"error {number}")


_KEPT = "kept, because something else could not be added or edited"
_GENERAL_MEANINGS = {
    errno.EPERM: "this needs CAP_NET_ADMIN outside of any user namespace, that is, root on the host itself",
    errno.ENOMEM: "the kernel has no memory left for it",
    errno.ENOBUFS: "the kernel had more to say than fits; what was done is not known",
}
_SERVICE_MEANINGS = {
    errno.EEXIST: "there is such a service already",
    errno.ESRCH: "there is no such service",
    errno.EINVAL: "the kernel finds a setting of it impossible",
    errno.EAFNOSUPPORT: "this kernel has no IPVS for IPv6",
}
_SERVER_MEANINGS = {
    errno.EEXIST: "the service has such a server already",
    errno.ESRCH: "there is no such service",
    errno.ENOENT: "the service has no such server",
    errno.ERANGE: "a weight or threshold is out of range, or the lower threshold above the upper one",
    errno.EINVAL: "the kernel finds it impossible: to this host's routes it is no host's address, or it is of another "
    "address family while a synchronisation daemon runs",
}
_DAEMON_MEANINGS = {
    errno.EEXIST: "it runs already",
    errno.ESRCH: "it does not run",
    errno.ENODEV: "there is no such interface",
    errno.EINVAL: "the kernel finds a setting of it impossible, or there are servers of another address family than "
    "their service",
}
