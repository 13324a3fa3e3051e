"""VRRP in keepalived.conf: what instances hold and track, and that nothing in a pillar gets out of its place."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import keepalived_conf
import keepalived_vrrp
import mysql_ha_pillar

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]

#: Everything at once. keepalived 2.3.4 accepts what comes of it (``-t``, exit status 0).
RICH = yaml.safe_load("""
vrrp:
  garp: {delay: 3, repeat: 2, refresh: 30, refresh_repeat: 2, lower_priority_delay: 1, lower_priority_repeat: 2,
         interval: 0.001, gna_interval: 0.000001}
  sync_daemon: {id: 7, maxlen: 1400, port: 8850, ttl: 2, group: 224.0.0.82, instance: web, interface: eth0}
  track: {bfds: [gw]}
  instances:
    web:
      virtual_router_id: 51
      endpoints: [write]
      addresses: [192.168.1.1/24, {address: 192.168.1.9, prefix: 24, interface: eth1, label: 'eth1:gw', scope: link},
                  '2001:db8::100']
      priorities: {lvs1: 120, lvs2: 130}
      preempt: true
      preempt_delay: 2.5
      garp: {delay: 1, refresh: 0}
      track: {}
      routes: ['192.0.2.0/24 via 192.168.1.254 dev eth0']
      rules: ['from 192.168.1.0/24 table 100 preference 1000']
      notify_master: /usr/bin/true a b
      notify_deleted: /usr/bin/true
      notify_master_rx_lower_pri: /usr/bin/true
      smtp_alert: false
      extra: {debug: 1, skip_check_adv_addr: true, down_timer_adverts: 4}
    admin:
      virtual_router_id: 52
      addresses: [10.9.0.1/24]
      interface: eth1
      unicast: {lvs1: 10.9.0.2, lvs2: 10.9.0.3}
      version: 2
      advert_interval: 1
      priorities: {lvs1: 10, lvs2: 20}
      track: {interfaces: [eth0], scripts: [{name: quiet}], files: [{name: drain, weight: 0}]}
    six:
      virtual_router_id: 52
      addresses: ['fe80::1/64', '2001:db8::1/64', '10.9.0.77']
      interface: eth1
      unicast: {lvs1: 'fd00::2', lvs2: 'fd00::3'}
      track: {interfaces: [eth1, {name: eth0, weight: -20}], scripts: [{name: check, weight: -30, reverse: true}],
              files: [{name: drain, weight: 5, reverse: false}], processes: [proc, {name: proc2, weight: 3}],
              bfds: [{name: gw, weight: -9}, gw2]}
    only6:
      virtual_router_id: 60
      addresses: ['2001:db8::77']
    own_mac:
      virtual_router_id: 61
      unicast: false
      addresses: ['fe80::61']
      use_vmac: vrrp61
      vmac_xmit_base: true
      use_vmac_addr: false
  groups:
    both: {instances: [web, admin], track: {scripts: [check], files: [{name: drain, weight: 2}]}, notify: /usr/bin/true,
           smtp_alert: true, extra: {notify_priority_changes: true}}
  scripts:
    check: {script: '/usr/bin/true now and then', interval: 2, timeout: 1, weight: 10, reverse: false, rise: 2, fall: 3,
            user: root root, init_fail: true}
    quiet: {script: /usr/bin/true, interval: 0.5}
  files:
    drain: {file: /run/drain, weight: 1, reverse: true, init: 0, overwrite: true}
  processes:
    proc: {process: /usr/sbin/haproxy, param_match: partial, parameters: '-f /etc/haproxy', weight: 4, reverse: true,
           quorum: 1, quorum_max: 2, delay: 0.5, fork_delay: 1, terminate_delay: 2, full_command: true}
    proc2: {process: sshd, param_match: exact}
  bfds:
    gw: {neighbour: 192.168.1.254, source: 192.168.1.2, interval: 0.1, idle_tx: 2, multiplier: 3, ttl: 255, max_hops: 2,
         weight: -5, reverse: true, extra: {vrrp: true}}
    gw2: {neighbour: 'fd00::fe', min_rx: 0.05, min_tx: 0.05, passive: true}
keepalived:
  global_defs: {script_user: root, notify_fifo: /run/k.fifo, notify_fifo_script: /usr/bin/true root,
                vrrp_notify_fifo: '/run/v.fifo root root', lvs_timeouts: tcp 900 udp 300,
                notification_email: [ops@example.org], notification_email_from: lvs@example.org}
  extra:
    static_routes: {'192.168.78.0/24 via 192.168.77.2 dev eth1': null}
    garp_group: [{interface: eth0, garp_interval: 0.002}]
""")
SECRETS = {"vrrp": {"admin": "1111"}}

RICH_TEXT = """\
global_defs {
    router_id shop_lvs1
    vrrp_version 3
    vrrp_garp_master_delay 3
    vrrp_garp_master_repeat 2
    vrrp_garp_master_refresh 30
    vrrp_garp_master_refresh_repeat 2
    vrrp_garp_lower_prio_delay 1
    vrrp_garp_lower_prio_repeat 2
    vrrp_garp_interval 0.001
    vrrp_gna_interval 0.000001
    lvs_sync_daemon eth0 inst web id 7 maxlen 1400 port 8850 ttl 2 group 224.0.0.82
    enable_script_security
    script_user root
    notify_fifo /run/k.fifo
    notify_fifo_script /usr/bin/true root
    vrrp_notify_fifo /run/v.fifo root root
    lvs_timeouts tcp 900 udp 300
    notification_email {
        ops@example.org
    }
    notification_email_from lvs@example.org
}

vrrp_script check {
    script "/usr/bin/true now and then"
    interval 2
    timeout 1
    weight 10
    rise 2
    fall 3
    user root root
    init_fail
}

vrrp_script quiet {
    script "/usr/bin/true"
    interval 0.5
}

track_file drain {
    file /run/drain
    weight 1 reverse
    init_file 0 overwrite
}

vrrp_track_process proc {
    process /usr/sbin/haproxy -f /etc/haproxy
    param_match partial
    full_command
    weight 4 reverse
    quorum 1
    quorum_max 2
    delay 0.5
    terminate_delay 2
    fork_delay 1
}

vrrp_track_process proc2 {
    process sshd
    param_match
}

bfd_instance gw {
    neighbor_ip 192.168.1.254
    source_ip 192.168.1.2
    min_rx 100
    min_tx 100
    idle_tx 2000
    multiplier 3
    ttl 255
    max_hops 2
    weight -5 reverse
    vrrp
}

bfd_instance gw2 {
    neighbor_ip fd00::fe
    min_rx 50
    min_tx 50
    passive
}

static_routes {
    192.168.78.0/24 via 192.168.77.2 dev eth1
}
garp_group {
    interface eth0
    garp_interval 0.002
}

vrrp_sync_group both {
    group {
        web
        admin
    }
    track_script {
        check
    }
    track_file {
        drain weight 2
    }
    notify "/usr/bin/true"
    smtp_alert true
    notify_priority_changes
}

vrrp_instance web {
    state BACKUP
    preempt_delay 2.5
    interface eth0
    virtual_router_id 51
    priority 120
    advert_int 0.3
    garp_master_delay 1
    garp_master_refresh 0
    unicast_src_ip 192.168.1.2
    unicast_peer {
        192.168.1.11
    }
    virtual_ipaddress {
        192.168.1.100/32 dev eth0
        192.168.1.1/24 dev eth0
        192.168.1.9/24 dev eth1 scope link label eth1:gw
    }
    virtual_ipaddress_excluded {
        2001:db8::100/128 dev eth0
    }
    virtual_routes {
        192.0.2.0/24 via 192.168.1.254 dev eth0
    }
    virtual_rules {
        from 192.168.1.0/24 table 100 preference 1000
    }
    notify_master "/usr/bin/true a b"
    smtp_alert false
    notify_deleted "/usr/bin/true"
    notify_master_rx_lower_pri "/usr/bin/true"
    debug 1
    skip_check_adv_addr
    down_timer_adverts 4
}

vrrp_instance admin {
    state BACKUP
    nopreempt
    interface eth1
    version 2
    virtual_router_id 52
    priority 10
    advert_int 1
    unicast_src_ip 10.9.0.2
    unicast_peer {
        10.9.0.3
    }
    authentication {
        auth_type PASS
        auth_pass 1111
    }
    track_interface {
        eth0
    }
    track_script {
        quiet
    }
    track_file {
        drain weight 0
    }
    virtual_ipaddress {
        10.9.0.1/24 dev eth1
    }
}

vrrp_instance six {
    state BACKUP
    nopreempt
    interface eth1
    virtual_router_id 52
    priority 150
    advert_int 0.3
    unicast_src_ip fd00::2
    unicast_peer {
        fd00::3
    }
    track_interface {
        eth0 weight -20
    }
    track_script {
        check weight -30 reverse
    }
    track_file {
        drain weight 5 noreverse
    }
    track_process {
        proc
        proc2 weight 3
    }
    track_bfd {
        gw weight -9
        gw2
    }
    virtual_ipaddress {
        fe80::1/64 dev eth1
        2001:db8::1/64 dev eth1
    }
    virtual_ipaddress_excluded {
        10.9.0.77/32 dev eth1
    }
}

vrrp_instance only6 {
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 60
    priority 150
    advert_int 0.3
    unicast_src_ip 192.168.1.2
    unicast_peer {
        192.168.1.11
    }
    track_bfd {
        gw
    }
    no_virtual_ipaddress
    virtual_ipaddress_excluded {
        2001:db8::77/128 dev eth0
    }
}

vrrp_instance own_mac {
    state BACKUP
    nopreempt
    interface eth0
    use_vmac vrrp61
    vmac_xmit_base
    virtual_router_id 61
    priority 150
    advert_int 0.3
    track_bfd {
        gw
    }
    virtual_ipaddress {
        fe80::61/128
    }
}
"""


def merged(base: Any, over: Any) -> Any:
    """Return one mapping laid over another."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return copy.deepcopy(over)
    return {**copy.deepcopy(base), **{key: merged(base.get(key), value) for key, value in over.items()}}


def rich() -> dict[str, Any]:
    """Return a pillar with everything."""
    return merged(EXAMPLE, RICH)


def with_vrrp(**vrrp: Any) -> dict[str, Any]:
    """Return the example with other keys of ``vrrp``."""
    return merged(EXAMPLE, {"vrrp": vrrp})


def block(text: str, head: str) -> list[str]:
    """Return the lines of the first block with a head, wherever it stands."""
    lines = [line.strip() for line in text.splitlines()]
    start = lines.index(f"{head} {{") + 1
    return lines[start : lines.index("}", start)]


def test_everything_at_once() -> None:
    assert mysql_ha_pillar.errors(rich()) == []
    text = keepalived_conf.render(rich(), "lvs1", SECRETS)
    assert text.split("\n\n", 1)[1].split("\nvirtual_server")[0] == RICH_TEXT


def test_passwords_of_instances_are_hidden() -> None:
    text = keepalived_conf.redact(keepalived_conf.render(rich(), "lvs1", {"vrrp": {"admin": "hunter2"}}))
    assert "hunter2" not in text
    assert "auth_pass <hidden>" in text


def test_one_password_is_for_all_instances_of_version_2() -> None:
    assert keepalived_conf.render(rich(), "lvs1", {"vrrp": "1111"}).count("auth_pass 1111") == 1


# ---- the sync daemon


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (True, "lvs_sync_daemon eth0 inst shop id 51"),
        ({}, "lvs_sync_daemon eth0 inst shop id 51"),
        ({"interface": "eth7", "id": 9}, "lvs_sync_daemon eth7 inst shop id 9"),
        ({"instance": False, "port": 8849}, "lvs_sync_daemon eth0 id 51 port 8849"),
    ],
)
def test_the_sync_daemon_is_bound_to_the_first_instance(given: Any, line: str) -> None:
    tried = with_vrrp(sync_daemon=given)
    assert mysql_ha_pillar.errors(tried) == []
    assert line in block(keepalived_conf.render(tried, "lvs1"), "global_defs")


def test_no_sync_daemon() -> None:
    alone = with_vrrp()
    del alone["nodes"]["lvs2"]
    own = merged(EXAMPLE, {"keepalived": {"global_defs": {"lvs_sync_daemon": "eth1 inst shop id 3"}}})
    assert "lvs_sync" not in keepalived_conf.render(with_vrrp(sync_daemon=False), "lvs1")
    assert "lvs_sync" not in keepalived_conf.render(alone, "lvs1")
    assert mysql_ha_pillar.errors(own) == []
    assert keepalived_conf.render(own, "lvs1").count("lvs_sync_daemon eth1 inst shop id 3") == 1
    assert keepalived_conf.render(own, "lvs1").count("lvs_sync_daemon") == 1


# ---- addresses


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (["192.168.1.100 80", "192.168.1.101-103 443", "fwmark 7"], ["192.168.1.100", "192.168.1.101",
                                                                    "192.168.1.102", "192.168.1.103"]),
        (["2001:db8::8-a 80"], ["2001:db8::8", "2001:db8::9", "2001:db8::a"]),
        (["192.168.1.128/31 80"], ["192.168.1.128", "192.168.1.129"]),
        (["fwmark 1"], []),
    ],
)  # fmt: skip
def test_addresses_of_groups(group: Any, expected: list[str]) -> None:
    settings = with_vrrp()
    settings["endpoints"] = {"write": {"group": group}}
    assert [str(vip.address) for vip in keepalived_vrrp.vips(settings, settings["cluster"])] == expected


def settings_with(endpoints: dict[str, Any], **vrrp: Any) -> dict[str, Any]:
    """Return settings whose endpoints only the instances look at."""
    return {**with_vrrp(**vrrp), "endpoints": endpoints}


def of_instances(tried: dict[str, Any], node: str = "lvs1") -> dict[str, list[str]]:
    """Return the lines of the instances' blocks by name."""
    blocks = keepalived_vrrp.instance_blocks(tried, node, {})
    return {lines[0].split()[1]: [line.strip() for line in lines] for lines in blocks}


def test_addresses_of_the_other_family_are_not_advertised() -> None:
    endpoints = {"a": {"address": "2001:db8:0::1"}, "b": {"address": "192.168.1.100"}, "c": {"fwmark": 5}}
    lines = of_instances(settings_with(endpoints))["shop"]
    assert lines[lines.index("virtual_ipaddress {") + 1] == "192.168.1.100/32 dev eth0"
    assert lines[lines.index("virtual_ipaddress_excluded {") + 1] == "2001:db8::1/128 dev eth0"


def test_more_addresses_than_an_advert_has_room_for() -> None:
    endpoints = {"a": {"group": ["10.0.0.0-255 80", "10.0.1.1-20 80"]}}
    text = "\n".join(of_instances(settings_with(endpoints))["shop"])
    advertised, excluded = block(text, "virtual_ipaddress"), block(text, "virtual_ipaddress_excluded")
    assert (len(advertised), len(excluded)) == (255, 21)
    assert advertised[0].startswith("10.0.0.0/32")
    assert excluded == ["10.0.0.255/32 dev eth0", *(f"10.0.1.{last}/32 dev eth0" for last in range(1, 21))]
    six = settings_with({"a": {"group": ["2001:db8::1-64 80"]}}, unicast=False)
    text = "\n".join(of_instances(six)["shop"])
    assert (len(block(text, "virtual_ipaddress")), len(block(text, "virtual_ipaddress_excluded"))) == (76, 24)


def test_endpoints_that_no_instance_names_belong_to_the_first() -> None:
    endpoints = {name: {"address": f"192.168.1.{number}"} for number, name in enumerate("dcba", 100)}
    instances = {"one": {"virtual_router_id": 1, "endpoints": ["b"]}, "two": {"virtual_router_id": 2, "endpoints": "c"}}
    found = of_instances(settings_with(endpoints, instances=instances))
    held = {name: [line.split("/")[0] for line in lines if "/32" in line] for name, lines in found.items()}
    assert held == {"one": ["192.168.1.102", "192.168.1.100", "192.168.1.103"], "two": ["192.168.1.101"]}


def test_the_order_is_the_users() -> None:
    names = ["zeta", "alpha", "mid", "beta"]
    instances = {
        name: {"virtual_router_id": number, "addresses": [f"10.0.{number}.{last}" for last in (9, 1, 5)]}
        for number, name in enumerate(names, 1)
    }
    tried = with_vrrp(instances=instances, groups={"z": {"instances": ["mid", "alpha"]},
                                                   "a": {"instances": ["zeta", "beta"]}})  # fmt: skip
    assert mysql_ha_pillar.errors(tried) == []
    text = keepalived_conf.render(tried, "lvs1")
    heads = [line.split()[1] for line in text.splitlines() if line.startswith(("vrrp_sync_group", "vrrp_instance"))]
    assert heads == ["z", "a", *names]
    assert block(text, "group") == ["mid", "alpha"]
    held = [line.split("/")[0].strip() for line in text.splitlines() if "10.0.1." in line]
    assert held == ["10.0.1.9", "10.0.1.1", "10.0.1.5"]


# ---- properties


#: Where the pillar can hold text or a number of the user's; each path goes through the mappings and lists of ``rich``.
def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all single values."""
    if isinstance(value, dict):
        return [path for key in value for path in places(value[key], (*prefix, key))]
    if isinstance(value, list):
        return [path for index, item in enumerate(value) for path in places(item, (*prefix, index))]
    return [prefix]


PLACES = [path for path in places(RICH) if path]
KEYED = sorted({path[:end] for path in PLACES for end in range(2, len(path)) if isinstance(path[end], str)}, key=repr)
BREAKERS = ["}", "{", "#", "!", '"', "$A", "\\", "\n", "\r", "\t", "\0", "\x7f", "\x85", "\u2028", "é"]
EVIL = ["include /etc/passwd", "includea", "/bin/x } y {", "/a\nb", "@x", "~SEQ"]
NASTY = st.one_of(st.text(), st.text('ab#!{}"$@~\\ /0\n\t', max_size=12), st.integers(), st.floats(), st.booleans(),
                  st.none(), st.sampled_from(EVIL))  # fmt: skip


def put(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the rich pillar with one value changed."""
    result = rich()
    section = result
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    return result


def rendered(tried: dict[str, Any]) -> str | None:
    """Return the file, or nothing if there is none."""
    try:
        return keepalived_conf.render(tried, "lvs1", SECRETS)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def assert_sound_if_valid(tried: dict[str, Any]) -> None:
    """Check that a valid pillar renders, and that whatever renders has no line out of its place."""
    found = mysql_ha_pillar.errors(tried)
    text = rendered(tried)
    assert text is not None or found
    assert text is None or is_sound(text)


def is_sound(text: str) -> bool:
    """Return whether each line is one that keepalived reads as it stands, and all blocks are closed."""
    depth = 0
    for line in text.split("\n")[1:-1]:
        words = line.split(" ")
        first = line.strip(" ").split(" ")[0]
        if line.endswith(" {"):
            depth += 1
        elif line.strip(" ") == "}":
            depth -= 1
        elif set(line) & set("{}"):
            return False
        if depth < 0 or set(line) & set("#!$~\\\t\r") or not line.isascii() or (line and not line.isprintable()):
            return False
        if first.startswith(("include", "@")) and words:
            return False
    return depth == 0


def test_the_rich_file_is_sound() -> None:
    assert is_sound(keepalived_conf.render(rich(), "lvs1", SECRETS))
    assert not is_sound("#\na {\n    }\n}\n")
    assert not is_sound("#\n    include x\n")


@pytest.mark.parametrize("breaker", BREAKERS)
def test_no_place_lets_a_value_leave_it(breaker: str) -> None:
    for path in PLACES:
        value = f"a{breaker}b"
        tried = put(path, value)
        assert mysql_ha_pillar.errors(tried), path
        text = rendered(tried)
        # What is read as true or false is not written.
        assert text is None or (value not in text and is_sound(text)), path


@settings(deadline=None)
@given(st.sampled_from(PLACES), NASTY)
def test_what_is_valid_renders_and_what_renders_is_sound(path: tuple[Any, ...], value: Any) -> None:
    assert_sound_if_valid(put(path, value))


@settings(deadline=None)
@given(st.sampled_from(KEYED), NASTY)
def test_keys_are_as_sound_as_values(path: tuple[Any, ...], key: Any) -> None:
    tried = rich()
    section = tried
    for part in path:
        section = section[part]
    if not isinstance(section, dict) or not section:
        return
    first = next(iter(section))
    section[key] = section.pop(first)
    assert_sound_if_valid(tried)


EXTRA = st.recursive(
    NASTY,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab 1_{}#", max_size=5), inner,
                                                                         max_size=3)),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(EXTRA, st.sampled_from([("keepalived", "extra"), ("vrrp", "instances", "web", "extra"),
                               ("vrrp", "groups", "both", "extra"), ("vrrp", "bfds", "gw", "extra")]))  # fmt: skip
def test_extra_lines_are_sound(content: Any, path: tuple[str, ...]) -> None:
    assert_sound_if_valid(put(path, content))
