"""
Programs built from a pinned source tarball.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "source_build"


def __virtual__():
    return __virtualname__


def installed(name, version, source, source_hash, build, stage, proof, accept=None, accept_with=None):
    """
    A program is installed, built from its tarball. It is built and staged aside, must prove that it runs, and only then
    replaces what is there, file by file. A failure at any point leaves the installed version as it was, and the state
    says which command failed and what it printed.

    Builds again when anything named here differs from what the installed one was built with, and after an upgrade of
    the operating system to another release. Builds are kept, so going back to the former version, putting damaged files
    right, and completing an interrupted installation need no compiler.

    name
        What the program is called; its record is kept under this name.

    version
        The version, for people.

    source, source_hash
        Where the tarball is (one place, or several of which the first that answers is used), see Salt's
        ``file.managed``, and its ``sha256=...``, by which it is checked wherever it comes from.

    build
        Commands to run in the unpacked source, in order. ``{jobs}`` stands for the number of processors.

    stage
        The command that installs into ``{stage}``; ``{source}`` stands for the unpacked source.

    proof
        A command whose first word is relative to the stage, such as ``usr/sbin/ipvsadm --version``. It
        must succeed before anything is replaced.

    accept, accept_with
        An execution function that is asked before anything is replaced, and its arguments: it is called with the staged
        program of ``proof`` as ``program`` and returns whether that is ``accepted``, and a ``comment``.

    .. code-block:: yaml

        ipvsadm:
          source_build.installed:
            - version: '1.31'
            - source: salt://ipvsadm-1.31.tar.gz
            - source_hash: sha256=7276bcf214f31051188b2e44f11029e57303f37e54126e517000c1b2123a6d4e
            - build: [make]
            - stage: make install BUILD_ROOT={stage} SBIN={stage}/usr/sbin
            - proof: usr/sbin/ipvsadm --version
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} {version} is installed."}
    title = f"{name} {version}"
    recipe = {"version": version, "source_hash": source_hash, "build": build, "stage": stage, "proof": proof}
    try:
        current = __salt__["source_build.installed"](name)
        changes = _changes(current, recipe)
        if not changes:
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"{title} would be built, unless a build of it is "
                        "kept, and installed.")  # fmt: skip
        staged, how = __salt__["source_build.stage"](name, recipe), "installed from the build that was kept"
        if staged is None:
            tarball = _fetch(name, version, source, source_hash)
            staged, how = __salt__["source_build.build"](name, tarball, recipe), "built and installed"
        if accept:
            found = __salt__[accept](program=f"{staged}/{proof.split()[0]}", **(accept_with or {}))
            if not found["accepted"]:
                return dict(ret, result=False, comment=f"{title} was not installed, {found['comment']}")
        __salt__["source_build.install"](name, recipe)
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment=f"{title} has been {how}.")


def absent(name):
    """
    A program that was built from source is not installed, and nothing of its builds is left. Files that were changed
    since they were installed stay, and so does configuration.

    name
        What the program is called.

    .. code-block:: yaml

        ipvsadm:
          source_build.absent
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} is not installed from source."}
    try:
        current = __salt__["source_build.installed"](name)
        builds = __salt__["source_build.kept"](name)
        if current is None and not builds:
            return ret
        changes = {}
        if current is not None:
            changes["version"] = {"old": current["recipe"]["version"], "new": None}
        if builds:
            changes["kept builds"] = {"old": [one["version"] for one in builds], "new": []}
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"{name} would be removed.")
        __salt__["source_build.remove"](name)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment=f"{name} has been removed.")


def _changes(current, recipe):
    """What an installation changes, field by field; nothing if all is as it should be."""
    if current is None:
        return {"version": {"old": None, "new": recipe["version"]}}
    changes = {}
    for field, new in recipe.items():
        old = current["recipe"].get(field)
        if old != new:
            changes[field] = {"old": old, "new": new}
    if not current["platform"]:
        changes["platform"] = {"old": "another one", "new": "this one"}
    if current["interrupted"]:
        changes["installation"] = {"old": "interrupted", "new": "complete"}
    elif current["damaged"]:
        changes["files"] = {"old": f"missing or changed: {', '.join(current['damaged'])}", "new": "as they were built"}
    return changes


def _fetch(name, version, source, source_hash):
    place = __salt__["source_build.tarball"](name, version)
    fetched = __states__["file.managed"](
        place, source=source, source_hash=source_hash, makedirs=True, mode="0644", show_changes=False
    )
    if not fetched["result"]:
        raise CommandExecutionError(f"{name} {version}: no tarball from {source}: {fetched['comment']}")
    # What comes from the master by salt:// is not held against source_hash by file.managed.
    algorithm, _, wanted = source_hash.partition("=")
    found = __salt__["file.get_hash"](place, algorithm)
    if found != wanted.lower():
        __salt__["file.remove"](place)
        raise CommandExecutionError(
            f"{name} {version}: no tarball from {source}: its {algorithm} is {found}, and should be {wanted}"
        )
    return place
