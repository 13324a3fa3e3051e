"""
What a pillar asks of keepalived, read from the pillar alone: the tests' own view, without any code of the formula.

The words are those of ``keepalived_dump``. Defaults are those that docs and pillar.example promise, and keepalived's
own where they say nothing (keepalived.conf(5)).
"""

from __future__ import annotations

import shlex
from typing import Any

import netaddr

Words = dict[str, Any]
NOTIFY = ("notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted", "notify")
CHECKS = {"interval": 1, "connect_timeout": 1, "retries": 1, "retry_interval": 0.5, "warmup": 0}
VRRP = {"virtual_router_id": 51, "version": 3, "advert_interval": 0.3, "preempt": False, "unicast": True}
GARP = {"delay": 5, "repeat": 5, "refresh": 60, "refresh_repeat": 1}
NO_CONNECTION = ("misc", "file", "bfd")
NO_BODY = "nobody"
#: Who runs programs when nobody is named. On the tests' hosts it has this number.
SCRIPT_USER, SCRIPT_USER_NUMBER = "keepalived_script", 987
USERS = {"root": "0:0", NO_BODY: "65534:65534", SCRIPT_USER: f"{SCRIPT_USER_NUMBER}:{SCRIPT_USER_NUMBER}"}
#: An advert counts its addresses in 8 bits.
MAX_ADVERTISED = 255


def script_user(pillar: Words) -> str:
    """Who runs the programs for which nobody is named; 2.2.7 could not test a configuration with another than root."""
    keepalived = pillar.get("keepalived", {})
    default = "root" if keepalived.get("version") == "2.2.7" else SCRIPT_USER
    return keepalived.get("global_defs", {}).get("script_user", default).split(" ")[0]


def _of_role(pillar: Words, role: str) -> Words:
    return {name: node for name, node in pillar["nodes"].items() if node["role"] == role}


def ip(text: str) -> str:
    """An address as netaddr writes it."""
    return str(netaddr.IPAddress(text))


# --- endpoints ---


def endpoints(pillar: Words) -> list[Words]:
    """The virtual servers with their real servers and checks, in the pillar's order."""
    return [_endpoint(pillar, own) for own in pillar["endpoints"].values()]


def members(own: Words) -> list[str]:
    """Where an endpoint is: '192.0.2.1 80' for each address, 'fwmark 5 ipv4' for each mark."""
    if "fwmark" in own:
        return [f"fwmark {own['fwmark']} {own.get('family', 'ipv4')}"]
    if "group" not in own:
        return [f"{ip(own['address'])} {own['port']}"]
    found = []
    for text in own["group"]:
        first, _, rest = text.partition(" ")
        if first == "fwmark":
            found.append(f"fwmark {rest}" if " " in rest else f"fwmark {rest} ipv4")
            continue
        start, dash, end = first.partition("-")
        low = netaddr.IPAddress(start)
        separator, base = (":", 16) if low.version == 6 else (".", 10)
        high = netaddr.IPAddress(start.rpartition(separator)[0] + separator + end) if dash else low
        assert not dash or int(end, base) >= 0
        found += [f"{netaddr.IPAddress(value, low.version)} {rest}" for value in range(int(low), int(high) + 1)]
    return found


def _endpoint(pillar: Words, own: Words) -> Words:
    where = members(own)
    only_marks = all(text.startswith("fwmark") for text in where)
    # keepalived has the addresses of a group before its marks.
    where = [text for text in where if text[0] != "f"] + [text for text in where if text[0] == "f"]
    servers = _servers(pillar, own)
    weights = sum(server["weight"] for server in servers)
    sorry = own.get("sorry_server")
    return {
        "at": where,
        "scheduler": own.get("scheduler", "wrr"),
        "scheduler_flags": sorted(own.get("scheduler_flags", ())),
        "one_packet": own.get("one_packet", False),
        "persistence_timeout": own.get("persistence_timeout", 0),
        "persistence_netmask": str(own.get("persistence_netmask", "")),
        **({} if only_marks else {"protocol": own.get("protocol", "tcp")}),
        "alpha": own.get("alpha", False),
        "omega": own.get("omega", False),
        "inhibit_on_failure": own.get("inhibit_on_failure", False),
        # Without a word of the pillar it is 1, and 0 where no server has a weight.
        "quorum": own.get("quorum", min(1, weights)),
        "hysteresis": own.get("hysteresis", 0),
        "quorum_up": shlex.split(own.get("quorum_up", "")),
        "quorum_down": shlex.split(own.get("quorum_down", "")),
        "ha_suspend": own.get("ha_suspend", False),
        "smtp_alert": own.get("smtp_alert", _default_alert(pillar)),
        "retry": own.get("extra", {}).get("retry"),
        "virtualhost": own.get("virtualhost", ""),
        "snmp_name": own.get("snmp_name", ""),
        "sorry_server": sorry
        and {
            "address": ip(sorry["address"]),
            "port": sorry.get("port", own.get("port", 0)),
            "inhibit": sorry.get("inhibit", False),
            **_method(sorry, own),
        },
        "servers": servers,
    }


def _default_alert(pillar: Words, otherwise: bool = False) -> bool:
    """Whether mail is sent where nothing is said: of servers always, of instances never, unless global_defs says so."""
    return pillar.get("keepalived", {}).get("global_defs", {}).get("smtp_alert", otherwise)


def _method(own: Words, endpoint: Words) -> Words:
    """How packets reach a server: the endpoint's words hold for it too, while it is the same kind of tunnel."""
    method = own.get("forward", endpoint.get("forward", "dr"))
    if method != "tunnel":
        return {"method": method, "tunnel": "", "tunnel_port": 0, "tunnel_flags": []}
    kind = own.get("tunnel", endpoint.get("tunnel", "ipip"))
    shared = endpoint if endpoint.get("forward") == "tunnel" and endpoint.get("tunnel", "ipip") == kind else {}
    return {
        "method": method,
        "tunnel": kind,
        "tunnel_port": own.get("tunnel_port", shared.get("tunnel_port", 0)),
        "tunnel_flags": list(own.get("tunnel_flags", shared.get("tunnel_flags", ()))),
    }


def _servers(pillar: Words, own: Words) -> list[Words]:
    named = own.get("servers", {})
    databases = _of_role(pillar, "database") if own.get("serves") == "all" else {}
    return [_server(pillar, own, name, named.get(name, {})) for name in [*databases, *(set_minus(named, databases))]]


def set_minus(names: Words, others: Words) -> list[str]:
    """The names that are not among the others, in their order."""
    return [name for name in names if name not in others]


def _server(pillar: Words, endpoint: Words, name: str, own: Words) -> Words:
    node = pillar["nodes"].get(name, {})
    method = _method(own, endpoint)
    port = own.get("port", endpoint.get("port", 0))
    if "port" not in own and method["method"] == "nat" and node.get("role") == "database":
        port = pillar.get("database", {}).get("port", 3306)
    alpha = own.get("alpha", endpoint.get("alpha", False))
    server = {
        "address": ip(own.get("address", node.get("address"))),
        "port": port,
        "weight": own.get("weight", node.get("weight", 1)),
        **method,
        "upper_threshold": own.get("upper_threshold", 0),
        "lower_threshold": own.get("lower_threshold", 0),
        "inhibit_on_failure": own.get("inhibit_on_failure", endpoint.get("inhibit_on_failure", False)),
        "alpha": alpha,
        "virtualhost": own.get("virtualhost", ""),
        "snmp_name": own.get("snmp_name", ""),
        "notify_up": shlex.split(own.get("notify_up", "")),
        "notify_down": shlex.split(own.get("notify_down", "")),
        "smtp_alert": own.get("smtp_alert", endpoint.get("smtp_alert", _default_alert(pillar, True))),
    }
    checks = own.get("check", endpoint.get("check"))
    checks = checks if isinstance(checks, list) else [checks]
    all_of_them = [item if isinstance(item, dict) else {"type": item} for item in checks if item not in (None, "none")]
    # In keywords of its own a server may say how often it is checked.
    often = {"interval": own["extra"]["delay_loop"]} if "delay_loop" in own.get("extra", {}) else {}
    server["checks"] = [_check(pillar, endpoint, server, {**often, **item}) for item in all_of_them]
    server["files"] = [
        {"name": item["track_file"], "weight": item.get("weight", 1), "reverse": item.get("reverse", False)}
        for item in all_of_them
        if item["type"] == "file"
    ]
    return server


def _check(pillar: Words, endpoint: Words, server: Words, own: Words) -> Words:
    times = {**CHECKS, **pillar.get("checks", {}), **endpoint.get("checks", {}), **own}
    name = own["type"]
    words: Words = {"type": name}
    if name not in ("file", "bfd"):
        words |= {
            "interval": times["interval"],
            "warmup": times["warmup"],
            "retries": times["retries"],
            "retry_interval": times["retry_interval"],
            "log_all_failures": own.get("log_all_failures", False),
        }
    if name != "file":
        words["alpha"] = own.get("alpha", server["alpha"])
    if name not in NO_CONNECTION:
        port = own.get("port", server["port"])
        bind = own.get("bind_address")
        words |= {
            "to": f"{ip(own.get('address', server['address']))} {port}",
            "connect_timeout": times["connect_timeout"],
            "bind": f"{ip(bind)} {own.get('bind_port', 0)}" if bind else "",
            "bind_interface": own.get("bind_interface", ""),
            "fwmark": own.get("fwmark", 0),
        }
    return words | _OF_TYPE.get(name, lambda own: {})({"user": script_user(pillar), **own})


def statuses(given: Any) -> set[int]:
    """The status codes of 200, '200-299' or a list of such."""
    found: set[int] = set()
    for item in given if isinstance(given, list) else [given]:
        low, _, high = str(item).partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def _http(own: Words) -> Words:
    return {
        "http_protocol": str(own.get("http_protocol", "1.0")),
        "virtualhost": own.get("virtualhost", ""),
        "fast_recovery": own.get("fast_recovery", False),
        "enable_sni": own.get("enable_sni", own.get("extra", {}).get("enable_sni", False)),
        "urls": [
            {
                "path": url["path"],
                "digest": url.get("digest", ""),
                "virtualhost": url.get("virtualhost", ""),
                **({"status": statuses(url["status"])} if "status" in url else {}),
                "regex": _regex(url),
            }
            for url in own["urls"]
        ],
    }


def _regex(url: Words) -> Words | None:
    if "regex" not in url:
        return None
    return {
        "pattern": url["regex"],
        "no_match": url.get("regex_no_match", False),
        "min_offset": url.get("regex_min_offset", 0),
        "max_offset": url.get("regex_max_offset"),
        "stack": url.get("regex_stack"),
    }


_OF_TYPE = {
    "http": _http,
    "ssl": _http,
    "smtp": lambda own: {"helo_name": own.get("helo_name", "smtpchecker.keepalived.org")},
    "dns": lambda own: {"query": own.get("query", "SOA"), "name": own.get("name", ".")},
    "udp": lambda own: {
        "payload": len(bytes.fromhex(own.get("payload", ""))),
        "require_reply": own.get("require_reply", False) is not False,
    },
    "misc": lambda own: {
        "script": shlex.split(own["script"]),
        **({"timeout": own["timeout"]} if "timeout" in own else {}),
        "dynamic": own.get("dynamic", False),
        "user": USERS[own["user"]],
    },
    "file": lambda own: {"track_file": own["track_file"]},
    "bfd": lambda own: {"name": own["name"]},
}


# --- VRRP ---


def instances(pillar: Words, node: str) -> list[Words]:
    """The VRRP instances of one director."""
    vrrp = {**VRRP, **pillar.get("vrrp", {})}
    given = vrrp.get("instances") or {pillar["cluster"]: {}}
    return [_instance(pillar, node, vrrp, name, own) for name, own in given.items()]


def _instance(pillar: Words, node: str, vrrp: Words, name: str, own: Words) -> Words:
    given = {**vrrp, **own}
    directors = _of_role(pillar, "director")
    device = own.get("interface") or directors[node].get("interface") or pillar.get("interface", "eth0")
    unicast = given["unicast"] and len(directors) > 1
    if own.get("use_vmac"):
        # The interface that keepalived makes.
        device = own["use_vmac"] if isinstance(own["use_vmac"], str) else f"vrrp.{given['virtual_router_id']}"
    held = _held(pillar, vrrp, name, own, device)
    family = _family(pillar, directors, held, unicast)
    advertised = [one for one in held if netaddr.IPNetwork(one["address"]).version == family][:MAX_ADVERTISED]
    groups = vrrp.get("groups", {})
    garp = _garp(vrrp, own, pillar)
    return {
        "name": name,
        "version": given["version"],
        "group": next((group for group, of in groups.items() if name in of["instances"]), ""),
        "virtual_router_id": given["virtual_router_id"],
        "priority": own.get("priorities", {}).get(node, directors[node].get("priority")),
        "advert_interval": given["advert_interval"],
        "preempt": given["preempt"],
        "preempt_delay": given.get("preempt_delay", 0),
        "source": ip(directors[node]["address"]) if unicast else "",
        "peers": [ip(other["address"]) for key, other in directors.items() if key != node] if unicast else [],
        "password": pillar.get("secrets", {}).get("vrrp", "") if given["version"] == 2 else "",
        "addresses": advertised,
        "excluded": [one for one in held if one not in advertised],
        "garp": garp,
        "track": _tracks({**vrrp.get("track", {}), **own.get("track", {})} if "track" not in own else own["track"],
                         vrrp),
        "routes": list(map(route, own.get("routes", ()))),
        "rules": list(map(route, own.get("rules", ()))),
        "notify": _notify(own),
        "smtp_alert": own.get("smtp_alert", _default_alert(pillar)),
        "use_vmac": bool(own.get("use_vmac")),
        "interface": device,
    }  # fmt: skip


def _held(pillar: Words, vrrp: Words, name: str, own: Words, device: str) -> list[Words]:
    """All addresses of an instance: its endpoints' and its own."""
    given = vrrp.get("instances") or {name: {}}
    named = {endpoint for one in given.values() for endpoint in one.get("endpoints", ())}
    mine = list(own.get("endpoints", ()))
    if name == next(iter(given)):
        mine += [endpoint for endpoint in pillar["endpoints"] if endpoint not in named]
    texts = [text.split(" ")[0] for key in mine for text in members(pillar["endpoints"][key])]
    found = [_held_one({"address": text}, device) for text in dict.fromkeys(texts) if text != "fwmark"]
    for item in own.get("addresses", ()):
        if isinstance(item, str):
            text, _, prefix = item.partition("/")
            item = {"address": text, **({"prefix": int(prefix)} if prefix else {})}
        found.append(_held_one(item, device))
    return found


def _held_one(item: Words, device: str) -> Words:
    """One address. On an interface with a hardware address of its own the device has another name."""
    address = netaddr.IPAddress(item["address"])
    prefix = item.get("prefix", 32 if address.version == 4 else 128)
    return {
        "address": f"{address}/{prefix}",
        "interface": item.get("interface", device),
        "scope": item.get("scope", "global"),
        "label": item.get("label", ""),
    }


def _family(pillar: Words, directors: Words, held: list[Words], unicast: bool) -> int:
    """The IP version of an instance's adverts: that of the directors' addresses, or of the first virtual address."""
    if unicast:
        return netaddr.IPAddress(next(iter(directors.values()))["address"]).version
    versions = [netaddr.IPNetwork(one["address"]).version for one in held]
    return versions[0] if versions else 4


def _garp(vrrp: Words, own: Words, pillar: Words) -> Words:
    globally = {**GARP, **vrrp.get("garp", {})}
    keyword = pillar.get("keepalived", {}).get("global_defs", {}).get("vrrp_garp_master_refresh")
    if keyword is not None:
        globally["refresh"] = keyword
    globally.setdefault("lower_priority_delay", globally["delay"])
    globally.setdefault("lower_priority_repeat", globally["repeat"])
    given = {**globally, **own.get("garp", {})}
    return {key: given[key] for key in (*GARP, "lower_priority_delay", "lower_priority_repeat")}


def _tracks(given: Words, vrrp: Words) -> Words:
    """What is tracked, with the weight that is said here or where the thing is defined."""
    defaults = {"interfaces": 0, "scripts": 0, "files": 1, "processes": 0, "bfds": 0}
    found = {}
    for kind, items in given.items():
        of_kind = vrrp.get(kind, {}) if kind != "interfaces" else {}
        found[kind] = []
        for item in items:
            own = item if isinstance(item, dict) else {"name": item}
            defined = of_kind.get(own["name"], {})
            weight = own.get("weight", defined.get("weight", defaults[kind]))
            reverse = own.get("reverse", defined.get("reverse", False))
            found[kind].append({"name": own["name"], "weight": weight, "reverse": reverse})
    return found


def route(text: str) -> list[str]:
    """The words of a route or a rule in the order of the alphabet: keepalived tells them in another one."""
    return sorted(text.replace("preference", "priority").replace("default", "0.0.0.0/0").split(" "))


def _notify(own: Words) -> Words:
    return {key: shlex.split(own[key]) for key in NOTIFY if key in own}


def groups(pillar: Words) -> list[Words]:
    """The groups of instances that move together."""
    vrrp = pillar.get("vrrp", {})
    return [
        {
            "name": name,
            "instances": list(own["instances"]),
            "track": _tracks(own.get("track", {}), vrrp),
            "notify": _notify(own),
            "smtp_alert": own.get("smtp_alert", _default_alert(pillar)),
        }
        for name, own in vrrp.get("groups", {}).items()
    ]


def scripts(pillar: Words) -> list[Words]:
    """The scripts that are tracked."""
    return [
        {
            "name": name,
            "script": shlex.split(own["script"]),
            "interval": own.get("interval", 1),
            **({"timeout": own["timeout"]} if "timeout" in own else {}),
            "weight": own.get("weight", 0),
            "reverse": own.get("reverse", False),
            "rise": own.get("rise", 1),
            "fall": own.get("fall", 1),
            "user": USERS[own.get("user", script_user(pillar))],
        }
        for name, own in pillar.get("vrrp", {}).get("scripts", {}).items()
    ]


def files(pillar: Words) -> list[Words]:
    """The files that are tracked."""
    return [
        {"name": name, "file": own["file"], "weight": own.get("weight", 1), "reverse": own.get("reverse", False)}
        for name, own in pillar.get("vrrp", {}).get("files", {}).items()
    ]


def processes(pillar: Words) -> list[Words]:
    """The processes that are tracked."""
    return [
        {
            "name": name,
            "process": own["process"],
            "parameters": own.get("parameters", ""),
            "quorum": own.get("quorum", 1),
            "quorum_max": own.get("quorum_max"),
            "weight": own.get("weight", 0),
            "reverse": own.get("reverse", False),
            "terminate_delay": own.get("terminate_delay", own.get("delay", 0)),
            "fork_delay": own.get("fork_delay", own.get("delay", 0)),
            "full_command": own.get("full_command", False),
        }
        for name, own in pillar.get("vrrp", {}).get("processes", {}).items()
    ]


def bfds(pillar: Words) -> list[Words]:
    """The BFD sessions; times in microseconds."""
    return [
        {
            "name": name,
            "neighbour": ip(own["neighbour"]),
            "source": ip(own["source"]) if "source" in own else "",
            "min_rx": _microseconds(own, "min_rx"),
            "min_tx": _microseconds(own, "min_tx"),
            "multiplier": own.get("multiplier", 5),
        }
        for name, own in pillar.get("vrrp", {}).get("bfds", {}).items()
    ]


def _microseconds(own: Words, key: str) -> int:
    """A BFD time; keepalived's own default is 10 ms."""
    return round(own.get(key, own.get("interval", 0.01)) * 1_000_000)


# --- the whole of keepalived ---


def globals_(pillar: Words, node: str) -> Words:
    """What concerns all of keepalived on one director."""
    given = pillar.get("keepalived", {}).get("global_defs", {})
    names = {"global": "notify_fifo", "vrrp": "vrrp_notify_fifo", "lvs": "lvs_notify_fifo"}
    fifos = {
        name: [
            given[key],
            # What follows the program is its user.
            [given[f"{key}_script"].split(" ")[0], given[key]] if f"{key}_script" in given else [],
        ]
        for name, key in names.items()
        if key in given
    }
    garp = pillar.get("vrrp", {}).get("garp", {})
    return {
        "router_id": f"{pillar['cluster']}_{node}",
        # The formula always switches it on.
        "script_security": True,
        "log_all_failures": given.get("checker_log_all_failures") is True,
        "fifos": fifos,
        "garp_interval": garp.get("interval", given.get("vrrp_garp_interval", 0)),
        "gna_interval": garp.get("gna_interval", given.get("vrrp_gna_interval", 0)),
        "sync_daemon": sync_daemon(pillar, node),
    }


def sync_daemon(pillar: Words, node: str) -> Words | None:
    """How the directors tell each other of their connections."""
    vrrp = {**VRRP, **pillar.get("vrrp", {})}
    given = vrrp.get("sync_daemon", True)
    directors = _of_role(pillar, "director")
    if given is False or len(directors) < 2:
        return None
    given = {} if given is True else given
    all_of_them = vrrp.get("instances") or {pillar["cluster"]: {}}
    name = given.get("instance", next(iter(all_of_them)))
    own = all_of_them[name]
    device = own.get("interface") or directors[node].get("interface") or pillar.get("interface", "eth0")
    return {
        "instance": name,
        "interface": given.get("interface", device),
        "id": given.get("id", {**vrrp, **own}["virtual_router_id"]),
        "maxlen": given.get("maxlen", 0),
        "group": given.get("group", ""),
        "port": given.get("port", 0),
        "ttl": given.get("ttl", 0),
    }


def timeouts(pillar: Words) -> list[int] | None:
    """For how long the kernel remembers idle connections: tcp, tcpfin, udp; None if nothing is said."""
    given = pillar.get("keepalived", {}).get("global_defs", {}).get("lvs_timeouts")
    if given is None:
        return None
    words = given.split(" ")
    said = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    return [said[key] for key in ("tcp", "tcpfin", "udp")]


# --- the kernel's table ---


def table(pillar: Words) -> dict[str, Words]:
    """
    What stands in the kernel's table right after the start, in the words of ``ipvs.list``.

    A server that counts as down until it was seen (alpha) is not there yet, or has the weight 0.
    """
    found: dict[str, Words] = {}
    for own, wanted in zip(pillar["endpoints"].values(), endpoints(pillar), strict=True):
        for where in wanted["at"]:
            found[_service_name(where, own)] = {**_service(own), "servers": _in_table(pillar, own, wanted, where)}
    return found


def _service_name(where: str, own: Words) -> str:
    if where.startswith("fwmark"):
        return where
    address, port = where.split(" ")
    shown = f"[{address}]" if ":" in address else address
    return f"{own.get('protocol', 'tcp')} {shown}:{port}"


def _service(own: Words) -> Words:
    words: Words = {"scheduler": own.get("scheduler", "wrr")}
    for key in ("scheduler_flags", "one_packet", "persistence_timeout", "persistence_netmask", "persistence_engine"):
        if own.get(key):
            words[key] = sorted(own[key]) if key == "scheduler_flags" else own[key]
    return words


def _in_table(pillar: Words, own: Words, wanted: Words, where: str) -> dict[str, Words]:
    found = {}
    for server in wanted["servers"]:
        is_down = server["alpha"] and server["checks"] or any(check.get("alpha") for check in server["checks"])
        if is_down and not server["inhibit_on_failure"]:
            continue
        found[_server_name(server, where)] = _server_words(server, 0 if is_down else _weight(pillar, server))
    sorry = wanted["sorry_server"]
    up = sum(server["weight"] for server in found.values())
    if sorry and up < wanted["quorum"]:
        found[_server_name(sorry, where)] = _server_words(sorry, 1)
    return found


def _weight(pillar: Words, server: Words) -> int:
    """A server's weight, with what files add to it at the start."""
    files_ = pillar.get("vrrp", {}).get("files", {})
    added = sum(
        files_[one["name"]].get("init", 0) * one["weight"] * (-1 if one["reverse"] else 1) for one in server["files"]
    )
    return max(0, server["weight"] + added)


def _server_name(server: Words, where: str) -> str:
    # Only NAT can lead to another port than the one that the client asked for.
    port = server["port"]
    if server["method"] != "nat":
        port = 0 if where.startswith("fwmark") else int(where.split(" ")[1])
    shown = f"[{server['address']}]" if ":" in server["address"] else server["address"]
    return f"{shown}:{port}"


def _server_words(server: Words, weight: int) -> Words:
    words = {"forward": server["method"], "weight": weight}
    for key in ("upper_threshold", "lower_threshold", "tunnel", "tunnel_port", "tunnel_flags"):
        if server.get(key):
            words[key] = server[key]
    return words
