"""The execution module's arguments and its sentences; the table itself is read in the lab."""

import errno

import pytest
import test_ipvs_model as raw
from salt.exceptions import CommandExecutionError, SaltInvocationError

import ipvs_model
import ipvs_netlink


@pytest.fixture
def ipvs(load_module, monkeypatch):
    module = load_module("modules", "ipvs", __grains__={"kernel": "Linux"})
    table = (
        ipvs_model.service(raw.TCP, [raw.MYSQL1]),
        ipvs_model.service(raw.TCP | {"protocol": 17, "port": 53}),
        ipvs_model.service(
            {"family": 2, "fwmark": 5, "scheduler": "rr", "flags": 0, "timeout": 0, "netmask": bytes(4)}
        ),
    )
    monkeypatch.setattr(ipvs_model, "read", lambda: table)
    return module


@pytest.mark.parametrize(("filters", "names"), [
    ({}, ["fwmark 5 ipv4", "tcp 192.168.1.100:3306", "udp 192.168.1.100:53"]),
    ({"protocol": "tcp"}, ["tcp 192.168.1.100:3306"]),
    ({"port": "53"}, ["udp 192.168.1.100:53"]),
    ({"address": "192.168.1.100", "port": 3306}, ["tcp 192.168.1.100:3306"]),
    ({"fwmark": 5}, ["fwmark 5 ipv4"]),
    ({"address": "192.168.1.10"}, []),
])  # fmt: skip
def test_filters_all_hold_together(ipvs, filters, names) -> None:
    assert list(ipvs.list_(**filters)) == names


@pytest.mark.parametrize(("filters", "sentence"), [
    ({"protocol": "icmp"}, "protocol: is 'icmp'; allowed: tcp, udp, sctp"),
    ({"address": "192.168.1"}, "address: is '192.168.1'; allowed: an IPv4 or IPv6 address"),
    ({"port": 65536}, "port: is 65536; allowed: 0 to 65535"),
    ({"port": True}, "port: is True; allowed: 0 to 65535"),
    ({"port": "mysql"}, "port: is 'mysql'; allowed: 0 to 65535"),
    ({"fwmark": 0}, "fwmark: is 0; allowed: 1 to 4294967295"),
])  # fmt: skip
def test_an_argument_that_names_nothing_is_refused(ipvs, filters, sentence) -> None:
    with pytest.raises(SaltInvocationError) as caught:
        ipvs.list_(**filters)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOENT, "no IPVS loaded; load it with: modprobe ip_vs"),
    (errno.EPERM, "CAP_NET_ADMIN"),
    (errno.ENOBUFS, "ENOBUFS"),
])  # fmt: skip
def test_a_table_that_cannot_be_read_says_why(ipvs, monkeypatch, number, words) -> None:
    def refuse():
        raise ipvs_netlink.NetlinkError("refused", number)

    monkeypatch.setattr(ipvs_model, "read", refuse)
    with pytest.raises(CommandExecutionError, match=words):
        ipvs.list_()


def test_it_loads_on_linux_only(load_module) -> None:
    assert load_module("modules", "ipvs", __grains__={"kernel": "Linux"}).__virtual__() == "ipvs"
    assert load_module("modules", "ipvs", __grains__={"kernel": "Windows"}).__virtual__()[0] is False
