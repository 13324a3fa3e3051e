"""A stream of files between two hosts, both of which are this one; mariadb-backup itself is in the lab."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

import mysql_copy_stream
from mysql_backups import BackupError
from mysql_copy_stream import Hurry
from pinned_tls import MeetingError


@pytest.fixture
def port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """``tools(backup="...", unpack="...")``: shell scripts instead of the two programs."""

    def place(backup="tar -c -C $DATA .", unpack="tar -x -C $3"):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in (("mariadb-backup", backup), ("mbstream", unpack)):
            (folder / name).write_text(f"#!/bin/sh\nDATA={tmp_path / 'data'}\n{text}\n")
            (folder / name).chmod(0o755)

    monkeypatch.setattr(mysql_copy_stream.store, "program", lambda name: str(tmp_path / "bin" / name))
    monkeypatch.setattr(mysql_copy_stream, "FOLDER", tmp_path / "run")
    monkeypatch.setattr(mysql_copy_stream.pinned_tls, "MEET_SECONDS", 2)
    monkeypatch.setattr(mysql_copy_stream.copies, "server", lambda: type("Server", (), {"socket": "/run/x.sock"}))
    monkeypatch.setattr(mysql_copy_stream.copies, "data_size", lambda *_: 3 << 20)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ibdata1").write_bytes(os.urandom(3 << 20))
    place()
    return place


def streamed(tmp_path: Path, port: int, limit: int = 0, check=lambda size: None) -> dict:
    """What both sides say."""
    certificate = mysql_copy_stream.pinned_tls.introduce(mysql_copy_stream.FOLDER)
    said: dict = {"told": []}

    def receive() -> None:
        try:
            mysql_copy_stream.receive(tmp_path / "part", "127.0.0.1", port, certificate, check, said["told"].append)
        except (BackupError, MeetingError) as error:
            said["received"] = str(error)

    thread = threading.Thread(target=receive)
    thread.start()
    try:
        said["sent"] = mysql_copy_stream.send("127.0.0.1", port, certificate, limit)
    except (BackupError, MeetingError) as error:
        said["sent"] = str(error)
    thread.join()
    return said


def test_all_of_it_arrives(tmp_path, tools, port) -> None:
    said = streamed(tmp_path, port)
    assert said["sent"] == said["told"][-1] > 3 << 20
    assert "received" not in said
    assert (tmp_path / "part" / "ibdata1").read_bytes() == (tmp_path / "data" / "ibdata1").read_bytes()
    assert not mysql_copy_stream.FOLDER.exists(), "keys are for one stream"


def test_a_limit_holds_until_commits_wait_for_the_end(tmp_path, tools, port) -> None:
    # Within a fraction of the time that the limit would take.
    tools(backup="for one in START BLOCK_COMMIT; do echo Starting BACKUP STAGE $one >&2; done; tar -c -C $DATA .")
    began = mysql_copy_stream.time.monotonic()
    streamed(tmp_path, port, limit=1)
    hurried = mysql_copy_stream.time.monotonic() - began
    tools()
    (tmp_path / "part" / "ibdata1").unlink()
    (tmp_path / "part").rmdir()
    began = mysql_copy_stream.time.monotonic()
    streamed(tmp_path, port, limit=1)
    assert mysql_copy_stream.time.monotonic() - began > 2.9 > hurried


@pytest.mark.parametrize(
    ("lines", "waits"),
    [
        # As 10.11.18 says it, in another order than what is older.
        (["Starting BACKUP STAGE START", "Acquiring BACKUP LOCKS...", "Streaming ibdata1"], False),
        (["Starting BACKUP STAGE START", "Acquiring BACKUP LOCKS...", "Started BACKUP STAGE BLOCK_DDL"], True),
        # As 10.11.7 and older do.
        (["Streaming ibdata1", "Acquiring BACKUP LOCKS..."], True),
        (["Streaming ibdata1"], False),
    ],
)
def test_when_commits_wait(lines, waits) -> None:
    hurry = Hurry()
    for line in lines:
        hurry.hear(f"[00] 2026-11-24 17:31:25 {line}\n")
    assert hurry.begun.is_set() == waits


def test_a_backup_that_fails_is_told_on_both_sides(tmp_path, tools, port) -> None:
    tools(
        backup="head -c 100000 /dev/zero | tr '\\0' 'x'; echo 'the log has wrapped' >&2; exit 1",
        unpack="cat >/dev/null",
    )
    said = streamed(tmp_path, port)
    assert said["sent"] == "exit status 1 from mariadb-backup: the log has wrapped"
    assert said["received"] == "on the other host: exit status 1 from mariadb-backup: the log has wrapped"


def test_what_cannot_be_unpacked_is_told(tmp_path, tools, port) -> None:
    tools(unpack="head -c 1000 >/dev/null; echo 'No space left on device' >&2; exit 1")
    said = streamed(tmp_path, port)
    assert said["received"] == "exit status 1 from mbstream: No space left on device"
    assert "broke off" in said["sent"]


def test_too_much_is_refused_before_anything_is_written(tmp_path, tools, port) -> None:
    def check(size: int) -> None:
        raise BackupError(f"{size} bytes are too many")

    said = streamed(tmp_path, port, check=check)
    assert said["received"] == f"{3 << 20} bytes are too many"
    assert "does not take it" in said["sent"] or "broke off" in said["sent"]
    assert not (tmp_path / "part").exists()


def test_a_sender_in_vain_does_not_wait(tmp_path, tools, port) -> None:
    certificate = mysql_copy_stream.pinned_tls.introduce(mysql_copy_stream.FOLDER)
    thread = threading.Thread(target=mysql_copy_stream.turn_away, args=("127.0.0.1", port, certificate))
    thread.start()
    with pytest.raises(BackupError, match="does not take it|broke off"):
        mysql_copy_stream.send("127.0.0.1", port, certificate)
    thread.join()


def test_nobody_comes(tmp_path, tools, port) -> None:
    certificate = mysql_copy_stream.pinned_tls.introduce(mysql_copy_stream.FOLDER)
    with pytest.raises(MeetingError, match="nobody listens"):
        mysql_copy_stream.send("127.0.0.1", port, certificate)
    assert not mysql_copy_stream.FOLDER.exists()
    certificate = mysql_copy_stream.pinned_tls.introduce(mysql_copy_stream.FOLDER)
    with pytest.raises(MeetingError, match="no sender came"):
        mysql_copy_stream.receive(tmp_path / "part", "127.0.0.1", port, certificate, print, print)
    with pytest.raises(MeetingError, match="certificate"):
        mysql_copy_stream.send("127.0.0.1", port, certificate)


@pytest.mark.parametrize(
    ("said", "series"),
    [
        ("mariadb-backup based on MariaDB server 10.11.18-MariaDB debian-linux-gnu (x86_64)", "10.11"),
        ("something else", ""),
    ],
)
def test_the_series_of_the_tool(tools, said, series) -> None:
    tools(backup=f"echo '{said}' >&2")
    assert mysql_copy_stream.series() == series


def test_without_the_tool_there_is_no_series(monkeypatch) -> None:
    def program(name: str) -> str:
        raise BackupError(f"not installed: {name}")

    monkeypatch.setattr(mysql_copy_stream.store, "program", program)
    assert mysql_copy_stream.series() == ""


def test_what_came_in_is_made_a_data_directory(tmp_path, tools, monkeypatch) -> None:
    done: list[list[str]] = []
    monkeypatch.setattr(mysql_copy_stream.store, "run", lambda words, *_: done.append([str(one) for one in words]))
    part = tmp_path / "part"
    part.mkdir()
    for name in ("ibdata1", "master.info", "xtrabackup_info", "backup-my.cnf"):
        (part / name).touch()
    (part / "xtrabackup_binlog_info").write_text("binlog.000001\t13468514\t1-1-19,\n2-2-7\n")
    assert mysql_copy_stream.prepare(part) == (part, "1-1-19,2-2-7")
    assert {path.name for path in part.iterdir()} == {"ibdata1"}
    assert done[0][1] == "--prepare"
