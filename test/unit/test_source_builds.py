"""The files of builds: what each interruption leaves, and what the next run makes of it."""

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

import source_builds
from source_builds import BuildError, Builds, identity

PLATFORM = "Debian-13 x86_64"


class PowerLoss(BaseException):
    """What nothing of ours can catch."""


class Host:
    """A host whose files are below a folder; ``stage`` makes a version of a program to be installed there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.builds = Builds(root / "records")
        self.places = {name: root / "host" / path for name, path in
                       {"program": "sbin/prog", "link": "sbin/alias", "manual": "share/prog.1", "old": "share/only-1",
                        "new": "lib/deep/only-2"}.items()}  # fmt: skip

    def recipe(self, version: str) -> dict:
        return {"version": version, "build": ["make"]}

    def keep(self, version: str, **more: str):
        stage = self.root / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        texts = {
            "program": f"program {version}",
            "manual": "manual",
            **({"old": "x"} if version == "1" else {"new": "y"}),
        }
        for name, text in texts.items():
            place = stage / str(self.places[name]).lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(0o755 if name == "program" else 0o644)
        for path, text in more.items():
            place = stage / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        link = stage / str(self.places["link"]).lstrip("/")
        link.symlink_to("prog")
        return self.builds.keep("prog", self.recipe(version), PLATFORM, stage)

    def install(self, version: str) -> list[str]:
        kept = self.builds.find("prog", self.recipe(version), PLATFORM)
        self.builds.unpack(kept, self.root / "stage")
        return self.builds.install(kept, self.root / "stage")

    def there(self) -> dict:
        return {name: place.read_text() for name, place in self.places.items() if os.path.lexists(place)}

    def leftovers(self) -> list[Path]:
        return [*(self.root / "host").rglob("*.mysql_ha-new"), *(self.root / "records").glob(".*")]


V1 = {"program": "program 1", "link": "program 1", "manual": "manual", "old": "x"}
V2 = {"program": "program 2", "link": "program 2", "manual": "manual", "new": "y"}


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_an_upgrade_takes_along_what_only_the_former_version_had(host) -> None:
    host.keep("1")
    host.keep("2")
    assert host.builds.installed("prog") is None
    assert host.install("1") == sorted(str(host.places[name]) for name in V1)
    assert host.there() == V1
    inode = host.places["manual"].stat().st_ino
    host.install("2")
    assert host.there() == V2
    assert host.leftovers() == []
    # What is the same is not touched.
    assert host.places["manual"].stat().st_ino == inode
    found = host.builds.installed("prog")
    assert (found.damaged, found.interrupted) == ([], False)
    assert found.is_of(host.recipe("2"), PLATFORM)
    assert not found.is_of(host.recipe("1"), PLATFORM)
    assert not found.is_of(host.recipe("2"), "Debian-14 x86_64")
    host.install("1")
    assert host.there() == V1
    assert not host.places["new"].parent.exists() or not list(host.places["new"].parent.iterdir())


@pytest.mark.parametrize("harm", ["gone", "other text", "other mode", "link to elsewhere", "folder"])
def test_damage_is_seen_and_put_right(host, harm) -> None:
    host.keep("1")
    host.install("1")
    program = host.places["program"]
    if harm == "other mode":
        program.chmod(0o700)
    elif harm == "other text":
        program.write_text("program 3")
    else:
        program.unlink()
        if harm == "link to elsewhere":
            program.symlink_to("/bin/true")
        elif harm == "folder":
            program.mkdir()
    assert host.builds.installed("prog").damaged == [str(program)]
    if harm == "folder":
        with pytest.raises(OSError):
            host.install("1")
        return
    host.install("1")
    assert host.there() == V1
    assert host.builds.installed("prog").damaged == []


SYSTEM_CALLS = ("replace", "unlink", "mkdir", "write_text")


def losing_power_after(monkeypatch, steps):
    """Lose the power after so many changes to the disk; those that a Path makes are counted."""
    left = [steps]

    def counted(real):
        def call(self, *arguments, **words):
            if left[0] == 0:
                raise PowerLoss
            left[0] -= 1
            return real(self, *arguments, **words)

        return call

    for name in SYSTEM_CALLS:
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    return left


@pytest.mark.parametrize("then", ["1", "2", "remove"])
def test_a_power_loss_at_any_moment(tmp_path, monkeypatch, then) -> None:
    seen = set()
    for steps in range(100):
        host = Host(tmp_path / str(steps))
        host.root.mkdir()
        host.keep("1")
        host.keep("2")
        host.install("1")
        with monkeypatch.context() as patch:
            left = losing_power_after(patch, steps)
            try:
                host.install("2")
                over = True
            except PowerLoss:
                over = False
            untouched = left[0]
        found = host.builds.installed("prog")
        # Each file is whole, of the one or of the other version.
        assert all(text in (V1.get(name), V2.get(name)) for name, text in host.there().items())
        assert "program" in host.there()
        # And the record does not claim what is not so.
        if not found.interrupted:
            version = found.recipe["version"]
            assert (host.there(), found.damaged) == ({"1": V1, "2": V2}[version], [])
        seen.add((found.recipe["version"], found.interrupted))
        if then == "remove":
            host.builds.remove("prog")
            assert host.there() == {}
        else:
            host.install(then)
            assert host.there() == {"1": V1, "2": V2}[then]
            assert host.builds.installed("prog").interrupted is False
        assert list((host.root / "host").rglob("*.mysql_ha-new")) == []
        if over and untouched:
            break
    assert seen == {("1", False), ("1", True), ("2", False)}


def test_a_first_installation_that_loses_its_power(tmp_path, monkeypatch) -> None:
    seen = set()
    for steps in range(100):
        host = Host(tmp_path / str(steps))
        host.root.mkdir()
        host.keep("1")
        with monkeypatch.context() as patch:
            left = losing_power_after(patch, steps)
            with contextlib.suppress(PowerLoss):
                host.install("1")
            untouched = left[0]
        found = host.builds.installed("prog")
        seen.add(found and found.interrupted)
        host.install("1")
        assert host.there() == V1
        assert host.builds.installed("prog").interrupted is False
        if untouched:
            break
    assert seen == {None, True, False}


@pytest.mark.parametrize("first", [False, True])
def test_a_full_disk_changes_nothing(host, monkeypatch, first) -> None:
    host.keep("1")
    host.keep("2")
    if not first:
        host.install("1")
    before = host.there()
    real, calls = shutil.copy2, []

    def copy(source, target, **words):
        calls.append(target)
        real(source, target, **words)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(source_builds.shutil, "copy2", copy)
    with pytest.raises(OSError, match="No space left"):
        host.install("2")
    assert (host.there(), host.leftovers()) == (before, [])
    found = host.builds.installed("prog")
    assert found is None if first else (found.recipe["version"], found.interrupted, found.damaged) == ("1", False, [])
    assert first == (not (host.root / "host").exists())


def test_what_somebody_changed_stays_when_the_rest_goes(host) -> None:
    host.keep("1")
    host.install("1")
    host.places["manual"].write_text("mine")
    (host.places["old"].parent / "foreign").write_text("theirs")
    removed = host.builds.remove("prog")
    assert str(host.places["manual"]) not in removed
    assert sorted(path.name for path in (host.root / "host").rglob("*") if path.is_file()) == ["foreign", "prog.1"]
    assert host.builds.installed("prog") is None


@pytest.fixture
def etc(monkeypatch, tmp_path):
    """A folder that stands for /etc."""
    place = tmp_path / "host/etc"
    monkeypatch.setattr(source_builds, "_is_configuration", lambda path: place in path.parents)
    return place


def test_configuration_that_is_there_stays(host, etc) -> None:
    etc.mkdir(parents=True)
    (etc / "own.conf").write_text("mine")
    more = {str(etc / "own.conf"): "theirs", str(etc / "sample.conf"): "sample"}
    host.keep("1", **more)
    host.keep("2", **more)
    host.install("1")
    assert (etc / "own.conf").read_text() == "mine"
    (etc / "sample.conf").write_text("edited")
    assert host.builds.installed("prog").damaged == []
    host.install("2")
    assert ((etc / "own.conf").read_text(), (etc / "sample.conf").read_text()) == ("mine", "edited")
    (etc / "own.conf").unlink()
    assert host.builds.installed("prog").damaged == [str(etc / "own.conf")]
    host.install("2")
    assert (etc / "own.conf").read_text() == "theirs"
    host.builds.remove("prog")
    # What this formula brought goes, and what was edited does not.
    assert [place.name for place in etc.iterdir()] == ["sample.conf"]


def test_records_of_before_there_were_hashes(host) -> None:
    host.keep("1")
    host.install("1")
    record = host.root / "records/prog.json"
    old = json.loads(record.read_text())
    record.write_text(json.dumps({"recipe": old["recipe"], "files": list(old["files"])}))
    found = host.builds.installed("prog")
    assert (found.damaged, found.interrupted, found.platform) == ([], False, None)
    assert found.is_of(host.recipe("1"), PLATFORM)
    host.keep("2")
    host.install("2")
    assert host.there() == V2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": {}, "files": []}', "nonsense"])
def test_a_record_that_cannot_be_understood_is_none(host, text) -> None:
    host.keep("1")
    (host.root / "records/prog.json").write_text(text)
    assert host.builds.installed("prog") is None
    host.install("1")
    assert host.builds.installed("prog").damaged == []


def test_few_builds_are_kept_beside_the_installed_one(host) -> None:
    host.keep("1")
    host.install("1")
    for version in ("2", "3", "4", "5"):
        host.keep(version)
    assert [one.recipe["version"] for one in host.builds.kept("prog")] == ["5", "4", "1"]
    assert host.builds.kept("other") == []


@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_kept_build_that_is_damaged_is_forgotten(host, harm) -> None:
    kept = host.keep("1")
    archive = next((host.root / "records/kept").glob("*.tar.gz"))
    data = archive.read_bytes()
    archive.write_bytes({"cut": data[:-10], "changed": data[:-1] + b"x", "gone": b""}[harm])
    if harm == "gone":
        archive.unlink()
    with pytest.raises(BuildError, match="prog 1: "):
        host.builds.unpack(kept, host.root / "stage")
    assert host.builds.find("prog", host.recipe("1"), PLATFORM) is None


def test_a_build_that_was_not_kept_to_its_end_is_none(host) -> None:
    host.keep("1")
    next((host.root / "records/kept").glob("*.json")).unlink()
    (host.root / "records/kept/prog-0123456789abcdef.json").write_text("{}")
    assert host.builds.kept("prog") == []


def test_pieces(host, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(source_builds, "PIECE", 64)
    kept = host.keep("1")
    other = Builds(tmp_path / "other")
    offset = 0
    while not other.take(kept, offset, host.builds.piece(kept, offset)):
        offset += 64
    assert other.kept("prog") == [kept]
    other = Builds(tmp_path / "third")
    other.take(kept, 0, host.builds.piece(kept, 0))
    with pytest.raises(BuildError, match="a piece is missing before byte 128"):
        other.take(kept, 128, host.builds.piece(kept, 128))
    with pytest.raises(BuildError, match="what arrived is not what was sent"):
        other.take(kept, 0, b"x" * kept.size)
    with pytest.raises(BuildError, match="not what its description says"):
        other.take(kept._replace(recipe={"version": "9"}), 0, b"")
    with pytest.raises(BuildError, match="name: is '../x'; allowed"):
        other.take(kept._replace(name="../x"), 0, b"")
    assert other.kept("prog") == []


def test_names(host) -> None:
    for name in ("", "..", "a/b", ".a", "x" * 65, 5):
        with pytest.raises(BuildError, match="allowed: 1 to 64"):
            host.builds.installed(name)
    assert identity({"version": "1"}, "a") != identity({"version": "1"}, "b")
