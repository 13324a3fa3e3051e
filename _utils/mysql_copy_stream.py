"""
A MariaDB server's files on another host, while both servers serve: mariadb-backup's stream over TLS between exactly two
certificates (``pinned_tls``), unpacked and prepared beside the other one's data directory. Knows nothing of Salt.

Sources: MariaDB manual, "mariadb-backup options" (--stream) and "mariadb-backup and BACKUP STAGE commands".
"""

from __future__ import annotations

import re
import ssl
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import host_programs
import mysql_backup_copy as copies
import mysql_backups as store
import mysql_private
import pinned_tls
from mysql_backups import BackupError
from pinned_tls import MeetingError, exactly, frame, send_frame

FOLDER = Path("/run/mysql_ha-copy")
TOOL, UNPACK = "mariadb-backup", "mbstream"
#: For how many seconds a receiver may take nothing. At its end mariadb-backup holds up the commits of the server that
#: it reads from, so that a receiver without power must not keep it there.
TAKING_SECONDS = 30
#: For how long a sender that comes in vain is waited for.
TURN_SECONDS = 10
_WANT, _DONE = b"w", b"d"
# What mariadb-backup writes about the copy, beside it.
_NOTES = ("backup-my.cnf", "xtrabackup_*", "mariadb_backup_*")
_SERIES = re.compile(r"based on MariaDB server (\d+\.\d+)\.")


class Prepared(NamedTuple):
    """A data directory that a server can be started on, and its position as GTIDs."""

    folder: Path
    gtids: str


def series() -> str:
    """The series of MariaDB ('10.11') that this host can send and take a stream of; empty when there is none."""
    try:
        tool = store.program(TOOL)
        store.program(UNPACK)
        # It says so on either, depending on its version.
        done = subprocess.run([tool, "--no-defaults", "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, env=host_programs.ENVIRONMENT, cwd="/")  # fmt: skip
    except (BackupError, OSError, subprocess.TimeoutExpired):
        return ""
    found = _SERIES.search(done.stdout + done.stderr)
    return found[1] if found else ""


def backup_words(socket: str, scratch: Path) -> list[str]:
    """
    The program that streams the files of the server at a socket, as the system's root.

    scratch
        An empty directory, for what it does not write into the stream at once.
    """
    # Its own --throttle counts files and reads, whatever their size: some hundred small files take minutes at 2.
    return [store.program(TOOL), "--backup", "--stream=mbstream", "--user=root", f"--socket={socket}",
            f"--target-dir={scratch}"]  # fmt: skip


class Hurry:
    """
    When a limit must not hold any more: commits of the server that is read from wait for the end of the stream.

    MariaDB 10.11.8 and later names each stage that it is in. What is older holds up commits from the first one on,
    which it begins when the large part is done, and does not name.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.lines: deque[str] = deque(maxlen=20)
        self._names_stages = False

    def hear(self, line: str) -> None:
        """What mariadb-backup says."""
        self.lines.append(line)
        self._names_stages |= "BACKUP STAGE START" in line
        if "BACKUP STAGE BLOCK_" in line or ("Acquiring BACKUP LOCKS" in line and not self._names_stages):
            self.begun.set()

    def hear_all(self, lines: Iterable[bytes]) -> None:
        """All that it says, to its end."""
        for line in lines:
            self.hear(line.decode(errors="replace"))


def send(address: str, port: int, peer: str, limit: int = 0) -> int:
    """
    Stream this host's server to a host that waits for it in ``receive``; return the bytes sent.

    address, port, peer
        Where the other host listens, and its certificate (PEM).
    limit
        The most MiB a second; 0 for as fast as it goes. It ends where commits would wait for it. With one that is below
        what is written into the redo log meanwhile, mariadb-backup fails.

    Raises MeetingError when the two did not meet, and BackupError.
    """
    to = f"the stream to {address}:{port}"
    with _told(to), pinned_tls.connected(FOLDER, address, port, peer, TAKING_SECONDS) as stream:
        server = copies.server()
        send_frame(stream, str(copies.data_size(server, "physical")).encode())
        if stream.recv(1) != _WANT:
            raise BackupError(f"{address} does not take it; why is said there")
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            count, why = _sent(stream, backup_words(server.socket, Path(scratch)), limit)
        # An empty frame is the end, and the next one says whether it is a good one.
        send_frame(stream, b"")
        send_frame(stream, why.encode()[: pinned_tls.CHUNK])
        if why:
            raise BackupError(why)
        stream.settimeout(pinned_tls.IDLE_SECONDS)
        if exactly(stream, 1) != _DONE:
            raise BackupError(f"{address} did not store it")
    return count


def _sent(stream: ssl.SSLSocket, words: list[str], limit: int) -> tuple[int, str]:
    """Run a program into a stream; how many bytes that were, and why it failed."""
    count, began, hurry = 0, time.monotonic(), Hurry()
    run = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           env=host_programs.ENVIRONMENT, cwd="/")  # fmt: skip
    listener = threading.Thread(target=hurry.hear_all, args=(run.stderr,), daemon=True)
    listener.start()
    try:
        while chunk := run.stdout.read1(pinned_tls.CHUNK):
            send_frame(stream, chunk)
            count += len(chunk)
            if limit:
                hurry.begun.wait(max(0.0, count / (limit << 20) - (time.monotonic() - began)))
    except BaseException:
        run.kill()
        raise
    finally:
        run.stdout.close()
        code = run.wait()
        listener.join()
        run.stderr.close()
    last = host_programs.last_words("".join(hurry.lines))
    return count, f"exit status {code} from {Path(words[0]).name}: {last}" if code else ""


def receive(
    part: Path, address: str, port: int, peer: str, check: Callable[[int], None], told: Callable[[int], None]
) -> None:
    """
    Wait for the stream of another host's server and unpack it.

    part
        The directory, which is made.
    address, port, peer
        Where to listen, and the sender's certificate (PEM).
    check
        Is called with the number of bytes that will come, more or less, before anything is written; it raises when they
        are not wanted.
    told
        Is called with the number of bytes so far, once a second at most.

    Raises MeetingError when the two did not meet, and BackupError.
    """
    with _told("the stream to this host"), pinned_tls.accepted(FOLDER, address, port, peer) as stream:
        check(int(frame(stream)))
        part.mkdir(mode=0o700)
        stream.sendall(_WANT)
        _unpacked(stream, part, told)
        why = frame(stream).decode(errors="replace")
        if why:
            raise BackupError(f"on the other host: {why}")
        stream.sendall(_DONE)


def turn_away(address: str, port: int, peer: str) -> None:
    """Let a sender know that it waits in vain; parameters are as for ``receive``."""
    with suppress(MeetingError, OSError), pinned_tls.accepted(FOLDER, address, port, peer, meet=TURN_SECONDS):
        pass


def _unpacked(stream: ssl.SSLSocket, part: Path, told: Callable[[int], None]) -> None:
    count, said = 0, time.monotonic()
    with tempfile.TemporaryFile() as words:
        run = subprocess.Popen([store.program(UNPACK), "-x", "-C", str(part)], stdin=subprocess.PIPE, stderr=words,
                               stdout=subprocess.DEVNULL, env=host_programs.ENVIRONMENT, cwd="/")  # fmt: skip
        try:
            while chunk := frame(stream):
                run.stdin.write(chunk)
                count += len(chunk)
                if time.monotonic() - said >= 1:
                    told(count)
                    said = time.monotonic()
            run.stdin.close()
        except BrokenPipeError:
            pass  # its exit status tells
        except BaseException:
            run.kill()
            raise
        finally:
            code = run.wait()
        words.seek(0)
        if code:
            last = host_programs.last_words(words.read().decode(errors="replace"))
            raise BackupError(f"exit status {code} from {UNPACK}: {last}")
    told(count)


def prepare(part: Path, lock: int | None = None) -> Prepared:
    """
    Make what was received a data directory that a server can be started on, the servers' system user's, and safe on
    the disk.

    part
        Where ``receive`` put it.
    lock
        A descriptor that the programs inherit.

    Raises BackupError.
    """
    store.run([store.program(TOOL), "--prepare", f"--target-dir={part}"], lock)
    gtids = copies.position(part)
    for pattern in (*copies.FOREIGN, *_NOTES):
        for file in part.glob(pattern):
            file.unlink()
    store.run(["chmod", "-R", "go=", "--", part])
    store.give(part, mysql_private.USER)
    store.sync(part)
    return Prepared(part, gtids)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"{what} broke off: {error}") from error
