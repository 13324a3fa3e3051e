"""Runs on a director, in a network namespace of its own: every CLI Example of the ipvs module as it is documented.

Reads {"function": ["salt lvs1 ipvs.function ...", ...]} from standard input and prints, as JSON, what each returned.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import salt.config
import salt.loader
import salt.utils.args

SERVICE = "tcp 192.168.1.100:3306"
TABLE = {SERVICE: {"servers": {"192.168.1.5": {}}}}
WITHOUT_SERVERS = dict.fromkeys([SERVICE, "tcp 192.168.1.100:80", "fwmark 5"], {})
BEFORE = {"add_service": {}, "add_server": WITHOUT_SERVERS}
SAVED = Path("/var/lib/ipvs.saved")


def prepare(modules, function):
    """What the examples take for granted: a service with a server, a daemon to stop, a file to restore."""
    modules["ipvs.flush"]()
    modules["ipvs.apply"](BEFORE.get(function, TABLE))
    for state in modules["ipvs.daemons"]():
        modules["ipvs.stop_daemon"](state)
    if function == "stop_daemon":
        modules["ipvs.start_daemon"]("master", "eth0")
    SAVED.write_text(modules["ipvs.save"]())


def main():
    """Run them all."""
    for words in (["link", "set", "lo", "up"], ["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"],
                  ["link", "set", "eth0", "up"], ["address", "add", "192.0.2.1/24", "dev", "eth0"]):  # fmt: skip
        subprocess.run(["ip", *words], check=True)
    opts = salt.config.minion_config("/etc/salt/minion")
    opts["file_client"] = "local"
    opts["grains"] = {"id": "examples", "kernel": "Linux", "os": "Debian", "os_family": "Debian"}
    modules = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts))
    said = {}
    for function, examples in json.load(sys.stdin).items():
        for example in examples:
            prepare(modules, function)
            arguments, options = salt.utils.args.parse_input(shlex.split(example)[3:], condition=False)
            said[example] = modules[f"ipvs.{function}"](*arguments, **salt.utils.args.clean_kwargs(**options))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
