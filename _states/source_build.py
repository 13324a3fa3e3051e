"""
Programs built from a pinned source tarball.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "source_build"


def __virtual__():
    return __virtualname__


def installed(name, version, source, source_hash, build, stage, proof):
    """
    A program is installed, built from its tarball. It is built and staged aside, must prove that it runs,
    and only then replaces what is there, file by file. A failure at any point leaves the installed version
    as it was, and the state says which command failed and what it printed.

    Builds again when anything named here differs from what the installed one was built with.

    name
        What the program is called; its record is kept under this name.

    version
        The version, for people.

    source, source_hash
        Where the tarball is (one place, or several of which the first that answers is used) and its
        ``sha256=...``; see Salt's ``file.managed``.

    build
        Commands to run in the unpacked source, in order. ``{jobs}`` stands for the number of processors.

    stage
        The command that installs into ``{stage}``; ``{source}`` stands for the unpacked source.

    proof
        A command whose first word is relative to the stage, such as ``usr/sbin/ipvsadm --version``. It
        must succeed before anything is replaced.

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
    recipe = {"version": version, "source_hash": source_hash, "build": build, "stage": stage, "proof": proof}
    try:
        current = __salt__["source_build.installed"](name)
        if current and current["recipe"] == recipe and not current["missing"]:
            return ret
        changes = {"version": {"old": current["recipe"]["version"] if current else None, "new": version}}
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"{name} {version} would be built and installed.")
        tarball = _fetch(name, version, source, source_hash)
        __salt__["source_build.install"](name, tarball, recipe)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment=f"{name} {version} has been built and installed.")


def _fetch(name, version, source, source_hash):
    place = __salt__["source_build.tarball"](name, version)
    fetched = __states__["file.managed"](
        place, source=source, source_hash=source_hash, makedirs=True, mode="0644", show_changes=False
    )
    if not fetched["result"]:
        raise CommandExecutionError(f"{name} {version}: no tarball from {source}: {fetched['comment']}")
    return place
