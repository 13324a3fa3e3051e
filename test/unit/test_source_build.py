"""Builds for real, of a program small enough for a unit test; a state's decisions around it."""

import hashlib
import io
import subprocess
import tarfile

import pytest
from salt.exceptions import CommandExecutionError

MAKEFILE = """all:
\tprintf '#!/bin/sh\\necho hello {version}\\n' > hello
\tchmod 755 hello
install:
\tmkdir -p $(DESTDIR){prefix}/bin $(DESTDIR){prefix}/share
\tcp hello $(DESTDIR){prefix}/bin/hello
\tln -sf hello $(DESTDIR){prefix}/bin/hi
"""


def cmd_run_all(words, cwd, env, **_):
    done = subprocess.run(words, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return {"retcode": done.returncode, "stdout": done.stdout}


@pytest.fixture
def builder(load_module, tmp_path):
    module = load_module("modules", "source_build", __salt__={"cmd.run_all": cmd_run_all})
    module.WORK = tmp_path / "src"
    module.RECORDS = tmp_path / "records"
    return module


@pytest.fixture
def tarball(tmp_path):
    def make(version="1", makefile=MAKEFILE, tops=("hello",)):
        place = tmp_path / f"hello-{version}.tar.gz"
        data = makefile.replace("{version}", version).replace("{prefix}", str(tmp_path / "root")).encode()
        with tarfile.open(place, "w:gz") as tar:
            for top in tops:
                info = tarfile.TarInfo(f"{top}/Makefile")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return str(place)

    return make


def recipe(tmp_path, version="1", **changes):
    return {"version": version, "source_hash": "", "build": ["make"], "stage": "make install DESTDIR={stage}",
            "proof": f"{str(tmp_path).lstrip('/')}/root/bin/hello --version"} | changes  # fmt: skip


def said(tmp_path):
    return subprocess.run([tmp_path / "root/bin/hello"], capture_output=True, text=True).stdout


def test_install_and_upgrade(builder, tarball, tmp_path) -> None:
    assert builder.installed("hello") is None
    files = builder.install("hello", tarball(), recipe(tmp_path))
    assert files == [str(tmp_path / "root/bin/hello"), str(tmp_path / "root/bin/hi")]
    assert said(tmp_path) == "hello 1\n"
    record = builder.installed("hello")
    assert (record["recipe"], record["missing"]) == (recipe(tmp_path), [])
    builder.install("hello", tarball("2"), recipe(tmp_path, "2"))
    assert said(tmp_path) == "hello 2\n"
    (tmp_path / "root/bin/hello").unlink()
    assert builder.installed("hello")["missing"] == [str(tmp_path / "root/bin/hello")]


@pytest.mark.parametrize("change", [
    {"build": ["make", "false"]}, {"stage": "false"}, {"proof": "no/such/program"}, {"build": ["no-such-command"]},
])  # fmt: skip
def test_a_failure_leaves_the_installed_version(builder, tarball, tmp_path, change) -> None:
    builder.install("hello", tarball(), recipe(tmp_path))
    with pytest.raises((CommandExecutionError, FileNotFoundError)):
        builder.install("hello", tarball("2"), recipe(tmp_path, "2", **change))
    assert said(tmp_path) == "hello 1\n"
    assert builder.installed("hello")["recipe"]["version"] == "1"


def test_a_compile_error_is_shown_with_its_command_and_log(builder, tarball, tmp_path) -> None:
    with pytest.raises(CommandExecutionError) as caught:
        builder.install("hello", tarball(makefile="all:\n\techo cannot find -lnl-3; exit 3\n"), recipe(tmp_path))
    text = str(caught.value)
    assert "hello 1: exit status 2 from 'make'" in text
    assert "cannot find -lnl-3" in text
    assert str(tmp_path / "src/hello-1/build.log") in text
    assert "cannot find -lnl-3" in (tmp_path / "src/hello-1/build.log").read_text()


def test_a_broken_tarball_is_told(builder, tarball, tmp_path) -> None:
    place = tmp_path / "broken.tar.gz"
    place.write_bytes(b"\x1f\x8b" + bytes(40))
    with pytest.raises(CommandExecutionError, match="cannot unpack"):
        builder.install("hello", str(place), recipe(tmp_path))
    with pytest.raises(CommandExecutionError, match="2 top-level entries"):
        builder.install("hello", tarball(tops=("a", "b")), recipe(tmp_path))


def test_an_interrupted_installation_does_not_count(builder, tarball, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(builder, "_write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        builder.install("hello", tarball(), recipe(tmp_path))
    assert builder.installed("hello") is None


@pytest.fixture
def state(load_module, tmp_path):
    """The state with a module that records, and a file.managed that fetches."""

    def make(current=None, fetched=True, test=False, fails=False):
        done = []

        def install(*arguments):
            if fails:
                raise CommandExecutionError("hello 2: exit status 2 from 'make'")
            done.append(arguments)

        module = load_module(
            "states", "source_build", __opts__={"test": test},
            __salt__={"source_build.installed": lambda _: current, "source_build.install": install,
                      "source_build.tarball": lambda *_: str(tmp_path / "hello.tar.gz")},
            __states__={"file.managed": lambda *_, **__: {"result": fetched, "comment": "Source hash mismatch"}},
        )  # fmt: skip
        return module.installed, done

    return make


ARGUMENTS = {"version": "2", "source": ["salt://hello.tar.gz"], "source_hash": "sha256=" + hashlib.sha256().hexdigest(),
             "build": ["make"], "stage": "make install", "proof": "usr/bin/hello"}  # fmt: skip
PRESENT = {"recipe": {key: value for key, value in ARGUMENTS.items() if key != "source"}, "missing": []}


@pytest.mark.parametrize("test", [False, True])
def test_what_is_installed_is_left_alone(state, test) -> None:
    installed, done = state(PRESENT, test=test)
    ret = installed("hello", **ARGUMENTS)
    assert (ret["result"], ret["changes"], done) == (True, {}, [])


@pytest.mark.parametrize(("current", "old"), [
    (None, None), ({"recipe": {"version": "1"}, "missing": []}, "1"), (PRESENT | {"missing": ["/usr/bin/hello"]}, "2"),
])  # fmt: skip
def test_test_mode_predicts(state, current, old) -> None:
    installed, done = state(current, test=True)
    predicted = installed("hello", **ARGUMENTS)
    assert (predicted["result"], done) == (None, [])
    installed, done = state(current)
    ret = installed("hello", **ARGUMENTS)
    assert ret["result"] is True
    assert ret["changes"] == predicted["changes"] == {"version": {"old": old, "new": "2"}}
    assert len(done) == 1


def test_failures_are_told_and_claim_no_change(state) -> None:
    installed, _ = state(fails=True)
    ret = installed("hello", **ARGUMENTS)
    assert (ret["result"], ret["changes"]) == (False, {})
    installed, done = state(fetched=False)
    ret = installed("hello", **ARGUMENTS)
    assert (ret["result"], ret["changes"], done) == (False, {}, [])
    assert "Source hash mismatch" in ret["comment"]
