"""/proc/net/ip_vs_conn as the kernel prints it (net/netfilter/ipvs/ip_vs_conn.c)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipvs_connections

TEXT = """\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C0A8011E A8B4 C0A80164 0CEA C0A80105 0CEA ESTABLISHED     899
UDP 2001:0db8:0000:0000:0000:0000:0000:001e A8B4 2001:0db8:0000:0000:0000:0000:0000:0001 0035 C0A80105 0035 UDP 300
"""


def test_connections_in_words(tmp_path: Path) -> None:
    place = tmp_path / "ip_vs_conn"
    place.write_text(TEXT)
    assert [one.as_dict() for one in ipvs_connections.read(place)] == [
        {"protocol": "tcp", "client": "192.168.1.30:43188", "virtual": "192.168.1.100:3306",
         "server": "192.168.1.5:3306", "state": "ESTABLISHED", "expires": 899},
        {"protocol": "udp", "client": "[2001:db8::1e]:43188", "virtual": "[2001:db8::1]:53",
         "server": "192.168.1.5:53", "state": "UDP", "expires": 300},
    ]  # fmt: skip


def test_a_kernel_without_ipvs_has_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ipvs_connections.read(tmp_path / "missing")


@given(st.lists(st.text("0123456789ABCDEFTCP: \t", max_size=90)))
def test_other_lines_are_passed_over(lines: list[str]) -> None:
    list(ipvs_connections.parse(lines))
