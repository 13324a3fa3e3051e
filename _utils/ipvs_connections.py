"""
The kernel's IPVS connections, from /proc/net/ip_vs_conn (netlink has none). Knows nothing of Salt.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import ipvs_model as model

PLACE = Path("/proc/net/ip_vs_conn")
# Address, port, address, port, address, port: client, virtual, real.
_FIELDS = 9


class Connection(NamedTuple):
    """One connection. ``expires`` is in seconds; addresses are packed."""

    protocol: str
    client: tuple[bytes, int]
    virtual: tuple[bytes, int]
    server: tuple[bytes, int]
    state: str
    expires: int

    def as_dict(self) -> dict[str, str | int]:
        return {
            "protocol": self.protocol,
            "client": model.endpoint(*self.client),
            "virtual": model.endpoint(*self.virtual),
            "server": model.endpoint(*self.server),
            "state": self.state,
            "expires": self.expires,
        }


def read(place: Path = PLACE) -> list[Connection]:
    """All connections. Raises OSError where there is no such file: the kernel has no IPVS loaded."""
    with place.open(encoding="ascii", errors="replace") as file:
        return list(parse(file))


def parse(lines: Iterable[str]) -> Iterator[Connection]:
    """
    The connections in lines such as ``TCP C0A8011E A8B4 C0A80164 0CEA C0A80105 0CEA ESTABLISHED     899``. IPv6
    addresses are spelt out. Lines of another shape (the heading) are passed over.
    """
    for line in lines:
        words = line.split()
        if len(words) < _FIELDS:
            continue
        ends = [_end(words[place], words[place + 1]) for place in (1, 3, 5)]
        if None in ends or not words[8].isdigit():
            continue
        client, virtual, server = (end for end in ends if end is not None)
        yield Connection(words[0].lower(), client, virtual, server, words[7], int(words[8]))


def _end(address: str, port: str) -> tuple[bytes, int] | None:
    try:
        packed = socket.inet_pton(socket.AF_INET6, address) if ":" in address else bytes.fromhex(address)
        number = int(port, 16)
    except (OSError, ValueError):
        return None
    return (packed, number) if len(packed) in model.FAMILY_OF_SIZE and number <= 65535 else None
