"""What a replica's replication state does in each situation, with the execution module's answers made up."""

import pytest

NODES = {
    "mysql1": {"role": "database", "address": "192.168.1.5", "server_id": 1},
    "mysql2": {"role": "database", "address": "192.168.1.6", "server_id": 2},
    "replica1": {"role": "replica", "address": "192.168.1.7", "server_id": 3, "replicates_from": "mysql2"},
}
HOSTS = {"192.168.1.5": "mysql1", "192.168.1.6": "mysql2"}
RUNNING = {
    "source": "192.168.1.6:3306", "receiving": True, "applying": True, "receiver_state": "Waiting for master",
    "receiver_error": "", "applier_error": "", "gtid": True,
}  # fmt: skip
OWN = {"service": "mariadb", "flavor": "mariadb", "config": "/a.cnf"}


class World:
    """A replica and its two masters; what was done is recorded with the master that it was done with."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.server = {"server_id": 3, "server_uuid": "", "log_bin": True, "gtid_mode": True, "gtids": "1-1-5,2-2-5",
                       "flavor": "mariadb", "version": "11.8.6", "verifies_alone": True, "tables": 3,
                       "purged": ""}  # fmt: skip
        self.masters = {
            name: {"server_id": number, "server_uuid": "", "gtids": "1-1-5,2-2-5", "tables": 3, "purged": ""}
            for number, name in enumerate(("mysql1", "mysql2"), start=1)
        }
        self.status = dict(RUNNING)
        self.errant = {"mysql1": "", "mysql2": ""}
        self.differs: dict = {}
        self.copy: dict | None = None

    def functions(self) -> dict:
        def name(source):
            return HOSTS[source["host"]]

        def differences(source, fresh=False):
            address = f"{source['host']}:3306"
            now = None if fresh or self.status is None else self.status["source"]
            return ({"source": {"old": now, "new": address}} if now != address else {}) | self.differs

        def replicate_from(source):
            self.done.append(f"replicate_from {name(source)}")
            self.status = RUNNING | {"source": f"{source['host']}:3306"}

        def copy_from(source, service, flavor, config, keep):
            self.done.append(f"copy_from {name(source)} keep={keep}")
            return {"bytes": 5 << 20, "seconds": 7, "kept": "", "only_here": ""}

        def errant(source, wait):
            return None if self.masters[name(source)] is None else self.errant[name(source)]

        return {
            "mysql_replication.server": lambda: self.server,
            "mysql_replication.peer": lambda source, wait=0: self.masters[name(source)],
            "mysql_replication.status": lambda: self.status,
            "mysql_replication.settled": lambda wait=30: self.status,
            "mysql_replication.differences": differences,
            "mysql_replication.errant": errant,
            "mysql_replication.forget": lambda: "STOP SLAVE; RESET SLAVE ALL;",
            "mysql_replication.replicate_from": replicate_from,
            "mysql_replication.start": lambda source: self.done.append("start"),
            "mysql_data.status": lambda: self.copy,
            "mysql_data.copy_from": copy_from,
        }

    def fresh(self) -> None:
        """The replica has nothing and replicates from nowhere."""
        self.status = None
        self.server |= {"gtids": "", "tables": 0}


@pytest.fixture
def world():
    return World()


@pytest.fixture
def apply(load_module, world):
    def run(test=False, nodes=NODES, **arguments):
        module = load_module("states", "mysql_replication", __salt__=world.functions(), __opts__={"test": test})
        return module.following("replica1", nodes, 3306, "repl", **({"wait": 0, "server": OWN} | arguments))

    return run


def test_a_running_replication_is_not_touched(apply, world, test_mode) -> None:
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"], world.done) == (True, {}, [])
    assert ret["comment"] == "The replication from mysql2 runs."


@pytest.mark.parametrize("node", [{"role": "arbiter"}, {"replicates_from": "mysql9"}, {"replicates_from": "replica1"}])
def test_only_a_replica_of_a_database(apply, world, node) -> None:
    ret = apply(nodes=NODES | {"replica1": NODES["replica1"] | node})
    assert (ret["result"], world.done) == (False, [])
    assert ret["comment"] == "replica1 is not a replica of one of mysql1, mysql2."


def test_an_empty_replica_gets_a_copy(apply, world) -> None:
    world.fresh()
    ret = apply()
    assert (ret["result"], world.done) == (True, ["copy_from mysql2 keep=False", "replicate_from mysql2"])
    assert ret["changes"]["data"] == {"old": None, "new": "a copy of mysql2"}
    assert "Apply to mysql2 too" not in ret["comment"]


def test_of_the_other_one_while_its_own_is_gone(apply, world) -> None:
    world.fresh()
    world.masters["mysql2"] = None
    apply()
    assert world.done == ["copy_from mysql1 keep=False", "replicate_from mysql1"]


def test_with_empty_masters_it_just_replicates(apply, world) -> None:
    world.fresh()
    for master in world.masters.values():
        master.update(gtids="", tables=0)
    ret = apply()
    assert (ret["result"], world.done) == (True, ["replicate_from mysql2"])
    assert ret["changes"] == {"source": {"old": None, "new": "192.168.1.6:3306"}}


@pytest.mark.parametrize(("mysql1", "mysql2", "sentence"), [
    (None, None, "waiting for mysql2: 192.168.1.6:3306 did not let this server in"),
    # What the one that is away has may be older than any binary log.
    (None, {"gtids": "", "tables": 0}, "waiting for mysql1: mysql2 holds nothing, and the other may"),
    ({"gtids": "", "tables": 0}, None, "waiting for mysql2: mysql1 holds nothing, and the other may"),
    ({"tables": 3}, {"gtids": "", "tables": 0}, "waiting for mysql2 to become a copy of mysql1"),
])  # fmt: skip
def test_it_waits_for_masters_that_are_not_ready(apply, world, mysql1, mysql2, sentence) -> None:
    world.fresh()
    world.masters = {name: None if change is None else world.masters[name] | change
                     for name, change in (("mysql1", mysql1), ("mysql2", mysql2))}  # fmt: skip
    ret = apply()
    assert (ret["result"], ret["changes"], world.done) == (True, {}, [])
    assert sentence in ret["comment"]


def test_a_copy_that_was_interrupted_is_made_again(apply, world, test_mode) -> None:
    world.copy = {"phase": "copying"}
    ret = apply(test_mode)
    assert ret["changes"]["data"] == {"old": None, "new": "a copy of mysql2"}
    assert world.done == ([] if test_mode else ["copy_from mysql2 keep=False", "replicate_from mysql2"])


def test_data_that_its_master_lacks_are_in_the_way(apply, world) -> None:
    world.status = None
    world.server["gtids"] = "1-1-5,2-2-5,3-3-1"
    ret = apply()
    assert (ret["result"], ret["changes"], world.done) == (False, {}, [])
    assert "Not joined with mysql2: replica1 has transactions that mysql2 lacks (3-3-1)." in ret["comment"]
    assert "pillar='{rebuild: {node: replica1, from: mysql2}}'" in ret["comment"]


def test_it_is_moved_back_once_its_own_master_has_everything(apply, world) -> None:
    world.status["source"] = "192.168.1.5:3306"
    predicted = apply(test=True)
    assert (predicted["result"], world.done) == (None, [])
    assert predicted["comment"] == "Would be moved from mysql1 to mysql2."
    ret = apply()
    assert (ret["result"], world.done) == (True, ["replicate_from mysql2"])
    assert ret["changes"] == predicted["changes"] == {
        "source": {"old": "192.168.1.5:3306", "new": "192.168.1.6:3306"}}  # fmt: skip
    assert ret["comment"].startswith("Moved from mysql1 to mysql2. ")
    assert apply()["changes"] == {}


@pytest.mark.parametrize(("change", "sentence"), [
    ({"masters": None}, "It is not moved back: mysql2 (192.168.1.6:3306) does not let this server in."),
    ({"errant": "1-1-5"}, "It is not moved back: mysql2 does not have all yet that this replica has (1-1-5)."),
    ({"purged": "1-1-9"}, "It is not moved back: mysql2 no longer has the binary logs that this server needs"),
])  # fmt: skip
def test_it_stays_where_it_is_until_then(apply, world, test_mode, change, sentence) -> None:
    world.status["source"] = "192.168.1.5:3306"
    if "masters" in change:
        world.masters["mysql2"] = None
    if "errant" in change:
        world.errant["mysql2"] = change["errant"]
    if "purged" in change:
        world.masters["mysql2"]["purged"] = change["purged"]
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"], world.done) == (True, {}, [])
    assert ret["comment"].startswith("The replication from mysql1 runs. ")
    assert sentence in ret["comment"]


@pytest.mark.parametrize("source", ["192.168.1.6:3306", "192.168.1.5:3306"])
def test_what_no_master_has_is_told_with_the_way_out(apply, world, test_mode, source) -> None:
    world.status["source"] = source
    world.errant = {"mysql1": "3-3-1", "mysql2": "3-3-1"}
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"], world.done) == (False, {}, [])
    assert "This replica has transactions that no master has (3-3-1)" in ret["comment"]
    assert "mysql_ha.orch.rebuild" in ret["comment"]


def test_what_a_master_that_is_away_may_have_is_no_failure(apply, world) -> None:
    """The last transactions of a master that lost its power, which the other one never got."""
    world.status["source"] = "192.168.1.5:3306"
    world.masters["mysql2"] = None
    world.errant = {"mysql1": "2-2-6", "mysql2": "2-2-6"}
    assert apply()["result"] is True


def test_settings_are_changed_where_it_is(apply, world) -> None:
    world.differs = {"heartbeat": {"old": 30.0, "new": 0.25}}
    ret = apply()
    assert (ret["changes"], world.done) == (world.differs, ["replicate_from mysql2"])
    world.status["source"], world.masters["mysql2"], world.done = "192.168.1.5:3306", None, []
    ret = apply()
    assert (ret["changes"], world.done) == (world.differs, ["replicate_from mysql1"])


@pytest.mark.parametrize(("status", "how"), [
    ({"source": "192.168.1.9:3306"}, "replicates from 192.168.1.9:3306, not from mysql2"),
    ({"gtid": False}, "replicates from 192.168.1.6:3306 by file and position, not from mysql2"),
])  # fmt: skip
def test_a_replication_that_is_another_one_is_left_alone(apply, world, test_mode, status, how) -> None:
    world.status |= status
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"], world.done) == (False, {}, [])
    assert how in ret["comment"]
    assert "STOP SLAVE; RESET SLAVE ALL;" in ret["comment"]


def test_an_applier_that_stopped_is_told(apply, world, test_mode) -> None:
    world.status |= {"applying": False, "applier_error": "1062: Duplicate entry"}
    ret = apply(test_mode)
    assert (ret["result"], world.done) == (False, [])
    assert ret["comment"] == "The replication from mysql2 has stopped: 1062: Duplicate entry"
