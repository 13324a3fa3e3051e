"""
A server of one's own on a data directory, beside the host's server or instead of it: without a port, without
replication, without a binary log, and without the host's configuration. Knows nothing of Salt.

It finishes and proves backups. It runs as the servers' system user and ends with the block that it was made for.
"""

from __future__ import annotations

import grp
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import host_programs
import mysql_backups as store
import mysql_client
from mysql_backups import BackupError
from mysql_client import Row, SqlError

USER = "mysql"
PROFILES = Path("/sys/kernel/security/apparmor/profiles")
START_SECONDS = 3600  # recovery reads the whole redo log
END_SECONDS = 600
#: What a data directory was made with and a server must be told to start on it.
LAYOUT = ("innodb_page_size", "innodb_data_file_path", "lower_case_table_names")
_PROGRAMS = {"mariadb": ("mariadbd",), "mysql": ("mysqld",)}
_OPTIONS = (
    "skip-networking",
    "skip-log-bin",
    "event-scheduler=OFF",
    # Small beside a server that needs the memory for its work.
    "innodb-buffer-pool-size=64M",
    "performance-schema=OFF",
)
_FLAVOR_OPTIONS = {
    "mariadb": ("skip-slave-start",),
    "mysql": (
        "skip-replica-start",
        "relay-log=mysql_ha-private",
        "mysqlx=OFF",  # it has a socket of its own
        # Without GTIDs it would not tell the position that the data have.
        "gtid-mode=ON",
        "enforce-gtid-consistency=ON",
        # Keys and certificates are each server's own.
        "auto-generate-certs=OFF",
        "loose-caching-sha2-password-auto-generate-rsa-keys=OFF",
        "loose-sha256-password-auto-generate-rsa-keys=OFF",
        "loose-innodb-redo-log-capacity=8M",  # instead of 100, in each backup
    ),
}


class Private:
    """A running server of one's own."""

    def __init__(self, socket: str) -> None:
        self.socket = socket

    def sql(self, statements: str, timeout: float | None = None) -> list[Row]:
        """Run statements as root; as ``mysql_client.local``."""
        return mysql_client.local(statements, timeout, self.socket)


def program(flavor: str) -> str:
    """Where the flavor's server program is. Raises BackupError when it is not installed."""
    return store.program(*_PROGRAMS[flavor])


def initialise(flavor: str, data: Path, layout: Mapping[str, str]) -> None:
    """Make a new, empty data directory in which the system's root is the server's root. Raises BackupError.

    flavor, layout
        ``mariadb`` or ``mysql``, and values of ``LAYOUT``.
    data
        A directory that is not there yet, in one through which the server's system user can pass.
    """
    data.mkdir(mode=0o700)
    shutil.chown(data, USER, USER)
    common = [f"--datadir={data}", f"--user={USER}", *_layout(layout)]
    if flavor == "mariadb":
        words = [store.program("mariadb-install-db"), "--no-defaults", *common, "--skip-test-db",
                 "--auth-root-authentication-method=socket", "--auth-root-socket-user=root"]  # fmt: skip
    else:
        words = [*_confined(program(flavor)), "--no-defaults", "--initialize-insecure", *common]
    store.run(words)


@contextmanager
def running(flavor: str, data: Path, layout: Mapping[str, str], lock: int | None = None) -> Iterator[Private]:
    """Run a server on a data directory for a while. Raises BackupError, with the server's own words, when it does
    not start or does not live until the end; SqlError passes.

    flavor, layout
        ``mariadb`` or ``mysql``, and values of ``LAYOUT``.
    data
        The data directory, which is the server's system user's.
    lock
        A descriptor that the server inherits.
    """
    # The path of a socket may not have more than 107 characters, and the server's user must get there.
    folder = Path(tempfile.mkdtemp(prefix="mysql_ha-"))
    process = None
    try:
        shutil.chown(folder, USER, USER)
        log, socket = folder / "log", str(folder / "socket")
        words = [*_confined(program(flavor)), "--no-defaults", f"--datadir={data}", f"--socket={socket}",
                 f"--pid-file={folder / 'pid'}", f"--tmpdir={folder}", f"--user={USER}", *_layout(layout),
                 *(f"--{option}" for option in (*_OPTIONS, *_FLAVOR_OPTIONS[flavor]))]  # fmt: skip
        with log.open("wb") as said:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                env=host_programs.ENVIRONMENT,
                pass_fds=() if lock is None else (lock,),
                start_new_session=True,
            )
        server = Private(socket)
        _wait_until_it_answers(process, server, log)
        yield server
        if process.poll() is not None:
            raise BackupError(f"the server on {data} ended by itself: {_words(log)}")
    finally:
        if process is not None:
            _end(process)
        for left in data.glob("mysql_ha-private.*"):
            left.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _layout(layout: Mapping[str, str]) -> list[str]:
    return [f"--{name.replace('_', '-')}={layout[name]}" for name in LAYOUT if layout.get(name)]


def is_confined(server: str) -> bool:
    """Whether AppArmor keeps a server's program to the places in its profile."""
    try:
        profiles = PROFILES.read_text()
    except OSError:
        return False
    return any(line.split(" ")[0] == server and "(enforce)" in line for line in profiles.splitlines())


def _confined(server: str) -> list[str]:
    """The words that start a server where AppArmor would keep it from the data directory that it is given."""
    tool = mysql_client.program("aa-exec")
    return [tool, "-p", "unconfined", "--", server] if tool and is_confined(server) else [server]


def _wait_until_it_answers(process: subprocess.Popen[bytes], server: Private, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None:
            raise BackupError(f"the server does not start on it: {_words(log)}")
        try:
            server.sql("SELECT 1;", timeout=10)
        except SqlError as error:
            if error.code and error.code not in (2002, 2013):
                raise BackupError(f"the server on it does not let root in: {error}") from error
            if time.monotonic() > end:
                raise BackupError(f"the server on it did not answer within {START_SECONDS} s") from error
            time.sleep(0.2)
        else:
            return


def _words(log: Path) -> str:
    """The errors that a server wrote, else the end of what it wrote."""
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if "[ERROR]" in line]
    return host_programs.last_words("\n".join(errors or lines))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def group() -> int:
    """The number of the servers' system group. Raises BackupError when there is none."""
    try:
        return grp.getgrnam(USER).gr_gid
    except KeyError as error:
        raise BackupError(f"this host has no group {USER}; install the database server first") from error
