"""
What the kernel of a director is set to: IPVS's own settings, and forwarding where an endpoint needs it for NAT. The
rules for the pillar, the file for the next boot, and the values of now.

Plain Python that knows nothing of Salt. No rule raises. Facts: Documentation/networking/ipvs-sysctl.rst and
net/netfilter/ipvs (``ip_vs_ctl.c``, ``ip_vs_sync.c``) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keepalived_endpoints
from keepalived_vrrp import DEFAULT_SYNC_PORT
from pillar_rules import Rule, check_leaves, check_section, not_mappings, part, unknown_keys, whole
from pillar_words import is_whole

PATH = "mysql_ha:kernel"
IPVS = "net.ipv4.vs."
#: What the kernel forwards by, for endpoints of each family with NAT.
FORWARDING = {"ipv4": "net.ipv4.ip_forward", "ipv6": "net.ipv6.conf.all.forwarding"}
#: What defaults.yaml says; a kernel that lacks one of these does without.
DEFAULTS: dict[str, Any] = {
    "expire_nodest_conn": 1,
    "expire_quiescent_template": 1,
    "conn_reuse_mode": 1,
    "sync_threshold": [3, 0],
    "sync_refresh_period": 60,
}
HEADER = "# Managed by Salt (mysql_ha.director.kernel); change mysql_ha:kernel:sysctls in the pillar instead.\n"
PROC = Path("/proc/sys")
#: Where systemd-sysctl reads its files, of which the first with a name counts (sysctl.d(5)).
FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d")

_MAX_INT = 2147483647
_MAX_PORTS = 64
# The kernel itself changes 1 to 2 and back, by how much memory is free.
_DEFENCES = ("drop_entry", "drop_packet", "secure_tcp")


def _is_threshold(value: object) -> bool:
    """Return whether this is a number of packets and a period, as ``proc_do_sync_threshold`` takes them."""
    if not isinstance(value, (list, tuple)) or not all(is_whole(item, 0, _MAX_INT) for item in value):
        return False
    return len(value) == 2 and (value[0] < value[1] or value[1] == 0)


def _threshold_remark(value: object) -> str:
    """Return what stands in a list that is no threshold."""
    if not isinstance(value, (list, tuple)) or not all(is_whole(item, -_MAX_INT, _MAX_INT) for item in value):
        return ""
    return f" of {len(value)} numbers ({', '.join(map(str, value[:4]))})"


_SWITCH = Rule("0, 1", lambda value: is_whole(value, 0, 1))
_DEFENCE = whole(0, 3)
# Not est_cpulist: the kernel writes it in other words than it is given.
SYSCTLS = {
    **dict.fromkeys(
        ("backup_only", "cache_bypass", "conntrack", "expire_nodest_conn", "expire_quiescent_template",
         "ignore_tunneled", "nat_icmp_send", "pmtu_disc", "run_estimation", "schedule_icmp", "sloppy_sctp",
         "sloppy_tcp", "snat_reroute", "sync_persist_mode", "sync_version"),
        _SWITCH,
    ),
    **dict.fromkeys(_DEFENCES, _DEFENCE),
    "am_droprate": whole(0, _MAX_INT),
    "amemthresh": whole(0, _MAX_INT, " of pages"),
    "conn_lfactor": whole(-8, 8),
    "conn_max": whole(0, 1073741824, " of connections"),
    "conn_reuse_mode": whole(0, 3),
    "debug_level": whole(0, 12),
    "est_nice": whole(-20, 19),
    "svc_lfactor": whole(-8, 8),
    "sync_ports": Rule(
        "1, 2, 4, 8, 16, 32, 64", lambda value: is_whole(value, 1, _MAX_PORTS) and value & (value - 1) == 0
    ),
    "sync_qlen_max": whole(1, _MAX_INT, " of messages"),
    # The kernel counts it in ticks, of which there are up to 1000 a second.
    "sync_refresh_period": whole(0, _MAX_INT // 1000, " of seconds"),
    "sync_retries": whole(0, 3),
    "sync_sock_size": whole(0, _MAX_INT, " of bytes"),
    "sync_threshold": Rule(
        "a list of two whole numbers, packets and period, such as [3, 50]; the first below the second, or the second 0",
        _is_threshold,
        _threshold_remark,
    ),
}  # fmt: skip


class Setting(NamedTuple):
    """A value that the kernel has to have."""

    name: str
    """As sysctl(8) has it: ``net.ipv4.vs.conn_reuse_mode``."""
    value: str
    key: str
    """Where the pillar has it."""
    is_default: bool
    """Whether it is what the formula says when the pillar says nothing."""


def errors(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:kernel``."""
    section = part(pillar, "kernel")
    yield from unknown_keys(PATH, section, ("sysctls",))
    yield from not_mappings(PATH, section, ("sysctls",))
    given, path = part(section, "sysctls"), f"{PATH}:sysctls"
    yield from check_section(path, given, SYSCTLS)
    daemon = part(pillar, "vrrp").get("sync_daemon")
    daemon = daemon if isinstance(daemon, Mapping) else {}
    if is_whole(given.get("backup_only"), 1, 1) and daemon.get("instance") is False:
        # Both directors then receive always, and with this no director that receives balances.
        what = "is 1, and with mysql_ha:vrrp:sync_daemon:instance: false both directors would balance nothing"
        yield f"{path}:backup_only: {what}; allowed: 0, or an instance there"
    ports, port = given.get("sync_ports", 1), daemon.get("port", DEFAULT_SYNC_PORT)
    if SYSCTLS["sync_ports"].accepts(ports) and is_whole(port, 1, 65535) and port + ports - 1 > 65535:
        what = f"is {ports}, which from mysql_ha:vrrp:sync_daemon:port ({port}) on are more than there are"
        yield f"{path}:sync_ports: {what}; allowed: so many that the last one is 65535 at most"


def sync_ports(settings: Mapping[str, Any]) -> int:
    """Return how many ports the kernel's sync daemon uses, one after the other."""
    ports = part(part(settings, "kernel"), "sysctls").get("sync_ports", 1)
    return ports if SYSCTLS["sync_ports"].accepts(ports) else 1


def wanted(settings: Mapping[str, Any]) -> list[Setting]:
    """
    Return what the kernel is to have, in the order in which it is to be set.

    settings
        The value of the pillar key ``mysql_ha`` with its defaults, valid by the rules of ``mysql_ha_pillar.errors``.
        ``ValueError`` or ``KeyError`` for what is not.
    """
    given = {**DEFAULTS, **part(part(settings, "kernel"), "sysctls")}
    wrong = list(check_leaves(f"{PATH}:sysctls", given, SYSCTLS))
    if wrong:
        raise ValueError(wrong[0])
    # Forwarding first: a change of it resets others (Documentation/networking/ip-sysctl.rst, ip_forward).
    found = [
        Setting(FORWARDING[family], "1", f"mysql_ha:endpoints:{name}", False)
        for family, name in nat_families(settings).items()
    ]
    for name, value in given.items():
        text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        found.append(Setting(IPVS + name, text, f"{PATH}:sysctls:{name}", DEFAULTS.get(name) == value))
    return found


def nat_families(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return for which address families packets have to be forwarded, each with an endpoint that wants it for NAT."""
    found: dict[str, str] = {}
    for server in keepalived_endpoints.virtual_servers(settings):
        reals = [*server.servers, *([server.sorry] if server.sorry else [])]
        if any(real.forward.method == "nat" for real in reals):
            for service in server.services:
                found.setdefault(service.family, server.name)
    return found


# ---- the file for the next boot


def text(settings: Iterable[Setting], absent: Iterable[str] = ()) -> str:
    """
    Return the file that has the next boot set these.

    absent
        Names that this kernel does not have.
    """
    lines = []
    for one in settings:
        line = f"{one.name} = {one.value}"
        lines.append(f"# {line} (this kernel does not have it)" if one.name in absent else line)
    return HEADER + "".join(f"{line}\n" for line in lines)


def values(content: str) -> dict[str, str]:
    """Return what a file of sysctl.d sets, by name; names with wildcards are left out."""
    found = {}
    for line in map(str.strip, content.splitlines()):
        name, equals, value = line.partition("=")
        name = name.strip().removeprefix("-").replace("/", ".")
        if equals and not line.startswith(("#", ";")) and "*" not in name:
            found[name] = value.strip()
    return found


def overridden(path: str, settings: Iterable[Setting], root: Path = Path("/")) -> list[str]:
    """
    Return a sentence for each setting that a boot would not leave as it is, because another file is read later.

    path
        Where the settings' own file is.
    root
        The top of the file system.
    """
    files: dict[str, Path] = {}
    for folder in FOLDERS:
        for place in sorted((root / folder).glob("*.conf")):
            files.setdefault(place.name, place)
    later = [files[name] for name in sorted(files) if name > Path(path).name]
    found = {}
    for place in later:
        try:
            others = values(place.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        for one in settings:
            if one.name in others and not is_same(one.name, others[one.name], one.value):
                found[one.name] = (
                    f"{one.name} is {one.value} by {one.key}, but /{place.relative_to(root)} says {others[one.name]} "
                    "and is read later: so it will be after a boot, until the next run"
                )
            elif one.name in others:
                found.pop(one.name, None)
    return list(found.values())


# ---- the values of now


def is_same(name: str, now: str, value: str) -> bool:
    """Return whether two values mean the same to the kernel."""
    pair = [now.split(), value.split()]
    if name.removeprefix(IPVS) in _DEFENCES:
        pair = [["1"] if words == ["2"] else words for words in pair]
    return pair[0] == pair[1]


def read(name: str, proc: Path = PROC) -> str | None:
    """Return what the kernel has; ``None`` if it knows no such name. Raises ``OSError``."""
    try:
        return " ".join(_place(name, proc).read_text().split())
    except FileNotFoundError:
        return None


def write(name: str, value: str, proc: Path = PROC) -> None:
    """Have the kernel take a value. Raises ``OSError``."""
    _place(name, proc).write_text(f"{value}\n")


def has_ipvs(proc: Path = PROC) -> bool:
    """Return whether the kernel has IPVS loaded, without which it has none of its names."""
    return _place(IPVS.rstrip("."), proc).is_dir()


def _place(name: str, proc: Path) -> Path:
    """Return where the kernel shows a setting."""
    return proc / name.replace(".", "/")
