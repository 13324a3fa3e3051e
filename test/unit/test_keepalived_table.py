"""Who owns what in the kernel's table: the pillar, keepalived's checks, or somebody else."""

import itertools

import pytest

import ipvs_plan as plan
import ipvs_rules as rules
import keepalived_dump as dump
import keepalived_table as table
from keepalived_data import data, group, real_server, virtual_server

HEAD = "VS VIP = 192.0.2.1, VPORT = 3306"
NAME = "tcp 192.0.2.1:3306"
ONE, TWO, SORRY, FOREIGN = (f"192.0.2.{last}:3306" for last in (5, 6, 9, 66))
SETTINGS = {
    "nodes": {
        "mysql1": {"role": "database", "address": "192.0.2.5", "weight": 3},
        "mysql2": {"role": "database", "address": "192.0.2.6", "weight": 3},
    },
    "endpoints": {"write": {"address": "192.0.2.1", "port": 3306, "serves": "all"}},
}
SERVERS = {ONE: {"weight": 3}, TWO: {"weight": 3}}


def asked(**endpoint):
    """What the pillar asks for, with these words in its endpoint."""
    return table.asked({**SETTINGS, "endpoints": {"write": {**SETTINGS["endpoints"]["write"], **endpoint}}})


def kernel(servers=None, name=NAME, **service):
    """A kernel's table with one service."""
    return rules.table({name: {"scheduler": "wrr", "servers": SERVERS if servers is None else servers, **service}})


def held(*servers, **words):
    """What keepalived has; both servers up if none are named."""
    if not servers:
        servers = (real_server("192.0.2.5", weight=3), real_server("192.0.2.6", weight=3))
    return dump.parse(data(virtual_server(HEAD, *servers, **words)))


def corrected(wanted, present, view):
    """What would be changed, and the table after that, which must then be right."""
    changes = table.corrections(wanted.wanted, present, view, wanted.sorry)
    after = {key: (entry.service, dict(entry.servers)) for key, entry in present.items()}
    for change in changes:
        if change.server is None:
            after[change.key] = (change.new, after.get(change.key, (None, {}))[1])
        elif change.action == plan.DELETE:
            del after[change.key][1][change.server]
        else:
            after[change.key][1][change.server] = change.new
    done = {key: plan.Entry(*entry) for key, entry in after.items()}
    assert table.corrections(wanted.wanted, done, view, wanted.sorry) == []
    return plan.as_dict(changes)


def test_nothing_to_do() -> None:
    assert corrected(asked(), kernel(), held()) == {}
    assert corrected(asked(), kernel(), None) == {}


@pytest.mark.parametrize("view", [held(), None])
def test_what_the_pillar_owns(view) -> None:
    """Whatever keepalived knows or does not say: settings of services, thresholds, methods, and who may be in them."""
    settings = {"scheduler": "rr", "persistence_timeout": 60}
    assert corrected(asked(), kernel(**settings), view) == {
        NAME: {"scheduler": {"old": "rr", "new": "wrr"}, "persistence_timeout": {"old": 60, "new": None}}}  # fmt: skip
    thresholds = {ONE: {"weight": 3, "upper_threshold": 9}, TWO: {"weight": 3}}
    assert corrected(asked(), kernel(thresholds), view) == {
        f"{NAME} -> {ONE}": {"upper_threshold": {"old": 9, "new": None}}}  # fmt: skip
    method = {ONE: {"weight": 3, "forward": "nat"}, TWO: {"weight": 3}}
    assert corrected(asked(), kernel(method), view) == {f"{NAME} -> {ONE}": {"forward": {"old": "nat", "new": "dr"}}}
    foreign = {**SERVERS, FOREIGN: {"weight": 1}}
    assert corrected(asked(), kernel(foreign), view) == {
        f"{NAME} -> {FOREIGN}": {"forward": {"old": "dr", "new": None}, "weight": {"old": 1, "new": None}}}  # fmt: skip


def test_thresholds_that_only_the_pillar_has_changed() -> None:
    wanted = asked(servers={"mysql1": {"upper_threshold": 100, "lower_threshold": 80}})
    view = held(real_server("192.0.2.5", weight=3, upper=100, lower=80), real_server("192.0.2.6", weight=3))
    assert table.disagreements(wanted.wanted, view) == []
    assert corrected(wanted, kernel(), view) == {f"{NAME} -> {ONE}": {
        "upper_threshold": {"old": None, "new": 100}, "lower_threshold": {"old": None, "new": 80}}}  # fmt: skip


def test_a_weight_by_hand_and_one_by_a_check() -> None:
    by_hand = {ONE: {"weight": 0}, TWO: {"weight": 3}}
    change = {f"{NAME} -> {ONE}": {"weight": {"old": 0, "new": 3}}}
    assert corrected(asked(), kernel(by_hand), held()) == change
    dynamic = held(real_server("192.0.2.5", weight=3, effective=253), real_server("192.0.2.6", weight=3, effective=-4))
    assert corrected(asked(), kernel({ONE: {"weight": 253}, TWO: {"weight": 0}}), dynamic) == {}
    # Without knowing, a weight may be a check's.
    assert corrected(asked(), kernel(by_hand), None) == {}


def test_a_server_that_a_check_has_taken_out_stays_out() -> None:
    down = held(real_server("192.0.2.5", weight=3, alive=False), real_server("192.0.2.6", weight=3))
    only_two = kernel({TWO: {"weight": 3}})
    assert corrected(asked(), only_two, down) == {}
    assert corrected(asked(), only_two, None) == {}
    # One that somebody put back goes again: it is dead.
    assert list(corrected(asked(), kernel(), down)) == [f"{NAME} -> {ONE}"]


def test_a_server_that_somebody_took_out_comes_back_if_keepalived_thinks_it_is_there() -> None:
    assert corrected(asked(), kernel({TWO: {"weight": 3}}), held()) == {
        f"{NAME} -> {ONE}": {"forward": {"old": None, "new": "dr"}, "weight": {"old": None, "new": 3}}}  # fmt: skip
    changes = corrected(asked(), {}, held())
    assert list(changes) == [NAME, f"{NAME} -> {ONE}", f"{NAME} -> {TWO}"]
    assert corrected(asked(), {}, None) == {}


def test_inhibited_servers_stay_with_the_weight_0() -> None:
    wanted = asked(inhibit_on_failure=True)
    down = held(real_server("192.0.2.5", weight=3, alive=False, inhibit=True),
                real_server("192.0.2.6", weight=3, inhibit=True))  # fmt: skip
    assert corrected(wanted, kernel({ONE: {"weight": 0}, TWO: {"weight": 3}}), down) == {}
    assert corrected(wanted, kernel(), down) == {f"{NAME} -> {ONE}": {"weight": {"old": 3, "new": 0}}}


@pytest.mark.parametrize("old", [False, True], ids=["2.3.4", "2.2.7"])
@pytest.mark.parametrize(("inhibit", "quorum"), itertools.product([False, True], repeat=2))
def test_sorry_servers(old, inhibit, quorum) -> None:
    wanted = asked(sorry_server={"address": "192.0.2.9", "port": 3306, "inhibit": inhibit})
    dead = [real_server(f"192.0.2.{last}", weight=3, alive=quorum) for last in (5, 6)]
    view = held(*dead, sorry=(inhibit, not quorum, inhibit or not quorum), quorum=quorum, old=old)
    right = dict(SERVERS) if quorum else {}
    if inhibit or not quorum:
        right[SORRY] = {"weight": 0 if quorum else 1}
    assert corrected(wanted, kernel(right), view) == {}
    assert corrected(wanted, kernel(right), None) == {}
    if SORRY in right:
        assert corrected(wanted, kernel({**right, SORRY: {"weight": 7}}), view) == {
            f"{NAME} -> {SORRY}": {"weight": {"old": 7, "new": right[SORRY]["weight"]}}}  # fmt: skip
    else:
        changes = corrected(wanted, kernel({**right, SORRY: {"weight": 1}}), view)
        assert list(changes) == [f"{NAME} -> {SORRY}"]


def test_with_a_sorry_server_in_use_living_inhibited_servers_have_the_weight_0() -> None:
    wanted = asked(inhibit_on_failure=True, quorum=9, sorry_server={"address": "192.0.2.9", "port": 3306})
    view = held(*[real_server(f"192.0.2.{last}", weight=3, inhibit=True) for last in (5, 6)],
                sorry=(False, True, True), quorum=False)  # fmt: skip
    right = {ONE: {"weight": 0}, TWO: {"weight": 0}, SORRY: {"weight": 1}}
    assert corrected(wanted, kernel(right), view) == {}


def test_a_server_that_is_the_sorry_server_too_is_left_as_it_is() -> None:
    wanted = asked(sorry_server={"address": "192.0.2.5", "port": 3306})
    view = held(sorry=(False, False, False))
    for servers in ({TWO: {"weight": 3}}, SERVERS, {ONE: {"weight": 1}, TWO: {"weight": 3}}):
        assert corrected(wanted, kernel(servers), view) == {}


def test_services_of_others_are_not_touched() -> None:
    others = kernel({"192.0.2.66": {}}, "tcp 192.0.2.1:3307") | kernel({}, "fwmark 5 ipv4")
    assert corrected(asked(), {**others, **kernel()}, held()) == {}
    assert corrected(asked(), {**others, **kernel()}, None) == {}


def test_firewall_marks_and_groups() -> None:
    settings = {**SETTINGS, "endpoints": {
        "marked": {"fwmark": 7, "family": "ipv6", "servers": {"a": {"address": "2001:db8::5"}}},
        "group": {"group": ["192.0.2.101-103 80", "fwmark 8", "192.0.2.110 81"], "servers": {
            "a": {"address": "192.0.2.5"}, "b": {"address": "192.0.2.6", "port": 8080, "forward": "nat"}}},
    }}  # fmt: skip
    wanted = table.asked(settings)
    view = dump.parse(data(
        group("with, commas", "VIP Range = 192.0.2.101-192.0.2.103, VPORT = 80", "VIP = 192.0.2.110, VPORT = 81",
              "FWMARK = 8"),
        virtual_server("VS FWMARK = 7", real_server("2001:db8::5", 0), family="inet6"),
        virtual_server("VS GROUP = [with, commas]:0", real_server("192.0.2.5", 0),
                       real_server("192.0.2.6", 8080, method="NAT")),
    ))  # fmt: skip
    assert table.disagreements(wanted.wanted, view) == []
    assert corrected(wanted, wanted.wanted, view) == {}
    assert sorted(key.name for key in view) == ["fwmark 7 ipv6", "fwmark 8 ipv4", *(
        f"tcp 192.0.2.{last}" for last in ("101:80", "102:80", "103:80", "110:81"))]  # fmt: skip
    # With nftables keepalived makes marks of its own of a group, which nobody else knows.
    unnamed = table.asked(
        {**settings, "keepalived": {"global_defs": {"nftables_ipvs": "x", "state_dump_file": "/x/y"}}}
    )
    assert [key.name for key in unnamed.wanted] == ["fwmark 7 ipv6"]
    assert unnamed.wanted.keys() | unnamed.unnamed == wanted.wanted.keys()
    assert unnamed.dump_file == "/x/y"


@pytest.mark.parametrize(("endpoint", "words"), [
    ({}, {}),
    ({"scheduler": "sh", "scheduler_flags": ["sh-port"]}, {"scheduler": "sh", "flags": ["sh-port"]}),
    ({"scheduler": "mh", "scheduler_flags": ["mh-fallback", "mh-port"]},
     {"scheduler": "mh", "flags": ["mh-port", "mh-fallback"]}),
    ({"scheduler_flags": ["flag-3"]}, {"flags": ["flag-3"]}),
    ({"persistence_timeout": 60}, {"persistence": {"timeout": 60}}),
    ({"persistence_timeout": 60, "persistence_netmask": "255.255.255.0"},
     {"persistence": {"timeout": 60, "granularity": "255.255.255.0"}}),
])  # fmt: skip
def test_what_a_service_is_set_to_is_read_as_it_is_asked_for(endpoint, words) -> None:
    (wanted,) = asked(**endpoint).wanted.values()
    (view,) = held(**words).values()
    assert view.service == wanted.service


def test_one_packet_and_other_protocols_are_read() -> None:
    words = {"family": "inet6", "one_packet": "enabled", "persistence": {"timeout": 9, "granularity": 64}}
    view = dump.parse(data(virtual_server("VS VIP = 2001:db8::1, VPORT = 53", protocol="UDP", **words)))
    wanted = rules.table({"udp [2001:db8::1]:53": {"scheduler": "wrr", "one_packet": True, "persistence_timeout": 9,
                                                   "persistence_netmask": 64}})  # fmt: skip
    assert {key: one.service for key, one in view.items()} == {key: one.service for key, one in wanted.items()}


@pytest.mark.parametrize("text", ["", "nothing", data(virtual_server("VS VIP = 192.0.2.1")),
                                  data(virtual_server(HEAD, "   ------< Real server >------\n   RIP = x\n")),
                                  data(virtual_server("VS GROUP = [unknown]:0"))])  # fmt: skip
def test_what_is_not_as_expected_is_no_guess(text) -> None:
    with pytest.raises(ValueError):
        dump.parse(text)


def test_a_text_that_breaks_off_is_no_guess_or_as_much_as_it_says() -> None:
    whole = data(virtual_server(HEAD, real_server("192.0.2.5", weight=3)))
    good = dump.parse(whole)
    for end in range(len(whole)):
        try:
            found = dump.parse(whole[:end])
        except ValueError:
            continue
        assert found in ({}, good) or table.disagreements(good_wanted(), found), whole[:end][-60:]


def good_wanted():
    return rules.table({NAME: {"scheduler": "wrr", "servers": {ONE: {"weight": 3}}}})


def test_without_virtual_servers() -> None:
    assert dump.parse(data()) == {}


@pytest.mark.parametrize(("view", "sentence"), [
    ({}, f"it has no {NAME}"),
    (held(scheduler="rr"), f"{NAME}: it has the scheduler rr, not wrr"),
    (held(real_server("192.0.2.5", weight=3)), f"{NAME}: it has no server {TWO}"),
    (held(*(real_server(f"192.0.2.{last}", weight=3) for last in (5, 6, 7))), f"{NAME}: it still has 192.0.2.7:3306"),
    (held(real_server("192.0.2.5", weight=4), real_server("192.0.2.6", weight=3)),
     f"{NAME} -> {ONE}: it has the weight 4, not 3"),
    (held(real_server("192.0.2.5", weight=3, upper=5), real_server("192.0.2.6", weight=3)),
     f"{NAME} -> {ONE}: it has the upper_threshold 5, not 0"),
    (held(real_server("192.0.2.5", weight=3), real_server("192.0.2.6", weight=3, method="NAT")),
     f"{NAME} -> {TWO}: it has the forward method of before"),
])  # fmt: skip
def test_what_keepalived_has_otherwise(view, sentence) -> None:
    assert table.disagreements(asked().wanted, view) == [sentence]
    both = {**view, **dump.parse(data(virtual_server("VS VIP = 192.0.2.2, VPORT = 1")))}
    assert "it still has tcp 192.0.2.2:1" in table.disagreements(asked().wanted, both)


BY_PORT = {"scheduler": "sh", "flags": ["sh-port"]}


@pytest.mark.parametrize(("endpoint", "words", "sentence"), [
    ({"persistence_timeout": 30}, {}, "it has no persistence_timeout 30 yet"),
    ({}, {"persistence": {"timeout": 30}}, "it still has the persistence_timeout 30"),
    ({"persistence_timeout": 30}, {"persistence": {"timeout": 60}}, "it has the persistence_timeout 60, not 30"),
    ({"persistence_timeout": 30, "persistence_netmask": "255.255.255.0"}, {"persistence": {"timeout": 30}},
     "it has no persistence_netmask 255.255.255.0 yet"),
    ({"scheduler": "sh", "scheduler_flags": ["sh-fallback"]}, BY_PORT,
     "it has the scheduler_flags ['sh-port'], not ['sh-fallback']"),
    ({"scheduler": "sh"}, BY_PORT, "it still has the scheduler_flags ['sh-port']"),
])  # fmt: skip
def test_a_reload_is_over_when_keepalived_has_all_that_a_service_is_set_to(endpoint, words, sentence) -> None:
    """Else the table would be put right a moment before keepalived does that itself."""
    assert table.disagreements(asked(**endpoint).wanted, held(**words)) == [f"{NAME}: {sentence}"]


# --- test mode: what keepalived will have done by itself ---


def foreseen(wanted, present, view):
    """What there will be to correct after a reload."""
    after, then = table.after_reload(wanted.wanted, present, view)
    assert table.disagreements(wanted.wanted, then) == []
    return plan.as_dict(table.corrections(wanted.wanted, after, then, wanted.sorry))


def test_keepalived_does_most_of_it_by_itself() -> None:
    for wanted in (asked(scheduler="wlc"), asked(servers={"mysql1": {"weight": 9}}), asked(forward="nat"),
                   asked(servers={"x": {"address": "192.0.2.77", "upper_threshold": 5}}), asked(port=3307),
                   asked(servers={"mysql1": {"weight": 9, "upper_threshold": 100}})):  # fmt: skip
        assert foreseen(wanted, kernel(), held()) == {}
    fewer = table.asked({**SETTINGS, "nodes": {"mysql1": SETTINGS["nodes"]["mysql1"]}})
    assert foreseen(fewer, kernel(), held()) == {}
    assert foreseen(asked(), {}, {}) == {}


def test_what_keepalived_leaves_is_foreseen() -> None:
    thresholds = asked(servers={"mysql1": {"upper_threshold": 100}})
    change = {f"{NAME} -> {ONE}": {"upper_threshold": {"old": None, "new": 100}}}
    assert foreseen(thresholds, kernel(), held()) == change
    # It starts on a table that somebody left behind.
    left = kernel({ONE: {"weight": 7}, FOREIGN: {}}, scheduler="rr")
    assert list(foreseen(asked(), left, {})) == [NAME, f"{NAME} -> {ONE}", f"{NAME} -> {FOREIGN}"]
    # Somebody took the service away: keepalived adds nothing to it.
    assert list(foreseen(asked(scheduler="rr"), {}, held())) == [NAME, f"{NAME} -> {ONE}", f"{NAME} -> {TWO}"]


def test_what_a_check_has_taken_out_is_foreseen_to_stay_out() -> None:
    down = held(real_server("192.0.2.5", weight=3, alive=False), real_server("192.0.2.6", weight=3, effective=5))
    present = kernel({TWO: {"weight": 5}})
    assert foreseen(asked(scheduler="rr"), present, down) == {}
    assert foreseen(asked(servers={"mysql2": {"weight": 9}}), present, down) == {}
    inhibited = held(real_server("192.0.2.5", weight=3, alive=False, inhibit=True), real_server("192.0.2.6", weight=3))
    present = kernel({ONE: {"weight": 0}, TWO: {"weight": 3}})
    assert foreseen(asked(servers={"mysql1": {"weight": 9}}), present, inhibited) == {}


def test_services_that_are_not_keepaliveds_are_foreseen_to_stay() -> None:
    others = kernel({"192.0.2.66": {}}, "tcp 192.0.2.1:3307")
    after, _ = table.after_reload(asked().wanted, {**others, **kernel()}, held())
    assert others.items() <= after.items()
    after, _ = table.after_reload({}, {**others, **kernel()}, held())
    assert after == others
