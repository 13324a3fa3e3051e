"""
What keepalived itself says that it loaded: its dump (SIGUSR1) put into the same words as ``keepalived_wanted``.

The dump is meant for people and its format is not promised, so all that is known of it stands here (keepalived 2.2.7
to 2.3.4, ``dump_*`` in ``check/*.c``, ``vrrp/*.c`` and ``bfd/bfd_data.c``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import netaddr

Words = dict[str, Any]
_SECTION = re.compile(r"------< (.+) >------")
_HEADING = re.compile(r"(?P<name>[^=]+?)(?: \(\d+\))? ?:?")
_TRIPLE = re.compile(r"\[(?P<address>[^]]*)\](?::(?P<protocol>tcp|udp|sctp|none))?(?::(?P<port>\d+))?")
_FLAGS = ("sh-port", "sh-fallback", "mh-port", "mh-fallback", "flag-1", "flag-2", "flag-3")
_TRACKS = {
    "Tracked interfaces": "interfaces",
    "Tracked scripts": "scripts",
    "Tracked files": "files",
    "Tracked processes": "processes",
    "Tracked process": "processes",
    "Tracked BFDs": "bfds",
}
_NOTIFY = {
    "Backup": "notify_backup",
    "Master": "notify_master",
    "Fault": "notify_fault",
    "Stop": "notify_stop",
    "Deleted": "notify_deleted",
    "Generic": "notify",
}


@dataclass
class Record:
    """One thing of the dump: its first line, its lines ``key = value``, and the lists under its headings."""

    head: str
    fields: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    urls: list[Record] = field(default_factory=list)

    def number(self, key: str) -> float | None:
        """A number at the start of a value; ``None`` if there is no such line."""
        found = re.match(r"-?[0-9.]+", self.fields.get(key, ""))
        return float(found[0]) if found else None

    def is_yes(self, *keys: str) -> bool:
        """Whether the first of these lines that is there says yes, in any of the dump's ways."""
        value = next((self.fields[key] for key in keys if key in self.fields), "")
        return value.lower() in ("yes", "true", "on", "enabled")


def sections(text: str) -> dict[str, list[str]]:
    """The lines of a dump by the titles of its sections; virtual and real servers are part of the topology."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        title = _SECTION.fullmatch(line)
        if title:
            lines = found.setdefault(title[1], [])
        else:
            lines.append(line)
    return found


def _records(lines: Iterable[str], starts: re.Pattern[str]) -> list[Record]:
    """Cut lines into records, each of which starts with a line that matches."""
    found: list[Record] = []
    items: list[str] | None = None
    for line in lines:
        text = line.strip()
        if starts.match(line):
            found.append(Record(text))
            items = None
        elif found:
            depth, record = len(line) - len(line.lstrip(" ")), found[-1]
            # keepalived 2.2.7 has a server's scripts deeper than its other lines.
            if depth >= 5 and items is not None and not text.startswith("RS "):
                items.append(text)
                continue
            key, equals, value = f"{text} ".partition(" = ")
            value = value.rstrip(" ")
            if key == "Checked url":
                record.urls.append(Record(value))
                items = record.urls[-1].lists.setdefault("said", [])
            elif equals:
                # The first one counts: what a checker says of its connection stands deeper.
                record.fields.setdefault(key, value)
                items = record.lists.setdefault(key, [])
            else:
                heading = _HEADING.fullmatch(text)
                items = record.lists.setdefault(heading["name"] if heading else text, [])
                _said(record, text)
    return found


def _said(record: Record, text: str) -> None:
    """Keep what lines without an equals sign say."""
    words = re.fullmatch(r"(.+?) is (ON|OFF)", text) or re.fullmatch(r"(.+?) (set|unset)", text)
    if words:
        record.fields.setdefault(words[1], "yes" if words[2] in ("ON", "set") else "no")


def command(text: str) -> list[str]:
    """The words of a script, without the user who runs it."""
    text = re.sub(r", uid:gid \d+:\d+.*", "", text)
    return shlex.split(text.partition(", params = ")[2] or text)


def place(text: str) -> tuple[str, int]:
    """Address and port of '[192.0.2.1]:tcp:80' or '[2001:db8::1]:80'."""
    found = _TRIPLE.search(text)
    if found is None:
        raise ValueError(f"no address in {text!r}")
    return str(netaddr.IPAddress(found["address"])), int(found["port"] or 0)


# --- checkers ---


def checkers(text: str) -> Words:
    """What the checker process has: ``endpoints`` and what concerns all of them."""
    found = sections(text)
    return {
        "globals": _globals(found),
        "endpoints": list(_endpoints(text.splitlines(), _checks(found))),
        "files": [
            _file(record) for record in _records(found.get("Checker track files", []), re.compile(" Track file = "))
        ],
    }


def _endpoints(lines: list[str], checks: dict[tuple[str, str], list[Words]]) -> Iterator[Words]:
    groups = _groups(lines)
    blocks = _blocks(lines)
    for head, servers in blocks:
        record = _records(head, re.compile(r" VS "))[0]
        yield {**_endpoint(record, groups), "servers": [
            _server(_records(server, re.compile(r"   RIP "))[0], record, checks) for server in servers
        ]}  # fmt: skip


def _blocks(lines: list[str]) -> list[tuple[list[str], list[list[str]]]]:
    """The lines of each virtual server, and of each of its real servers."""
    found: list[tuple[list[str], list[list[str]]]] = []
    into: list[str] | None = None
    for line in lines:
        title = _SECTION.fullmatch(line.strip())
        if title is None:
            if into is not None:
                into.append(line)
        elif title[1] == "Virtual server":
            found.append(([], []))
            into = found[-1][0]
        elif title[1] == "Real server":
            found[-1][1].append([])
            into = found[-1][1][-1]
        else:
            into = None
    return found


def _groups(lines: list[str]) -> dict[str, list[str]]:
    """The members of each group: addresses with ports, ranges written out, marks."""
    found: dict[str, list[str]] = {}
    members: list[str] = []
    for line in lines:
        text = line.strip()
        name = re.match(r"Virtual Server Group = (.+?),", text)
        mark = re.match(r"FWMARK = (\d+)(?: (IPv[46]))?", text)
        own = re.match(r"VIP(?: Range)? = (\S+?)(?:-(\S+))?, VPORT = (\d+)", text)
        if name:
            members = found.setdefault(name[1], [])
        elif mark:
            members.append(f"fwmark {mark[1]} {(mark[2] or 'IPv4').lower()}")
        elif own:
            first = netaddr.IPAddress(own[1])
            last = netaddr.IPAddress(own[2]) if own[2] else first
            members += [
                f"{netaddr.IPAddress(value, first.version)} {own[3]}" for value in range(int(first), int(last) + 1)
            ]
    return found


def _endpoint(record: Record, groups: dict[str, list[str]]) -> Words:
    where, _, value = record.head.partition(" = ")
    fields = record.fields
    at: Any = value
    if where == "VS VIP":
        address, _, port = value.partition(", VPORT = ")
        at = [f"{netaddr.IPAddress(address)} {port}"]
    elif where == "VS FWMARK":
        at = [f"fwmark {value} {'ipv6' if fields.get('Address family') == 'inet6' else 'ipv4'}"]
    else:
        at = groups[re.sub(r"\[(.+)\]:\d+", r"\1", value)]
    return {
        "at": at,
        "scheduler": fields["lvs_sched"],
        "scheduler_flags": sorted(flag for flag in _FLAGS if record.is_yes(flag)),
        "one_packet": fields["One packet scheduling"].startswith("enabled"),
        "persistence_timeout": int(fields.get("persistence timeout", 0)),
        "persistence_netmask": fields.get("persistence granularity", ""),
        "protocol": fields["protocol"].lower(),
        "alpha": record.is_yes("alpha"),
        "omega": record.is_yes("omega"),
        "inhibit_on_failure": record.is_yes("Inhibit on failure"),
        "quorum": int(fields["quorum"].split(",")[0]),
        "hysteresis": int(fields["quorum"].rpartition(" ")[2]),
        "quorum_up": command(fields.get("Quorum up notify script", "")),
        "quorum_down": command(fields.get("Quorum down notify script", "")),
        "ha_suspend": "Using HA suspend" in record.lists,
        "smtp_alert": record.is_yes("Using smtp notification"),
        "retry": record.number("Retry count"),
        "virtualhost": fields.get("VirtualHost", ""),
        "snmp_name": fields.get("SNMP name", "").strip("'"),
        "sorry_server": _sorry(record),
    }  # fmt: skip


def _sorry(record: Record) -> Words | None:
    key = next((key for key in record.fields if key.startswith("sorry server")), None)
    if key is None:
        return None
    address, port = place(record.fields[key])
    said = record.lists[key] + [f"{name} = {value}" for name, value in record.fields.items()]
    method = next(line for line in [*said, *record.lists] if line.startswith("forwarding method"))
    inhibit = "Inhibit on failure is ON" in record.lists[key]
    return {"address": address, "port": port, "inhibit": inhibit, **_method(method.partition(" = ")[2])}


def _method(text: str) -> Words:
    """How packets are forwarded: 'NAT', 'DR', 'TUN, type = GUE, port = 6080, checksum'."""
    method = {"NAT": "nat", "DR": "dr", "TUN": "tunnel"}[text.split(",")[0]]
    kind = re.search(r"type = (\w+)", text)
    port = re.search(r"port = (\d+)", text)
    flags = ["remcsum"] if "remote checksum" in text else ["csum"] if re.search(r", checksum", text) else []
    return {
        "method": method,
        "tunnel": kind[1].lower() if kind else "",
        "tunnel_port": int(port[1]) if port else 0,
        "tunnel_flags": flags,
    }


def _server(record: Record, endpoint: Record, checks: dict[tuple[str, str], list[Words]]) -> Words:
    fields = record.fields
    address, port = re.match(r"RIP = (\S+), RPORT = (\d+)", record.head).groups()  # type: ignore[union-attr]
    lower, upper = fields["connection limit range"].split(" -> ")
    key = (_name(endpoint.head), f"{netaddr.IPAddress(address)} {port}")
    return {
        "address": str(netaddr.IPAddress(address)),
        "port": int(port),
        "weight": int(fields["initial weight"]),
        **_method(fields["forwarding method"]),
        "upper_threshold": int(upper),
        "lower_threshold": int(lower),
        "inhibit_on_failure": record.is_yes("Inhibit on failure"),
        "alpha": record.is_yes("Alpha"),
        "virtualhost": fields.get("VirtualHost", "").strip("'"),
        "snmp_name": fields.get("SNMP name", ""),
        "notify_up": command(fields.get("RS up notify script", "")),
        "notify_down": command(fields.get("RS down notify script", "")),
        "smtp_alert": record.is_yes("Using smtp notification"),
        "files": [_tracked(line) for line in record.lists.get("Tracked Files", [])],
        "checks": checks.get(key, []),
    }


def _name(head: str) -> str:
    """What a virtual server is called where its checks are told."""
    where, _, value = head.partition(" = ")
    if where == "VS VIP":
        address, _, port = value.partition(", VPORT = ")
        return f"{netaddr.IPAddress(address)} {port}"
    return f"FWM {value}" if where == "VS FWMARK" else re.sub(r"\[(.+)\]:\d+", r"\1", value)


def _checks(found: dict[str, list[str]]) -> dict[tuple[str, str], list[Words]]:
    """The checks of each real server of each virtual server."""
    checks: dict[tuple[str, str], list[Words]] = {}
    start = re.compile(r" (\S.*) -> (\[.*)")
    for record in _records(found.get("Health checkers", []), start):
        endpoint, _, server = record.head.partition(" -> ")
        if not endpoint.startswith("FWM "):
            named = re.fullmatch(r"\[(.+)\]:\d+", endpoint)
            endpoint = named[1] if named else "{} {}".format(*place(endpoint))
        checks.setdefault((endpoint, "{} {}".format(*place(server))), []).append(_check(record))
    return checks


def _check(record: Record) -> Words:
    fields, method = record.fields, record.fields["Keepalive method"]
    name = method.split(",")[0].removesuffix("_CHECK").removesuffix("_GET").lower()
    connection = dict(line.split(" = ", 1) for line in record.lists.get("Connection", []) if " = " in line)
    words: Words = {"type": name}
    if name not in ("file", "bfd"):
        words |= {
            "interval": _seconds(record, "Delay loop"),
            "warmup": _seconds(record, "Warmup"),
            "retries": int(fields["Retries"]),
            "retry_interval": _seconds(record, "Delay before retry"),
            "log_all_failures": record.is_yes("Log all failures"),
        }
    if name != "file":
        words["alpha"] = record.is_yes("Alpha")
    if connection:
        words |= {
            "to": "{} {}".format(*place(connection["Dest"])),
            "connect_timeout": float(connection["Timeout"]),
            "bind": "{} {}".format(*place(connection["Bind to"])) if "Bind to" in connection else "",
            "bind_interface": connection.get("Bind i/f", ""),
            "fwmark": int(connection.get("Mark", 0)),
        }
    return words | _OF_TYPE.get(name, lambda record: {})(record)


def _seconds(record: Record, key: str) -> float | None:
    """A time that is told in microseconds, or in seconds."""
    value = record.number(key)
    if value is None:
        return None
    return value / 1_000_000 if record.fields[key].endswith(" us") else value


def _http(record: Record) -> Words:
    return {
        "http_protocol": record.fields["Keepalive method"].rpartition("http protocol ")[2],
        "virtualhost": record.fields.get("Virtualhost", ""),
        "fast_recovery": record.is_yes("Fast recovery"),
        "enable_sni": record.is_yes("Enable SNI"),
        "urls": [_url(url) for url in record.urls],
    }


def _url(record: Record) -> Words:
    said = record.lists["said"]
    values = dict(line.split(" = ", 1) for line in said if " = " in line)
    status: set[int] = set()
    for line in said:
        codes = re.fullmatch(r"(\d{3})(?:-(\d{3}))?", line)
        if codes:
            status |= set(range(int(codes[1]), int(codes[2] or codes[1]) + 1))
    return {
        "path": record.head,
        "digest": values.get("digest", ""),
        "virtualhost": values.get("Virtual host", ""),
        "status": status,
        "regex": _regex(said, values),
    }


def _regex(said: list[str], values: dict[str, str]) -> Words | None:
    """A page's regular expression. (Its options are not told: all are named where one is set.)"""
    if "Regex" not in values:
        return None
    offsets = re.search(r"^Regex min offset = (\d+)(?:, max_offset = (\d+))?$", "\n".join(said), re.MULTILINE)
    stack = re.search(r"^Regex stack start (\d+), max (\d+)$", "\n".join(said), re.MULTILINE)
    return {
        "pattern": values["Regex"][1:-1],
        "no_match": "Regex no match" in said,
        "min_offset": int(offsets[1]) if offsets else 0,
        "max_offset": int(offsets[2]) if offsets and offsets[2] else None,
        "stack": [int(stack[1]), int(stack[2])] if stack else None,
    }


_OF_TYPE = {
    "http": _http,
    "ssl": _http,
    "smtp": lambda record: {"helo_name": record.fields["helo"]},
    "dns": lambda record: {"query": record.fields["Type"], "name": record.fields["Name"] or "."},
    "udp": lambda record: {
        "payload": int(record.number("Payload len") or 0),
        "require_reply": record.is_yes("Require reply"),
    },
    "misc": lambda record: {
        "script": command(record.fields["script"]),
        "timeout": int(record.fields["timeout"]),
        "dynamic": record.is_yes("dynamic"),
        "user": record.fields["uid:gid"],
    },
    "file": lambda record: {"track_file": record.lists["Keepalive method"][0].partition(" = ")[2]},
    "bfd": lambda record: {"name": record.fields["Name"] or "."},
}


def _tracked(text: str) -> Words:
    """A thing that is tracked: 'eth1 weight -20', 'drain, weight 1 reverse', 'gw: weight 0'."""
    found = re.fullmatch(r"(?P<name>.+?)[,:]? weight (?P<weight>-?\d+)(?P<reverse> reverse)?", text)
    if found is None:
        raise ValueError(f"nothing tracked: {text!r}")
    return {"name": found["name"], "weight": int(found["weight"]), "reverse": found["reverse"] is not None}


# --- what concerns the whole of keepalived ---


def _globals(found: dict[str, list[str]]) -> Words:
    lines = found["Global definitions"]
    fields = {key.strip(): value for key, equals, value in (line.partition(" = ") for line in lines) if equals}
    fifos = {}
    for name in ("Global", "VRRP", "LVS"):
        if f"{name} notify fifo" in fields:
            script = fields.get(f"{name} notify fifo script", "")
            fifos[name.lower()] = [fields[f"{name} notify fifo"].split(",")[0], command(script)]
    return {
        "router_id": fields["Router ID"],
        "script_security": " Script security enabled" in lines,
        "log_all_failures": fields.get("Checkers log all failures") == "true",
        "fifos": fifos,
        "tcp": int(fields.get("LVS TCP timeout", 0)),
        "sync_daemon": _sync_daemon(fields, lines),
        "garp_interval": float(fields.get("Gratuitous ARP interval", 0)),
        "gna_interval": float(fields.get("Gratuitous NA interval", 0)),
    }


def _sync_daemon(fields: dict[str, str], lines: list[str]) -> Words | None:
    if "LVS syncd interface" not in fields:
        return None
    group = next((line.rpartition(" ")[2] for line in lines if line.startswith(" LVS mcast group")), "")
    return {
        "instance": fields.get("LVS syncd vrrp instance", fields.get("LVS syncd vrrp name", "")),
        "interface": fields["LVS syncd interface"],
        "id": int(fields["LVS syncd syncid"]),
        "maxlen": int(fields.get("LVS syncd maxlen", 0)),
        "group": group,
        "port": int(fields.get("LVS syncd mcast port", 0)),
        "ttl": int(fields.get("LVS syncd mcast ttl", 0)),
    }


# --- VRRP and BFD ---


def vrrp(text: str) -> Words:
    """What the VRRP process has."""
    found = sections(text)

    def of(title: str, start: str) -> list[Record]:
        return _records(found.get(title, []), re.compile(f" {start} = "))

    return {
        "globals": _globals(found),
        "instances": [_instance(record) for record in of("VRRP Topology", "VRRP Instance")],
        "groups": [_group(record) for record in of("VRRP Sync groups", "VRRP Sync Group")],
        "scripts": [_script(record) for record in of("VRRP Scripts", "VRRP Script")],
        "files": [_file(record) for record in of("VRRP Track files", "Track file")],
        "processes": [_process(record) for record in of("VRRP Track processes", "VRRP Track process")],
    }


def _instance(record: Record) -> Words:
    fields, version = record.fields, int(record.fields["VRRP Version"])
    interval = float(fields["Advert interval"].split(" ")[0])
    source = fields["Using src_ip"]
    address = next((line for line in record.lists if line.startswith("Use VMAC")), "")
    return {
        "name": record.head.partition(" = ")[2],
        "version": version,
        "group": fields.get("Sync group", ""),
        "interface": fields["Interface"].split(",")[0],
        "virtual_router_id": int(fields["Virtual Router ID"]),
        "priority": int(fields["Priority"]),
        "advert_interval": interval if fields["Advert interval"].endswith(" sec") else interval / 1000,
        "preempt": record.is_yes("Preempt"),
        "preempt_delay": record.number("Preempt delay") or 0,
        "source": source.split(" ")[0] if "from configuration" in source else "",
        "peers": [str(netaddr.IPAddress(line.split(" ")[0])) for line in record.lists.get("Unicast Peer", [])],
        "password": fields.get("Password", ""),
        "addresses": [_address(line) for line in record.lists.get("Virtual IP", [])],
        "excluded": [_address(line) for line in record.lists.get("Virtual IP Excluded", [])],
        "garp": {
            "delay": int(fields["Gratuitous ARP delay"]),
            "repeat": int(fields["Gratuitous ARP repeat"]),
            "refresh": int(fields["Gratuitous ARP refresh"]),
            "refresh_repeat": int(fields["Gratuitous ARP refresh repeat"]),
            "lower_priority_delay": int(fields["Gratuitous ARP lower priority delay"]),
            "lower_priority_repeat": int(fields["Gratuitous ARP lower priority repeat"]),
        },
        "track": _tracks(record),
        "routes": [_route(line) for line in record.lists.get("Virtual Routes", [])],
        "rules": [_route(line) for line in record.lists.get("Virtual Rules", [])],
        "notify": _notify(record),
        "smtp_alert": record.is_yes("Using smtp notification"),
        "use_vmac": bool(address),
    }


def _address(text: str) -> Words:
    """A virtual address: '192.168.2.3/24 dev eth1 scope link label eth1:gw'."""
    own, *rest = text.split(" ")
    network = netaddr.IPNetwork(own)

    def after(word: str) -> str:
        return rest[rest.index(word) + 1] if word in rest else ""

    return {
        "address": f"{network.ip}/{network.prefixlen}",
        "interface": after("dev").partition("@")[0],
        "scope": after("scope"),
        "label": after("label"),
    }


def _route(text: str) -> list[str]:
    """The words of a route or a rule without those that keepalived adds, in the order of the alphabet."""
    text = re.sub(r"^(prepend|append|add) ", "", text)
    text = re.sub(r" (proto|protocol|tos) (18|0x0)", "", text).replace(" lookup ", " table ")
    text = re.sub(r"^from all ", "", text)
    # A single address is told without its prefix.
    words = text.replace(" inet ", " ").split(" ")
    if words[0] == "blackhole" and "/" not in words[1]:
        words[1] += "/32"
    return sorted(words)


def _tracks(record: Record) -> Words:
    return {
        name: [_tracked(line) for line in record.lists[title]]
        for title, name in _TRACKS.items()
        if record.lists.get(title)
    }


def _notify(record: Record) -> Words:
    return {
        name: command(record.fields[f"{title} state transition script"])
        for title, name in _NOTIFY.items()
        if f"{title} state transition script" in record.fields
    }


def _group(record: Record) -> Words:
    return {
        "name": record.head.partition(" = ")[2].rpartition(",")[0],
        "instances": record.lists.get("VRRP member instances", []),
        "track": _tracks(record),
        "notify": _notify(record),
        "smtp_alert": record.is_yes("Using smtp notification"),
    }


def _weight(fields: dict[str, str]) -> Words:
    number, _, reverse = fields["Weight"].partition(" ")
    return {"weight": int(number), "reverse": reverse == "reverse"}


def _script(record: Record) -> Words:
    fields = record.fields
    return {
        "name": record.head.partition(" = ")[2],
        "script": command(fields["Command"]),
        "interval": record.number("Interval"),
        "timeout": record.number("Timeout"),
        **_weight(fields),
        "rise": int(fields["Rise"]),
        "fall": int(fields["Fall"]),
        "user": fields["Script uid:gid"],
    }


def _file(record: Record) -> Words:
    fields = record.fields
    return {"name": record.head.partition(" = ")[2], "file": fields["File"], **_weight(fields)}


def _process(record: Record) -> Words:
    fields = record.fields
    return {
        "name": record.head.partition(" = ")[2],
        "process": fields["Process"],
        "parameters": fields.get("Parameters", ""),
        "quorum": int(fields["Min processes"]),
        "quorum_max": record.number("Max processes"),
        **_weight(fields),
        "terminate_delay": record.number("Terminate delay"),
        "fork_delay": record.number("Fork delay"),
        "full_command": record.is_yes("Full command"),
    }


def bfd(text: str) -> list[Words]:
    """What the BFD process has."""
    lines = sections(text).get("BFD Topology", [])
    return [
        {
            "name": record.head.partition(" = ")[2],
            "neighbour": record.fields["Neighbor IP"],
            "source": record.fields.get("Source IP", ""),
            "min_rx": int(record.number("Required min RX interval") or 0),
            "min_tx": int(record.number("Desired min TX interval") or 0),
            "multiplier": int(record.fields["Detection multiplier"]),
        }
        for record in _records(lines, re.compile(r" BFD Instance = "))
    ]
