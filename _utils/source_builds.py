"""
Programs built from source on a host: the builds that are kept, and the one of each program that is installed. Knows
nothing of Salt.

A build is a folder of staged files. It is kept as an archive, so that going back to it needs no compiler and another
host can have it. Installing replaces file by file, each by a rename, and a record says at any moment what is there:

1. The record says that a replacement has begun, and which files the former and the new version have.
2. The new files are written beside the old ones. If the disk is full, they go again, and so does that record.
3. The new files take their places, and files that only the former version had go.
4. The record says what is installed.

A power loss in between leaves each file old or new and whole, and a record from which the next run goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

#: How many builds of a program are kept beside the installed one.
KEPT = 2
#: A piece of an archive on its way to another host, in bytes: small enough for one message of Salt's.
PIECE = 256 * 1024
_NEW = ".mysql_ha-new"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_IDENTITY = re.compile(r"[0-9a-f]{16}")

Recipe = Mapping[str, Any]


class BuildError(Exception):
    """Something of a build is not as it has to be; in plain words."""


def identity(recipe: Recipe, platform: str) -> str:
    """
    Return what tells one build from another: all that it was made of.

    recipe
        Its version, the hash of its sources, and its commands.
    platform
        The operating system and processor that it was made on.
    """
    text = json.dumps({"recipe": recipe, "platform": platform}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Installed(NamedTuple):
    """What the record says of a program, compared with the disk."""

    recipe: Recipe
    platform: str | None
    """What it was built for; ``None`` in records of before there was this."""
    files: Mapping[str, str | None]
    """What each file was when it was installed; ``None`` for one that was left as it was."""
    folders: list[str]
    """Folders made for it."""
    damaged: list[str]
    """Files that are missing, or not as they were installed."""
    interrupted: bool
    """Whether a replacement has begun and not ended."""

    def is_of(self, recipe: Recipe, platform: str) -> bool:
        """Whether it was built just so."""
        return self.recipe == recipe and self.platform in (None, platform)


class Kept(NamedTuple):
    """A build that can be installed."""

    name: str
    identity: str
    recipe: Recipe
    platform: str
    digest: str
    """The archive's sha256."""
    size: int
    """The archive's bytes."""


class Builds:
    """All builds of a host."""

    def __init__(self, records: Path) -> None:
        self._records = records
        self._archives = records / "kept"

    # --- what is installed ---

    def installed(self, name: str) -> Installed | None:
        """Return what is installed under this name; ``None`` if nothing is. Raises BuildError."""
        record = self._record(name)
        if record is None:
            return None
        files = record["files"]
        damaged = [path for path, was in files.items() if _is_damaged(Path(path), was)]
        return Installed(
            record["recipe"], record["platform"], files, record["folders"], damaged, record["replacing"] is not None
        )

    def install(self, kept: Kept, stage: Path) -> list[str]:
        """
        Put the files of a build, unpacked in ``stage``, in their places. Files below /etc that are there stay as they
        are. Returns the files. Raises BuildError, and ``OSError`` with the file's name.
        """
        name, record = kept.name, self._record(kept.name)
        before: dict[str, str | None] = {} if record is None else record["files"]
        begun: dict[str, str | None] = (record or {}).get("replacing") or {}
        staged = _contents(stage)
        staying = [path for path in staged if _is_configuration(Path(path)) and os.path.lexists(path)]
        # Whether these may go one day depends on whether they still are as they were once put there.
        files: dict[str, str | None] = {**staged, **{path: before.get(path, begun.get(path)) for path in staying}}
        folders = _missing_folders(files)
        base = {"recipe": kept.recipe, "platform": kept.platform, "files": files, "replacing": None,
                "folders": [*([] if record is None else record["folders"]), *folders]}  # fmt: skip
        old = record or {**base, "files": {}}
        self._write(name, {**old, "folders": base["folders"], "replacing": {**begun, **before, **files}})
        changed = [path for path in files if path not in staying and staged[path] != _content_of(Path(path))]
        written: list[Path] = []
        try:
            for folder in folders:
                Path(folder).mkdir(mode=0o755)
            for path in changed:
                written.append(_written_beside(stage / path.lstrip("/"), Path(path)))
        except OSError:
            _undo(written, folders)
            self._put_back(name, record)
            raise
        for new in written:
            new.replace(str(new).removesuffix(_NEW))
        _sync_folders({new.parent for new in written})
        for path in begun:
            # What an interruption left beside a file that now is as it should be.
            _beside(path).unlink(missing_ok=True)
        for former in (before, begun):
            _remove({path: was for path, was in former.items() if path not in files})
        self._write(name, base)
        return sorted(files)

    def remove(self, name: str) -> list[str]:
        """
        Remove the files of a program that are as they were installed, the folders made for them if they are empty, and
        its kept builds. What somebody changed since stays. Returns what was removed. Raises BuildError.
        """
        record = self._record(name)
        removed: list[str] = []
        if record is not None:
            removed = [*_remove(record["files"]), *_remove(record["replacing"] or {})]
            for folder in sorted(record["folders"], key=len, reverse=True):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        for kept in self.kept(name):
            self.forget(kept)
        self._place(name).unlink(missing_ok=True)
        return removed

    # --- builds that are kept ---

    def kept(self, name: str) -> list[Kept]:
        """Return the builds of a program that are kept, the newest first."""
        found = []
        for place in self._archives.glob("*.json"):
            try:
                told = json.loads(place.read_text(encoding="utf-8"))
                one = Kept(**{key: told[key] for key in Kept._fields})
                if one.name == name and place == self._manifest(one):
                    found.append((place.stat().st_mtime_ns, one))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return [one for _, one in sorted(found, key=lambda pair: -pair[0])]

    def find(self, name: str, recipe: Recipe, platform: str) -> Kept | None:
        """Return the kept build that was made just so; ``None`` if there is none."""
        wanted = identity(recipe, platform)
        return next((one for one in self.kept(name) if one.identity == wanted), None)

    def keep(self, name: str, recipe: Recipe, platform: str, stage: Path) -> Kept:
        """Keep a build that is staged; older ones than the newest few, and not installed, go. Raises ``OSError``."""
        _check_name(name)
        self._archives.mkdir(mode=0o755, parents=True, exist_ok=True)
        one = Kept(name, identity(recipe, platform), recipe, platform, "", 0)
        part = self._archive(one).with_suffix(".part")
        with tarfile.open(part, "w:gz") as tar:
            tar.add(stage, arcname=".")
        one = one._replace(digest=_digest(part), size=part.stat().st_size)
        self._adopt(one, part)
        return one

    def unpack(self, kept: Kept, stage: Path) -> None:
        """Unpack a kept build into an empty folder. Raises BuildError if it is not what was kept, and forgets it."""
        archive = self._archive(kept)
        shutil.rmtree(stage, ignore_errors=True)
        try:
            if _digest(archive) != kept.digest:
                raise BuildError(f"{archive} is not what was kept there")
            stage.mkdir(parents=True)
            with tarfile.open(archive) as tar:
                # The archive is one of this formula's own, by its hash; its files need their modes as they are.
                tar.extractall(stage, **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))  # noqa: S202
        except (tarfile.TarError, EOFError, FileNotFoundError, BuildError) as error:
            self.forget(kept)
            raise BuildError(f"{kept.name} {kept.recipe['version']}: {error}") from error

    def forget(self, kept: Kept) -> None:
        """Throw a kept build away."""
        # The manifest first: an archive without one is nothing.
        self._manifest(kept).unlink(missing_ok=True)
        self._archive(kept).unlink(missing_ok=True)

    # --- from one host to another ---

    def piece(self, kept: Kept, offset: int) -> bytes:
        """Return a piece of a kept build's archive, from ``offset`` on; empty at its end."""
        with self._archive(kept).open("rb") as file:
            file.seek(offset)
            return file.read(PIECE)

    def take(self, kept: Kept, offset: int, data: bytes) -> bool:
        """
        Take a piece of another host's kept build; the first begins anew. Returns whether it is complete, and kept.
        Raises BuildError when the pieces do not make up what they should.
        """
        _check_name(kept.name)
        if identity(kept.recipe, kept.platform) != kept.identity or not _IDENTITY.fullmatch(kept.identity):
            raise BuildError(f"{kept.name}: the build is not what its description says")
        self._archives.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = self._archive(kept).with_suffix(".incoming")
        if offset and (not part.exists() or part.stat().st_size != offset):
            raise BuildError(f"{kept.name}: a piece is missing before byte {offset}; begin again")
        with part.open("ab" if offset else "wb") as file:
            file.write(data)
        if offset + len(data) < kept.size:
            return False
        if _digest(part) != kept.digest:
            part.unlink()
            raise BuildError(f"{kept.name}: what arrived is not what was sent; begin again")
        self._adopt(kept, part)
        return True

    # --- files ---

    def _adopt(self, kept: Kept, part: Path) -> None:
        _sync_file(part)
        part.replace(self._archive(kept))
        _write_whole(self._manifest(kept), json.dumps(kept._asdict(), indent=1))
        for place in self._archives.glob(f"{kept.name}-*.part"):
            place.unlink()
        record = self._record(kept.name)
        in_use = None if record is None else (record["recipe"], record["platform"])
        spare = [one for one in self.kept(kept.name) if (one.recipe, one.platform) != in_use]
        for one in spare[KEPT:]:
            self.forget(one)

    def _archive(self, kept: Kept) -> Path:
        return self._archives / f"{kept.name}-{kept.identity}.tar.gz"

    def _manifest(self, kept: Kept) -> Path:
        return self._archives / f"{kept.name}-{kept.identity}.json"

    def _place(self, name: str) -> Path:
        _check_name(name)
        return self._records / f"{name}.json"

    def _record(self, name: str) -> dict[str, Any] | None:
        """Return the record of a program; of one whose record cannot be read, none: it is installed anew."""
        try:
            record = json.loads(self._place(name).read_text(encoding="utf-8"))
            # Records of before there were hashes list the files only.
            files = record["files"] if isinstance(record["files"], dict) else dict.fromkeys(record["files"])
            record["recipe"]["version"]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BuildError(f"{error.filename} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError):
            return None
        return {"recipe": record["recipe"], "platform": record.get("platform"), "files": files,
                "folders": record.get("folders") or [], "replacing": record.get("replacing")}  # fmt: skip

    def _put_back(self, name: str, record: Mapping[str, Any] | None) -> None:
        """Have the record as it was. On a disk that is full it may go on to say that a replacement has begun."""
        with contextlib.suppress(OSError):
            if record is None:
                self._place(name).unlink()
            else:
                self._write(name, record)

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        self._records.mkdir(mode=0o755, parents=True, exist_ok=True)
        _write_whole(self._place(name), json.dumps(record, indent=1))


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BuildError(f"name: is {name!r}; allowed: 1 to 64 of the characters A-Z a-z 0-9 _ . + -")


def _is_configuration(place: Path) -> bool:
    return place.parts[1:2] == ("etc",)


def _contents(stage: Path) -> dict[str, str]:
    """What all files of a stage are, by the paths that they will have."""
    found = {}
    for directory, folders, names in os.walk(stage):
        for staged in (Path(directory, name) for name in (*names, *folders)):
            if staged.is_symlink() or not staged.is_dir():
                found["/" + str(staged.relative_to(stage))] = _content_of(staged) or ""
    return dict(sorted(found.items()))


def _content_of(place: Path) -> str | None:
    """What a file is, in a word: its mode and hash, or where it points to; ``None`` if there is none."""
    try:
        if place.is_symlink():
            return f"-> {place.readlink()}"
        return f"{place.stat().st_mode & 0o7777:o} {_digest(place)}"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        return "folder"


def _digest(place: Path) -> str:
    digest = hashlib.sha256()
    with place.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _is_damaged(place: Path, was: str | None) -> bool:
    """Whether a file is not as it was installed. Configuration is there to be edited, but it has to be there."""
    if was is None or _is_configuration(place):
        return not os.path.lexists(place)
    return _content_of(place) != was


def _missing_folders(files: Iterable[str]) -> list[str]:
    """Return the folders of these files that are not there, the outer ones first."""
    missing = {
        str(folder) for path in files for folder in Path(path).parents if not folder.exists() and folder.is_absolute()
    }
    return sorted(missing)


def _undo(written: Iterable[Path], folders: Iterable[str]) -> None:
    """Take back what was written beside its place, and the folders made for it."""
    for new in written:
        new.unlink(missing_ok=True)
    for folder in reversed(list(folders)):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _beside(place: str | Path) -> Path:
    """Return where a new file is written before it takes its place."""
    return Path(f"{place}{_NEW}")


def _written_beside(staged: Path, place: Path) -> Path:
    """Write a staged file beside its place, on the disk for good."""
    new = _beside(place)
    new.unlink(missing_ok=True)
    try:
        shutil.copy2(staged, new, follow_symlinks=False)
        if not new.is_symlink():
            _sync_file(new)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    return new


def _sync_file(place: Path) -> None:
    with place.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folders(folders: Iterable[Path]) -> None:
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(files: Mapping[str, str | None]) -> list[str]:
    """Remove files that still are what they were, and return which."""
    removed = []
    for path, was in files.items():
        place = Path(path)
        _beside(place).unlink(missing_ok=True)
        # Of records without hashes nothing is known but that these files are the formula's; configuration stays.
        is_ours = was is not None or not _is_configuration(place)
        if is_ours and os.path.lexists(place) and was in (None, _content_of(place)):
            place.unlink()
            removed.append(path)
    _sync_folders({Path(path).parent for path in removed})
    return removed


def _write_whole(place: Path, text: str) -> None:
    """Write a file whole or not at all, for good."""
    new = place.with_name(f".{place.name}.new")
    new.write_text(text, encoding="utf-8")
    _sync_file(new)
    new.replace(place)
    _sync_folders([place.parent])
