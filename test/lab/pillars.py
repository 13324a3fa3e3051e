"""The pillars that the lab tests use beside pillar.example."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from mysql_ha_lab.plan import REPOSITORY

EXAMPLE: dict[str, Any] = yaml.safe_load((REPOSITORY / "pillar.example").read_text())["mysql_ha"]

# The setup that people know from the classic article on LVS, keepalived and MySQL: one VIP, wrr, direct
# routing, both masters with weight 3, TCP checks, VRRP version 2 with a password, advertisements every
# second by multicast, and the first director takes the VIP back when it returns.
ARTICLE: dict[str, Any] = {
    "cluster": "article",
    "nodes": {
        "lvs1": {"role": "director", "address": "192.168.1.2", "priority": 100},
        "lvs2": {"role": "director", "address": "192.168.1.11", "priority": 90},
        "mysql1": {"role": "database", "address": "192.168.1.5", "server_id": 1, "weight": 3},
        "mysql2": {"role": "database", "address": "192.168.1.6", "server_id": 2, "weight": 3},
    },
    "endpoints": {
        "mysql": {"address": "192.168.1.100", "port": 3306, "serves": "all", "check": "tcp", "scheduler": "wrr"},
    },
    "vrrp": {"virtual_router_id": 51, "version": 2, "advert_interval": 1, "preempt": True, "unicast": False},
    "secrets": {"replication": EXAMPLE["secrets"]["replication"], "vrrp": "1111"},
}


def as_yaml(pillar: dict[str, Any]) -> str:
    """The pillar file's text."""
    return yaml.safe_dump({"mysql_ha": pillar}, sort_keys=False)


def changed(pillar: dict[str, Any], *path_and_value: Any) -> dict[str, Any]:
    """A copy in which the key at ``path`` has another value."""
    *path, last, value = path_and_value
    copied = copy.deepcopy(pillar)
    place = copied
    for key in path:
        place = place[key]
    place[last] = value
    return copied
