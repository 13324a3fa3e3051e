"""`salt '*' state.apply mysql_ha` as the first command after accepting the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from conftest import WRONG_PILLARS, FirstRuns
from mysql_ha_lab import client, salt
from mysql_ha_lab.identity import write
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DATABASES, DIRECTORS

OUR_STATES = ("mysql_backup.", "mysql_ha.", "keepalived.", "source_build.", "mysql_replication.", "mysql_server.",
              "mysql_account.", "mysql_tls.", "mysql_data.", "mysql_follow.")  # fmt: skip
UNLISTED = ("master", "client")


def ours(result: salt.HostResult) -> dict[str, object]:
    """ID -> changes of the states that are this project's own."""
    return {state["id"]: state["changes"] for state in result.states if state["function"].startswith(OUR_STATES)}


@pytest.mark.parametrize("name", WRONG_PILLARS)
def test_a_wrong_pillar_stops_everything_in_plain_words(first_runs: FirstRuns, name: str) -> None:
    _, sentence = WRONG_PILLARS[name]
    results = first_runs.wrong[name]
    assert set(results) == {"master", "client", *DIRECTORS, *DATABASES}
    for result in results.values():
        assert [state["id"] for state in result.failed] == ["mysql_ha-sync-mysql_ha-pillar_valid"]
        assert sentence in result.failed[0]["comment"]
        assert "Traceback" not in result.failed[0]["comment"]
        assert not result.changed


def test_test_mode_on_bare_hosts_fails_nowhere(first_runs: FirstRuns) -> None:
    for host, result in first_runs.test_mode.items():
        assert result.ok, f"{host}: {result.error} {result.problems()}"
        if host not in UNLISTED:
            assert result.pending


def test_the_first_run_succeeds_on_every_host(first_runs: FirstRuns) -> None:
    assert set(first_runs.real) == {"master", "client", *DIRECTORS, *DATABASES}
    for host, result in first_runs.real.items():
        assert result.ok, f"{host}: {result.error} {result.problems()}"
        assert not result.pending


@pytest.mark.parametrize("host", [*DIRECTORS, *DATABASES])
def test_test_mode_predicts_what_our_states_then_do(first_runs: FirstRuns, host: str) -> None:
    predicted = ours(first_runs.test_mode[host])
    assert predicted == ours(first_runs.real[host])
    assert any(predicted.values())


@pytest.mark.parametrize("host", [*DIRECTORS, *DATABASES])
def test_test_mode_has_the_same_states_as_the_real_run(first_runs: FirstRuns, host: str) -> None:
    predicted = [state["id"] for state in first_runs.test_mode[host].states]
    done = [state["id"] for state in first_runs.real[host].states]
    assert [one for one in predicted if one != "mysql_ha-sync-test-nop"] == done


def test_a_second_run_changes_nothing_on_any_host(first_runs: FirstRuns) -> None:
    for host, result in first_runs.second.items():
        assert result.ok, f"{host}: {result.error} {result.problems()}"
        assert not result.changed, f"{host}: {result.changed}"


def test_test_mode_after_it_is_true_everywhere(first_runs: FirstRuns) -> None:
    for host, result in first_runs.second_test_mode.items():
        assert not result.error
        assert all(state["result"] is True for state in result.states), f"{host}: {result.pending}"


@pytest.mark.parametrize("host", UNLISTED)
def test_a_minion_that_nodes_does_not_list_says_so(first_runs: FirstRuns, host: str) -> None:
    comments = [state["comment"] for state in first_runs.real[host].states]
    assert any(f"nothing to do on {host}: mysql_ha:nodes lists it neither" in comment for comment in comments)


def test_states_tell_where_they_live(first_runs: FirstRuns) -> None:
    for result in first_runs.real.values():
        for state in result.states:
            assert state["id"].startswith("mysql_ha-" + state["sls"].removeprefix("mysql_ha.").replace(".", "-"))


@contextmanager
def upgraded(root: Path) -> Iterator[Callable[[str], None]]:
    """``upgrade("once")`` puts rules that find just that wrong into a formula's _utils; the old ones return."""
    rules = root / "_utils/mysql_ha_pillar.py"
    original = rules.read_text()

    def upgrade(sentence: str) -> None:
        rules.write_text(original + f"\n\ndef errors(pillar, minion_id=None):\n    return ['upgraded {sentence}']\n")

    try:
        yield upgrade
    finally:
        rules.write_text(original)


def test_masterless_bare_and_upgraded(cluster: Lab) -> None:
    """The same on a minion that never met a master: `salt-call --local`, test mode first, then twice for real."""
    root = cluster.plan.host("client").root
    for folder in ("srv/formula", "srv/pillar"):
        salt.mirror(cluster.plan.host("master").root / folder, root / folder)
    # Another cachedir alone would leave Salt with the modules of the host's real minion.
    options = {
        "file_client": "local",
        "file_roots": {"base": ["/srv/formula"]},
        "pillar_roots": {"base": ["/srv/pillar"]},
        "cachedir": "/var/lib/masterless",
        "extension_modules": "/var/lib/masterless/extmods",
        "pki_dir": "/var/lib/masterless/pki",
    }
    write(root / "etc/masterless/minion", yaml.safe_dump(options))
    cluster.run("client", ["rm", "-rf", options["cachedir"]])

    def apply(name: str, *arguments: str) -> str:
        words = ["salt-call", "--local", "--config-dir=/etc/masterless", "--out=json", f"--id={name}", "state.apply",
                 "mysql_ha"]  # fmt: skip
        return cluster.run("client", [*words, *arguments], check=False).stdout

    for arguments in (["test=True"], [], []):
        said = apply("mysql9", *arguments)
        assert "nothing to do on mysql9" in said
        assert '"result": false' not in said
        assert ("brought up to date" in said) == (arguments == ["test=True"])
    # And a role, in test mode, from the same cache: our states are found and predict.
    said = apply("mysql1", "test=True")
    assert "Would be set up once the server runs" in said
    assert '"result": false' not in said
    with upgraded(root / "srv/formula") as upgrade:
        for arguments, sentence in ((["test=True"], "once"), ([], "twice")):
            upgrade(sentence)
            assert f"upgraded {sentence}" in apply("mysql9", *arguments)
    assert "brought up to date: utils.mysql_ha_pillar" in apply("mysql9")


def test_salt_ssh_bare_and_upgraded(cluster: Lab) -> None:
    """The same on a host that has no minion's files of ours at all: salt-ssh brings everything along."""
    root = cluster.plan.host("master").root
    salt.allow_ssh(cluster, "client", "mysql2")

    def apply(*arguments: str) -> str:
        words = ["salt-ssh", "-i", "--out=json", "--static", "--state-output=full", "client,mysql2", "-L",
                 "state.apply", "mysql_ha"]  # fmt: skip
        done = cluster.run("master", [*words, *arguments], check=False)
        return done.stdout + done.stderr

    # mysql2 is set up already, so even the real run changes nothing there.
    for arguments in (["test=True"], []):
        said = apply(*arguments)
        assert '"result": false' not in said, said
        assert "nothing to do on client" in said, said
        assert "The replication from mysql1 runs." in said
    with upgraded(root / "srv/formula") as upgrade:
        for arguments, sentence in ((["test=True"], "once"), ([], "twice")):
            upgrade(sentence)
            assert apply(*arguments).count(f"upgraded {sentence}") == 2
    assert "The replication from mysql1 runs." in apply()


def test_an_upgrade_takes_effect_without_a_minion_restart(cluster: Lab) -> None:
    """New _utils are used by the very run that brings them, in test mode and for real."""
    with upgraded(cluster.plan.host("master").root / "srv/formula") as upgrade:
        for arguments, sentence in ((["test=True"], "once"), ([], "twice")):
            upgrade(sentence)
            result = salt.apply(cluster, *arguments, target="mysql1")["mysql1"]
            assert [state["id"] for state in result.failed][0] == "mysql_ha-sync-mysql_ha-pillar_valid"
            assert f"upgraded {sentence}" in result.failed[0]["comment"]
    result = salt.apply(cluster, target="mysql1")["mysql1"]
    assert result.ok
    assert any("brought up to date: utils.mysql_ha_pillar" in state["name"] for state in result.states)


def test_the_pillars_secrets_are_in_no_state_output(first_runs: FirstRuns) -> None:
    for results in (first_runs.real, first_runs.test_mode, *first_runs.wrong.values()):
        for result in results.values():
            assert "change-me-please" not in repr(result)


def test_the_replication_account_is_the_same_on_both_and_in_no_binary_log(first_runs: FirstRuns, cluster: Lab) -> None:
    query = "SELECT User, Host, authentication_string FROM mysql.user WHERE User = 'repl' ORDER BY Host"
    accounts = {client.sql(cluster, host, query) for host in DATABASES}
    assert len(accounts) == 1
    assert accounts.pop().count("repl") == 2
