"""
Programs built from source on this minion: what is installed, the builds that are kept, and how to install one without
ever leaving half of it.
"""

import base64
import binascii
import contextlib
import os
import shlex
import shutil
import tarfile
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

from source_builds import BuildError, Builds, Kept

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
    What is installed under this name: the ``recipe`` it was built with, its ``files``, those of them that are
    ``damaged`` (missing, or not as they were installed), whether an installation was ``interrupted``, and whether this
    is the ``platform`` that it was built for. None when nothing is installed.

    name
        What the program is called.

    Raises ``CommandExecutionError`` when the record of it cannot be read.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' source_build.installed keepalived
    """
    with _told(name):
        found = _builds().installed(name)
    if found is None:
        return None
    return {
        "recipe": found.recipe,
        "files": sorted(found.files),
        "damaged": found.damaged,
        "interrupted": found.interrupted,
        "platform": found.platform in (None, _platform()),
    }


def kept(name):
    """
    The builds of a program that are kept on this minion, the newest first: ``version``, ``identity``, ``platform``,
    ``size`` in bytes, and whether it is the ``installed`` one. Any of them is installed without being built anew when
    its recipe is asked for again.

    name
        What the program is called.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' source_build.kept keepalived
    """
    with _told(name):
        builds = _builds()
        found, current = builds.kept(name), builds.installed(name)
    return [
        {
            "version": one.recipe["version"],
            "identity": one.identity,
            "platform": one.platform,
            "size": one.size,
            "installed": current is not None and current.is_of(one.recipe, one.platform),
        }
        for one in found
    ]


def stage(name, recipe):
    """
    Unpack the kept build that was made by this recipe on such a platform, to be looked at before it is installed.
    Returns where; None if there is none, or it is not as it was kept.

    name
        What the program is called.

    recipe
        See :py:func:`build`.

    CLI Example:

    .. code-block:: bash

        salt lvs1 source_build.stage hello '{"version": "1", "build": ["make"], "stage": "make install", "proof": "x"}'
    """
    with _told(f"{name} {recipe['version']}"):
        builds = _builds()
        found = builds.find(name, recipe, _platform())
        if found is None:
            return None
        place = _work(name, recipe) / "stage"
        try:
            builds.unpack(found, place)
        except BuildError:
            # It has been forgotten, so the next step builds it.
            return None
    return str(place)


def build(name, tarball, recipe):  # pylint: disable=redefined-outer-name
    """
    Build from a tarball, stage it aside, have it prove that it runs, and keep it. Nothing of what is installed changes.

    name
        What the program is called.

    tarball
        Path of the tarball, its hash already checked.

    recipe
        ``version``, ``build`` (commands), ``stage`` (the command that installs into ``{stage}``) and ``proof`` (a
        command relative to the stage); see the ``source_build.installed`` state.

    Returns where it is staged. Raises ``CommandExecutionError`` with the command that failed, the end of its output,
    and where the whole output is.

    CLI Example:

    .. code-block:: bash

        salt lvs1 source_build.build hello /root/hello-1.tar.gz \\
            '{"version": "1", "build": ["make"], "stage": "make install DESTDIR={stage}", "proof": "usr/bin/hello"}'
    """
    title = f"{name} {recipe['version']}"
    with _told(title):
        source = _unpack(title, Path(tarball), _work(name, recipe))
        staged = source.parent / "stage"
        log = source.parent / "build.log"
        log.write_text("")
        places = {"{stage}": str(staged), "{source}": str(source), "{jobs}": str(os.cpu_count() or 1)}
        for command in [*recipe["build"], recipe["stage"]]:
            _run(title, _words(command, places), source, log)
        proof = _words(recipe["proof"], places)
        _run(title, [str(staged / proof[0]), *proof[1:]], source, log)
        _builds().keep(name, recipe, _platform(), staged)
        shutil.rmtree(source, ignore_errors=True)
    return str(staged)


def install(name, recipe):
    """
    Install the kept build that was made by this recipe: every file by a rename, the record last. Files that only the
    former version had go; configuration (below /etc) that is there stays. Running it again after an interruption
    completes it.

    name
        What the program is called.

    recipe
        See :py:func:`build`.

    Returns the installed files. Raises ``CommandExecutionError`` if there is no such build, or a file cannot be
    written; then what was installed before still is.

    CLI Example:

    .. code-block:: bash

        salt lvs1 source_build.install hello \\
            '{"version": "1", "build": ["make"], "stage": "make install DESTDIR={stage}", "proof": "usr/bin/hello"}'
    """
    title = f"{name} {recipe['version']}"
    with _told(title):
        builds = _builds()
        found = builds.find(name, recipe, _platform())
        if found is None:
            raise BuildError(f"{title}: there is no build of it on this host")
        place = _work(name, recipe) / "stage"
        builds.unpack(found, place)
        files = builds.install(found, place)
        shutil.rmtree(place, ignore_errors=True)
    return files


def remove(name):
    """
    Remove what was installed under this name, its kept builds, sources and logs. Files that were changed since stay,
    and so does all configuration that the program did not bring. Returns the files that were removed.

    name
        What the program is called.

    Raises ``CommandExecutionError`` when a file cannot be removed.

    CLI Example:

    .. code-block:: bash

        salt lvs1 source_build.remove hello
    """
    with _told(name):
        removed = _builds().remove(name)
        for place in WORK.glob(f"{name}-[0-9]*"):
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()
    return removed


# --- from one minion to another ---


def export(name, identity, offset=0):
    """
    A piece of a kept build, for :py:func:`take` on another minion: ``kept``, its description, and ``data``, base64.

    name, identity
        The program and the build, see :py:func:`kept`.

    offset
        From which byte on.

    CLI Example:

    .. code-block:: bash

        salt lvs1 source_build.export keepalived 0123456789abcdef
    """
    with _told(name):
        builds = _builds()
        found = next((one for one in builds.kept(name) if one.identity == identity), None)
        if found is None:
            raise BuildError(f"{name}: no build {identity} is kept on this host")
        data = builds.piece(found, offset)
    return {"kept": found._asdict(), "data": base64.b64encode(data).decode()}


def take(kept, data, offset=0):  # pylint: disable=redefined-outer-name
    """
    Take a piece of a build that another minion has kept. Returns whether it is complete: then it is kept here too, and
    installed without being built when its recipe is asked for.

    kept, data
        As :py:func:`export` returns them.

    offset
        From which byte on; the first piece (0) begins anew.

    Raises ``CommandExecutionError`` when the build is for another platform, or the pieces do not make up what was sent.

    CLI Example:

    .. code-block:: bash

        salt lvs2 source_build.take '{"name": "hello", "identity": "...", ...}' 'H4sI...' 0
    """
    try:
        one = Kept(**{key: kept[key] for key in Kept._fields})
        piece = base64.b64decode(data, validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise SaltInvocationError(f"kept, data: are not as source_build.export returns them ({error!r})") from error
    with _told(one.name):
        if one.platform != _platform():
            raise BuildError(f"{one.name}: was built on {one.platform}, and this host is {_platform()}; build it here")
        return _builds().take(one, offset, piece)


# --- parts of these ---


def _builds():
    return Builds(RECORDS)


def _platform():
    """What a build depends on beside its recipe: the libraries of the system, and the processor."""
    return f"{__grains__.get('osfinger') or __grains__.get('os', '')} {__grains__.get('cpuarch', '')}".strip()


def _work(name, recipe):
    return WORK / f"{name}-{recipe['version']}"


@contextlib.contextmanager
def _told(title):
    """Raise as Salt does what the parts say in their own way."""
    try:
        yield
    except BuildError as error:
        raise CommandExecutionError(str(error)) from error
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise CommandExecutionError(f"{title}: {what}; what was installed before still is") from error


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
