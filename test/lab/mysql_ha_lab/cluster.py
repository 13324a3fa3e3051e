"""The running cluster as the lab sees it: who holds the VIP, what stands in a director's table."""

from __future__ import annotations

import re

from .client import VIP
from .command import run, wait_for
from .lab import Lab
from .plan import DIRECTORS


def vip_holders(lab: Lab) -> list[str]:
    """The directors that have the VIP on their interface."""
    return [name for name in DIRECTORS if lab.host(name).is_running()
            and f" {VIP}/" in lab.run(name, ["ip", "-o", "-4", "address", "show"], check=False).stdout]  # fmt: skip


def wait_for_holder(lab: Lab, wanted: str | None = None, timeout: float = 90) -> str:
    """Wait until exactly one director holds the VIP (a certain one, if named); its name."""

    def only_one() -> str | None:
        holders = vip_holders(lab)
        right = len(holders) == 1 and wanted in (None, holders[0])
        return holders[0] if right else None

    return wait_for(f"the VIP on {wanted or 'one director'} alone", only_one, timeout, 0.5)


def table(lab: Lab, director: str) -> dict[str, dict[str, object]]:
    """ipvsadm's listing as {service: {scheduler, servers: {server: weight}}}; the tests' independent view."""
    services: dict[str, dict[str, object]] = {}
    servers: dict[str, int] = {}
    for line in lab.run(director, ["ipvsadm", "-S", "-n"]).stdout.splitlines():
        words = line.split()
        if words[0] == "-A":
            servers = {}
            services[words[2]] = {"scheduler": words[words.index("-s") + 1], "servers": servers}
        else:
            servers[words[words.index("-r") + 1]] = int(words[words.index("-w") + 1])
    return services


def wait_for_servers(lab: Lab, director: str, servers: set[str], timeout: float = 60) -> None:
    """Wait until the VIP's service on a director has exactly these servers ('192.168.1.5:3306')."""

    def equal() -> bool:
        service = table(lab, director).get(f"{VIP}:3306")
        return service is not None and set(service["servers"]) == servers  # type: ignore[call-overload]

    wait_for(f"{sorted(servers)} in the table of {director}", equal, timeout, 0.3)


def arp_answers(lab: Lab, address: str = VIP) -> set[str]:
    """The MAC addresses that answer when the client asks who has an address."""
    said = run(lab.host("client").command(["arping", "-c", "5", "-w", "8", "-I", "eth0", address]), check=False).stdout
    return {mac.lower() for mac in re.findall(r"\[([0-9A-Fa-f:]{17})\]", said)}
