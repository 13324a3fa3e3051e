"""The LAN: one bridge in a network namespace of its own. It has no uplink."""

from __future__ import annotations

from pathlib import Path

from .command import run
from .plan import LAB_ADDRESS, LAN, HostPlan, LabError, LabPlan

BRIDGE = "lan"


def namespaces() -> set[str]:
    """The names of all network namespaces on this machine."""
    place = Path("/run/netns")
    return {entry.name for entry in place.iterdir()} if place.exists() else set()


def _ip(namespace: str, *words: str, check: bool = True) -> None:
    run(["ip", "-n", namespace, *words], check=check)


def ensure_lan(plan: LabPlan) -> None:
    """Make the LAN's namespace with its bridge, unless it stands."""
    namespace = plan.lan_namespace
    if namespace not in namespaces():
        run(["ip", "netns", "add", namespace])
    if not _has_link(namespace, BRIDGE):
        # Without these two a port is deaf for 30 s, and a moved VIP is learnt late.
        _ip(namespace, "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0")
    _ip(namespace, "link", "set", "lo", "up")
    _ip(namespace, "link", "set", BRIDGE, "up")
    _ip(namespace, "addr", "replace", f"{LAB_ADDRESS}/{LAN.prefixlen}", "dev", BRIDGE)


def _has_link(namespace: str, link: str) -> bool:
    return run(["ip", "-n", namespace, "link", "show", link], check=False).returncode == 0


def plug_container(lan: str, host: HostPlan) -> None:
    """A new namespace for the host, as after power-on, with eth0 on the bridge."""
    unplug(lan, host)
    run(["ip", "netns", "add", host.namespace])
    _ip(
        lan,
        "link",
        "add",
        host.port,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "address",
        host.mac,
        "netns",
        host.namespace,
    )
    _ip(lan, "link", "set", host.port, "master", BRIDGE, "up")


def plug_guest(lan: str, host: HostPlan) -> None:
    """A tap on the bridge for the guest's kernel."""
    if not _has_link(lan, host.port):
        _ip(lan, "tuntap", "add", "dev", host.port, "mode", "tap")
    _ip(lan, "link", "set", host.port, "master", BRIDGE, "up")


def unplug(lan: str, host: HostPlan) -> None:
    """Take away what connects the host; fine when there is nothing."""
    if lan in namespaces():
        _ip(lan, "link", "delete", host.port, check=False)
    if not host.own_kernel and host.namespace in namespaces():
        run(["ip", "netns", "delete", host.namespace])


def remove_lan(plan: LabPlan) -> None:
    if plan.lan_namespace in namespaces():
        run(["ip", "netns", "delete", plan.lan_namespace])


def cut(plan: LabPlan, one: HostPlan, other: HostPlan) -> None:
    """Drop everything that travels between two hosts, both ways, ARP included."""
    if one.name == other.name:
        raise LabError(f"cut: {one.name} cannot be cut from itself")
    table = ["nft", "add", "table", "bridge", "lab"]
    chain = ["nft", "add", "chain", "bridge", "lab", "cuts", "{ type filter hook forward priority 0; }"]
    for words in (table, chain):
        _in_lan(plan, words)
    for source, target in ((one, other), (other, one)):
        _in_lan(
            plan,
            [
                "nft",
                "add",
                "rule",
                "bridge",
                "lab",
                "cuts",
                "iifname",
                source.port,
                "oifname",
                target.port,
                "drop",
                "comment",
                f'"{_pair(one, other)}"',
            ],
        )


def heal(plan: LabPlan, one: HostPlan | None = None, other: HostPlan | None = None) -> None:
    """Let traffic pass again: between two hosts, or everywhere."""
    if one is None or other is None:
        _in_lan(plan, ["nft", "delete", "table", "bridge", "lab"], check=False)
        return
    listed = _in_lan(plan, ["nft", "-a", "list", "chain", "bridge", "lab", "cuts"], check=False)
    for line in listed.splitlines():
        if f'"{_pair(one, other)}"' in line:
            handle = line.rsplit(" ", 1)[1]
            _in_lan(plan, ["nft", "delete", "rule", "bridge", "lab", "cuts", "handle", handle])


def cuts(plan: LabPlan) -> list[str]:
    """The pairs of hosts that are cut from each other, as 'one-other'."""
    listed = _in_lan(plan, ["nft", "list", "chain", "bridge", "lab", "cuts"], check=False)
    return sorted({line.rsplit('comment "', 1)[1].rstrip('" ') for line in listed.splitlines() if "comment" in line})


def _pair(one: HostPlan, other: HostPlan) -> str:
    return "-".join(sorted((one.name, other.name)))


def _in_lan(plan: LabPlan, words: list[str], check: bool = True) -> str:
    return run(["ip", "netns", "exec", plan.lan_namespace, *words], check=check).stdout
