"""Builds for real, of a program small enough for a unit test; a state's decisions around it."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

import source_build_transfer
import source_builds

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
    module = load_module("modules", "source_build", __salt__={"cmd.run_all": cmd_run_all},
                         __grains__={"osfinger": "Debian-13", "cpuarch": "x86_64"})  # fmt: skip
    module.WORK = tmp_path / "src"
    module.RECORDS = tmp_path / "records"
    return module


def build_and_install(module, tarball, recipe):
    module.build("hello", tarball, recipe)
    return module.install("hello", recipe)


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
    assert builder.stage("hello", recipe(tmp_path)) is None
    staged = builder.build("hello", tarball(), recipe(tmp_path))
    assert builder.installed("hello") is None
    assert (Path(staged) / f"{str(tmp_path).lstrip('/')}/root/bin/hello").exists()
    files = builder.install("hello", recipe(tmp_path))
    assert files == [str(tmp_path / "root/bin/hello"), str(tmp_path / "root/bin/hi")]
    assert said(tmp_path) == "hello 1\n"
    record = builder.installed("hello")
    assert record == {"recipe": recipe(tmp_path), "files": files, "damaged": [], "interrupted": False, "platform": True}
    build_and_install(builder, tarball("2"), recipe(tmp_path, "2"))
    assert said(tmp_path) == "hello 2\n"
    (tmp_path / "root/bin/hello").unlink()
    assert builder.installed("hello")["damaged"] == [str(tmp_path / "root/bin/hello")]


def test_back_again_without_a_compiler(builder, tarball, tmp_path, monkeypatch) -> None:
    for version in "12":
        build_and_install(builder, tarball(version), recipe(tmp_path, version))
    monkeypatch.setitem(builder.__salt__, "cmd.run_all", None)
    assert builder.stage("hello", recipe(tmp_path)) is not None
    builder.install("hello", recipe(tmp_path))
    assert said(tmp_path) == "hello 1\n"
    assert [one["version"] for one in builder.kept("hello")] == ["2", "1"]
    # Built in another way, it is another build.
    assert builder.stage("hello", recipe(tmp_path, build=["make", "true"])) is None
    with pytest.raises(CommandExecutionError, match="hello 3: there is no build of it on this host"):
        builder.install("hello", recipe(tmp_path, "3"))


def test_another_system_is_another_build(builder, tarball, tmp_path) -> None:
    build_and_install(builder, tarball(), recipe(tmp_path))
    builder.__grains__["osfinger"] = "Debian-14"
    assert builder.installed("hello")["platform"] is False
    assert builder.stage("hello", recipe(tmp_path)) is None


def test_all_of_it_goes(builder, tarball, tmp_path) -> None:
    assert builder.remove("hello") == []
    build_and_install(builder, tarball(), recipe(tmp_path))
    (tmp_path / "src/hello-1.tar.gz").write_text("")
    (tmp_path / "src/other-1").mkdir()
    removed = builder.remove("hello")
    assert removed == [str(tmp_path / "root/bin/hello"), str(tmp_path / "root/bin/hi")]
    assert not (tmp_path / "root").exists()
    assert [place.name for place in (tmp_path / "src").iterdir()] == ["other-1"]
    assert (builder.installed("hello"), builder.kept("hello")) == (None, [])
    assert builder.remove("hello") == []


def test_from_one_host_to_another(builder, load_module, tarball, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(source_builds, "PIECE", 100)
    builder.build("hello", tarball(), recipe(tmp_path))
    other = load_module("modules", "source_build", __grains__=builder.__grains__)
    other.WORK, other.RECORDS = tmp_path / "src2", tmp_path / "records2"
    hosts = {"lvs1": builder, "lvs2": other}

    def ask(host, function, arguments):
        return getattr(hosts[host], function.removeprefix("source_build."))(*arguments)

    done = source_build_transfer.hand_over("hello", "lvs1", "lvs2", ask)
    assert done["version"] == "1"
    assert done["size"] > 300
    assert other.kept("hello") == builder.kept("hello")
    assert other.kept("hello")[0]["installed"] is False
    other.install("hello", recipe(tmp_path))
    assert said(tmp_path) == "hello 1\n"
    # What is installed is given, not what was built last.
    builder.install("hello", recipe(tmp_path))
    builder.build("hello", tarball("2"), recipe(tmp_path, "2"))
    assert [one["installed"] for one in builder.kept("hello")] == [False, True]
    # A second time there is nothing to do.
    monkeypatch.delattr(other, "take")
    assert source_build_transfer.hand_over("hello", "lvs1", "lvs2", ask) == done
    with pytest.raises(source_build_transfer.AskError, match="lvs1 keeps no build of nothing"):
        source_build_transfer.hand_over("nothing", "lvs1", "lvs2", ask)


def test_what_cannot_be_taken(builder, tarball, tmp_path) -> None:
    builder.build("hello", tarball(), recipe(tmp_path))
    identity = builder.kept("hello")[0]["identity"]
    piece = builder.export("hello", identity)
    with pytest.raises(CommandExecutionError, match="no build 0123 is kept"):
        builder.export("hello", "0123")
    with pytest.raises(SaltInvocationError, match="are not as source_build.export returns them"):
        builder.take({"name": "hello"}, piece["data"])
    with pytest.raises(SaltInvocationError, match="are not as source_build.export returns them"):
        builder.take(piece["kept"], "not base64")
    builder.__grains__["cpuarch"] = "aarch64"
    with pytest.raises(
        CommandExecutionError, match="was built on Debian-13 x86_64, and this host is Debian-13 aarch64"
    ):
        builder.take(piece["kept"], piece["data"])


@pytest.mark.parametrize("change", [
    {"build": ["make", "false"]}, {"stage": "false"}, {"proof": "no/such/program"}, {"build": ["no-such-command"]},
])  # fmt: skip
def test_a_failure_leaves_the_installed_version(builder, tarball, tmp_path, change) -> None:
    build_and_install(builder, tarball(), recipe(tmp_path))
    with pytest.raises(CommandExecutionError):
        build_and_install(builder, tarball("2"), recipe(tmp_path, "2", **change))
    assert said(tmp_path) == "hello 1\n"
    assert builder.installed("hello")["recipe"]["version"] == "1"


def test_a_compile_error_is_shown_with_its_command_and_log(builder, tarball, tmp_path) -> None:
    with pytest.raises(CommandExecutionError) as caught:
        builder.build("hello", tarball(makefile="all:\n\techo cannot find -lnl-3; exit 3\n"), recipe(tmp_path))
    text = str(caught.value)
    assert "hello 1: exit status 2 from 'make'" in text
    assert "cannot find -lnl-3" in text
    assert str(tmp_path / "src/hello-1/build.log") in text
    assert "cannot find -lnl-3" in (tmp_path / "src/hello-1/build.log").read_text()


def test_a_broken_tarball_is_told(builder, tarball, tmp_path) -> None:
    place = tmp_path / "broken.tar.gz"
    place.write_bytes(b"\x1f\x8b" + bytes(40))
    with pytest.raises(CommandExecutionError, match="cannot unpack"):
        builder.build("hello", str(place), recipe(tmp_path))
    with pytest.raises(CommandExecutionError, match="2 top-level entries"):
        builder.build("hello", tarball(tops=("a", "b")), recipe(tmp_path))


DIGEST = hashlib.sha256().hexdigest()


@pytest.fixture
def state(load_module, tmp_path):
    """The state with a module that records, and a file.managed that fetches."""

    def make(current=None, fetched=True, test=False, fails=False, kept=False, accepted=True, digest=DIGEST):
        done = []

        def step(name, result=None):
            def taken(*_, **words):
                done.append((name, words) if words else name)
                if fails == name:
                    raise CommandExecutionError("hello 2: exit status 2 from 'make'")
                return result

            return taken

        module = load_module(
            "states", "source_build", __opts__={"test": test},
            __salt__={"source_build.installed": lambda _: current,
                      "source_build.stage": lambda *_: "/stage" if kept else None,
                      "source_build.build": step("build", "/stage"), "source_build.install": step("install"),
                      "source_build.tarball": lambda *_: str(tmp_path / "hello.tar.gz"),
                      "hello.accepts": step("accepts", {"accepted": accepted, "comment": "it refuses it"}),
                      "source_build.kept": lambda _: [{"version": "2"}] if kept else [],
                      "source_build.remove": step("remove"),
                      "file.get_hash": lambda _, algorithm: digest if algorithm == "sha256" else None,
                      "file.remove": step("drop")},
            __states__={"file.managed": lambda *_, **__: {"result": fetched, "comment": "Source hash mismatch"}},
        )  # fmt: skip
        return module, done

    return make


ARGUMENTS = {"version": "2", "source": ["salt://hello.tar.gz"], "source_hash": f"sha256={DIGEST.upper()}",
             "build": ["make"], "stage": "make install", "proof": "usr/bin/hello"}  # fmt: skip
PRESENT = {"recipe": {key: value for key, value in ARGUMENTS.items() if key != "source"}, "damaged": [],
           "interrupted": False, "platform": True}  # fmt: skip
OLD = {**PRESENT, "recipe": {**PRESENT["recipe"], "version": "1", "build": ["make -j2"]}}


@pytest.mark.parametrize("test", [False, True])
def test_what_is_installed_is_left_alone(state, test) -> None:
    module, done = state(PRESENT, test=test)
    ret = module.installed("hello", **ARGUMENTS)
    assert (ret["result"], ret["changes"], done) == (True, {}, [])


@pytest.mark.parametrize(("current", "changes"), [
    (None, {"version": {"old": None, "new": "2"}}),
    (OLD, {"version": {"old": "1", "new": "2"}, "build": {"old": ["make -j2"], "new": ["make"]}}),
    ({**PRESENT, "damaged": ["/usr/bin/hello"]},
     {"files": {"old": "missing or changed: /usr/bin/hello", "new": "as they were built"}}),
    ({**PRESENT, "interrupted": True, "damaged": ["/x"]}, {"installation": {"old": "interrupted", "new": "complete"}}),
    ({**PRESENT, "platform": False}, {"platform": {"old": "another one", "new": "this one"}}),
])  # fmt: skip
@pytest.mark.parametrize("kept", [False, True])
def test_test_mode_predicts(state, current, changes, kept) -> None:
    module, done = state(current, test=True, kept=kept)
    predicted = module.installed("hello", **ARGUMENTS)
    assert (predicted["result"], predicted["changes"], done) == (None, changes, [])
    module, done = state(current, kept=kept)
    ret = module.installed("hello", **ARGUMENTS)
    assert (ret["result"], ret["changes"]) == (True, changes)
    assert done == (["install"] if kept else ["build", "install"])


@pytest.mark.parametrize("step", ["build", "install"])
def test_failures_are_told_and_claim_no_change(state, step) -> None:
    module, _ = state(fails=step)
    ret = module.installed("hello", **ARGUMENTS)
    assert (ret["result"], ret["changes"]) == (False, {})
    module, done = state(fetched=False)
    ret = module.installed("hello", **ARGUMENTS)
    assert (ret["result"], ret["changes"], done) == (False, {}, [])
    assert "Source hash mismatch" in ret["comment"]


def test_a_tarball_from_the_master_is_checked_too(state) -> None:
    """file.managed does not do that for what comes by salt://."""
    module, done = state(digest="0" * 64)
    ret = module.installed("hello", **ARGUMENTS)
    assert (ret["result"], ret["changes"], done) == (False, {}, ["drop"])
    assert ret["comment"].endswith(f"its sha256 is {'0' * 64}, and should be {DIGEST.upper()}")


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_not_accepted_is_not_installed(state, kept) -> None:
    words = {"accept": "hello.accepts", "accept_with": {"settings": {"a": 1}}}
    asked = ("accepts", {"program": "/stage/usr/bin/hello", "settings": {"a": 1}})
    for accepted in (False, True):
        module, done = state(OLD, kept=kept, accepted=accepted)
        ret = module.installed("hello", **ARGUMENTS, **words)
        assert done == [*([] if kept else ["build"]), asked, *(["install"] if accepted else [])]
        assert ret["result"] is accepted
        if not accepted:
            assert ret["changes"] == {}
            assert ret["comment"] == "hello 2 was not installed, it refuses it"


def test_absent(state) -> None:
    module, done = state()
    assert module.absent("hello")["changes"] == {}
    for current, kept in ((OLD, True), (OLD, False), (None, True)):
        module, done = state(current, kept=kept, test=True)
        predicted = module.absent("hello")
        assert (predicted["result"], done) == (None, [])
        module, done = state(current, kept=kept)
        ret = module.absent("hello")
        assert (ret["result"], done) == (True, ["remove"])
        assert ret["changes"] == predicted["changes"] != {}
    module, done = state(OLD, fails="remove")
    assert (module.absent("hello")["result"], done) == (False, ["remove"])
