"""SQL text, option files, GTID sets and channel comparison; the servers themselves are in the lab."""

import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mariadb_client
import mariadb_replication as replication

STATUS = {
    "Master_Host": "192.168.1.6", "Master_Port": "3306", "Master_User": "repl", "Using_Gtid": "Slave_Pos",
    "Master_SSL_Allowed": "Yes", "Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes", "Last_IO_Errno": "0",
    "Last_SQL_Errno": "0", "Seconds_Behind_Master": "0", "Gtid_IO_Pos": "2-2-7",
}  # fmt: skip
CHANNEL = replication.Channel("192.168.1.6", 3306, "repl")


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A stand-in for the client program that keeps what it was given; the real one is used in the lab."""

    def install(answer: str = "", error: str = "", status: int = 0) -> Path:
        program = tmp_path / "mariadb"
        program.write_text(
            "#!/bin/sh\n"
            f'echo "$@" > {tmp_path}/words; cat > {tmp_path}/stdin; env > {tmp_path}/environment\n'
            'for word in "$@"; do case $word in --defaults-file=*)'
            f' cp -p "${{word#*=}}" {tmp_path}/options;; esac; done\n'
            f"cat {tmp_path}/answer; cat {tmp_path}/error >&2; exit {status}\n"
        )
        (tmp_path / "answer").write_text(answer)
        (tmp_path / "error").write_text(error)
        program.chmod(0o755)
        monkeypatch.setattr(mariadb_client.shutil, "which", lambda *_, **__: str(program))
        return tmp_path

    return install


def test_the_peers_password_is_in_no_argument_and_no_environment(client) -> None:
    place = client("a\tb\n1\tNULL\n")
    rows = mariadb_client.remote("192.168.1.6", 3306, "repl", 'se"cr\\et', "SELECT 1;")
    assert rows == [{"a": "1", "b": None}]
    assert (place / "options").read_text() == '[client]\npassword="se\\"cr\\\\et"\n'
    assert stat.S_IMODE((place / "options").stat().st_mode) == 0o600
    words = (place / "words").read_text()
    assert "--ssl" in words
    for file in ("words", "environment", "stdin"):
        assert "se" + '"' + "cr" not in (place / file).read_text()
    assert not Path(words.split("--defaults-file=")[1].split()[0]).exists(), "the option file is gone afterwards"


def test_statements_go_in_on_standard_input(client) -> None:
    place = client()
    assert mariadb_client.local("SELECT 'x';") == []
    assert (place / "stdin").read_text().endswith("SELECT 'x';")
    assert "SELECT" not in (place / "words").read_text()


def test_the_servers_error_number_is_kept_and_the_statement_is_hidden(client) -> None:
    client(error="ERROR 1064 (42000) at line 2: syntax error near 'IDENTIFIED BY 'hunter2'' at line 1\n", status=1)
    with pytest.raises(mariadb_client.SqlError, match="ERROR 1064 .* near \\(hidden\\)") as caught:
        mariadb_client.local("nonsense")
    assert caught.value.code == 1064
    assert "hunter2" not in str(caught.value)


def test_a_missing_client_is_said(monkeypatch) -> None:
    monkeypatch.setattr(mariadb_client.shutil, "which", lambda *_, **__: None)
    with pytest.raises(mariadb_client.SqlError, match="'mariadb' is not installed"):
        mariadb_client.local("SELECT 1;")


def test_a_server_that_hangs_is_given_up(monkeypatch, client) -> None:
    client()

    def hang(*_, **keywords):
        raise subprocess.TimeoutExpired("mariadb", keywords["timeout"])

    monkeypatch.setattr(mariadb_client.subprocess, "run", hang)
    with pytest.raises(mariadb_client.SqlError, match="no answer within 3 s"):
        mariadb_client.local("SELECT 1;", timeout=3)


def test_batch_output_is_decoded() -> None:
    assert mariadb_client.rows("a\tb\nx\\ty\\nz\\\\\tNULL\n\t0\n") == [
        {"a": "x\ty\nz\\", "b": None}, {"a": "", "b": "0"}]  # fmt: skip
    assert mariadb_client.rows("") == []


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_no_password_leaves_its_literal(password: str) -> None:
    literal = mariadb_client.quote(password)
    inside = literal[1:-1].replace("\\\\", "").replace("''", "")
    assert literal[0] == literal[-1] == "'"
    assert "'" not in inside
    assert "\\" not in inside


def test_the_native_hash_is_the_servers() -> None:
    # The classic example of the manual: SELECT PASSWORD('mypass').
    assert replication.native_hash("mypass") == "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"


@pytest.mark.parametrize(("one", "other", "contains"), [
    ("", "", True), ("1-1-5", "", True), ("", "1-1-5", False), ("1-1-5", "1-1-5", True), ("1-1-5", "1-1-6", False),
    ("1-1-5,2-2-3", "2-2-3", True), ("1-1-5", "2-2-1", False), ("1-1-9,1-2-4", "1-2-4", True), (None, None, True),
])  # fmt: skip
def test_containment_of_gtid_sets(one, other, contains) -> None:
    assert replication.contains(one, other) is contains


def test_two_histories_are_not_mixed() -> None:
    assert replication.why_not_joined("", "") == ""
    assert replication.why_not_joined("1-1-5", "") == ""
    assert replication.why_not_joined("1-1-5,2-2-3", "2-2-3") == ""
    reason = replication.why_not_joined("1-1-5", "2-2-3")
    assert "here: 1-1-5; there: 2-2-3" in reason


def test_a_gtid_set_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError):
        replication.parse_gtids("nonsense")


def test_a_channel_as_specified_has_no_differences() -> None:
    assert CHANNEL.differences(STATUS) == {}


@pytest.mark.parametrize(("field", "value", "difference"), [
    ("Master_Host", "192.168.1.60", {"source": {"old": "192.168.1.60:3306", "new": "192.168.1.6:3306"}}),
    ("Master_Port", "33060", {"source": {"old": "192.168.1.6:33060", "new": "192.168.1.6:3306"}}),
    ("Master_User", "root", {"user": {"old": "root", "new": "repl"}}),
    ("Using_Gtid", "No", {"gtid": {"old": "No", "new": "Slave_Pos"}}),
    ("Master_SSL_Allowed", "No", {"tls": {"old": "No", "new": "Yes"}}),
])  # fmt: skip
def test_every_difference_of_a_channel_is_named(field, value, difference) -> None:
    assert CHANNEL.differences(STATUS | {field: value}) == difference


def test_no_channel_differs_in_everything() -> None:
    assert set(CHANNEL.differences(None)) == {"source", "user", "gtid", "tls"}


def test_accounts_are_made_outside_the_binary_log_and_by_hash() -> None:
    sql = replication.account_statements("repl", ["192.168.1.5"], "hunter22")
    assert sql.splitlines()[0] == "SET SESSION sql_log_bin = 0;"
    assert "hunter22" not in sql
    assert "REQUIRE SSL" in sql


def test_status_in_our_words() -> None:
    broken = STATUS | {"Slave_SQL_Running": "No", "Last_SQL_Errno": "1062", "Last_SQL_Error": "Duplicate entry",
                       "Seconds_Behind_Master": None}  # fmt: skip
    summary = replication.summary(broken)
    assert (summary["receiving"], summary["applying"], summary["seconds_behind"]) == (True, False, None)
    assert summary["applier_error"] == "1062: Duplicate entry"
    assert replication.summary(None) is None
