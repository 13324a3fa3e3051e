"""Runs on a director: keepalived loads a configuration in a network namespace of its own, and says what it loaded.

Reads one JSON object a line from standard input: `program` (keepalived's path), `config` (the file's text) and
`interfaces` ({name: [address/prefix]}). For each it prints one JSON line: `check`, `vrrp` and `bfd`, keepalived's own
dumps; `table`, `daemons` and `timeouts`, the kernel's side of it; `said`, keepalived's log.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# All of it in a mount namespace of its own, where /tmp and /run are empty.
CONFIG, LOG = Path("/tmp/keepalived.conf"), Path("/tmp/log")  # noqa: S108
PIDS = {name: Path(f"/run/keepalived-{name}.pid") for name in ("main", "vrrp", "check", "bfd")}
DUMPS = {
    "check": Path("/tmp/keepalived_check.data"),  # noqa: S108
    "vrrp": Path("/tmp/keepalived.data"),  # noqa: S108
    "bfd": Path("/tmp/keepalived_bfd.data"),  # noqa: S108
}
SECONDS = 60


def ip(*words):
    """Run ip(8)."""
    subprocess.run(["ip", *words], check=True)


def wait_for(probe):
    """Ask until the answer is true; False when it never was."""
    end = time.monotonic() + SECONDS
    while not probe():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def prepare(interfaces):
    """Interfaces with a carrier, and places for files that nobody else sees."""
    for place in ("/tmp", "/run"):  # noqa: S108
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    ip("link", "set", "lo", "up")
    for number, (name, addresses) in enumerate(interfaces.items()):
        ip("link", "add", name, "type", "veth", "peer", "name", f"peer{number}")
        ip("link", "set", f"peer{number}", "up")
        for address in addresses:
            # Without a check for duplicates: keepalived would not see an address that is not yet settled.
            ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
        ip("link", "set", name, "up")
    lead_away(next(iter(interfaces)))


def lead_away(interface):
    """A way to all other networks that ends in nothing: checks then wait, and servers stay until they give up."""
    for family, gateway in (("-4", "192.0.2.254"), ("-6", "fe80::fd")):
        ip(family, "neighbour", "add", gateway, "lladdr", "02:00:00:00:00:fd", "dev", interface, "nud", "permanent")
        ip(family, "route", "add", "default", "via", gateway, "dev", interface, "onlink")


def is_whole(place):
    """Whether a dump is there and nobody writes to it any more."""
    try:
        size = place.stat().st_size
        time.sleep(0.03)
        return size > 0 and place.stat().st_size == size
    except FileNotFoundError:
        return False


def ask_for_dump(name):
    """Tell a process of keepalived's to write its dump; whether it has. One that only starts does not hear it."""
    try:
        os.kill(int(PIDS[name].read_text()), signal.SIGUSR1)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if is_whole(DUMPS[name]):
            return True
        time.sleep(0.01)
    return False


def load(asked):
    """Let keepalived load the configuration; what it and the kernel say."""
    import ipvs_kernel
    import ipvs_model

    prepare(asked["interfaces"])
    CONFIG.write_text(asked["config"])
    words = [asked["program"], "-n", "-l", "-f", CONFIG]
    for option, name in (("-p", "main"), ("-r", "vrrp"), ("-c", "check"), ("-b", "bfd")):
        words += [option, PIDS[name]]
    with LOG.open("wb") as log:
        running = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    # What the checks find out changes the table, so that comes first.
    wanted = ["check"] if "virtual_server" in asked["config"] else []
    wanted += ["vrrp", "bfd"] if "bfd_instance" in asked["config"] else ["vrrp"]
    found = {}
    try:
        for name in wanted:
            wait_for(lambda name=name: running.poll() is not None or ask_for_dump(name))
            found[name] = DUMPS[name].read_text() if DUMPS[name].exists() else None
            if "table" not in found:
                with ipvs_kernel.Ipvs() as ipvs:
                    found["table"] = ipvs_model.table_as_dict(ipvs.table())
                    found["timeouts"] = list(ipvs.timeouts())
        with ipvs_kernel.Ipvs() as ipvs:
            found["daemons"] = {state: daemon.as_dict() for state, daemon in ipvs.daemons().items()}
    finally:
        # Nothing of it stays: the namespaces end with these processes.
        for place in PIDS.values():
            # Some end, and take their files with them, as soon as the first one is gone.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(int(place.read_text()), signal.SIGKILL)
        running.kill()
        running.wait()
    found["said"] = LOG.read_text(errors="replace")
    return found


def main():
    """Answer line for line; each in namespaces of its own."""
    if sys.argv[1:] == ["one"]:
        print(json.dumps(load(json.load(sys.stdin))))
        return
    for line in sys.stdin:
        words = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, __file__, "one"]
        done = subprocess.run(words, input=line, capture_output=True, text=True, check=False)
        print(done.stdout.strip() or json.dumps({"said": done.stderr[-4000:]}), flush=True)


if __name__ == "__main__":
    main()
