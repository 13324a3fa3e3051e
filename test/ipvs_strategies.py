"""Random IPVS tables, as an operator would write them: whatever can work, edges first."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import strategies as st

MAX = 2147483647
# Not 127.0.0.0/8, of which a kernel takes one address for broadcast.
HOST4 = st.one_of(
    st.integers(int(ipaddress.ip_address(low)), int(ipaddress.ip_address(high)))
    for low, high in (("1.0.0.1", "126.255.255.254"), ("128.0.0.1", "223.255.255.254"))
).map(lambda number: str(ipaddress.IPv4Address(number)))
HOST6 = st.integers(1, 2**64).map(lambda number: str(ipaddress.IPv6Address((0x20010DB8 << 96) + number)))
SCHEDULERS = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"]


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@st.composite
def services(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A service's name and its words."""
    family = draw(st.sampled_from(["ipv4", "ipv6"]))
    kind = draw(st.sampled_from(["tcp", "udp", "sctp", "fwmark"]))
    host = HOST4 if family == "ipv4" else HOST6
    words: dict[str, Any] = {"scheduler": draw(st.sampled_from(SCHEDULERS))}
    port = 0
    if kind == "fwmark":
        name = f"fwmark {draw(st.integers(1, 2**32 - 1))} {family}"
    else:
        port = draw(st.integers(0, 65535))
        name = f"{kind} {endpoint(draw(host), port)}"
    flags = {"sh": ["sh-fallback", "sh-port", "flag-3"], "mh": ["mh-fallback", "mh-port", "flag-3"]}
    names = flags.get(words["scheduler"], ["flag-1", "flag-2", "flag-3"])
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=3))
    if chosen:
        words["scheduler_flags"] = [flag for flag in names if flag in chosen]
    if kind in ("udp", "fwmark") and draw(st.booleans()):
        words["one_packet"] = True
    if draw(st.booleans()) or (port == 0 and kind != "fwmark"):
        words["persistence_timeout"] = draw(st.integers(1, 2678400))
        if draw(st.booleans()):
            words["persistence_netmask"] = (
                str(ipaddress.IPv4Address(draw(st.integers(1, 2**32 - 2))))
                if family == "ipv4"
                else draw(st.integers(1, 127))
            )
    words["servers"] = draw(servers(family, kind, port))
    return name, words


@st.composite
def servers(draw: st.DrawFn, family: str, kind: str, port: int) -> dict[str, dict[str, Any]]:
    """A service's servers."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(draw(st.integers(0, 4))):
        method = draw(st.sampled_from(["dr", "nat", "tunnel"]))
        other = method == "tunnel" and draw(st.booleans())
        host = HOST6 if (family == "ipv6") != other else HOST4
        own = draw(st.integers(0, 65535)) if method == "nat" or kind == "fwmark" else port
        words: dict[str, Any] = {"forward": method, "weight": draw(st.one_of(st.just(0), st.integers(0, MAX)))}
        upper = draw(st.one_of(st.just(0), st.integers(0, MAX)))
        lower = draw(st.one_of(st.just(0), st.integers(0, upper)))
        words.update({name: value for name, value in
                      (("upper_threshold", upper), ("lower_threshold", lower)) if value})  # fmt: skip
        if method == "tunnel":
            words["tunnel"] = draw(st.sampled_from(["ipip", "gue", "gre"]))
            usable = {"ipip": [], "gue": ["csum", "remcsum"], "gre": ["csum"]}[words["tunnel"]]
            if words["tunnel"] == "gue":
                words["tunnel_port"] = draw(st.integers(1, 65535))
            # ipvsadm takes either of the two for gue, not both.
            chosen = draw(st.sampled_from([[], *[[flag] for flag in usable]]))
            if chosen:
                words["tunnel_flags"] = chosen
        found[endpoint(draw(host), own)] = words
    return found


tables = st.lists(services(), max_size=6, unique_by=lambda item: item[0]).map(dict)
