"""Runs on a host: calls modules and states in one process, which spares Salt's start for each of hundreds of calls.

Each line of standard input is {"function": ..., "arguments": [...], "options": {...}, "test": true|false|null}; with a
`test` it is a state. Each line of output is {"returned": ...} or {"error": the exception's name and words}.
"""

import json
import sys

import salt.config
import salt.loader
from salt.exceptions import CommandExecutionError, SaltInvocationError


def loaded(test):
    """A minion's modules and states, in test mode or not."""
    opts = salt.config.minion_config("/etc/salt/minion")
    opts["file_client"] = "local"
    opts["grains"] = {"id": "calls", "kernel": "Linux", "os": "Debian", "os_family": "Debian"}
    opts["test"] = test
    utils = salt.loader.utils(opts)
    modules = salt.loader.minion_mods(opts, utils=utils)
    return modules, salt.loader.states(opts, modules, utils, None)


def main():
    """Answer until the input ends."""
    modules, states = loaded(False)
    _, states_in_test_mode = loaded(True)
    by_mode = {None: modules, False: states, True: states_in_test_mode}
    print(json.dumps({"returned": "ready"}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            call = by_mode[asked["test"]][asked["function"]]
            answer = {"returned": call(*asked["arguments"], **asked["options"])}
        except (CommandExecutionError, SaltInvocationError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
