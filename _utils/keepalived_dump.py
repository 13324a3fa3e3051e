"""
What keepalived's checker knows of its virtual servers: the file that it writes on SIGUSR1 (``keepalived_check.data``).

Plain Python that knows nothing of Salt. The file is meant for people, and keepalived promises nothing of how it looks.
What is read here is the same from 2.2.7 to 2.4.3 (``dump_vs`` and ``dump_rs`` in ``keepalived/check/check_data.c``),
but that 2.2.7 says less of sorry servers. Anything that is not as expected is a ``ValueError``, never a guess.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

import ipvs_model as model
from ipvs_model import ServerKey, Service, ServiceKey

_BEGIN = "------< Global definitions >------"
_GROUP, _VIRTUAL, _REAL = "Virtual server group", "Virtual server", "Real server"
_TITLE = re.compile(r" {0,3}------< (.+) >------")
_OF_A_SORRY_SERVER = "     "
_PROTOCOLS = {name.upper(): number for number, name in model.PROTOCOLS.items()} | {"none": 0}
_METHODS = {"DR": model.DR, "NAT": model.NAT, "TUN": model.TUNNEL}
_BOOLEANS = {"0": False, "1": True, "OFF": False, "ON": True}
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_FLAGS = {"sh-fallback": 0x8, "sh-port": 0x10, "mh-fallback": 0x8, "mh-port": 0x10,
          "flag-1": 0x8, "flag-2": 0x10, "flag-3": 0x20, "One packet scheduling": model.ONE_PACKET}  # fmt: skip


class HeldServer(NamedTuple):
    """A real server, as keepalived has it."""

    method: int
    weight: int
    """What its configuration says."""
    effective: int
    """What it has now: checks may add to it or take from it."""
    upper_threshold: int
    lower_threshold: int
    is_alive: bool
    is_in_table: bool
    inhibit: bool
    """Whether it stays in the table, with the weight 0, while its checks fail."""


class HeldSorry(NamedTuple):
    """A sorry server, as keepalived has it."""

    is_in_use: bool
    is_in_table: bool


class HeldService(NamedTuple):
    """A service of the kernel's table, as keepalived has it. (Not the name of its persistence engine.)"""

    service: Service
    servers: dict[ServerKey, HeldServer]
    sorry: HeldSorry | None


Held = dict[ServiceKey, HeldService]


def parse(text: str) -> Held:
    """Return what keepalived holds, by the services of the kernel's table; ``ValueError`` if the text says no such."""
    if _BEGIN not in text[:4096]:
        raise ValueError("it does not begin as keepalived's data do")
    groups: dict[str, list[str]] = {}
    virtual: list[tuple[list[str], list[list[str]]]] = []
    for title, lines in _sections(text):
        if title == _GROUP:
            # Of a name that holds a comma as well, the last two are about families.
            name = _fields(lines)["Virtual Server Group"].rsplit(",", 2)[0]
            groups[name] = lines
        elif title == _VIRTUAL:
            virtual.append((lines, []))
        elif title == _REAL and virtual:
            virtual[-1][1].append(lines)
    found: Held = {}
    for lines, servers in virtual:
        try:
            found.update(_services(lines, servers, groups))
        except (KeyError, IndexError) as missing:
            raise ValueError(f"a virtual server lacks {missing}") from missing
    return found


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each title with the lines below it."""
    title, lines = "", []
    for line in text.splitlines():
        match = _TITLE.fullmatch(line)
        if match:
            yield title, lines
            title, lines = match[1], []
        else:
            lines.append(line)
    yield title, lines


def _fields(lines: list[str]) -> dict[str, str]:
    """Return what lines such as ``RS set = 1`` and ``alpha is OFF`` say; the first one of a name counts."""
    found: dict[str, str] = {}
    for line in lines:
        name, sign, value = line.strip().partition(" = ")
        if not sign:
            name, _, value = name.partition(" is ")
        found.setdefault(name, value)
    return found


def _services(lines: list[str], servers: list[list[str]], groups: dict[str, list[str]]) -> Held:
    """Return the services of one virtual server, which are many if it stands for a group."""
    own = [line for line in lines if not line.startswith(_OF_A_SORRY_SERVER)]
    fields = _fields(own)
    family = _FAMILIES.get(fields["Address family"], socket.AF_INET)
    protocol = _PROTOCOLS.get(fields["protocol"], 0)
    if "VS GROUP" in fields:
        # "[NAME]:0": which of the virtual servers of this group it is.
        keys = list(_members(groups[fields["VS GROUP"].rpartition("]:")[0][1:]], family, protocol))
    elif "VS FWMARK" in fields:
        keys = [ServiceKey(family, 0, b"", model.NO_PORT, int(fields["VS FWMARK"]))]
    else:
        address, _, port = fields["VS VIP"].partition(", VPORT = ")
        keys = [ServiceKey(family, protocol, ip_address(address).packed, int(port), 0)]
    real = [_server(_fields(one)) for one in servers]
    sorry = _sorry(lines, fields)
    return {
        key: HeldService(
            _service(key.family, fields),
            {ServerKey(address, _port(key, held.method, port)): held for address, port, held in real},
            sorry,
        )
        for key in keys
    }


def _members(lines: list[str], family: int, protocol: int) -> Iterator[ServiceKey]:
    """Yield the services of a group."""
    for line in lines:
        name, _, value = line.strip().partition(" = ")
        if name == "FWMARK":
            mark, _, word = value.partition(" ")
            own = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}.get(word, family)
            yield ServiceKey(own, 0, b"", model.NO_PORT, int(mark))
        elif name in ("VIP", "VIP Range"):
            text, _, port = value.partition(", VPORT = ")
            first, dash, last = text.partition("-")
            begin = ip_address(first)
            count = int(ip_address(last)) - int(begin) + 1 if dash else 1
            for offset in range(count):
                packed = (begin + offset).packed
                yield ServiceKey(model.FAMILY_OF_SIZE[len(packed)], protocol, packed, int(port), 0)


def _service(family: int, fields: dict[str, str]) -> Service:
    """Return what a service is set to."""
    flags = sum({bit for name, bit in _FLAGS.items() if fields.get(name, "").startswith("enabled")})
    timeout, netmask = int(fields.get("persistence timeout", 0)), model.whole_netmask(family)
    if timeout:
        flags |= model.PERSISTENT
        given = fields.get("persistence granularity")
        if given:
            netmask = int(given) if family == socket.AF_INET6 else int(ip_address(given))
    return Service(fields["lvs_sched"], flags, timeout, netmask, "")


def _server(fields: dict[str, str]) -> tuple[bytes, int, HeldServer]:
    """Return the address and port of a real server, and what else is said of it."""
    address, port = fields["RIP"].split(", RPORT = ")
    lower, upper = fields["connection limit range"].split(" -> ")
    held = HeldServer(
        method=_METHODS[fields["forwarding method"].partition(",")[0]],
        weight=int(fields["initial weight"]),
        effective=min(max(int(fields["effective weight"]), 0), 2**31 - 1),
        upper_threshold=int(upper),
        lower_threshold=int(lower),
        is_alive=_BOOLEANS[fields["alive"]],
        is_in_table=_BOOLEANS[fields["RS set"]],
        inhibit=_BOOLEANS[fields["Inhibit on failure"]],
    )
    # The last line that there is for every one: without it the text breaks off.
    _BOOLEANS[fields["reloaded"]]
    return ip_address(address).packed, int(port.partition(",")[0]), held


def _sorry(lines: list[str], fields: dict[str, str]) -> HeldSorry | None:
    """Return what is said of the sorry server, or follows from what is said of the quorum."""
    if "sorry server" not in fields and "sorry server (duplicates rs)" not in fields:
        return None
    own = _fields([line for line in lines if line.startswith(_OF_A_SORRY_SERVER)])
    # 2.2.7 says neither. It is in use just while the quorum is lost.
    in_use = _BOOLEANS[own["alive"]] if "alive" in own else not _BOOLEANS[fields["quorum_state_up"]]
    in_table = _BOOLEANS[own["set"]] if "set" in own else in_use or _BOOLEANS[own["Inhibit on failure"]]
    return HeldSorry(in_use, in_table)


def _port(key: ServiceKey, method: int, port: int) -> int:
    """Return the port under which the kernel has a server: only NAT can have another than the service."""
    if method != model.NAT:
        return key.port
    return port or key.port
