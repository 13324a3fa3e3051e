"""
SQL through the server's own command-line client, MariaDB's or MySQL's. Knows nothing of Salt.

Statements go in on standard input and the peer's password through an option file that only root can read:
neither appears in an argument list, in the environment, or in a log.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

Row = dict[str, "str | None"]

CLIENTS = ("mariadb", "mysql")
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\0": "\0", r"\\": "\\"}
#: Where the servers' programs are, whatever the minion's own search path is.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: So that a program reads no option file of somebody's home.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"}
# One mode for every session, so that quoting means the same whatever the server's own mode is.
PREAMBLE = "SET SESSION sql_mode = 'STRICT_TRANS_TABLES';\n"


class SqlError(Exception):
    """The client or the server refused; ``code`` is the server's error number, 0 if it was not reached."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


def quote(value: str) -> str:
    """A string as an SQL literal (with backslash escapes, the default of PREAMBLE's mode)."""
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\0", "\\0")
    return f"'{escaped}'"


def local(sql: str, timeout: float | None = 30, socket: str = "") -> list[Row]:
    """Run statements on this host's server as the system's root, over the unix socket.

    Returns the rows of the one result that there may be, each as column -> text (None for NULL). ``timeout``
    is in seconds, None for what may take hours; ``socket`` is another server's than the host's own. Raises SqlError.
    """
    where = [f"--socket={socket}"] if socket else []
    return _run(_client(), ["--no-defaults", "--protocol=socket", *where, "--user=root"], sql, timeout)


class Peer(NamedTuple):
    """Another server, and how to log in there: over TLS with a verified certificate unless ``tls`` is false."""

    host: str
    port: int
    user: str
    tls: bool = True
    ca_file: str = ""  # empty: the server's own way, which MariaDB has from 11.4 on


def remote(peer: Peer, password: str, sql: str, timeout: float = 10) -> list[Row]:
    """Run statements on another server; returns and raises like ``local``."""
    client = _client()
    with login(client, peer, password) as words:
        return _run(client, [words[0], "--connect-timeout=5", *words[1:]], sql, timeout)


@contextmanager
def login(program: str, peer: Peer, password: str) -> Iterator[list[str]]:
    """The words by which a program of the server's (its client, its dump) logs in at another one, for a while."""
    handle, options = tempfile.mkstemp(prefix="mysql_ha-", suffix=".cnf")  # created with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"[client]\npassword={option_value(password)}\n")
        yield [f"--defaults-file={options}", "--protocol=tcp", f"--host={peer.host}", f"--port={peer.port}",
               f"--user={peer.user}", *_tls(program, peer)]  # fmt: skip
    finally:
        Path(options).unlink()


def _tls(program: str, peer: Peer) -> list[str]:
    is_mariadb = Path(program).name.startswith("mariadb")
    if not peer.tls:
        # A password that is not sent in clear needs the server's public key there (caching_sha2_password).
        return ["--skip-ssl"] if is_mariadb else ["--ssl-mode=DISABLED", "--get-server-public-key"]
    ca = [f"--ssl-ca={peer.ca_file}"] if peer.ca_file else []
    return [*ca, *(["--ssl", "--ssl-verify-server-cert"] if is_mariadb else ["--ssl-mode=VERIFY_IDENTITY"])]


def option_value(value: str) -> str:
    """A string as a value in an option file (MariaDB manual, "Configuring MariaDB with Option Files")."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def program(name: str) -> str:
    """Where a program is; empty when it is not installed."""
    return shutil.which(name, path=PATH) or ""


def _client() -> str:
    found = next(filter(None, map(program, CLIENTS)), None)
    if found is None:
        raise SqlError("no client program is installed (mariadb or mysql)")
    return found


def _run(client: str, words: list[str], sql: str, timeout: float | None) -> list[Row]:
    command = [client, words[0], "--batch", "--default-character-set=utf8mb4", *words[1:]]
    try:
        done = subprocess.run(
            command,
            input=(PREAMBLE + sql).encode(errors="replace"),
            capture_output=True,
            timeout=timeout,
            env=ENVIRONMENT,
        )
    except subprocess.TimeoutExpired:
        raise SqlError(f"no answer within {timeout:g} s") from None
    # Not as text, which would take a carriage return in a value for the end of a line.
    output, errors = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    if done.returncode != 0:
        # MariaDB's client repeats the whole statement before its error, and a statement can hold a password.
        error = re.search(r"^ERROR (\d+).*", errors, flags=re.MULTILINE | re.DOTALL)
        said = error[0].strip() if error else f"exit status {done.returncode} from {Path(client).name}"
        # So does the server near a syntax error.
        raise SqlError(re.sub(r" near '.*", " near (hidden)", said, flags=re.DOTALL), int(error[1]) if error else 0)
    return rows(output)


def rows(text: str) -> list[Row]:
    """Decode the client's --batch output of one result: a line of names, then lines of values."""
    # Not splitlines(): a value may hold characters that Unicode calls line ends.
    lines = text.removesuffix("\n").split("\n")
    if lines == [""]:
        return []
    names = lines[0].split("\t")
    return [dict(zip(names, map(_decode, line.split("\t")), strict=False)) for line in lines[1:]]


def _decode(field: str) -> str | None:
    if field == "NULL":
        return None
    return re.sub(r"\\[nt0\\]", lambda found: ESCAPES[found[0]], field)
