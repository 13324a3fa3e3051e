"""Runs on a director: times one way of working on a table, in a network namespace of its own.

    ipvs_bench.py WAY SERVICES SERVERS

Prints one JSON object of seconds (and `peak_mib`). Each run has a fresh namespace, since the kernel keeps removed
servers for two minutes in a list that each addition walks.
"""

import json
import resource
import subprocess
import sys
import time


def table(services, servers):
    """A wanted table of so many services with so many servers each."""
    return {
        f"tcp 10.{number >> 8}.{number & 255}.1:80": {
            "scheduler": "wrr",
            "servers": {f"10.200.{number & 255}.{one + 1}": {"weight": 3} for one in range(servers)},
        }
        for number in range(services)
    }


def changed(wanted):
    """The table with one other weight in the middle."""
    name = list(wanted)[len(wanted) // 2]
    service = wanted[name]
    first = next(iter(service["servers"]))
    return {**wanted, name: {**service, "servers": {**service["servers"], first: {"weight": 7}}}}


def timed(call, *arguments, **options):
    """How long a call took, and what it returned."""
    began = time.perf_counter()
    returned = call(*arguments, **options)
    return time.perf_counter() - began, returned


def peak():
    """The most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def loaded():
    """Salt's own start: the loaders of a minion."""
    import salt.config
    import salt.loader

    opts = salt.config.minion_config("/etc/salt/minion")
    opts["file_client"] = "local"
    opts["grains"] = {"id": "bench", "kernel": "Linux", "os": "Debian", "os_family": "Debian"}
    opts["test"] = False
    utils = salt.loader.utils(opts)
    modules = salt.loader.minion_mods(opts, utils=utils)
    states = salt.loader.states(opts, modules, utils, None)
    modules["ipvs.info"]()
    return opts, modules, states


def module(wanted):
    start, (_, modules, _) = timed(loaded)
    before = peak()
    figures = {"salt_start": start}
    figures["from_empty"], done = timed(modules["ipvs.apply"], wanted)
    assert not done["failed"] and len(done["changes"]) > len(wanted), done["failed"]
    figures["no_op"], done = timed(modules["ipvs.apply"], wanted)
    assert done == {"changes": {}, "failed": {}}
    figures["one_weight"], done = timed(modules["ipvs.apply"], changed(wanted))
    assert len(done["changes"]) == 1
    figures["read"], listed = timed(modules["ipvs.list"])
    assert len(listed) == len(wanted)
    name = next(iter(wanted))
    server = next(iter(wanted[name]["servers"]))
    figures["drain"], done = timed(modules["ipvs.drain"], name, server, timeout=10)
    assert done["deleted"]
    return {**figures, "peak_mib": peak(), "start_mib": before}


def state(wanted):
    _, (_, modules, states) = timed(loaded)
    figures = {}
    figures["from_empty"], done = timed(states["ipvs.managed"], "all", services=wanted)
    assert done["result"] is True and len(done["changes"]) > len(wanted), done["comment"]
    figures["no_op"], done = timed(states["ipvs.managed"], "all", services=wanted)
    assert (done["result"], done["changes"]) == (True, {})
    figures["one_weight"], done = timed(states["ipvs.managed"], "all", services=changed(wanted))
    assert len(done["changes"]) == 1
    return figures


def ipvsadm(wanted):
    text = "".join(
        f"-A -t {name.split()[1]} -s wrr\n"
        + "".join(f"-a -t {name.split()[1]} -r {server}:80 -g -w 3\n" for server in service["servers"])
        for name, service in wanted.items()
    )

    def run(*words, stdin=None):
        return subprocess.run(["ipvsadm", *words], input=stdin, text=True, capture_output=True, check=True).stdout

    figures = {}
    figures["from_empty"], _ = timed(run, "-R", stdin=text)
    figures["no_op"], listed = timed(run, "-Sn")
    assert len(listed.splitlines()) == len(text.splitlines())
    figures["read"] = figures["no_op"]
    name = list(wanted)[len(wanted) // 2]
    server = next(iter(wanted[name]["servers"]))
    edit = ["-e", "-t", name.split()[1], "-r", f"{server}:80", "-g", "-w", "7"]
    figures["one_weight"], _ = timed(run, *edit)
    return figures


def processes(wanted):
    """One ipvsadm process a change, for the first part of the table; seconds a change."""
    count = 0
    began = time.perf_counter()
    for name, service in list(wanted.items())[:50]:
        own = name.split()[1]
        subprocess.run(["ipvsadm", "-A", "-t", own, "-s", "wrr"], check=True)
        for server in service["servers"]:
            subprocess.run(["ipvsadm", "-a", "-t", own, "-r", f"{server}:80", "-g", "-w", "3"], check=True)
        count += 1 + len(service["servers"])
    return {"per_change": (time.perf_counter() - began) / count}


def pyroute2(wanted):
    """pyroute2's IPVS objects, for the first part of the table; seconds a change, and to read a server."""
    from pyroute2.ipvs import IPVS, IPVSDest, IPVSService

    count = 0
    with IPVS() as kernel:
        began = time.perf_counter()
        for name, service in list(wanted.items())[:100]:
            address, port = name.split()[1].split(":")
            own = IPVSService(addr=address, port=int(port), sched_name="wrr", protocol=6)
            kernel.service("add", own)
            for server in service["servers"]:
                kernel.dest("add", own, IPVSDest(addr=server, port=80, weight=3, fwd_method=3))
            count += 1 + len(service["servers"])
        made = time.perf_counter() - began
    return {"per_change": made / count}


WAYS = {way.__name__: way for way in (module, state, ipvsadm, processes, pyroute2)}


def main():
    """Time one way."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print(json.dumps(WAYS[sys.argv[1]](table(int(sys.argv[2]), int(sys.argv[3])))))


if __name__ == "__main__":
    main()
