"""Sessions that are open when a director fails go on through the other one, and back again."""

from __future__ import annotations

from mysql_ha_lab import cluster as look
from mysql_ha_lab.client import VIP, Sessions
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DIRECTORS

MYSQL1, MYSQL2 = "192.168.1.5:3306", "192.168.1.6:3306"
SESSIONS = 40


def test_sessions_survive_a_director_and_its_return(cluster: Lab) -> None:
    lab = cluster
    with Sessions(lab, {VIP: SESSIONS}) as sessions:
        first = look.wait_for_holder(lab)
        second = next(name for name in DIRECTORS if name != first)
        for failing, other in ((first, second), (second, first)):
            wait_for_synced(lab, other)
            mark = sessions.mark()
            lab.power_off(failing)
            look.wait_for_holder(lab, other)
            sessions.all_asked(mark, times=3)
            assert sessions.broken() == []
            lab.boot(failing)
            look.wait_for_servers(lab, failing, {MYSQL1, MYSQL2})


def wait_for_synced(lab: Lab, director: str) -> None:
    """Wait until a director that stands by knows every session that is open."""

    def known() -> bool:
        entries = lab.run(director, ["cat", "/proc/net/ip_vs_conn"]).stdout.splitlines()
        # The address as the kernel writes it there: eight hexadecimal digits.
        vip = "".join(f"{int(part):02X}" for part in VIP.split("."))
        return sum(f" {vip} 0CEA " in line and "ESTABLISHED" in line for line in entries) >= SESSIONS

    wait_for(f"{director} to know all sessions", known, 180, 1)
