"""The packet filter of a director: the rules and their sentences, the file as nft takes it, what it lets through."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import director_firewall
import mysql_ha_pillar

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
SIX = {"virtual_router_id": 52, "addresses": ["2001:db8::101"], "unicast": False}
FRONT = {"virtual_router_id": 51, "endpoints": ["write"]}
BACK = {"virtual_router_id": 54, "addresses": ["10.0.0.1"], "interface": "eth1"}
PAIR = {"lvs1": "10.0.0.2", "lvs2": "10.0.0.3"}
LINK_LOCAL = {"lvs1": ["fe80::2"], "lvs2": ["fe80::11"]}
HOST = "the address of one host, such as 192.168.1.5 or 2001:db8::5"
LIST = "a list of addresses, such as 10.0.0.3 or fe80::5054:ff:fe01:203"


def pillar(sources: Any = None, on: Any = True, **vrrp: Any) -> dict[str, Any]:
    """The example with the firewall on, and these words of its `vrrp` otherwise."""
    found = copy.deepcopy(EXAMPLE)
    found["firewall"] = {"vrrp": on, **({} if sources is None else {"sources": sources})}
    found["vrrp"] |= vrrp
    return found


def text(found: dict[str, Any], node: str = "lvs1") -> str:
    """What is loaded, of a pillar that the rules find right."""
    assert mysql_ha_pillar.errors(found) == []
    return director_firewall.text(found, node)


def accepted(found: dict[str, Any], chain: str = "vrrp", node: str = "lvs1") -> list[str]:
    """What a chain lets in from others."""
    lines = text(found, node).split(f"chain {chain} {{\n")[1].split("}")[0].splitlines()
    own = ['iifname "lo" accept', "meta nfproto ipv4 fib saddr type local accept"]
    stripped = [line.strip() for line in lines if line.strip()]
    assert (stripped[:2], stripped[-1]) == (own, "counter drop")
    return stripped[2:-1]


# --- the rules ---


def unknown(peer: str, family: int, whose: str, interface: str, other: str = ", or unicast for the instance") -> str:
    """The sentence about a director of which it is not known where it is heard from."""
    hint = "the link-local one there" if family == 6 else "the first one there"
    where = f"by multicast from one on {interface} that no other key says" if interface else (
        "by multicast from one that no other key says")  # fmt: skip
    return (
        f"firewall:sources:{peer}: holds no IPv{family} address, and {whose} {where}; "
        f"allowed: a list with {hint}{other}"
    )


def both(*words: Any) -> list[str]:
    return [unknown(peer, *words) for peer in ("lvs2", "lvs1")]


@pytest.mark.parametrize(("firewall", "said"), [
    (5, ["firewall: is a number; allowed: a mapping"]),
    ([], ["firewall: is a list; allowed: a mapping"]),
    ({"vrrp": "yes"}, ["firewall:vrrp: is 'yes'; allowed: true, false"]),
    ({"vrrp": 1}, ["firewall:vrrp: is 1; allowed: true, false"]),
    ({"vrrp": None}, ["firewall:vrrp: is empty; allowed: true, false"]),
    ({"vrrps": True}, ["firewall:vrrps: is an unknown key; allowed: vrrp, sources (did you mean vrrp?)"]),
    ({"mysql": True}, ["firewall:mysql: is an unknown key; allowed: vrrp, sources"]),
    ({"sources": "fe80::1"}, ["firewall:sources: is text; allowed: a mapping"]),
    ({"sources": {"lvs3": ["10.0.0.2"]}}, ["firewall:sources:lvs3: is no director; allowed: lvs1, lvs2"]),
    ({"sources": {"mysql1": ["10.0.0.2"]}}, ["firewall:sources:mysql1: is no director; allowed: lvs1, lvs2"]),
    ({"sources": {1: ["10.0.0.2"]}}, ["firewall:sources:1: is no director; allowed: lvs1, lvs2"]),
    ({"sources": {"lvs1": "10.0.0.2"}}, [f"firewall:sources:lvs1: is text; allowed: {LIST}"]),
    ({"sources": {"lvs1": None}}, [f"firewall:sources:lvs1: is empty; allowed: {LIST}"]),
    ({"sources": {"lvs1": []}}, [f"firewall:sources:lvs1: is an empty list; allowed: {LIST}"]),
    ({"sources": {"lvs1": {}}}, [f"firewall:sources:lvs1: is a mapping; allowed: {LIST}"]),
    ({"sources": {"lvs1": ["10.0.0.300"]}}, [f"firewall:sources:lvs1:0: is '10.0.0.300'; allowed: {HOST}"]),
    ({"sources": {"lvs1": ["10.0.0.0/24"]}}, [f"firewall:sources:lvs1:0: is '10.0.0.0/24'; allowed: {HOST}"]),
    ({"sources": {"lvs1": ["fe80::1%eth0"]}}, [f"firewall:sources:lvs1:0: is 'fe80::1%eth0'; allowed: {HOST}"]),
    ({"sources": {"lvs1": ["ff02::12"]}}, [f"firewall:sources:lvs1:0: is 'ff02::12'; allowed: {HOST}"]),
    ({"sources": {"lvs1": ["127.0.0.1"]}}, [f"firewall:sources:lvs1:0: is '127.0.0.1'; allowed: {HOST}"]),
    ({"sources": {"lvs1": ["0.0.0.9"]}}, [f"firewall:sources:lvs1:0: is '0.0.0.9'; allowed: {HOST}"]),
    ({"sources": {"lvs1": ["any } accept"]}}, [f"firewall:sources:lvs1:0: is 'any }} accept'; allowed: {HOST}"]),
    ({"sources": {"lvs1": [5]}}, [f"firewall:sources:lvs1:0: is 5; allowed: {HOST}"]),
    ({"sources": {"lvs1": ["10.0.0.2"], "lvs2": ["10.0.0.3", "10.0.0.2"]}},
     ["firewall:sources:lvs2:1: is '10.0.0.2', as is mysql_ha:firewall:sources:lvs1:0; allowed: addresses that no "
      "other director has, each once"]),
])  # fmt: skip
def test_a_wrong_value_is_told(firewall: object, said: list[str]) -> None:
    found = copy.deepcopy(EXAMPLE)
    found["firewall"] = firewall
    assert mysql_ha_pillar.errors(found) == [f"mysql_ha:{line}" for line in said]


@pytest.mark.parametrize(("vrrp", "sources", "said"), [
    ({"instances": {"front": FRONT, "six": SIX}}, None, both(6, "the adverts of the instance six come", "eth0")),
    ({"instances": {"front": FRONT, "six": SIX}}, {"lvs1": ["fe80::2"]},
     [unknown("lvs2", 6, "the adverts of the instance six come", "eth0")]),
    ({"instances": {"front": FRONT, "six": SIX}}, {"lvs1": ["10.0.0.2"], "lvs2": ["10.0.0.3"]},
     both(6, "the adverts of the instance six come", "eth0")),
    ({"instances": {"front": FRONT, "back": {**BACK, "unicast": False}}}, None,
     both(4, "the adverts of the instance back come", "eth1")),
    ({"instances": {"front": FRONT, "mac": {**BACK, "use_vmac": True, "unicast": False}}}, None,
     both(4, "the adverts of the instance mac come", "")),
    ({"sync_daemon": {"interface": "eth1"}}, None, both(4, "the sync daemon's word comes", "eth1", "")),
    ({"sync_daemon": {"group": "ff02::81"}}, None, both(6, "the sync daemon's word comes", "eth0", "")),
])  # fmt: skip
def test_what_cannot_be_known_is_asked_for(vrrp: dict[str, Any], sources: Any, said: list[str]) -> None:
    assert mysql_ha_pillar.errors(pillar(sources, **vrrp)) == [f"mysql_ha:{line}" for line in said]
    # Nobody is asked while nothing is filtered.
    assert mysql_ha_pillar.errors(pillar(sources, on=False, **vrrp)) == []


def test_a_sync_daemon_in_keepalived_s_own_words_cannot_be_filtered() -> None:
    found = pillar()
    found["keepalived"]["global_defs"] = {"lvs_sync_daemon": "eth0 inst shop port 9000"}
    assert mysql_ha_pillar.errors(found) == [
        "mysql_ha:keepalived:global_defs:lvs_sync_daemon: is not understood by this formula, so the firewall would not "
        "know what to let in; allowed: mysql_ha:vrrp:sync_daemon instead"
    ]
    found["firewall"]["vrrp"] = False
    assert mysql_ha_pillar.errors(found) == []


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(
    ["lvs1", "10.0.0.2", "fe80::1", "eth0"])  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(
        ["lvs1", "lvs2", "sources", "vrrp", "front", "unicast", "interface", "addresses", "instance", "group", "port",
         "sysctls", "sync_ports", "sync_threshold"]), inner, max_size=4), max_leaves=12,
)  # fmt: skip


@given(section=st.sampled_from(["firewall", "kernel", "vrrp", "nodes", "keepalived", "endpoints"]), value=values)
def test_nothing_is_raised_whatever_the_pillar(section: str, value: Any) -> None:
    found = pillar()
    found[section] = value
    assert all(isinstance(line, str) for line in mysql_ha_pillar.errors(found))


@given(key=st.sampled_from(["sync_daemon", "instances", "unicast"]), value=values)
def test_nothing_is_raised_whatever_vrrp_says(key: str, value: Any) -> None:
    assert all(isinstance(line, str) for line in mysql_ha_pillar.errors(pillar(**{key: value})))


# --- what is loaded ---


def test_unicast_lets_the_other_director_in() -> None:
    assert accepted(pillar()) == ['iifname "eth0" ip saddr 192.168.1.11 accept']
    assert accepted(pillar(), node="lvs2") == ['iifname "eth0" ip saddr 192.168.1.2 accept']
    assert accepted(pillar(), "sync") == ['iifname "eth0" ip saddr 192.168.1.11 accept']
    assert "        ip daddr 224.0.0.81 udp dport 8848 jump sync\n" in text(pillar())
    assert "        meta l4proto 112 jump vrrp\n" in text(pillar())


def test_each_director_has_its_own_interface() -> None:
    found = pillar(unicast=False)
    found["nodes"]["lvs1"]["interface"] = "bond0.7"
    found["nodes"]["lvs2"]["interface"] = "ens5"
    assert accepted(found) == ['iifname "bond0.7" ip saddr 192.168.1.11 accept']
    assert accepted(found, "sync") == ['iifname "bond0.7" ip saddr 192.168.1.11 accept']
    assert accepted(found, node="lvs2") == ['iifname "ens5" ip saddr 192.168.1.2 accept']


def test_each_instance_is_heard_where_it_is() -> None:
    instances = {
        "front": FRONT,
        "six": SIX,
        "back": {**BACK, "unicast": PAIR},
        "mac": {"virtual_router_id": 55, "addresses": ["192.168.1.120"], "use_vmac": True, "unicast": False},
    }
    assert accepted(pillar(LINK_LOCAL, instances=instances)) == [
        'iifname "eth0" ip saddr 192.168.1.11 accept',
        'iifname "eth0" ip6 saddr fe80::11 accept',
        'iifname "eth1" ip saddr 10.0.0.3 accept',
        "ip saddr 192.168.1.11 accept",
    ]


def test_unicast_over_ipv6_needs_no_link_local_address() -> None:
    six = {**SIX, "unicast": {"lvs1": "2001:db8::2", "lvs2": "2001:DB8:0::11"}}
    assert accepted(pillar(instances={"front": FRONT, "six": six}))[1:] == [
        'iifname "eth0" ip6 saddr 2001:db8::11 accept']  # fmt: skip


def test_further_addresses_count_for_multicast_alone() -> None:
    sources = {"lvs2": ["192.168.1.12"]}
    assert accepted(pillar(sources)) == ['iifname "eth0" ip saddr 192.168.1.11 accept']
    assert accepted(pillar(sources, unicast=False)) == [
        'iifname "eth0" ip saddr 192.168.1.11 accept', 'iifname "eth0" ip saddr 192.168.1.12 accept']  # fmt: skip


def test_the_sync_daemon_is_heard_where_the_pillar_has_it() -> None:
    found = pillar({"lvs1": ["10.0.0.2"], "lvs2": ["10.0.0.3"]},
                   sync_daemon={"interface": "eth1", "group": "224.0.0.99", "port": 9000})  # fmt: skip
    found["kernel"]["sysctls"]["sync_ports"] = 4
    assert accepted(found, "sync") == ['iifname "eth1" ip saddr 10.0.0.3 accept']
    assert "ip daddr 224.0.0.99 udp dport 9000-9003 jump sync" in text(found)
    six = pillar(LINK_LOCAL, sync_daemon={"group": "ff02::81"})
    assert accepted(six, "sync") == ['iifname "eth0" ip6 saddr fe80::11 accept']
    assert "ip6 daddr ff02::81 udp dport 8848 jump sync" in text(six)


def test_without_a_sync_daemon_its_port_is_nobodys_affair() -> None:
    assert "sync" not in text(pillar(sync_daemon=False))


def test_a_director_alone_hears_nobody() -> None:
    found = pillar()
    del found["nodes"]["lvs2"]
    assert accepted(found) == []
    assert "chain sync" not in text(found)


@pytest.mark.parametrize(("found", "node"), [
    (pillar(), "mysql1"), (pillar(), "nobody"), (pillar(instances={"front": FRONT, "six": SIX}), "lvs1"),
    (pillar(interface="x"), "lvs3"),
])  # fmt: skip
def test_what_cannot_be_known_is_never_guessed(found: dict[str, Any], node: str) -> None:
    with pytest.raises(ValueError, match="not a director|not known"):
        director_firewall.text(found, node)


def test_no_interface_gets_out_of_its_place() -> None:
    found = pillar()
    for name in ('eth0" accept', "a b", "x" * 16, "a\nb", "x\\"):
        found["nodes"]["lvs1"]["interface"] = name
        with pytest.raises(ValueError, match="interface|not a word"):
            director_firewall.text(found, "lvs1")
    found["nodes"]["lvs1"]["interface"] = "eth*"
    assert accepted(found) == ['iifname "eth\\*" ip saddr 192.168.1.11 accept']


def test_the_unit_is_there_before_the_network_and_comes_back_after_the_distributions_own() -> None:
    lines = director_firewall.unit("/usr/sbin/nft", "/etc/mysql_ha/firewall.nft").splitlines()
    assert "Before=network-pre.target keepalived.service shutdown.target" in lines
    assert "Wants=network-pre.target" in lines
    assert "After=local-fs.target nftables.service" in lines
    assert {"PartOf=nftables.service", "ReloadPropagatedFrom=nftables.service"} <= set(lines)
    assert "ExecStart=/usr/sbin/nft -f /etc/mysql_ha/firewall.nft" in lines
    assert 'ExecStop=/usr/sbin/nft "add table inet mysql_ha; delete table inet mysql_ha"' in lines


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    unit = tmp_path / director_firewall.SERVICE
    unit.write_text(director_firewall.unit(shutil.which("true"), "/etc/mysql_ha/firewall.nft"))
    done = subprocess.run([tool, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert director_firewall.SERVICE not in done.stderr


# --- with nft, in namespaces of their own ---

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
NFT = shutil.which("nft", path=PATH)
HEAR = """
import json, select, socket, struct, sys, time
def raw(family):
    return socket.socket(family, socket.SOCK_RAW, 112)
def datagrams():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("", 8848))
    return one
index = socket.if_nametoindex("eth0")
four, six, sync = raw(socket.AF_INET), raw(socket.AF_INET6), datagrams()
for one, group in ((four, "224.0.0.18"), (sync, "224.0.0.81")):
    member = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), index)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
member = socket.inet_pton(socket.AF_INET6, "ff02::12") + struct.pack("@I", index)
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
print("ready", flush=True)
heard, end = [], time.monotonic() + 20
while time.monotonic() < end:
    for one in select.select([four, six, sync], [], [], 0.1)[0]:
        data, source = one.recvfrom(2048)
        if one is four:
            data = data[(data[0] & 15) * 4:]
        heard.append(data.decode())
        if data == b"end":
            # What was sent before has had its time.
            end = time.monotonic() + 0.5
print(json.dumps(heard))
"""
SEND = """
import socket, struct, sys
index = socket.if_nametoindex("eth0")
def send(kind, source, target, text):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    if kind == "vrrp":
        one = socket.socket(family, socket.SOCK_RAW, 112)
    else:
        one = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        one.bind((source, 0, 0, index))
        one.sendto(text.encode(), (target, 0, 0, index))
        return
    one.bind((source, 0))
    if target.startswith("224"):
        own = struct.pack("=4s4si", bytes(4), bytes(4), index)
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
    one.sendto(text.encode(), (target, 0 if kind == "vrrp" else 8848))
for line in sys.argv[1:]:
    send(*line.split(" "))
"""
#: Who else is in the directors' network.
OUTSIDERS = [
    "vrrp 192.168.1.30 224.0.0.18 multicast",
    "vrrp 192.168.1.30 192.168.1.2 unicast",
    "vrrp fe80::30 ff02::12 multicast6",
    "vrrp 2001:db8::30 2001:db8::2 unicast6",
    # As if it came from here.
    "vrrp fe80::2:2 ff02::12 pretended6",
    "udp 192.168.1.30 224.0.0.81 sync",
]
#: What is to come in.
OTHERS = [
    "vrrp 192.168.1.11 224.0.0.18 peer",
    "vrrp 192.168.1.11 192.168.1.2 peer-unicast",
    "vrrp fe80::11 ff02::12 peer6",
    "udp 192.168.1.11 224.0.0.81 peer-sync",
    # Somebody else's, on the same port.
    "udp 192.168.1.30 192.168.1.2 stranger",
]
OWN = ["vrrp 192.168.1.2 224.0.0.18 own-multicast", "vrrp 192.168.1.2 192.168.1.2 own-unicast"]
LAST = "vrrp 192.168.1.11 192.168.1.2 end"
BOTH = {"instances": {"front": {**FRONT, "unicast": False}, "six": SIX}}


class Network:
    """A director, and a host that has the addresses of all others, with a wire between them."""

    def __init__(self) -> None:
        self._held = [
            subprocess.Popen(["unshare", "--net", "sh", "-c", "echo && exec sleep 600"], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for held in self._held:
            held.stdout.readline()
        self.ip("director", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns",
                str(self._held[1].pid))  # fmt: skip
        for where, addresses in (
            ("director", ["192.168.1.2/24", "fe80::2/64", "fe80::2:2/64", "2001:db8::2/64"]),
            ("others", ["192.168.1.11/24", "192.168.1.30/24", "fe80::11/64", "fe80::30/64", "fe80::2:2/64",
                        "2001:db8::30/64"]),
        ):  # fmt: skip
            self.ip(where, "link", "set", "lo", "up")
            # Only the addresses below.
            self.ip(where, "link", "set", "eth0", "addrgenmode", "none")
            self.ip(where, "link", "set", "eth0", "up")
            for address in addresses:
                self.ip(where, "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))

    def words(self, where: str, *words: object) -> list[str]:
        pid = self._held[0 if where == "director" else 1].pid
        return ["nsenter", f"--net=/proc/{pid}/ns/net", *map(str, words)]

    def run(self, where: str, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": PATH}
        return subprocess.run(self.words(where, *words), capture_output=True, text=True, timeout=60, env=environment,
                              **options)  # fmt: skip

    def ip(self, where: str, *words: str) -> None:
        self.run(where, "ip", *words, check=True)

    def nft(self, *words: object) -> subprocess.CompletedProcess[str]:
        return self.run("director", NFT, *words)

    def heard(self) -> set[str]:
        """What the director hears of all that is sent."""
        listener = subprocess.Popen(
            self.words("director", sys.executable, "-c", HEAR), stdout=subprocess.PIPE, text=True
        )
        assert listener.stdout.readline() == "ready\n"
        self.run("director", sys.executable, "-c", SEND, *OWN, check=True)
        self.run("others", sys.executable, "-c", SEND, *OUTSIDERS, *OTHERS, LAST, check=True)
        said, _ = listener.communicate(timeout=60)
        return set(json.loads(said)) - {"end"}

    def close(self) -> None:
        for held in self._held:
            held.kill()
            held.wait()


def labels(*lines: str) -> set[str]:
    return {line.split(" ")[3] for line in lines}


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Namespaces of their own, where rules can be loaded without anybody noticing."""
    if os.geteuid() != 0 or NFT is None:
        pytest.skip("needs nft, and root for network namespaces")
    probe = "add table inet probe"
    if subprocess.run(["unshare", "--net", NFT, probe], capture_output=True, timeout=60).returncode:
        pytest.skip("this kernel has no nftables for IPv4 and IPv6 together, or no network namespaces")
    one = Network()
    yield one
    one.close()


@pytest.fixture
def rules(network: Network, tmp_path: Path) -> Iterator[Any]:
    """``rules(pillar)``: these in a file, and afterwards no trace of them."""

    def write(found: dict[str, Any], node: str = "lvs1") -> Path:
        place = tmp_path / "firewall.nft"
        place.write_text(text(found, node))
        return place

    yield write
    network.nft("flush", "ruleset")


@pytest.mark.parametrize("found", [
    pillar(),
    pillar(sync_daemon=False),
    pillar(LINK_LOCAL, **BOTH),
    pillar(LINK_LOCAL, sync_daemon={"group": "ff02::81", "port": 9000}),
    pillar(instances={"front": FRONT, "back": {**BACK, "unicast": PAIR}, "mac": {**SIX, "addresses": ["192.168.1.9"],
           "use_vmac": True}}),
    {**pillar(), "interface": "eth*"},
    {**pillar(), "interface": "a'`^&|<>()=+-_."},
    {**pillar(), "kernel": {"sysctls": {"sync_ports": 8}}},
], ids=str)  # fmt: skip
def test_nft_takes_it(network: Network, rules: Any, found: dict[str, Any]) -> None:
    for node in ("lvs1", "lvs2"):
        done = network.nft("--check", "--file", rules(found, node))
        assert (done.returncode, done.stderr) == (0, "")


def test_only_the_other_director_is_heard(network: Network, rules: Any) -> None:
    everything = labels(*OWN, *OUTSIDERS, *OTHERS)
    assert network.heard() == everything
    place = rules(pillar(LINK_LOCAL, **BOTH))
    assert network.nft("--file", place).returncode == 0
    assert network.heard() == labels(*OWN, *OTHERS)
    # What was dropped is counted, for whoever looks.
    assert "counter packets 5 bytes" in network.nft("list", "chain", "inet", "mysql_ha", "vrrp").stdout
    assert network.nft(director_firewall.REMOVE).returncode == 0
    assert network.heard() == everything


def test_what_the_kernel_has_is_compared_with_what_it_would_have(
    network: Network, rules: Any, load_module: Any
) -> None:
    """The module lists the rules in a namespace of its own, and nothing of this one is touched."""
    module = load_module("modules", "director_firewall")
    for found in (pillar(), pillar(LINK_LOCAL, **BOTH), {**pillar(), "interface": "eth*"}):
        network.nft("--file", rules(found))
        network.heard()
        now = network.nft(*module._LIST).stdout
        assert module._as_listed(text(found)) == now
        network.nft("add", "rule", "inet", "mysql_ha", "vrrp", "accept")
        assert module._as_listed(text(found)) != network.nft(*module._LIST).stdout


def test_a_reload_replaces_the_rules_and_touches_no_other_table(network: Network, rules: Any) -> None:
    others = (
        "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n"
    )
    network.run("director", NFT, "-f", "-", input=others, check=True)
    for found in (pillar(), pillar(LINK_LOCAL, **BOTH), pillar()):
        assert network.nft("--file", rules(found)).returncode == 0
        listed = network.nft("--stateless", "list", "table", "inet", "mysql_ha").stdout
        assert ("fe80::11" in listed) == (found["vrrp"]["unicast"] is True and "instances" in found["vrrp"])
        assert network.nft("list", "table", "inet", "filter").stdout == others
    assert network.nft(director_firewall.REMOVE).returncode == 0
    # Where there is nothing left to take away it does no harm.
    assert network.nft(director_firewall.REMOVE).returncode == 0
    assert network.nft("list", "ruleset").stdout == others


def test_rules_that_nft_refuses_leave_the_old_ones(network: Network, rules: Any) -> None:
    place = rules(pillar())
    assert network.nft("--file", place).returncode == 0
    before = network.nft("--stateless", "list", "ruleset").stdout
    place.write_text(
        place.read_text().replace("192.168.1.11 accept\n        counter", "nobody accept\n        counter")
    )
    assert network.nft("--check", "--file", place).returncode != 0
    assert network.nft("--file", place).returncode != 0
    assert network.nft("--stateless", "list", "ruleset").stdout == before
