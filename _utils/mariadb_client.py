"""
SQL through MariaDB's own command-line client. Knows nothing of Salt.

Statements go in on standard input and the peer's password through an option file that only root can read:
neither appears in an argument list, in the environment, or in a log.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ESCAPES = {r"\n": "\n", r"\t": "\t", r"\0": "\0", r"\\": "\\"}
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


def local(sql: str, timeout: float = 30) -> list[dict[str, str | None]]:
    """Run statements on this host's server as the system's root, over the unix socket.

    Returns the rows of the one result that there may be, each as column -> text (None for NULL). ``timeout``
    is in seconds. Raises SqlError.
    """
    return _run(["--no-defaults", "--protocol=socket", "--user=root"], sql, timeout)


def remote(
    host: str, port: int, user: str, password: str, sql: str, timeout: float = 10
) -> list[dict[str, str | None]]:
    """Run statements on another server over TLS, its certificate verified; returns and raises like ``local``."""
    handle, options = tempfile.mkstemp(prefix="mysql_ha-", suffix=".cnf")  # created with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"[client]\npassword={option_value(password)}\n")
        words = [f"--defaults-file={options}", "--protocol=tcp", f"--host={host}", f"--port={port}", f"--user={user}",
                 "--ssl", "--connect-timeout=5"]  # fmt: skip
        return _run(words, sql, timeout)
    finally:
        Path(options).unlink()


def option_value(value: str) -> str:
    """A string as a value in an option file (MariaDB manual, "Configuring MariaDB with Option Files")."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _run(words: list[str], sql: str, timeout: float) -> list[dict[str, str | None]]:
    client = shutil.which("mariadb", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if client is None:
        raise SqlError("the client program 'mariadb' is not installed")
    command = [client, words[0], "--batch", "--default-character-set=utf8mb4", *words[1:]]
    try:
        done = subprocess.run(
            command,
            input=PREAMBLE + sql,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"},
        )
    except subprocess.TimeoutExpired:
        raise SqlError(f"no answer within {timeout:g} s") from None
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        code = re.match(r"ERROR (\d+)", said)
        # The server repeats the statement near a syntax error, and a statement can hold a password.
        raise SqlError(re.sub(r" near '.*", " near (hidden)", said, flags=re.DOTALL), int(code[1]) if code else 0)
    return rows(done.stdout)


def rows(text: str) -> list[dict[str, str | None]]:
    """Decode the client's --batch output of one result: a line of names, then lines of values."""
    lines = text.splitlines()
    if not lines:
        return []
    names = lines[0].split("\t")
    return [dict(zip(names, map(_decode, line.split("\t")), strict=False)) for line in lines[1:]]


def _decode(field: str) -> str | None:
    if field == "NULL":
        return None
    return re.sub(r"\\[nt0\\]", lambda found: ESCAPES[found[0]], field)
