"""Runs on a director, in a network namespace of its own: our IPVS modules and ipvsadm, each checked by the other.

Reads {"tables": [...]} from standard input, tables as ipvs.list shows them. For each it prints one JSON line:
`listed`, what `ipvsadm -S -n` says after we made it; `left`, how many changes a second run would make; `read`, what we
read after `ipvsadm -R` made it from our text; `refused`, what the kernel or ipvsadm refused.
"""

import json
import subprocess
import sys

import ipvs_kernel
import ipvs_model
import ipvs_plan
import ipvs_rules
import ipvs_text


def ipvsadm(*words, stdin=None):
    """Run ipvsadm; its output, or a sentence that starts with REFUSED."""
    done = subprocess.run(["ipvsadm", *words], input=stdin, capture_output=True, text=True, check=False)
    # The exit status of -R is that of its last line only.
    return f"REFUSED {done.stderr}" if done.returncode or done.stderr else done.stdout


def check(ipvs, words):
    """Make one table in both ways."""
    wanted = ipvs_rules.table(words)

    def decide(present):
        return ipvs_plan.changes(wanted, present, purge=True)

    outcome = ipvs_kernel.apply(ipvs, decide)
    left = len(decide(ipvs.table()))
    listed = ipvsadm("-S", "-n")
    ipvs.flush()
    built = ipvsadm("-R", stdin=ipvs_text.save(wanted))
    read = ipvs.table()
    ipvs.flush()
    return {
        "refused": [refusal.reason for refusal in outcome.refused],
        "left": left,
        "listed": listed,
        "built": built,
        "read": ipvs_model.table_as_dict(read),
    }


def main():
    """Check every table."""
    # Without a local route table the kernel takes every IPv4 address for a broadcast one.
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with ipvs_kernel.Ipvs() as ipvs:
        for words in json.load(sys.stdin)["tables"]:
            print(json.dumps(check(ipvs, words)), flush=True)


if __name__ == "__main__":
    main()
