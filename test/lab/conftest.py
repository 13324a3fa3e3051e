"""One lab for all of these tests: bare hosts, then the formula's first run, then a running cluster.

Each stage is a fixture that keeps what the run said, so a test can be run alone and still finds the stages
before it done. MYSQL_HA_LAB_KEEP=1 leaves the lab standing afterwards, for a look, and MYSQL_HA_LAB_REUSE=1 works on
such a one: a single test of a running cluster then takes seconds. MYSQL_HA_LAB_WITHOUT="mysql1 mysql2 client" leaves
these hosts out, for tests that need directors only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mysql_ha_lab import client, salt  # noqa: E402
from mysql_ha_lab.lab import Lab  # noqa: E402
from mysql_ha_lab.plan import DIRECTORS, REPOSITORY  # noqa: E402
from mysql_ha_lab.salt import HostResult  # noqa: E402
from pillars import ARTICLE, EXAMPLE, as_yaml, changed  # noqa: E402

# A pillar that cannot work, the sentence that says so.
WRONG_PILLARS = {
    "vip": (
        changed(EXAMPLE, "endpoints", "write", "address", "192.168.1.1000"),
        "mysql_ha:endpoints:write:address: is ",
    ),
    "server_id": (changed(EXAMPLE, "nodes", "mysql2", "server_id", 1), "mysql_ha:nodes:mysql2:server_id: is 1"),
}
REUSE = bool(os.environ.get("MYSQL_HA_LAB_REUSE"))
Results = dict[str, HostResult]


@dataclass
class FirstRuns:
    """What the runs on never-touched hosts said."""

    wrong: dict[str, Results]
    test_mode: Results
    real: Results
    second: Results
    second_test_mode: Results


@pytest.hookimpl(tryfirst=True)  # before pytest looks which tests are `long`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the installation of everything. What needs one flavor only is `long` on the others."""
    for item in items:
        item.add_marker(pytest.mark.timeout(2400))
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        short = item.get_closest_marker("short_on")
        if short and not {parameters.get("databases"), parameters.get("backups")} & {*short.args}:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """Bare hosts, nothing applied yet."""
    if os.geteuid() != 0:
        reason = "NOT RUN: the lab makes network namespaces and mounts; run these tests as root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    without = os.environ.get("MYSQL_HA_LAB_WITHOUT", "").split()
    with standing(Lab(os.environ.get("MYSQL_HA_LAB_NAME", "test"), without=without)) as one:
        yield one


@contextmanager
def standing(one: Lab) -> Iterator[Lab]:
    """A lab with bare hosts that ends with the tests."""
    with one.only_me():
        if not REUSE:
            one.down(purge=True)
        try:
            one.up()
            salt.set_up(one, REPOSITORY / "pillar.example")
            yield one
        finally:
            if not (REUSE or os.environ.get("MYSQL_HA_LAB_KEEP")):
                one.down(purge=True)


@pytest.fixture(scope="session")
def first_runs(lab: Lab) -> FirstRuns:
    """The formula's first contact with the hosts, all the way to a running cluster."""
    test_mode = salt.apply(lab, "test=True")
    wrong = {}
    for name, (pillar, _) in WRONG_PILLARS.items():
        salt.set_pillar(lab, as_yaml(pillar))
        wrong[name] = salt.apply(lab)
    salt.set_pillar(lab, (REPOSITORY / "pillar.example").read_text())
    return FirstRuns(
        wrong=wrong,
        test_mode=test_mode,
        real=salt.apply(lab),
        second=salt.apply(lab),
        second_test_mode=salt.apply(lab, "test=True"),
    )


@pytest.fixture(scope="session")
def cluster(lab: Lab, request: pytest.FixtureRequest) -> Lab:
    """A running cluster on pillar.example, with an application's account and table."""
    results = salt.apply(lab) if REUSE else request.getfixturevalue("first_runs").real
    failed = [result.error or result.problems() for result in results.values() if not result.ok]
    assert not failed, "\n".join(failed)
    client.set_up(lab)
    return lab


@pytest.fixture(scope="session")
def pairs() -> Iterator[Callable[[str], tuple[Lab, FirstRuns]]]:
    """``pairs("mysql")``: two databases of that flavor, a master and a client, and what the first runs there said."""
    with ExitStack() as ends:
        made: dict[str, tuple[Lab, FirstRuns]] = {}

        def pair(flavor: str) -> tuple[Lab, FirstRuns]:
            if flavor not in made:
                name = os.environ.get("MYSQL_HA_LAB_NAME", "test")[:4] + re.sub(r"\W", "", flavor)[-4:]
                one = ends.enter_context(standing(Lab(name, flavor, without=DIRECTORS)))
                words = {"target": "mysql*"}
                test_mode = salt.apply(one, "test=True", **words)
                runs = FirstRuns({}, test_mode, salt.apply(one, **words), salt.apply(one, **words),
                                 salt.apply(one, "test=True", **words))  # fmt: skip
                client.set_up(one)
                made[flavor] = (one, runs)
            return made[flavor]

        yield pair


@pytest.fixture(scope="module")
def article(cluster: Lab) -> Lab:
    """The running cluster on the classic article's setup."""
    salt.set_pillar(cluster, as_yaml(ARTICLE))
    for result in salt.apply(cluster).values():
        assert result.ok, result.error or result.problems()
    yield cluster
    salt.set_pillar(cluster, (REPOSITORY / "pillar.example").read_text())
    for result in salt.apply(cluster).values():
        assert result.ok, result.error or result.problems()
