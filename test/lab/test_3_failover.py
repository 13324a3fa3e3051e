"""The classic article's setup, and the failures that it promises to survive."""

from __future__ import annotations

import pytest

from mysql_ha_lab import cluster as look
from mysql_ha_lab import salt
from mysql_ha_lab.client import Probe, connect
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DIRECTORS

MYSQL1, MYSQL2 = "192.168.1.5:3306", "192.168.1.6:3306"
WHOLE = {"192.168.1.100:3306": {"scheduler": "wrr", "servers": {MYSQL1: 3, MYSQL2: 3}}}


def test_both_directors_have_both_servers_with_the_articles_values(article: Lab) -> None:
    for director in DIRECTORS:
        look.wait_for_servers(article, director, {MYSQL1, MYSQL2})
        assert look.table(article, director) == WHOLE
        text = article.run(director, ["cat", "/etc/keepalived/keepalived.conf"]).stdout
        for line in ("auth_pass 1111", "virtual_router_id 51", "advert_int 1", "lvs_sched wrr", "lvs_method DR",
                     "vrrp_version 2", "TCP_CHECK {", f"priority {100 if director == 'lvs1' else 90}"):  # fmt: skip
            assert line in text
    assert look.wait_for_holder(article) == "lvs1"


def test_the_password_stays_between_pillar_and_file(article: Lab) -> None:
    for director in DIRECTORS:
        mode = article.run(director, ["stat", "-c", "%a %U", "/etc/keepalived/keepalived.conf"]).stdout.strip()
        assert mode == "600 root"


def test_new_connections_alternate(article: Lab) -> None:
    servers = [line["server"] for line in connect(article, 20)]
    assert servers.count(1) == servers.count(2) == 10


def test_a_stopped_database_leaves_the_table_and_comes_back(article: Lab) -> None:
    holder = look.wait_for_holder(article)
    with Probe(article) as probe:
        mark = probe.mark()
        article.run("mysql2", ["systemctl", "stop", "mariadb"])
        look.wait_for_servers(article, holder, {MYSQL1})
        probe.steady(mark)
        # From here on clients see nothing of it any more.
        mark = probe.mark()
        probe.steady(mark)
        assert probe.gap(mark).failed == 0
        assert set(probe.servers(mark)) == {1}
        article.run("mysql2", ["systemctl", "start", "mariadb"])
        look.wait_for_servers(article, holder, {MYSQL1, MYSQL2})
        probe.wait_until("clients to be served by both again", lambda lines: {
            line.get("server") for line in lines[-10:]} == {1, 2})  # fmt: skip
        assert probe.gap(mark).failed == 0


def test_keepalived_stopped_on_the_first_director(article: Lab) -> None:
    look.wait_for_holder(article, "lvs1")
    with Probe(article) as probe:
        mark = probe.mark()
        article.run("lvs1", ["systemctl", "stop", "keepalived"])
        look.wait_for_holder(article, "lvs2")
        assert look.table(article, "lvs2") == WHOLE
        probe.steady(mark)
        assert set(probe.servers(mark)) == {1, 2}
    article.run("lvs1", ["systemctl", "start", "keepalived"])
    look.wait_for_holder(article, "lvs1")


def test_the_first_director_loses_power(article: Lab) -> None:
    look.wait_for_holder(article, "lvs1")
    with Probe(article) as probe:
        mark = probe.mark()
        article.power_off("lvs1")
        look.wait_for_holder(article, "lvs2")
        assert look.table(article, "lvs2") == WHOLE
        probe.steady(mark)
        assert set(probe.servers(mark)) == {1, 2}
        assert look.arp_answers(article) == {article.plan.host("lvs2").mac}
    article.boot("lvs1")
    look.wait_for_holder(article, "lvs1")
    look.wait_for_servers(article, "lvs1", {MYSQL1, MYSQL2})


@pytest.mark.parametrize("process", ["mariadbd"])
def test_a_killed_database_is_no_outage(article: Lab, process: str) -> None:
    with Probe(article) as probe:
        mark = probe.mark()
        article.run("mysql1", ["pkill", "-KILL", process])
        probe.wait_until("both databases to serve again", lambda lines: {
            line.get("server") for line in lines[mark:][-10:]} == {1, 2})  # fmt: skip
        probe.steady(mark)


def test_after_all_of_this_both_databases_hold_the_same_rows(article: Lab) -> None:
    found: dict = {}

    def equal() -> bool:
        found.update(salt.compare(article))
        return found["result"] == "equal"

    wait_for("the databases to hold the same", equal, 120, 1)
    assert found["rows"]
