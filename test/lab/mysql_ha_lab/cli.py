"""The lab's command line."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from . import lan, salt
from .lab import Lab
from .plan import DEFAULT_FLAVOR, FLAVORS, REPOSITORY, LabError
from .prepare import prepare, require_root
from .progress import say, step, warn


def parser() -> argparse.ArgumentParser:
    """All verbs with their words."""
    top = argparse.ArgumentParser(
        prog="lab",
        description="A whole cluster on this machine: Salt master, two directors, "
        "two databases, a client. No uplink; nothing leaves the machine.",
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=text, description=text)
        one.add_argument("--name", default="lab", help="which lab (several can stand side by side); default: lab")
        return one

    verb("prepare", "install what this machine needs (apt-get)")
    up = verb("up", "build what is missing, boot every host, accept the keys")
    up.add_argument("--pillar", type=Path, default=REPOSITORY / "pillar.example", help="default: pillar.example")
    up.add_argument("--mirror", help="Debian mirror; default: the one in this machine's apt configuration")
    up.add_argument(
        "--database",
        metavar="FLAVOR",
        help=f"{', '.join(FLAVORS)}; default: what the lab has, {DEFAULT_FLAVOR} in a new one",
    )
    apply = verb("apply", "salt '*' state.apply mysql_ha; exit status 0 only if every state of every host is true")
    apply.add_argument("arguments", nargs="*", metavar="STATE_ARG", help="such as test=True")
    execute = verb("exec", "run a command as root on a host: lab exec HOST -- COMMAND...")
    execute.add_argument("host")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    for name, text in (
        ("power-off", "power loss of a host"),
        ("boot", "switch a host on again with the same disk"),
        ("logs", "a host's journal, or its console while it is off"),
    ):
        verb(name, text).add_argument("host")
    for name, text in (("freeze", "stop a host, or one of its processes, in its tracks"), ("thaw", "let it go on")):
        one = verb(name, text)
        one.add_argument("host")
        one.add_argument("process", nargs="?")
    cut = verb("cut", "drop all traffic between two hosts")
    cut.add_argument("one")
    cut.add_argument("other")
    heal = verb("heal", "let traffic pass again, between two hosts or everywhere")
    heal.add_argument("one", nargs="?")
    heal.add_argument("other", nargs="?")
    verb("status", "every host: address, kind, state; and the cuts")
    down = verb("down", "stop every host; leaves no process, mount or namespace")
    down.add_argument("--purge", action="store_true", help="throw the hosts' disks away too")
    return top


def main(words: list[str] | None = None) -> int:
    """Run one verb; the exit status."""
    asked = parser().parse_args(words)
    try:
        require_root()
        return _do(asked)
    except LabError as error:
        warn(f"lab {asked.verb}: {error}")
        return 1
    except KeyboardInterrupt:
        warn(f"lab {asked.verb}: interrupted; run it again to go on, or: lab down")
        return 130


def _do(asked: argparse.Namespace) -> int:
    if asked.verb == "prepare":
        installed = prepare()
        say(f"installed: {', '.join(installed)}" if installed else "this machine has all that the lab needs")
        return 0
    lab = Lab(asked.name, getattr(asked, "database", None))
    if asked.verb in ("up", "down"):
        with lab.only_me():
            return _up(lab, asked) if asked.verb == "up" else _down(lab, asked)
    if asked.verb == "apply":
        return apply(lab, asked.arguments)
    return _SMALL[asked.verb](lab, asked)


def _up(lab: Lab, asked: argparse.Namespace) -> int:
    if not asked.pillar.exists():
        raise LabError(f"--pillar: no file {asked.pillar}")
    prepare()
    lab.up(asked.mirror)
    salt.set_up(lab, asked.pillar)
    return 0


def _down(lab: Lab, asked: argparse.Namespace) -> int:
    with step(f"take lab '{lab.plan.name}' down" + (" and throw its disks away" if asked.purge else "")):
        lab.down(asked.purge)
    return 0


def apply(lab: Lab, arguments: list[str]) -> int:
    """Apply the formula everywhere and judge the answers."""
    salt.copy_formula(lab)
    # A host that was booted a moment ago would miss the call.
    salt.wait_for_minions(lab, [name for name in lab.plan.hosts if lab.host(name).is_running()])
    results = salt.apply(lab, *arguments)
    for result in results.values():
        if result.failed:
            warn(result.problems())
    silent = sorted(set(lab.plan.hosts) - set(results))
    if silent:
        warn(f"no answer from: {', '.join(silent)}")
    return 0 if not silent and all(result.ok for result in results.values()) else 1


def _exec(lab: Lab, asked: argparse.Namespace) -> int:
    words = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    if not words:
        raise LabError("exec: nothing to run; say: lab exec HOST -- COMMAND...")
    return subprocess.call(lab.host(asked.host).command(words, interactive=sys.stdin.isatty()))


def _heal(lab: Lab, asked: argparse.Namespace) -> int:
    if asked.one and not asked.other:
        raise LabError("heal: name two hosts, or none for everywhere")
    pair = [lab.plan.host(name) for name in (asked.one, asked.other) if name]
    lan.heal(lab.plan, *pair)
    return 0


def _cut(lab: Lab, asked: argparse.Namespace) -> int:
    lan.cut(lab.plan, lab.plan.host(asked.one), lab.plan.host(asked.other))
    return 0


def _status(lab: Lab, _: argparse.Namespace) -> int:
    for row in lab.status():
        print("{:8} {:15} {:11} {}".format(*row))
    cuts = lan.cuts(lab.plan) if lab.plan.lan_namespace in lan.namespaces() else []
    print("cuts: " + (", ".join(cuts) or "none"))
    print(f"database: {lab.plan.database.name}")
    return 0


def _logs(lab: Lab, asked: argparse.Namespace) -> int:
    machine = lab.host(asked.host)
    if machine.is_running():
        return subprocess.call(machine.command(["journalctl", "--no-pager", "-b"]))
    print(machine.plan.console.read_text(errors="replace") if machine.plan.console.exists() else "no console log yet")
    return 0


def _power_off(lab: Lab, asked: argparse.Namespace) -> int:
    lab.power_off(asked.host)
    return 0


def _boot(lab: Lab, asked: argparse.Namespace) -> int:
    lab.boot(asked.host)
    return 0


def _freeze(lab: Lab, asked: argparse.Namespace) -> int:
    lab.freeze(asked.host, asked.process)
    return 0


def _thaw(lab: Lab, asked: argparse.Namespace) -> int:
    lab.thaw(asked.host, asked.process)
    return 0


_SMALL = {"exec": _exec, "heal": _heal, "cut": _cut, "status": _status, "logs": _logs, "power-off": _power_off,
          "boot": _boot, "freeze": _freeze, "thaw": _thaw}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
