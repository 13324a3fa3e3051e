"""The ipvs modules on a live kernel, with ipvsadm as the oracle. Most run in a network namespace of their own."""

from __future__ import annotations

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

import ipvs_model as model
import ipvs_rules as rules
import ipvs_text as text
from ipvs_strategies import tables
from mysql_ha_lab import salt
from mysql_ha_lab.identity import write
from mysql_ha_lab.lab import Lab

ORACLE = Path(__file__).parent / "guest/ipvs_oracle.py"
ORACLE_ON_HOST = "/usr/local/lib/lab/ipvs_oracle.py"
PYTHON = "/opt/salt/bin/python"
UTILS = "/var/cache/salt/minion/extmods/utils"
COUNT = int(os.environ.get("MYSQL_HA_TABLES", "200"))


def random_tables(count: int) -> list[dict[str, Any]]:
    """So many tables, the same each time."""
    found: list[dict[str, Any]] = []

    @settings(max_examples=count, phases=[Phase.generate], derandomize=True, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(tables)
    def collect(one: dict[str, Any]) -> None:
        found.append(copy.deepcopy(one))

    collect()
    return found


def capped(table: dict[str, Any]) -> dict[str, Any]:
    """The table without what ipvsadm 1.31 cannot build: weights above 65535."""
    found = copy.deepcopy(table)
    for service in found.values():
        for server in service["servers"].values():
            server["weight"] = min(server["weight"], 65535)
    return found


def as_ipvsadm_saves(table: dict[str, Any]) -> dict[str, Any]:
    """The table without what ipvsadm -S loses: thresholds, and the third flag of sh and mh."""
    found = copy.deepcopy(table)
    for service in found.values():
        if service["scheduler"] in ("sh", "mh") and "flag-3" in service.get("scheduler_flags", ()):
            service["scheduler_flags"].remove("flag-3")
        for server in service["servers"].values():
            server.pop("upper_threshold", None)
            server.pop("lower_threshold", None)
    return found


def by_service(saved: str) -> dict[str, list[str]]:
    """Saved lines by the service that they are about, in any order of services and servers."""
    lines: dict[str, list[str]] = {}
    for line in saved.splitlines():
        # Marks above 2^31-1 are printed as negative numbers, and "-b" without flags where only the third was set.
        whole = re.sub(r"(?<=-f )-\d+", lambda mark: str(int(mark[0]) + 2**32), line).removesuffix(" -b ")
        name = re.match(r"-[Aa] (-f \S+( -6)?|\S+ \S+)", whole)
        assert name, line
        lines.setdefault(name[1], []).append(whole)
    return {name: sorted(found) for name, found in lines.items()}


@pytest.fixture(scope="module")
def oracle(cluster: Lab) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Random tables, and what became of each on lvs1."""
    write(cluster.plan.host("lvs1").root / ORACLE_ON_HOST.lstrip("/"), ORACLE.read_text())
    given_tables = [capped(one) for one in random_tables(COUNT)]
    words = ["unshare", "--net", "env", f"PYTHONPATH={UTILS}", PYTHON, ORACLE_ON_HOST]
    said = cluster.run("lvs1", words, stdin=json.dumps({"tables": given_tables}), timeout=2400).stdout
    return list(zip(given_tables, map(json.loads, said.splitlines()), strict=True))


def test_the_kernel_refuses_nothing_that_our_rules_let_pass(oracle) -> None:
    for table, found in oracle:
        assert found["refused"] == [], table


def test_what_we_apply_is_what_ipvsadm_lists(oracle) -> None:
    for table, found in oracle:
        expected = text.save(rules.table(as_ipvsadm_saves(table)))
        assert by_service(found["listed"]) == by_service(expected)


def test_what_we_apply_is_whole(oracle) -> None:
    for table, found in oracle:
        assert found["left"] == 0, table


def test_what_ipvsadm_builds_from_our_text_is_what_we_list(oracle) -> None:
    for table, found in oracle:
        assert found["built"] == "", table
        assert rules.table(found["read"]) == rules.table(table)
        assert found["read"] == model.table_as_dict(rules.table(table))


def call(lab: Lab, *words: str) -> Any:
    return salt.call(lab, "lvs1", *words)["lvs1"]
