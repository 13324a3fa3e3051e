"""The running keepalived as /proc shows it, on a /proc of the tests' own."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import keepalived_process as process

TEXT = "# ours\nglobal_defs {\n    router_id shop_lvs1\n}\n\ninclude x\n"
READ = "# /etc/keepalived/keepalived.conf\n\nglobal_defs {\nrouter_id shop_lvs1\n}\n\ninclude x\n!\n"


class Proc:
    """A /proc with processes that are files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.add(1, 0, "/usr/lib/systemd/systemd", "self")

    def add(self, pid: int, parent: int, program: str, name: str = "", net: str = "own") -> Path:
        place = self.root / (name or str(pid))
        (place / "ns").mkdir(parents=True)
        (place / "fd").mkdir()
        (place / "exe").symlink_to(program)
        network = self.root / f"network-{net}"
        network.touch()
        (place / "ns/net").symlink_to(network)
        (place / "stat").write_text(f"{pid} (a ) 7 name) S {parent} 1 1 0")
        (place / "environ").write_bytes(b"PATH=/bin\0TMPDIR=" + os.fsencode(self.root / "tmp") + b"\0")
        (place / "root").symlink_to("/")
        return place


@pytest.fixture
def proc(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PROC", tmp_path)
    monkeypatch.setattr(process, "CHECKER_FILES", (str(tmp_path / "none.pid"), str(tmp_path / "checkers.pid")))
    monkeypatch.setattr(process, "VRRP_FILES", (str(tmp_path / "none.pid"), str(tmp_path / "vrrp.pid")))
    (tmp_path / "tmp").mkdir()
    return Proc(tmp_path)


@pytest.fixture
def running(proc):
    proc.add(100, 1, "/usr/sbin/keepalived (deleted)")
    proc.add(101, 100, "/usr/sbin/keepalived")
    proc.add(102, 100, "/usr/sbin/keepalived")
    (proc.root / "checkers.pid").write_text("101\n")
    return process.Keepalived(100, 101)


def test_found(running, proc) -> None:
    # A child of the checker that is about to become a script, somebody who tests a configuration, and others.
    proc.add(110, 101, "/usr/sbin/keepalived")
    proc.add(50, 1, "/usr/sbin/keepalived")
    proc.add(51, 100, "/usr/bin/keepalived-watcher")
    proc.add(10, 1, "/usr/sbin/keepalived", net="another")
    proc.add(11, 10, "/usr/sbin/keepalived", net="another")
    assert process.find() == running


def test_not_found(proc) -> None:
    assert process.find() is None
    proc.add(50, 1, "/usr/sbin/keepalived")
    (proc.root / "checkers.pid").write_text("101\n")
    assert process.find() is None


@pytest.mark.parametrize("text", ["", "x", "999", "1"])
def test_without_a_checker(running, proc, text) -> None:
    (proc.root / "checkers.pid").write_text(text)
    assert process.find() == process.Keepalived(100, None)


def test_a_checker_whose_file_another_keepalived_has_taken_over(running, proc) -> None:
    (proc.root / "checkers.pid").write_text("999")
    (proc.root / "vrrp.pid").write_text("102")
    assert process.find() == running
    # Which of two it is, nobody can say.
    proc.add(103, 100, "/usr/sbin/keepalived")
    assert process.find() == process.Keepalived(100, None)


def test_what_it_has_read(running, proc, monkeypatch) -> None:
    assert process.configuration(running) is None
    (proc.root / "100/fd/0").symlink_to("/dev/null")
    copy = proc.root / "copy"
    copy.write_text(READ)
    (proc.root / "100/fd/3").symlink_to(copy)
    monkeypatch.setattr(process, "_COPY", process.re.compile(".*/copy"))
    assert process.configuration(running) == READ


@pytest.mark.parametrize(("link", "is_copy"), [
    ("/memfd:/keepalived/consolidated_configuration (deleted)", True),
    ("/run/#1234 (deleted)", True),
    ("/var/run/#1234 (deleted)", True),
    ("/memfd:other (deleted)", False),
    ("/opt/#1234 (deleted)", False),
    ("/run/keepalived.pid", False),
])  # fmt: skip
def test_what_the_copy_in_memory_is_called(link, is_copy) -> None:
    assert bool(process._COPY.fullmatch(link)) == is_copy


def test_the_same_configuration() -> None:
    assert process.same(TEXT, READ)
    assert not process.same(TEXT, READ.replace("lvs1", "lvs2"))
    assert not process.same(TEXT, "")


def test_what_it_takes_only_at_its_start() -> None:
    old = "global_defs {\nnftables a\nnftables_priority 3\n}\n"
    assert process.only_at_start(old, old.replace("priority 3", "priority 4")) == []
    assert process.only_at_start(old, old.replace("nftables a", "nftables  b")) == ["nftables"]
    assert process.only_at_start(old, old + "instance x") == ["instance"]


# --- its data ---


@pytest.fixture
def asked(running, proc, monkeypatch):
    """``asked(text)``: the checker writes this when it is asked, slowly; ``asked.times`` counts the questions."""
    threads = []
    place = proc.root / "tmp/keepalived_check.data"

    def answer(text, delay=0.05):
        own = place.with_name("new")
        with own.open("w") as file:
            link = proc.root / "101/fd/9"
            link.symlink_to(place)
            own.rename(place)
            file.write(text[:5])
            file.flush()
            time.sleep(delay)
            file.write(text[5:])
        link.unlink()

    def will(text, ignores=0):
        def kill(pid, number):
            assert (pid, number) == (101, signal.SIGUSR1)
            will.times += 1
            if will.times > ignores:
                threads.append(threading.Thread(target=answer, args=(text,)))
                threads[-1].start()

        monkeypatch.setattr(process.os, "kill", kill)

    will.times = 0
    will.place = place
    yield will
    for thread in threads:
        thread.join()


def test_data_are_whole_and_leave_nothing_behind(running, asked) -> None:
    asked("the whole of it")
    assert process.data(running) == "the whole of it"
    assert list(asked.place.parent.iterdir()) == []


def test_data_that_were_there_before_are_not_taken_for_new_ones(running, asked) -> None:
    asked.place.write_text("old")
    asked("the new ones")
    assert process.data(running) == "the new ones"
    assert asked.place.read_text() == "the new ones"


def test_it_is_asked_again(running, asked) -> None:
    asked("after a reload", ignores=1)
    assert process.data(running) == "after a reload"
    assert asked.times == 2


def test_it_does_not_answer(running, asked) -> None:
    asked("never", ignores=99)
    assert process.data(running, seconds=0.1) is None
    assert process.data(process.Keepalived(100, None)) is None


def test_it_has_gone(running, monkeypatch) -> None:
    def kill(*_):
        raise ProcessLookupError

    monkeypatch.setattr(process.os, "kill", kill)
    assert process.data(running) is None


def test_what_somebody_else_wrote_is_not_read(running, asked, monkeypatch, proc) -> None:
    asked("theirs")
    monkeypatch.setattr(process, "_is_open", lambda *_: False)
    secret = proc.root / "secret"
    secret.write_text("x")

    def kill(*_):
        asked.place.symlink_to(secret)

    monkeypatch.setattr(process.os, "kill", kill)
    assert process.data(running) is None
    assert secret.exists()


@pytest.mark.parametrize(("name", "file"), [
    ("", "TMP/keepalived_check.data"),
    ("/var/lib/x/", "/var/lib/x/keepalived_check.data"),
    ("/var/lib/x/ka.txt", "/var/lib/x/ka_check.txt"),
    ("ka", "TMP/ka_check"),
    ("sub/ka.txt", "TMP/ka_check.txt"),
])  # fmt: skip
def test_where_the_data_are(running, proc, name, file) -> None:
    assert process._data_file(101, name) == file.replace("TMP", str(proc.root / "tmp"))
    (proc.root / "101/environ").write_bytes(b"PATH=/bin\0")
    assert process._data_file(101, "") == "/tmp/keepalived_check.data"  # noqa: S108
