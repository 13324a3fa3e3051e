"""The lab itself: whatever kills it, the next command goes on, and `down` leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mysql_ha_lab import cgroup, lan, plan, process, salt
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import LabError, flavor_record, recorded_flavor

COMMAND = Path(__file__).parent / "lab"


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def kill(run: subprocess.Popen[str]) -> None:
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def remains(name: str) -> list[str]:
    """What a lab of that name has on this machine."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if f"/mysql_ha-lab/{name}/" in line]
    namespaces = [one for one in lan.namespaces() if one.startswith(f"mha-{name}-")]
    processes = [str(words) for words in map(process.words, process.pids())
                 if any(f"mha-{name}-" in word for word in words)]  # fmt: skip
    groups = [str(place) for machine in Lab(name).plan.hosts.values() for place in cgroup.left(machine.machine)]
    return mounts + namespaces + processes + groups


def test_up_killed_in_the_middle_goes_on_and_down_leaves_nothing() -> None:
    """A second lab, beside the one that the other tests use."""
    name = "killed"
    lab = Lab(name)
    try:
        run = start("up", "--name", name)
        wait_for("a few hosts to start", lambda: sum(machine.is_running() for machine in lab.machines()) >= 3, 300)
        kill(run)
        assert remains(name)
        run = start("up", "--name", name)
        said, _ = run.communicate(timeout=900)
        assert run.returncode == 0, said
        assert [state for *_, state in lab.status()] == ["up"] * 6
        kill(start("down", "--name", name))
        done = subprocess.run([COMMAND, "down", "--name", name], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert remains(name) == []
        assert lab.plan.host("mysql1").directory.exists(), "down without --purge keeps the disks"
    finally:
        with lab.only_me():
            lab.down(purge=True)
    assert remains(name) == []
    assert not lab.plan.directory.exists()


def test_a_command_on_a_host_ends_with_the_one_who_runs_it(cluster: Lab) -> None:
    for end in (subprocess.Popen.terminate, subprocess.Popen.kill):
        command = cluster.popen("client", ["sleep", "4711"])
        running = ["pgrep", "--full", "--exact", "sleep 4711"]
        wait_for("the command", lambda: cluster.run("client", running, check=False).returncode == 0, 30)  # noqa: B023
        end(command)
        command.communicate()
        wait_for("its end", lambda: cluster.run("client", running, check=False).returncode == 1, 30)  # noqa: B023


def test_apply_killed_in_the_middle_goes_on(cluster: Lab) -> None:
    run = start("apply", "--name", cluster.plan.name)
    wait_for("the state run to be under way", lambda: any(
        salt.call(cluster, "mysql*", "saltutil.is_running", "state.apply").values()), 120, 0.2)  # fmt: skip
    kill(run)
    run = start("apply", "--name", cluster.plan.name)
    said, _ = run.communicate(timeout=900)
    assert run.returncode == 0, said


def test_a_cut_stops_all_traffic_between_two_hosts_and_heals(cluster: Lab) -> None:
    hosts = [cluster.plan.host(name) for name in ("client", "mysql1")]
    ping = ["ping", "-c", "1", "-W", "2", "192.168.1.5"]
    lan.cut(cluster.plan, *hosts)
    assert lan.cuts(cluster.plan) == ["client-mysql1"]
    assert cluster.run("client", ping, check=False).returncode != 0
    assert cluster.run("mysql2", ping).returncode == 0
    lan.heal(cluster.plan, *hosts)
    assert cluster.run("client", ping).returncode == 0
    assert lan.cuts(cluster.plan) == []


def test_a_frozen_process_neither_dies_nor_answers(cluster: Lab) -> None:
    query = ["timeout", "2", "mariadb", "-e", "SELECT 1"]
    cluster.freeze("mysql1", "mariadbd")
    try:
        assert cluster.run("mysql1", query, check=False).returncode == 124
    finally:
        cluster.thaw("mysql1", "mariadbd")
    assert cluster.run("mysql1", query).returncode == 0


@pytest.mark.parametrize(("words", "sentence"), [
    (["exec", "lvs3", "--", "true"], "no host 'lvs3' in the lab; there are: master, lvs1"),
    (["status", "--name", "Not A Name"], "--name: is 'Not A Name'; allowed: 1 to 8 lower-case"),
    (["up", "--pillar", "/nowhere"], "--pillar: no file /nowhere"),
    (["up", "--database", "oracle"], "--database: is 'oracle'; allowed: mariadb, mysql, mariadb-10.11"),
    (["heal", "lvs1"], "heal: name two hosts, or none"),
    (["exec", "lvs1"], "nothing to run; say: lab exec HOST -- COMMAND"),
])  # fmt: skip
def test_errors_say_what_to_do(words: list[str], sentence: str) -> None:
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_two_commands_do_not_build_the_same_lab_at_once(lab: Lab) -> None:
    done = subprocess.run([COMMAND, "down", "--name", lab.plan.name], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "another command works on lab" in done.stderr


def test_disks_keep_the_database_that_they_were_made_for(lab: Lab) -> None:
    name = lab.plan.name
    sentence = (
        f"--database: is 'mysql', but the disks of lab '{name}' were made for 'mariadb'.*down --purge --name {name}"
    )
    with pytest.raises(LabError, match=sentence):
        Lab(name, "mysql").up()
    assert recorded_flavor(name) == "mariadb"


def test_later_commands_know_a_labs_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "STATE", tmp_path)
    assert Lab("new").plan.database.name == "mariadb"
    record = flavor_record("new")
    record.parent.mkdir()
    record.write_text("mysql\n")
    made = Lab("new").plan
    assert made.database.name == "mysql"
    assert {host.name for host in made.hosts.values() if host.database} == {"mysql1", "mysql2"}


def test_wait_names_what_it_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(LabError, match="waited 0 s in vain for Godot"):
        wait_for("Godot", lambda: False, 0)
    assert time.monotonic() - began < 5
