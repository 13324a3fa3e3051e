"""What a running cluster does for its clients."""

from __future__ import annotations

import json

import pytest

from mysql_ha_lab import client, salt
from mysql_ha_lab import cluster as look
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DATABASES, DIRECTORS

BOTH = {"192.168.1.5:3306", "192.168.1.6:3306"}


def test_ipvs_list_shows_what_ipvsadm_shows(cluster: Lab) -> None:
    """Right after the first state.apply, without a sync by hand."""
    listed = salt.call(cluster, "lvs*", "ipvs.list")
    for director in DIRECTORS:
        shown = {name.removeprefix("tcp "): {"scheduler": service["scheduler"], "servers": {
            server: values["weight"] for server, values in service["servers"].items()}}
            for name, service in listed[director].items()}  # fmt: skip
        assert shown == look.table(cluster, director)
        assert set(shown["192.168.1.100:3306"]["servers"]) == BOTH


def test_ipvs_list_reads_everything_that_ipvsadm_can_set(cluster: Lab) -> None:
    rules = [
        "-A -t [2001:db8::1]:80 -s sh -b sh-port,sh-fallback -p 100 -M 64",
        "-a -t [2001:db8::1]:80 -r [2001:db8::5]:80 -g -w 2147483647 -x 10 -y 5",
        "-A -u 192.0.2.1:53 -s rr -o",
        "-a -u 192.0.2.1:53 -r 192.0.2.5:53 -m -w 0",
        "-A --sctp-service 192.0.2.1:99 -s mh -b mh-port",
        "-A -f 5 -s wlc -p 60 -M 255.255.255.0",
        "-a -f 5 -r 192.0.2.6 -i --tun-type gue --tun-port 6080 --tun-csum",
        "-A -f 5 -6 -s lblcr",
    ]
    try:
        cluster.run("lvs1", ["ipvsadm", "-R"], stdin="\n".join(rules).replace("2147483647", "65535") + "\n")
        table = salt.call(cluster, "lvs1", "ipvs.list")["lvs1"]
    finally:
        for service in ("-t [2001:db8::1]:80", "-u 192.0.2.1:53", "--sctp-service 192.0.2.1:99", "-f 5", "-f 5 -6"):
            cluster.run("lvs1", ["ipvsadm", "-D", *service.split()], check=False)
    assert table["tcp [2001:db8::1]:80"] == {
        "scheduler": "sh", "scheduler_flags": ["sh-fallback", "sh-port"], "persistence_timeout": 100,
        "persistence_netmask": 64, "servers": {"[2001:db8::5]:80": {
            "forward": "dr", "weight": 65535, "active_connections": 0, "inactive_connections": 0,
            "upper_threshold": 10, "lower_threshold": 5}}}  # fmt: skip
    assert table["udp 192.0.2.1:53"]["one_packet"] is True
    assert table["udp 192.0.2.1:53"]["servers"]["192.0.2.5:53"]["forward"] == "nat"
    assert table["udp 192.0.2.1:53"]["servers"]["192.0.2.5:53"]["weight"] == 0
    assert table["sctp 192.0.2.1:99"]["scheduler_flags"] == ["mh-port"]
    assert table["fwmark 5 ipv4"]["persistence_netmask"] == "255.255.255.0"
    assert table["fwmark 5 ipv4"]["servers"]["192.0.2.6:0"] == {
        "forward": "tunnel", "weight": 1, "active_connections": 0, "inactive_connections": 0, "tunnel": "gue",
        "tunnel_port": 6080, "tunnel_flags": ["csum"]}  # fmt: skip
    assert table["fwmark 5 ipv6"]["scheduler"] == "lblcr"


def test_ipvs_list_filters_and_refuses_nonsense(cluster: Lab) -> None:
    assert list(salt.call(cluster, "lvs1", "ipvs.list", "port=3306")["lvs1"]) == ["tcp 192.168.1.100:3306"]
    assert salt.call(cluster, "lvs1", "ipvs.list", "protocol=udp")["lvs1"] == {}
    said = salt.call(cluster, "lvs1", "ipvs.list", "port=99999")["lvs1"]
    assert "port: is 99999; allowed: 0 to 65535" in said


def test_ipvs_list_says_why_where_the_kernel_has_none(cluster: Lab) -> None:
    said = salt.call(cluster, "mysql1", "ipvs.list")["mysql1"]
    assert "Cannot reach IPVS" in said
    assert "modprobe ip_vs" in said


def test_new_connections_alternate(cluster: Lab) -> None:
    servers = [line["server"] for line in client.connect(cluster, 20)]
    assert sorted(set(servers)) == [1, 2]
    assert servers.count(1) == servers.count(2) == 10


def test_a_row_written_through_the_vip_is_on_both(cluster: Lab) -> None:
    assert "server" in client.connect(cluster, 1, "--note", "through the VIP")[0]
    for host in DATABASES:
        wait_for_row(cluster, host, "through the VIP")


@pytest.mark.parametrize(("writer", "reader"), [DATABASES, DATABASES[::-1]])
def test_a_row_written_on_one_database_arrives_on_the_other(cluster: Lab, writer: str, reader: str) -> None:
    client.sql(cluster, writer, f"INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'written on {writer}')")
    wait_for_row(cluster, reader, f"written on {writer}")


def wait_for_row(lab: Lab, host: str, note: str) -> None:
    """Wait until a row is there, exactly once."""
    query = f"SELECT COUNT(*) FROM shop.visits WHERE note = '{note}'"
    wait_for(f"'{note}' on {host}", lambda: client.sql(lab, host, query) == "1", 30)


def test_both_channels_run_by_gtid_over_tls(cluster: Lab) -> None:
    for status in salt.call(cluster, "mysql*", "mysql_replication.status").values():
        assert status["receiving"] is True
        assert status["applying"] is True
        assert status["gtid"] is True
        assert (status["tls"], status["tls_verify"]) == (True, True)


def test_only_the_director_answers_arp_for_the_vip(cluster: Lab) -> None:
    holder = look.wait_for_holder(cluster)
    assert look.arp_answers(cluster) == {cluster.plan.host(holder).mac}


@pytest.mark.parametrize("host", DATABASES)
def test_a_database_host_comes_back_from_a_power_loss_by_itself(cluster: Lab, host: str) -> None:
    cluster.power_off(host)
    cluster.boot(host)
    holder = look.wait_for_holder(cluster)
    look.wait_for_servers(cluster, holder, BOTH)
    assert " 192.168.1.100/32 " in cluster.run(host, ["ip", "-o", "-4", "address", "show", "dev", "lo"]).stdout
    assert look.arp_answers(cluster) == {cluster.plan.host(holder).mac}
    other = next(name for name in DATABASES if name != host)
    client.sql(cluster, other, f"INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'while {host} is back')")
    wait_for_row(cluster, host, f"while {host} is back")


def test_the_whole_cluster_comes_back_from_a_power_loss_without_salt(cluster: Lab) -> None:
    cluster.run("master", ["systemctl", "stop", "salt-master"])
    try:
        for host in (*DIRECTORS, *DATABASES):
            cluster.power_off(host)
        for host in (*DATABASES, *DIRECTORS):
            cluster.boot(host)
        for director in DIRECTORS:
            look.wait_for_servers(cluster, director, BOTH)
        holder = look.wait_for_holder(cluster)
        assert look.arp_answers(cluster) == {cluster.plan.host(holder).mac}
        assert {line["server"] for line in client.connect(cluster, 4)} == {1, 2}
        for director in DIRECTORS:
            for key, value in (("expire_nodest_conn", "1"), ("conn_reuse_mode", "1"), ("sync_threshold", "3\t0")):
                assert cluster.run(director, ["sysctl", "-n", f"net.ipv4.vs.{key}"]).stdout.strip() == value
        for database in DATABASES:
            for key, value in (("arp_ignore", "1"), ("arp_announce", "2")):
                assert cluster.run(database, ["sysctl", "-n", f"net.ipv4.conf.all.{key}"]).stdout.strip() == value
    finally:
        cluster.run("master", ["systemctl", "start", "salt-master"])
        salt.wait_for_minions(cluster)
    for result in salt.apply(cluster).values():
        assert result.ok, result.error or result.problems()
        assert not result.changed


def test_a_configuration_that_keepalived_refuses_leaves_the_old_one_and_the_vip(cluster: Lab) -> None:
    """An interface that the pillar rules cannot know to be missing, refused by keepalived on the host itself."""
    pillar = cluster.plan.host("master").root / "srv/pillar/mysql_ha.sls"
    original = pillar.read_text()
    before = cluster.run("lvs1", ["cat", "/etc/keepalived/keepalived.conf"]).stdout
    holder = look.wait_for_holder(cluster)
    try:
        pillar.write_text(original.replace("interface: eth0", "interface: eth7"))
        result = salt.apply(cluster, target="lvs1")["lvs1"]
    finally:
        pillar.write_text(original)
    assert [state["function"] for state in result.failed][0] == "keepalived.configured"
    assert "eth7" in result.failed[0]["comment"]
    assert cluster.run("lvs1", ["cat", "/etc/keepalived/keepalived.conf"]).stdout == before
    assert look.vip_holders(cluster) == [holder]


def test_a_pillar_change_is_taken_by_reload(cluster: Lab) -> None:
    """Another weight reaches the kernel, keepalived is not restarted and the VIP stays."""
    pillar = cluster.plan.host("master").root / "srv/pillar/mysql_ha.sls"
    original = pillar.read_text()
    pid = ["systemctl", "show", "--property=MainPID", "keepalived"]
    before = {director: cluster.run(director, pid).stdout for director in DIRECTORS}
    holder = look.wait_for_holder(cluster)
    try:
        pillar.write_text(original.replace("server_id: 2, weight: 3", "server_id: 2, weight: 7"))
        predicted = salt.apply(cluster, "test=True", target="lvs*")
        results = salt.apply(cluster, target="lvs*")
        for director, result in results.items():
            assert result.ok, result.problems()
            changes = {state["function"]: state["changes"] for state in result.changed}
            assert "+        weight 7" in changes["keepalived.configured"]["diff"]
            assert {state["function"]: state["changes"] for state in predicted[director].changed}[
                "keepalived.configured"] == changes["keepalived.configured"]  # fmt: skip
            wait_for("the new weight", lambda name=director: look.table(cluster, name)["192.168.1.100:3306"]["servers"][
                "192.168.1.6:3306"] == 7, 30)  # fmt: skip
            assert cluster.run(director, pid).stdout == before[director]
        assert look.vip_holders(cluster) == [holder]
    finally:
        pillar.write_text(original)
        assert all(result.ok for result in salt.apply(cluster, target="lvs*").values())


def test_state_apply_on_one_database_at_a_time_does_not_deadlock(cluster: Lab) -> None:
    done = cluster.run("master", ["salt", "-b", "1", "--out=json", "--static", "mysql*", "state.apply", "mysql_ha"])
    assert '"result": false' not in done.stdout
    assert json.loads(done.stdout).keys() == set(DATABASES)
