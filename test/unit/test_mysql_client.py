"""SQL through the client program: what it is given, how its answers are read; the servers are in the lab."""

import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mysql_client

PEER = mysql_client.Peer("192.168.1.6", 3306, "repl")


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A stand-in for the client program that keeps what it was given; the real one is used in the lab."""

    def install(answer: str = "", error: str = "", status: int = 0, name: str = "mariadb") -> Path:
        program = tmp_path / name
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
        monkeypatch.setattr(mysql_client.shutil, "which", lambda *_, **__: str(program))
        return tmp_path

    return install


def test_the_peers_password_is_in_no_argument_and_no_environment(client) -> None:
    place = client("a\tb\n1\tNULL\n")
    rows = mysql_client.remote(PEER, 'se"cr\\et', "SELECT 1;")
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
    assert mysql_client.local("SELECT 'x';") == []
    assert (place / "stdin").read_text().endswith("SELECT 'x';")
    assert "SELECT" not in (place / "words").read_text()


def test_another_server_than_the_hosts_own_is_known_by_its_socket(client) -> None:
    place = client()
    mysql_client.local("SELECT 1;", timeout=None, socket="/tmp/x/socket")  # noqa: S108 - nothing is there
    assert "--socket=/tmp/x/socket" in (place / "words").read_text()
    mysql_client.local("SELECT 1;")
    assert "--socket=" not in (place / "words").read_text()


def test_the_servers_error_number_is_kept_and_the_statement_is_hidden(client) -> None:
    client(error="ERROR 1064 (42000) at line 2: syntax error near 'IDENTIFIED BY 'hunter2'' at line 1\n", status=1)
    with pytest.raises(mysql_client.SqlError, match="ERROR 1064 .* near \\(hidden\\)") as caught:
        mysql_client.local("nonsense")
    assert caught.value.code == 1064
    assert "hunter2" not in str(caught.value)


def test_a_missing_client_is_said(monkeypatch) -> None:
    monkeypatch.setattr(mysql_client.shutil, "which", lambda *_, **__: None)
    with pytest.raises(mysql_client.SqlError, match="no client program is installed \\(mariadb or mysql\\)"):
        mysql_client.local("SELECT 1;")


def test_a_server_that_hangs_is_given_up(monkeypatch, client) -> None:
    client()

    def hang(*_, **keywords):
        raise subprocess.TimeoutExpired("mariadb", keywords["timeout"])

    monkeypatch.setattr(mysql_client.subprocess, "run", hang)
    with pytest.raises(mysql_client.SqlError, match="no answer within 3 s"):
        mysql_client.local("SELECT 1;", timeout=3)


def test_batch_output_is_decoded() -> None:
    assert mysql_client.rows("a\tb\nx\\ty\\nz\\\\\tNULL\n\t0\n") == [
        {"a": "x\ty\nz\\", "b": None}, {"a": "", "b": "0"}]  # fmt: skip
    assert mysql_client.rows("") == []


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_no_password_leaves_its_literal(password: str) -> None:
    literal = mysql_client.quote(password)
    inside = literal[1:-1].replace("\\\\", "").replace("''", "")
    assert literal[0] == literal[-1] == "'"
    assert "'" not in inside
    assert "\\" not in inside


def test_the_statement_that_mariadbs_client_repeats_is_kept_to_itself(client) -> None:
    statement = "CHANGE MASTER TO MASTER_PASSWORD = 'hunter2'"
    client(
        error=f"--------------\n{statement}\n--------------\n\nERROR 1198 (HY000) at line 2: Stop it first\n", status=1
    )
    with pytest.raises(mysql_client.SqlError) as caught:
        mysql_client.local(statement)
    assert (str(caught.value), caught.value.code) == ("ERROR 1198 (HY000) at line 2: Stop it first", 1198)


def test_what_a_client_says_without_an_error_number_is_kept_to_itself(client) -> None:
    client(error="mysql: hunter2?\n", status=3)
    with pytest.raises(mysql_client.SqlError, match="^exit status 3 from mariadb$"):
        mysql_client.local("SELECT 1;")


@pytest.mark.parametrize(("name", "peer", "words"), [
    ("mariadb", PEER, ["--ssl", "--ssl-verify-server-cert"]),
    ("mariadb", PEER._replace(ca_file="/ca.pem"), ["--ssl-ca=/ca.pem", "--ssl", "--ssl-verify-server-cert"]),
    ("mariadb", PEER._replace(tls=False), ["--skip-ssl"]),
    ("mysql", PEER._replace(ca_file="/ca.pem"), ["--ssl-ca=/ca.pem", "--ssl-mode=VERIFY_IDENTITY"]),
    ("mysql", PEER._replace(tls=False), ["--ssl-mode=DISABLED", "--get-server-public-key"]),
])  # fmt: skip
def test_the_peer_is_verified_unless_said_otherwise(client, name, peer, words) -> None:
    place = client(name=name)
    mysql_client.remote(peer, "hunter22", "SELECT 1;")
    given = (place / "words").read_text().split()
    assert given[-len(words) :] == words
    assert len([word for word in given if "ssl" in word]) == len([word for word in words if "ssl" in word])


def test_a_line_ends_where_the_client_says_so() -> None:
    assert mysql_client.rows("a\nx\x85y\u2028z\n") == [{"a": "x\x85y\u2028z"}]


def test_a_carriage_return_in_a_value_ends_no_line(client) -> None:
    client("a\tb\nx\ry\tz\r\n")
    assert mysql_client.local("SELECT 1;") == [{"a": "x\ry", "b": "z\r"}]
