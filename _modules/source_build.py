"""
Programs built from source on this minion: what is installed, and how to install it without ever leaving
half of it.
"""

import filecmp
import json
import os
import shlex
import shutil
import tarfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "source_build"

WORK = Path("/usr/local/src/mysql_ha")
RECORDS = Path("/usr/local/lib/mysql_ha/builds")
BUILD_SECONDS = 3600


def __virtual__():
    return __virtualname__


def tarball(name, version):
    """
    Where the tarball of a program is kept.

    name, version
        What the program is called, and its version.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' source_build.tarball keepalived 2.3.4
    """
    return str(WORK / f"{name}-{version}.tar.gz")


def installed(name):
    """
    What is installed under this name: the ``recipe`` it was built with, its ``files``, and those of them
    that are ``missing``; None when nothing was installed or an installation was interrupted.

    name
        What the program is called.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' source_build.installed keepalived
    """
    try:
        record = json.loads((RECORDS / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    record["missing"] = [file for file in record["files"] if not os.path.lexists(file)]
    return record


def install(name, tarball, recipe):  # pylint: disable=redefined-outer-name
    """
    Build from a tarball, stage aside, prove, then replace what is there, file by file; the record is
    written last. Configuration files (below /etc) that exist are kept.

    name
        What the program is called.

    tarball
        Path of the tarball, its hash already checked.

    recipe
        ``version``, ``build`` (commands), ``stage`` (the command that installs into ``{stage}``) and
        ``proof`` (a command relative to the stage); see the ``source_build.installed`` state.

    Returns the installed files. Raises ``CommandExecutionError`` with the command that failed, the end of
    its output, and where the whole output is. What was installed before then still is.

    CLI Example:

    .. code-block:: bash

        salt lvs1 source_build.install hello /root/hello-1.tar.gz \\
            '{"version": "1", "build": ["make"], "stage": "make install DESTDIR={stage}", "proof": "usr/bin/hello"}'
    """
    title = f"{name} {recipe['version']}"
    source = _unpack(title, Path(tarball), WORK / f"{name}-{recipe['version']}")
    stage = source.parent / "stage"
    log = source.parent / "build.log"
    log.write_text("")
    places = {"{stage}": str(stage), "{source}": str(source), "{jobs}": str(os.cpu_count() or 1)}
    for command in [*recipe["build"], recipe["stage"]]:
        _run(title, _words(command, places), source, log)
    proof = _words(recipe["proof"], places)
    _run(title, [str(stage / proof[0]), *proof[1:]], source, log)
    files = _replace(stage)
    RECORDS.mkdir(parents=True, exist_ok=True)
    _write_atomically(RECORDS / f"{name}.json", json.dumps({"recipe": recipe, "files": files}, indent=1))
    return files


def _unpack(title, archive, place):
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            tops = {member.name.split("/")[0] for member in tar.getmembers()}
            # Python before 3.12 (and unpatched 3.10, 3.11) has no extraction filters.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(place, **safe)  # noqa: S202 - the tarball's hash is pinned
    except (OSError, tarfile.TarError, EOFError) as error:
        raise CommandExecutionError(f"{title}: cannot unpack {archive}: {error}") from error
    if len(tops) != 1:
        raise CommandExecutionError(f"{title}: {archive} holds {len(tops)} top-level entries, not one folder")
    return place / tops.pop()


def _words(command, places):
    words = shlex.split(command)
    for mark, value in places.items():
        words = [word.replace(mark, value) for word in words]
    return words


def _run(title, words, cwd, log):
    done = __salt__["cmd.run_all"](
        words, cwd=str(cwd), python_shell=False, timeout=BUILD_SECONDS, redirect_stderr=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        ignore_retcode=True, output_loglevel="debug",
    )  # fmt: skip
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(words)}\n{done['stdout']}\n")
    if done["retcode"] != 0:
        end = "\n".join(done["stdout"].splitlines()[-15:])
        raise CommandExecutionError(
            f"{title}: exit status {done['retcode']} from '{shlex.join(words)}'; what was installed before is "
            f"untouched. The whole output: {log}. Its end:\n{end}"
        )


def _replace(stage):
    """Put every staged file in its place, each by a rename, so that a program never is half there."""
    files = []
    for directory, _, names in os.walk(stage):
        target = Path("/") / Path(directory).relative_to(stage)
        target.mkdir(parents=True, exist_ok=True)
        for file_name in names:
            staged, place = Path(directory, file_name), target / file_name
            files.append(str(place))
            if target.parts[1:2] == ("etc",) and place.exists():
                continue
            if not (staged.is_symlink() or place.is_symlink()) and place.exists() and filecmp.cmp(staged, place, False):
                continue
            fresh = place.with_name(place.name + ".mysql_ha-new")
            fresh.unlink(missing_ok=True)
            shutil.copy2(staged, fresh, follow_symlinks=False)
            fresh.replace(place)
    return sorted(files)


def _write_atomically(place, text):
    fresh = place.with_name(place.name + ".new")
    fresh.write_text(text)
    fresh.replace(place)
