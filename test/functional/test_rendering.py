"""Every SLS renders: for every role, for a wrong pillar, and for any pillar whatever."""

import copy
import re

import jinja2
import pytest
import salt.state
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from salt_fixtures import EXAMPLE as TWO_MASTERS
from salt_fixtures import REPOSITORY

EXAMPLE = copy.deepcopy(TWO_MASTERS)
EXAMPLE["mysql_ha"]["nodes"]["replica1"] = {
    "role": "replica", "address": "192.168.1.7", "server_id": 3, "replicates_from": "mysql1"}  # fmt: skip
NAMES = sorted(
    ".".join(("mysql_ha", *path.relative_to(REPOSITORY / "mysql_ha").with_suffix("").parts)).removesuffix(".init")
    for path in (REPOSITORY / "mysql_ha").rglob("*.sls")
)
ROLES = {"lvs1": "director", "mysql1": "database", "replica1": "replica", "web1": None}
SECRET = "change-me-please"
NOT_IN_YAML = '\x00\x7f \x85\n\u2028\ufffe \U0001f600 "{{ {% #'


@pytest.fixture(scope="session")
def compiled_once():
    """Salt makes a new Jinja environment for each SLS; compiling the same text again is most of a render's time."""
    compile_one, made = jinja2.Environment.compile, {}

    def compile_or_remember(environment, source, name=None, filename=None, raw=False, defer_init=False):
        setup = [str(getattr(environment, option)) for option in ("trim_blocks", "lstrip_blocks", "undefined")]
        key = (source, name, filename, raw, defer_init, *setup, *environment.extensions)
        if key not in made:
            made[key] = compile_one(environment, source, name, filename, raw, defer_init)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_or_remember)
        yield


@pytest.fixture(scope="session")
def render(minion_options, compiled_once):
    """``render("lvs1", pillar, "mysql_ha")``: the low chunks of an SLS, which must have no errors."""
    options = {name: minion_options(name) for name in (*ROLES, "mysql2")}

    def chunks(minion, pillar, sls):
        opts = copy.deepcopy(options[minion])
        opts["pillar"] = pillar
        opts["grains"] = {"id": minion, "os_family": "Debian", "os": "Debian", "kernel": "Linux", "saltpath": "/"}
        # The modules have been brought by the loaders' own sync; here the SLS alone are looked at.
        opts["autoload_dynamic_modules"] = False
        # Salt looks for the `mod_watch` of what watches, and reads all states that there are if it has not got ours.
        opts["states_dirs"] = [str(REPOSITORY / "_states")]
        state = salt.state.HighState(opts, pillar_override=None, initial_pillar=pillar)
        state.push_active()
        try:
            high, errors = state.render_highstate({"base": [sls]})
            errors += state.state.verify_high(high)
            high, more = state.state.reconcile_extend(high)
            high, yet_more = state.state.requisite_in(high)
            compiled = state.state.compile_high_data(high)
            # Since 3008 a pair of chunks and errors.
            chunks, last = compiled if isinstance(compiled, tuple) else (compiled, [])
            assert not [*errors, *more, *yet_more, *last]
            return chunks
        finally:
            state.pop_active()

    return chunks


@pytest.mark.parametrize("minion", ROLES)
@pytest.mark.parametrize("sls", NAMES)
def test_every_sls_can_be_applied_alone(render, minion, sls) -> None:
    assert all(chunk["__sls__"].startswith("mysql_ha") for chunk in render(minion, EXAMPLE, sls))


def test_roles_get_what_they_need_and_nothing_else(render) -> None:
    director = {chunk["__sls__"] for chunk in render("lvs1", EXAMPLE, "mysql_ha")}
    database = {chunk["__sls__"] for chunk in render("mysql1", EXAMPLE, "mysql_ha")}
    replica = {chunk["__sls__"] for chunk in render("replica1", EXAMPLE, "mysql_ha")}
    other = {chunk["__sls__"] for chunk in render("web1", EXAMPLE, "mysql_ha")}
    assert not [sls for sls in director if "database" in sls or "realserver" in sls]
    assert not [sls for sls in database if "director" in sls or "replica." in sls]
    assert not [sls for sls in replica if "director" in sls or "realserver" in sls or sls.endswith("e.replication")]
    assert {"mysql_ha.replica.replication", "mysql_ha.replica.follow", "mysql_ha.database.accounts"} <= replica
    assert other == {"mysql_ha.sync", "mysql_ha.unlisted"}


@pytest.mark.parametrize("minion", ROLES)
def test_ids_say_where_a_state_lives(render, minion) -> None:
    for chunk in render(minion, EXAMPLE, "mysql_ha"):
        place = chunk["__sls__"].removeprefix("mysql_ha.").replace(".", "-")
        pattern = rf"mysql_ha-{place}(-init)?-{chunk['state']}-{chunk['fun']}(-[\w.]+)?"
        assert re.fullmatch(pattern, chunk["__id__"]), chunk["__id__"]


@pytest.mark.parametrize("minion", ROLES)
def test_the_pillar_is_checked_first_and_stops_the_run(render, minion) -> None:
    first = render(minion, EXAMPLE, "mysql_ha")[0]
    assert (first["state"], first["fun"], first["failhard"]) == ("mysql_ha", "pillar_valid", True)


@pytest.mark.parametrize("minion", ROLES)
def test_no_state_has_salt_load_all_states_that_there_are(render, minion) -> None:
    """For one with any of these Salt looks for a `mod_run_check` of its module, which takes seconds if it has none."""
    slow = {"onlyif", "unless", "creates"}
    assert [chunk["__id__"] for chunk in render(minion, EXAMPLE, "mysql_ha") if slow & chunk.keys()] == []


@pytest.mark.parametrize("minion", ROLES)
def test_every_state_waits_for_the_check(render, minion) -> None:
    """failhard does not stop a run in test mode, so each state also requires the check, itself or by others."""
    chunks = render(minion, EXAMPLE, "mysql_ha")
    by_name = {(chunk["state"], chunk["__id__"]): chunk for chunk in chunks}

    def reaches(chunk, seen=()):
        if chunk["__sls__"] == "mysql_ha.sync":
            return True
        wanted = [tuple(one.items())[0] for kind in ("require", "watch") for one in chunk.get(kind, ())]
        for kind, name in wanted:
            others = [one for one in chunks if one["__sls__"] == name] if kind == "sls" else [by_name[kind, name]]
            if any(id(other) not in seen and reaches(other, (*seen, id(chunk))) for other in others):
                return True
        return False

    assert [chunk["__id__"] for chunk in chunks if not reaches(chunk)] == []


@pytest.mark.parametrize("minion", ROLES)
def test_no_secret_is_an_argument(render, minion) -> None:
    assert SECRET not in repr(render(minion, EXAMPLE, "mysql_ha"))


scalars = st.none() | st.booleans() | st.integers(-5, 70000) | st.floats(allow_nan=False) | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
PATHS = [
    [key] for key in [*EXAMPLE["mysql_ha"]]
] + [
    [key, inner] for key, value in EXAMPLE["mysql_ha"].items() if isinstance(value, dict) for inner in value
] + [["nodes", "lvs1", "role"], ["nodes", "mysql1", "server_id"], ["endpoints", "write", "address"],
     ["endpoints", "write", "servers"], ["endpoints", "write", "group"], ["endpoints", "write", "forward"],
     ["ipvs", "services", "tcp 192.168.1.102:80"],
     ["nodes", "replica1", "replicates_from"], ["database", "replication", "user"],
     ["kernel", "sysctls", "sync_threshold"], ["kernel", "sysctls", "conn_lfactor"],
     ["firewall", "sources", "lvs2"]]  # fmt: skip


@pytest.mark.parametrize(("turn", "value"), enumerate([None, "a: {b", [5], {"x": None}]), ids=str)
def test_each_wrong_value_everywhere_still_renders(render, turn, value) -> None:
    minions = ["lvs1", "mysql1", "replica1"]
    for number, path in enumerate(PATHS):
        # A whole render takes a second: each place has each value on one minion, and all minions have their turn.
        minion = minions[(number + turn) % len(minions)]
        pillar = copy.deepcopy(EXAMPLE)
        place = pillar["mysql_ha"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert render(minion, pillar, "mysql_ha")[0]["fun"] == "pillar_valid", path


@given(path=st.sampled_from(PATHS), value=values, minion=st.sampled_from(sorted(ROLES)))
@example(path=["schema"], value={NOT_IN_YAML: None}, minion="lvs1")
@example(path=["endpoints", "write", "address"], value="a: {b\n", minion="mysql1")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_wrong_value_anywhere_still_renders(render, path, value, minion) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    place = pillar["mysql_ha"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    chunks = render(minion, pillar, "mysql_ha")
    assert chunks[0]["fun"] == "pillar_valid"


def test_characters_that_yaml_has_no_place_for_arrive_unchanged(render) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["cluster"] = NOT_IN_YAML
    chunk = next(one for one in render("lvs1", pillar, "mysql_ha") if one["fun"] == "configured")
    assert chunk["settings"]["cluster"] == NOT_IN_YAML


@given(pillar=values, minion=st.sampled_from(sorted(ROLES)))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_pillar_whatever_renders(render, pillar, minion) -> None:
    assert render(minion, {"mysql_ha": pillar}, "mysql_ha")[0]["fun"] == "pillar_valid"


def test_databases_take_packets_for_the_addresses_that_reach_them_unchanged(render) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    other = {"other": {"address": "10.0.0.7"}}
    pillar["mysql_ha"]["endpoints"] |= {
        "nat": {"address": "192.168.1.101", "port": 3306, "serves": "all", "forward": "nat"},
        "six": {"address": "2001:db8::1", "port": 3306, "serves": "all", "forward": "tunnel"},
        "web": {"address": "192.168.1.103", "port": 80, "servers": other},
        "named": {"address": "192.168.1.104", "port": 3306, "servers": {"mysql2": None, **other}},
        "partly": {
            "address": "192.168.1.105",
            "port": 3306,
            "forward": "nat",
            "servers": {"mysql1": {"forward": "dr"}},
        },
        "mark": {"fwmark": 5, "serves": "all"},
        "group": {"group": ["192.168.1.106 3306", "fwmark 5"], "servers": {"mysql1": {}}},
    }
    names = [chunk["name"] for chunk in render("mysql1", pillar, "mysql_ha.realserver") if chunk["fun"] == "running"]
    assert names == [f"mysql_ha-vip@192.168.1.{last}" for last in (100, 104, 105, 106)]


STATIC = {
    "tcp 192.168.1.102:80": {"scheduler": "wlc", "servers": {"192.168.1.5": {"weight": 3}}},
    "udp [2001:db8::1]:53": None,
    NOT_IN_YAML: {NOT_IN_YAML: None},
}


def test_static_services_arrive_as_they_are_after_all_that_is_keepalives(render) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["ipvs"] = {"services": STATIC, "purge": True, "drain": 60}
    chunks = render("lvs1", pillar, "mysql_ha")
    chunk = chunks[-1]
    assert (chunk["state"], chunk["fun"], chunk["name"]) == ("ipvs", "static", "/etc/mysql_ha/ipvs.rules")
    assert chunk["settings"]["ipvs"] == pillar["mysql_ha"]["ipvs"]
    assert chunk["settings"]["endpoints"] == pillar["mysql_ha"]["endpoints"]
    assert chunk["require"] == [{"sls": "mysql_ha.director.table"}]
    assert {"mysql_ha.director.table", "mysql_ha.director.service"} <= {one["__sls__"] for one in chunks[:-1]}


@pytest.mark.parametrize("given", [{}, {"services": {}}, {"services": None}, {"purge": False}, None, "x"], ids=str)
def test_without_static_services_there_is_a_state_that_takes_away_what_was_there(render, given) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["ipvs"] = given
    chunk = render("lvs1", pillar, "mysql_ha.director.services")[-1]
    assert chunk["settings"]["ipvs"] == {"services": {}, "purge": False, "drain": 0}


CA = {"tls_ca": "-----BEGIN CERTIFICATE-----", "tls_ca_key": "-----BEGIN PRIVATE KEY-----MARKED"}
GIVEN = {"ca_file": "/ca.pem", "certificate_file": "/cert.pem", "key_file": "/key.pem"}


@pytest.mark.parametrize(("flavor", "tls", "secrets", "states", "ca_file"), [
    ("mariadb", {}, {}, set(), ""),
    ("mysql", {}, CA, {"mysql_tls.certificate", "mysql_server.tls_loaded"}, "/etc/mysql/mysql_ha-tls/ca.pem"),
    ("mariadb", GIVEN, {}, {"mysql_tls.given", "mysql_server.tls_loaded"}, "/ca.pem"),
])  # fmt: skip
def test_certificates_are_made_given_or_the_servers_own(render, flavor, tls, secrets, states, ca_file) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["database"] |= {"flavor": flavor, "tls": tls}
    pillar["mysql_ha"]["secrets"] |= secrets
    chunks = render("mysql1", pillar, "mysql_ha")
    by_function = {f"{chunk['state']}.{chunk['fun']}": chunk for chunk in chunks}
    assert {name for name in by_function if "tls" in name} == states
    assert by_function["mysql_replication.replicating"]["ca_file"] == ca_file
    assert (by_function["mysql_server.configured"]["tls"] is None) == (not ca_file)
    assert by_function["mysql_server.running"]["name"] == flavor
    assert by_function["pkg.installed"]["pkgs"] != []
    assert "MARKED" not in str(chunks)


def test_a_directors_kernel_is_set_by_one_state_with_the_pillars_values_over_the_defaults(render) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["kernel"] = {"sysctls": {"conn_reuse_mode": 0, "sync_threshold": [3, 50], "conntrack": 1}}
    chunks = render("lvs1", pillar, "mysql_ha.director.kernel")
    chunk = next(one for one in chunks if one["state"] == "director_sysctl")
    assert chunk["name"] == "/etc/sysctl.d/90-mysql_ha.conf"
    assert chunk["settings"]["kernel"]["sysctls"] == {
        "expire_nodest_conn": 1, "expire_quiescent_template": 1, "conn_reuse_mode": 0, "sync_threshold": [3, 50],
        "sync_refresh_period": 60, "conntrack": 1}  # fmt: skip
    assert [one for one in chunks if one["state"] == "sysctl"] == []
    # IPVS brings the names that are to be set.
    assert {"kmod": "mysql_ha-director-kernel-kmod-present"} in chunk["require"]


@pytest.mark.parametrize(("firewall", "functions"), [
    ({"vrrp": True}, ["pkg.installed", "director_firewall.loaded"]),
    ({"vrrp": False}, ["director_firewall.absent"]),
    ({}, ["director_firewall.absent"]),
    (None, ["director_firewall.absent"]),
    ({"vrrp": "true"}, ["director_firewall.absent"]),
    ({"vrrp": 1}, ["director_firewall.absent"]),
    ({"vrrp": {}}, ["director_firewall.absent"]),
    ([5], ["director_firewall.absent"]),
], ids=str)  # fmt: skip
def test_a_director_filters_what_the_pillar_says_in_so_many_words(render, firewall, functions) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["firewall"] = firewall
    sls = "mysql_ha.director.firewall"
    chunks = [one for one in render("lvs1", pillar, sls) if one["__sls__"] == sls]
    assert [f"{one['state']}.{one['fun']}" for one in chunks] == functions
    assert chunks[-1]["name"] == "/etc/mysql_ha/firewall.nft"
    if len(functions) == 2:
        assert chunks[0]["pkgs"] == ["nftables"]


def test_the_firewall_and_the_user_of_programs_are_there_before_keepalived_needs_them(render) -> None:
    chunks = render("lvs1", EXAMPLE, "mysql_ha")
    order = [f"{one['state']}.{one['fun']}" for one in chunks]
    assert order.index("user.present") < order.index("keepalived.configured")
    assert order.index("director_firewall.absent") < order.index("service.running")
    user = next(one for one in chunks if one["state"] == "user")
    assert (user["name"], user["system"], user["shell"]) == ("keepalived_script", True, "/usr/sbin/nologin")


def test_a_restart_goes_from_one_database_to_the_next(render) -> None:
    chunks = [chunk for chunk in render("web1", EXAMPLE, "mysql_ha.orch.restart") if chunk["fun"] == "state"]
    assert [(chunk["tgt"], chunk["sls"]) for chunk in chunks] == [
        (minion, "mysql_ha.database.restart") for minion in ("replica1", "mysql1", "mysql2")]  # fmt: skip
    assert all(chunk["failhard"] for chunk in chunks)
    assert chunks[2]["require"] == [{"salt": "mysql_ha-orch-restart-salt-state-mysql1"}]
    nothing = render("web1", {"mysql_ha": {}}, "mysql_ha.orch.restart")
    assert [chunk["fun"] for chunk in nothing] == ["fail_without_changes"]


def test_directors_are_upgraded_the_standby_first(render) -> None:
    chunks = render("web1", EXAMPLE, "mysql_ha.orch.upgrade_directors")
    steps = (".config", ".restart_standby", ".restart", "")
    assert [(chunk["tgt"], chunk["sls"].removeprefix("mysql_ha.director")) for chunk in chunks] == [
        (minion, step) for step in steps for minion in ("lvs1", "lvs2")]  # fmt: skip
    assert all(chunk["failhard"] for chunk in chunks)
    assert [chunk["require"] for chunk in chunks[1:]] == [[{"salt": chunk["__id__"]}] for chunk in chunks[:-1]]
    nothing = render("web1", {"mysql_ha": {}}, "mysql_ha.orch.upgrade_directors")
    assert [chunk["fun"] for chunk in nothing] == ["fail_without_changes"]


def test_a_new_keepalived_is_asked_about_the_configuration(render) -> None:
    chunks = {chunk["name"]: chunk for chunk in render("lvs1", EXAMPLE, "mysql_ha.director")
              if chunk["state"] == "source_build"}  # fmt: skip
    assert chunks["keepalived"]["accept"] == "keepalived.accepts"
    assert chunks["keepalived"]["accept_with"]["settings"]["cluster"] == EXAMPLE["mysql_ha"]["cluster"]
    assert "accept" not in chunks["ipvsadm"]


def test_keepalived_is_built_as_the_pillar_says(render) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    plain = {chunk["state"]: chunk for chunk in render("lvs1", pillar, "mysql_ha.director.keepalived")}
    pillar["mysql_ha"]["keepalived"] |= {
        "configure_options": ["--enable-snmp", "--with-x=y"],
        "build_packages": ["libx"],
    }
    chunks = {chunk["state"]: chunk for chunk in render("lvs1", pillar, "mysql_ha.director.keepalived")}
    assert chunks["source_build"]["build"][0] == plain["source_build"]["build"][0] + " --enable-snmp --with-x=y"
    assert chunks["pkg"]["pkgs"] == [*plain["pkg"]["pkgs"], "libx"]


@pytest.mark.parametrize(("asked", "steps"), [
    ({"node": "mysql2"}, [("mysql2", "database.rebuild"), ("mysql2", "database"), ("mysql1", "database.replication"),
                          ("replica1", "replica.replication")]),
    ({"node": "replica1"}, [("replica1", "database.rebuild"), ("replica1", "replica")]),
    ({"node": "replica1", "from": "mysql2"}, [("replica1", "database.rebuild"), ("replica1", "replica")]),
    ({"node": "mysql2", "from": "replica1"}, None),
    ({"node": "lvs1"}, None),
], ids=str)  # fmt: skip
def test_a_database_or_a_replica_is_rebuilt_from_a_database(render, asked, steps) -> None:
    pillar = copy.deepcopy(EXAMPLE) | {"rebuild": asked}
    pillar["mysql_ha"]["database"]["flavor"] = "mysql"
    chunks = render("web1", pillar, "mysql_ha.orch.rebuild")
    if steps is None:
        assert [chunk["fun"] for chunk in chunks] == ["fail_without_changes"]
        return
    assert [(chunk["tgt"], chunk["sls"].removeprefix("mysql_ha.")) for chunk in chunks] == steps
    assert chunks[0]["pillar"]["rebuild"]["from"] == asked.get("from", "mysql1")


def test_the_masters_let_the_replicas_in(render) -> None:
    for minion in ("mysql1", "mysql2", "replica1"):
        chunk = next(one for one in render(minion, EXAMPLE, "mysql_ha") if one["fun"] == "managed"
                     and one["state"] == "mysql_account")  # fmt: skip
        assert chunk["replication"]["hosts"] == ["192.168.1.5", "192.168.1.6", "192.168.1.7"]


@pytest.mark.parametrize(("backup", "making"), [
    ({}, []),
    ({"enabled": True}, ["mysql2"]),
    ({"enabled": True, "nodes": ["mysql1"]}, ["mysql1"]),
    ({"enabled": True, "nodes": ["mysql1", "mysql2"]}, ["mysql1", "mysql2"]),
])  # fmt: skip
def test_the_reader_makes_backups_unless_others_are_named(render, backup, making) -> None:
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["database"]["backup"] = backup
    for minion in ("mysql1", "mysql2"):
        chunks = [one for one in render(minion, pillar, "mysql_ha.database") if one["state"] == "mysql_backup"]
        assert [one["fun"] for one in chunks] == ["scheduled" if minion in making else "unscheduled"]
        if minion in making:
            assert (chunks[0]["name"], chunks[0]["keep"], chunks[0]["schedule"]) == (
                "/var/backups/mysql_ha",
                7,
                "daily",
            )


@pytest.mark.parametrize(("asked", "steps"), [
    ({"node": "mysql1"}, ["await_applied", "restore", "join"]),
    ({"node": "mysql1", "from": "mysql1", "backup": "/mnt/x"}, ["await_applied", "restore", "join"]),
    ({"node": "mysql1", "alone": True}, ["restore", "join"]),
    ({"node": "mysql1", "from": "mysql2"}, ["introduce", "send"]),
    ({}, ["fail"]),
    ({"node": "*"}, ["fail"]),
    ({"node": "lvs1"}, ["fail"]),
    ({"node": "mysql1", "from": "web1"}, ["fail"]),
    ({"node": "mysql1", "from": "mysql2", "port": "x"}, ["fail"]),
    ({"node": "mysql1", "backup": {}}, ["fail"]),
    (None, ["fail"]),
], ids=str)  # fmt: skip
def test_a_restore_goes_into_a_database_that_is_named(render, asked, steps) -> None:
    chunks = render("web1", EXAMPLE | {"restore": asked}, "mysql_ha.orch.restore")
    said = [chunk["__id__"].removeprefix("mysql_ha-orch-restore-").split("-")[-1] for chunk in chunks]
    assert said == (["fail_without_changes"] if steps == ["fail"] else steps)
    assert all(chunk["failhard"] for chunk in chunks)


@pytest.fixture
def offers(monkeypatch):
    """What the hosts answer while an orchestration is rendered: ``offers[host] = ...``."""
    answers = {}

    class Client:
        """The master's."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def cmd_iter(self, tgt, **_):
            yield {tgt: {"ret": answers[tgt]}} if tgt in answers else {}

        cmd_cli = cmd_iter

    monkeypatch.setattr("salt.client.get_local_client", lambda *_, **__: Client())
    return answers


COPIES = ["copy", "node", "from", "replica1"]
OFFER = {"certificate": "-----BEGIN CERTIFICATE-----\nx\n", "series": "10.11", "why": ""}


@pytest.mark.parametrize(("asked", "flavor", "steps"), [
    ({"node": "mysql1"}, "mariadb", ["tools", "introduce", "copy"]),
    ({"node": "mysql1"}, None, ["tools", "introduce", "copy"]),
    ({"node": "mysql1", "from": "mysql2", "limit": 5, "port": 4445}, "mariadb", ["tools", "introduce", "copy"]),
    ({"node": "mysql1"}, "mysql", COPIES),
    ({"node": "mysql1", "introduced": True}, "mariadb", COPIES),
    ({}, "mariadb", ["fail_without_changes"]),
    ({"node": "*"}, "mariadb", ["fail_without_changes"]),
    ({"node": "lvs1"}, "mysql", ["fail_without_changes"]),
    ({"node": "mysql1", "from": "mysql1"}, "mariadb", ["fail_without_changes"]),
    ({"node": "mysql1", "port": "x"}, "mariadb", ["fail_without_changes"]),
    ({"node": "mysql1", "limit": -1}, "mariadb", ["fail_without_changes"]),
    (None, "mariadb", ["fail_without_changes"]),
], ids=str)  # fmt: skip
def test_a_rebuild_is_of_a_database_that_is_named(render, offers, asked, flavor, steps) -> None:
    pillar = copy.deepcopy(EXAMPLE) | {"rebuild": asked}
    pillar["mysql_ha"]["database"]["flavor"] = flavor
    chunks = render("web1", pillar, "mysql_ha.orch.rebuild")
    assert [chunk["__id__"].removeprefix("mysql_ha-orch-rebuild-").split("-")[-1] for chunk in chunks] == steps
    assert all(chunk.get("failhard") for chunk in chunks if chunk["__id__"].split("-")[-1] != "replica1")


@pytest.mark.parametrize(("here", "there", "why"), [
    (OFFER, OFFER, ""),
    (OFFER | {"series": "", "certificate": "", "why": "mariadb-backup is not installed on mysql1"}, OFFER,
     "mariadb-backup is not installed on mysql1"),
    (OFFER, OFFER | {"series": "11.8"}, "it is 11.8 on mysql2 and 10.11 on mysql1"),
    (OFFER, "a traceback", "mysql2 did not answer"),
    (OFFER, None, "mysql2 did not answer"),
], ids=str)  # fmt: skip
def test_a_rebuild_streams_files_where_both_hosts_can(render, offers, here, there, why) -> None:
    offers.update({"mysql1": here, "mysql2": there})
    asked = {"node": "mysql1", "introduced": True, "limit": 7, "port": 4445}
    chunks = {chunk["__id__"].split("-")[-1]: chunk
              for chunk in render("web1", EXAMPLE | {"rebuild": asked}, "mysql_ha.orch.rebuild")}  # fmt: skip
    given = chunks["copy"]["pillar"]["rebuild"]
    assert given.get("why", "") == why
    if why:
        assert list(chunks) == COPIES
        assert "stream" not in given
        return
    assert given == {"from": "mysql2", "limit": 7, "stream": {"port": 4445, "certificate": OFFER["certificate"]}}
    assert (chunks["send"]["tgt"], chunks["send"]["kwarg"]["limit"]) == ("mysql2", 7)
    assert chunks["send"]["kwarg"]["peer"] == OFFER["certificate"]
    assert {"salt": "mysql_ha-orch-rebuild-salt-function-send"} in chunks["node"]["require"]
    # The recipient listens at its own address.
    node = render("mysql1", EXAMPLE | {"rebuild": given}, "mysql_ha.database.rebuild")[-1]
    address = EXAMPLE["mysql_ha"]["nodes"]["mysql1"]["address"]
    assert node["stream"] == {"address": address, "port": 4445, "certificate": OFFER["certificate"]}


@given(asked=values, pillar=values)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_rebuild_renders_whatever_is_asked(render, offers, asked, pillar) -> None:
    for sls in ("mysql_ha.orch.rebuild", "mysql_ha.database.rebuild", "mysql_ha.database.copy_tools"):
        assert render("mysql1", {"mysql_ha": pillar, "rebuild": asked}, sls)
