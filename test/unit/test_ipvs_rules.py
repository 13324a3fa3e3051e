"""What an operator may say of an IPVS table, and the sentence for what cannot work."""

import ipaddress
from typing import Any

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipvs_model as model
import ipvs_rules as rules
from ipvs_strategies import tables

TCP = "tcp 192.168.1.100:3306"
NAMES = rules.NAMES


@pytest.mark.parametrize("name", [
    "", "tcp", "tcp 192.168.1.100", "icmp 192.168.1.100:1", "tcp 192.168.1.100:65536", "tcp 192.168.1.100:-1",
    "tcp 192.168.1:80", "tcp 2001:db8::1:80", "tcp [192.168.1.1]:80", "tcp 192.168.1.01:80", "fwmark", "fwmark 5 ipv5",
    "tcp 192.168.1.100:80 more", "tcp fe80::1%eth0:80", None, 5, ["tcp"], "tcp 192.168.1.100:٣",
])  # fmt: skip
def test_what_is_no_name_of_a_service(name: Any) -> None:
    with pytest.raises(rules.Wrong) as caught:
        rules.service_key(name)
    assert str(caught.value) == f"service: is {name!r}; allowed: {NAMES}"


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "239.1.1.1", "255.255.255.255", "[::]", "[ff02::1]"])  # noqa: S104
def test_addresses_that_no_host_has(address: str) -> None:
    with pytest.raises(rules.Wrong, match="allowed: a host's address"):
        rules.service_key(f"tcp {address}:80")
    with pytest.raises(rules.Wrong, match="allowed: a host's address"):
        rules.server_key(address, rules.service_key(TCP))


@pytest.mark.parametrize("mark", ["0", "4294967296", "-1", "x"])
def test_fwmarks_out_of_range(mark: str) -> None:
    with pytest.raises(rules.Wrong, match=r"the fwmark: is .*; allowed: 1 to 4294967295"):
        rules.service_key(f"fwmark {mark}")


@pytest.mark.parametrize(("name", "words", "sentence"), [
    (TCP, {"scheduler": "w lc"},
     "scheduler: is 'w lc'; allowed: 1 to 15 of the characters a-z 0-9 _ -, a letter first"),
    (TCP, {"scheduler": "a" * 16}, "scheduler: is 'aaaaaaaaaaaaaaaa'; allowed: 1 to 15"),
    (TCP, {"scheduler": 5}, "scheduler: is 5; allowed"),
    (TCP, {"scheduler": "sh", "scheduler_flags": ["mh-port"]},
     "scheduler_flags: is 'mh-port'; allowed: flag-1, flag-2, flag-3, sh-fallback, sh-port with the scheduler sh"),
    (TCP, {"scheduler_flags": {}}, "scheduler_flags: is {}; allowed: a list of words"),
    (TCP, {"one_packet": True}, "one_packet: is True; allowed: only for udp and fwmark services"),
    (TCP, {"one_packet": "yes"}, "one_packet: is 'yes'; allowed: true, false"),
    (TCP, {"persistence_timeout": 2678401}, "persistence_timeout: is 2678401; allowed: 0 to 2678400 of seconds"),
    (TCP, {"persistence_netmask": 24}, "persistence_netmask: is set without a persistence_timeout"),
    (TCP, {"persistence_timeout": 5, "persistence_netmask": 33}, "persistence_netmask: is 33; allowed: 1 to 32"),
    (TCP, {"persistence_timeout": 5, "persistence_netmask": "0.0.0.0"}, "is '0.0.0.0'; allowed: 1 to 32"),  # noqa: S104
    ("tcp [2001:db8::1]:80", {"persistence_timeout": 5, "persistence_netmask": 129}, "is 129; allowed: 1 to 128"),
    ("tcp 192.0.2.1:0", {}, "port: is 0; allowed: 1 to 65535, or 0 (every port) together with a persistence_timeout"),
    (TCP, {"persistence_engine": "s/p"}, "persistence_engine: is 's/p'; allowed"),
    (TCP, {"shceduler": "rr"}, "shceduler: is not known; allowed: scheduler, scheduler_flags, one_packet"),
])  # fmt: skip
def test_what_no_service_can_be(name: str, words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(rules.Wrong) as caught:
        rules.table({name: words})
    assert f"services: {name}: " in str(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("service", "server", "words", "sentence"), [
    (TCP, "192.168.1.5", {"weight": -1}, "weight: is -1; allowed: 0 to 2147483647"),
    (TCP, "192.168.1.5", {"weight": 2147483648}, "weight: is 2147483648; allowed: 0 to 2147483647"),
    (TCP, "192.168.1.5", {"weight": True}, "weight: is True; allowed"),
    (TCP, "192.168.1.5", {"weight": 1.5}, "weight: is 1.5; allowed"),
    (TCP, "192.168.1.5", {"lower_threshold": 5},
     "lower_threshold: is 5; allowed: at most the upper_threshold, which is 0"),
    (TCP, "192.168.1.5", {"upper_threshold": 2**31}, "upper_threshold: is 2147483648; allowed: 0 to 2147483647"),
    (TCP, "192.168.1.5", {"forward": "local"}, "forward: is 'local'; allowed: dr, nat, tunnel"),
    (TCP, "192.168.1.5:3307", {},
     "has port 3307, and forward: dr leaves the port as the client sent it; allowed: 3306"),
    (TCP, "2001:db8::5", {}, "is of another address family than its service, which only forward: tunnel can reach"),
    (TCP, "192.168.1.5", {"tunnel": "gue"}, "tunnel: is set without forward: tunnel"),
    (TCP, "192.168.1.5", {"forward": "tunnel", "tunnel": "gue"},
     "tunnel_port: is 0; allowed: 1 to 65535 with tunnel: gue"),
    (TCP, "192.168.1.5", {"forward": "tunnel", "tunnel": "gre", "tunnel_port": 5}, "tunnel_port: is 5; allowed"),
    (TCP, "192.168.1.5", {"forward": "tunnel", "tunnel_flags": "csum"},
     "not all possible with tunnel: ipip; allowed: none"),
    (TCP, "192.168.1.5", {"forward": "tunnel", "tunnel": "gre", "tunnel_flags": ["remcsum"]},
     "tunnel: gre; allowed: csum"),
    (TCP, "mysql1", {}, "is 'mysql1'; allowed: an address and a port"),
    (TCP, "192.168.1.5", {"wieght": 1}, "wieght: is not known; allowed: forward, weight"),
    (TCP, "192.168.1.5", 5, "is 5; allowed: a mapping"),
])  # fmt: skip
def test_what_no_server_can_be(service: str, server: str, words: Any, sentence: str) -> None:
    with pytest.raises(rules.Wrong) as caught:
        rules.table({service: {"servers": {server: words}}})
    assert str(caught.value).startswith(f"services: {service}: servers: {server}: ")
    assert sentence in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(rules.Wrong) as caught:
        rules.table({"tcp x": {}, TCP: {"scheduler": 5, "servers": {"y": {}, "192.168.1.5": {"weight": -1}}}})
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize("wanted", [None, [], "tcp", {TCP: []}, {TCP: {"servers": ["192.168.1.5"]}}])
def test_other_shapes_are_refused(wanted: Any) -> None:
    with pytest.raises(rules.Wrong, match="allowed: a mapping"):
        rules.table(wanted)


def test_one_entry_in_two_spellings_is_refused() -> None:
    with pytest.raises(rules.Wrong, match="is the same service as fwmark 5 ipv4"):
        rules.table({"fwmark 5": {}, "fwmark 5 ipv4": {}})
    with pytest.raises(rules.Wrong, match=r"is the same server as 192.168.1.5:3306"):
        rules.table({TCP: {"servers": {"192.168.1.5": {}, "192.168.1.5:3306": {}}}})


def test_an_edit_keeps_what_it_does_not_name() -> None:
    key = rules.service_key("udp 192.0.2.1:53")
    words = {"scheduler": "sh", "scheduler_flags": ["sh-port"], "one_packet": True, "persistence_timeout": 9}
    old = rules.service(key, words, "")
    assert rules.service(key, {}, "", old) == old
    assert rules.service(key, dict.fromkeys(rules.SERVICE_WORDS), "", old) == old
    assert rules.service(key, {"persistence_timeout": 0}, "", old) == old._replace(
        flags=old.flags & ~model.PERSISTENT, timeout=0)  # fmt: skip
    assert rules.service(key, {"scheduler": "wrr"}, "", old).flags == model.ONE_PACKET | model.PERSISTENT
    own = rules.server_key("192.0.2.5", key)
    server = rules.server(key, own, {"forward": "tunnel", "tunnel": "gue", "tunnel_port": 9, "weight": 0}, "")
    assert rules.server(key, own, {"upper_threshold": 5}, "", server) == server._replace(upper_threshold=5)
    assert rules.server(key, own, {"forward": "dr"}, "", server) == model.Server(model.DR, 0, 0, 0, 0, 0, 0)
    assert rules.server(key, own, {"tunnel": "gre"}, "", server) == server._replace(tunnel=model.GRE, tunnel_port=0)


@given(tables)
def test_a_table_in_words_is_read_as_itself(wanted: dict[str, Any]) -> None:
    table = rules.table(wanted)
    assert rules.table(model.table_as_dict(table)) == table


values = st.none() | st.booleans() | st.integers(-5, 2**33) | st.floats() | st.text(max_size=8)
words = st.dictionaries(st.sampled_from([*rules.SERVICE_WORDS, *rules.SERVER_WORDS, "servers", "x"]),
                        st.recursive(values, st.lists, max_leaves=3), max_size=4)  # fmt: skip


@given(st.dictionaries(st.sampled_from([TCP, "udp 192.0.2.1:0", "fwmark 5", "x"]) | values,
                       words | words.map(lambda one: {"servers": {"192.168.1.5": one}}), max_size=3))  # fmt: skip
def test_nonsense_gives_a_table_or_a_sentence(wanted: dict[Any, Any]) -> None:
    try:
        rules.table(wanted)
    except rules.Wrong as error:
        assert "allowed: " in str(error)


@given(st.text("0123456789./:abcdef", max_size=24))
def test_addresses_are_those_that_netaddr_knows(text: str) -> None:
    try:
        expected = netaddr.IPAddress(text, flags=netaddr.INET_PTON)
    except (netaddr.AddrFormatError, ValueError):
        expected = None
    found = rules.packed(text)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found == expected.packed
        assert ipaddress.ip_address(found)
