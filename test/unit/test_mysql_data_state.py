"""What the states of the data directory decide; the servers behind them are in the lab."""

import pytest
from salt.exceptions import CommandExecutionError

MADE = {"bytes": 5 << 20, "seconds": 7, "kept": "/var/lib/mysql.before-1", "only_here": ""}


class World:
    """The execution modules' answers, and what was asked of them that changes something."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.answers, self.binary, self.missing, self.copyable = True, "/usr/sbin/mysqld", False, True
        self.fails = False
        self.left: list[str] = []

    def functions(self) -> dict:
        def change(name, returned=None):
            def call(*_, **__):
                if self.fails:
                    raise CommandExecutionError("No space left")
                self.done.append(name)
                return returned

            return call

        return {
            "mysql_server.answers": lambda: self.answers,
            "mysql_server.binary": lambda _: self.binary,
            "mysql_data.folder": lambda _: "/var/lib/mysql",
            "mysql_data.is_missing": lambda _: self.missing,
            "mysql_data.leftovers": lambda _: dict.fromkeys(self.left, 1),
            "mysql_data.sweep": change("sweep"),
            "mysql_data.initialise": change("initialise"),
            "mysql_data.is_copyable": lambda _: self.copyable,
            "mysql_data.make_copyable": change("make_copyable"),
            "mysql_data.copy_from": change("copy_from", MADE),
        }


@pytest.fixture
def world():
    return World()


@pytest.fixture
def states(load_module, world):
    return lambda test=False: load_module("states", "mysql_data", __salt__=world.functions(), __opts__={"test": test})


@pytest.mark.parametrize(
    "situation",
    [{"answers": True, "missing": True}, {"answers": False, "missing": False}, {"answers": False, "binary": ""}],
    ids=["it runs", "something is there", "not installed"],
)
def test_what_is_there_is_left_alone(states, world, situation) -> None:
    for name, value in situation.items():
        setattr(world, name, value)
    for test in (True, False):
        ret = states(test).present("mysql", "mysql")
        assert (ret["result"], ret["changes"], world.done) == (True, {}, [])


def test_a_lost_data_directory_is_made_anew(states, world) -> None:
    world.answers, world.missing = False, True
    predicted = states(True).present("mysql", "mysql")
    assert (predicted["result"], world.done) == (None, [])
    done = states().present("mysql", "mysql")
    assert (done["result"], world.done) == (True, ["initialise"])
    assert done["changes"] == predicted["changes"] == {"folder": {"old": None, "new": "/var/lib/mysql"}}


@pytest.mark.parametrize("flavor", ["mysql", "mariadb"])
def test_a_prediction_on_a_bare_host_is_what_the_run_does(states, world, flavor) -> None:
    world.answers, world.copyable = False, False
    predicted = states(True).copyable(flavor, flavor)
    world.answers, world.copyable = True, flavor == "mariadb"
    done = states().copyable(flavor, flavor)
    assert done["changes"] == predicted["changes"]
    assert (done["result"], world.done) == (True, ["make_copyable"] if flavor == "mysql" else [])


def test_a_rebuild_says_what_was_kept(states, world) -> None:
    arguments = ("mysql1", {"host": "192.168.1.5"}, {"service": "mysql", "flavor": "mysql", "config": "/x"})
    predicted = states(True).rebuilt(*arguments)
    assert (predicted["result"], world.done) == (None, [])
    done = states().rebuilt(*arguments)
    assert (done["result"], done["changes"], world.done) == (True, predicted["changes"], ["copy_from"])
    assert done["comment"] == (
        "A copy of mysql1 was made, 5 MiB in 7 s. What was here before is kept in /var/lib/mysql.before-1 "
        "(mysql_data.discard deletes it)."
    )
    nowhere = states().rebuilt("web1", {"host": None}, arguments[2])
    assert (nowhere["result"], nowhere["changes"]) == (False, {})
    assert "'web1' is no database of mysql_ha:nodes" in nowhere["comment"]
    world.fails = True
    failed = states().rebuilt(*arguments)
    assert (failed["result"], failed["changes"], failed["comment"]) == (False, {}, "No space left")
