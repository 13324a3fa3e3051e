"""keepalived.configured: what it shows and what it hides; keepalived's own check runs in the lab."""

import itertools
import stat
from pathlib import Path

import pytest
import yaml
from salt.exceptions import CommandExecutionError, SaltInvocationError

import keepalived_conf

ROOT = Path(__file__).resolve().parents[2]
NEW = "global_defs {\n    router_id a_lvs1\n}\nauthentication {\n    auth_pass n3wpass\n}\n"
OLD = NEW.replace("n3wpass", "0ldpass")


@pytest.fixture
def configured(load_module, tmp_path):
    place = tmp_path / "keepalived.conf"

    def run(test=False, refuses=False, text=NEW, installed="2.3.4", wrong=None, foreign=(), lacks_user=False):
        def managed(name, contents, mode, **_):
            if wrong:
                raise wrong
            changes = {}
            if not place.exists() or place.read_text() != contents:
                changes["diff"] = "x"
            elif stat.S_IMODE(place.stat().st_mode) != 0o600:
                changes["mode"] = "0600"
            if not test:
                Path(name).write_text(contents)
                Path(name).chmod(int(mode, 8))
            return {"result": True, "changes": changes, "comment": ""}

        def config(_settings):
            if text is None:
                raise CommandExecutionError("keepalived.conf for lvs1: no such director")
            return text

        def check_text(checked):
            run.checked.append(checked)
            said = "exit status 5: an error\n  auth_pass n3wpass\n  unknown keyword" if refuses else ""
            return {"accepted": not refuses, "comment": said}

        module = load_module(
            "states",
            "keepalived",
            __opts__={"test": test},
            __states__={"file.managed": managed},
            __salt__={
                "keepalived.config": config,
                "keepalived.foreign_addresses": lambda _settings: list(foreign),
                "keepalived.redact": keepalived_conf.redact,
                "keepalived.check_text": check_text,
                "keepalived.version": lambda: installed,
                "keepalived.lacks_user": lambda _text: lacks_user,
            },
        )
        return module.configured(str(place), {"keepalived": {"version": "2.3.4"}})

    run.place = place
    run.checked = []
    return run


def test_an_address_in_no_network_is_a_warning_in_every_run(configured) -> None:
    for test, result in ((True, None), (False, True), (False, True)):
        done = configured(test=test, foreign=["10.0.0.9 is in none of the networks"])
        assert (done["result"], done["warnings"]) == (result, ["10.0.0.9 is in none of the networks"])
    assert "warnings" not in configured()


def test_written_once_and_predicted(configured) -> None:
    predicted = configured(test=True)
    assert predicted["result"] is None
    assert not configured.place.exists()
    done = configured()
    assert done["result"] is True
    assert done["changes"] == predicted["changes"]
    assert stat.S_IMODE(configured.place.stat().st_mode) == 0o600
    assert configured()["changes"] == {}
    assert configured(test=True)["result"] is True
    # What is the same is not checked again.
    assert configured.checked == [NEW, NEW]
    configured.place.chmod(0o644)
    assert configured(test=True)["result"] is None
    assert configured()["changes"] == {"mode": "0600"}


def test_the_diff_hides_the_password(configured) -> None:
    configured.place.write_text(OLD + "# gone\n")
    shown = repr(configured())
    assert "# gone" in shown
    assert "n3wpass" not in shown
    assert "0ldpass" not in shown


def test_a_changed_password_is_a_change_that_shows_nothing(configured) -> None:
    configured.place.write_text(OLD)
    ret = configured()
    assert ret["changes"]["diff"] == "only the password changed"
    assert "pass" not in repr(ret["changes"]).replace("password", "")


def test_a_refused_configuration_leaves_the_old_one_and_hides_the_password(configured) -> None:
    configured.place.write_text(OLD)
    ret = configured(refuses=True)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "keepalived refuses the new one" in ret["comment"]
    assert "unknown keyword" in ret["comment"]
    assert "n3wpass" not in ret["comment"]
    assert configured.place.read_text() == OLD


def test_test_mode_says_what_keepalived_refuses_if_it_is_the_one_that_will_be_asked(configured) -> None:
    assert configured(test=True, refuses=True)["result"] is False
    assert configured(test=True, refuses=True, installed="2.2.7")["result"] is None
    assert configured(test=True, refuses=True, installed=None)["result"] is None
    assert configured(test=True, refuses=True, lacks_user=True)["result"] is None
    assert configured(refuses=True, installed="2.2.7")["result"] is False
    assert not configured.place.exists()


def test_a_full_disk_is_a_sentence(configured) -> None:
    ret = configured(wrong=OSError(28, "No space left on device"))
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "No space left on device" in ret["comment"]


def test_an_old_file_that_cannot_be_read_is_a_sentence(configured) -> None:
    configured.place.mkdir()
    ret = configured()
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "cannot be read: Is a directory; nothing was changed" in ret["comment"]


def test_settings_that_make_no_configuration(configured) -> None:
    ret = configured(text=None)
    assert ret["result"] is False
    assert "no such director" in ret["comment"]


def test_the_module_says_what_is_missing(load_module) -> None:
    module = load_module(
        "modules", "keepalived", __grains__={"id": "lvs1"}, __salt__={"config.get": lambda *_, **__: None}
    )
    with pytest.raises(CommandExecutionError, match="keepalived.conf for lvs1"):
        module.config({"nodes": {}, "endpoints": {}})


# --- what keepalived runs with ---

SAME = {"running": True, "configuration": True, "only_at_start": [], "replaced": None}
OTHER = {"running": True, "configuration": False, "only_at_start": [], "replaced": None}
UNSEEN = {"running": True, "configuration": None, "only_at_start": [], "replaced": None}
STOPPED = {"running": False, "configuration": None, "only_at_start": [], "replaced": None}
RELOADED = {"configuration": {"old": "another one", "new": "/k.conf"}}


@pytest.fixture
def loaded(load_module, monkeypatch):
    def run(found, test=False, function="loaded", fails=None, **words):
        def reload(_settings, timeout):
            run.reloads.append(timeout)
            if fails:
                raise CommandExecutionError(fails)

        answers = iter(found) if isinstance(found, list) else itertools.repeat(found)
        module = load_module("states", "keepalived", __opts__={"test": test}, __salt__={
            "keepalived.in_use": lambda _settings: next(answers), "keepalived.reload": reload,
            "keepalived.in_use_accepts": lambda _: {"accepted": run.accepted, "comment": "it refuses"}})  # fmt: skip
        monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
        return getattr(module, function)("/k.conf", settings={}, **words)

    run.reloads = []
    run.accepted = True
    return run


@pytest.mark.parametrize(("found", "result", "changes"), [
    (SAME, True, {}), (OTHER, True, RELOADED), (UNSEEN, True, {}), (STOPPED, False, {}),
    ({**OTHER, "only_at_start": ["nftables"]}, False, {}),
])  # fmt: skip
def test_it_reloads_just_when_it_runs_with_something_else(loaded, found, result, changes) -> None:
    ret = loaded(found, timeout=7)
    assert (ret["result"], ret["changes"]) == (result, changes)
    assert loaded.reloads == ([7] if changes else [])
    loaded.reloads.clear()
    predicted = loaded(found, test=True)
    assert predicted["changes"] == changes
    assert predicted["result"] is (None if changes else result or found is STOPPED)
    assert loaded.reloads == []


def test_a_reload_that_is_under_way_is_not_made_again(loaded) -> None:
    assert loaded([OTHER, OTHER, SAME])["changes"] == {}
    assert loaded.reloads == []


def test_a_reload_that_fails(loaded) -> None:
    ret = loaded(OTHER, fails="30 seconds after a reload")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, "30 seconds after a reload")


def test_what_it_takes_only_at_its_start_is_named(loaded) -> None:
    comment = loaded({**OTHER, "only_at_start": ["nftables", "instance"]})["comment"]
    assert "nftables, instance" in comment
    assert "mysql_ha.orch.upgrade_directors" in comment


@pytest.mark.parametrize("found", [SAME, OTHER, UNSEEN])
def test_a_restart_that_is_due_is_told_and_not_made(loaded, found, test_mode) -> None:
    ret = loaded({**found, "replaced": "2.2.7"}, test=test_mode)
    assert ret["result"] is (None if test_mode and found is OTHER else True)
    if not (test_mode and found is OTHER):
        assert "Restart pending: 2.2.7 still runs." in ret["comment"]
        assert "mysql_ha.orch.upgrade_directors" in ret["comment"]


def test_a_version_that_runs_and_does_not_know_the_configuration_keeps_its_own(loaded, test_mode) -> None:
    loaded.accepted = False
    ret = loaded({**OTHER, "replaced": "2.2.7"}, test=test_mode)
    assert (ret["result"], ret["changes"], loaded.reloads) == (False, {}, [])
    assert "What still runs (2.2.7) keeps its configuration until it is restarted: it refuses" in ret["comment"]
    # It is asked only then.
    assert loaded({**SAME, "replaced": "2.2.7"}, test=test_mode)["result"] is True


@pytest.fixture
def restarted(load_module, monkeypatch):
    def run(found, test=False, held=(), accepted=True, fails=None, **words):
        def restart(_settings, timeout):
            run.restarts.append(timeout)
            if fails:
                raise CommandExecutionError(fails)

        run.restarts = []
        module = load_module("states", "keepalived", __opts__={"test": test}, __salt__={
            "keepalived.in_use": lambda _settings: found, "keepalived.restart": restart,
            "keepalived.held_addresses": lambda _settings: list(held), "keepalived.version": lambda: "2.3.4",
            "keepalived.check": lambda _: {"accepted": accepted, "comment": "why"}})  # fmt: skip
        monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
        return module.restarted("/k.conf", settings={}, **words)

    return run


UPGRADED = {"keepalived": {"old": "2.2.7", "new": "2.3.4"}}


@pytest.mark.parametrize(("found", "changes"), [
    (SAME, {}), (OTHER, {}), (UNSEEN, {}), ({**SAME, "replaced": "2.2.7"}, UPGRADED),
    ({**OTHER, "only_at_start": ["nftables", "instance"]},
     {"only at start": {"old": "as before", "new": "nftables, instance"}}),
    (STOPPED, {"keepalived": {"old": "not running", "new": "2.3.4"}}),
])  # fmt: skip
def test_it_restarts_just_when_that_is_due(restarted, found, changes) -> None:
    predicted = restarted(found, test=True)
    assert (predicted["result"], predicted["changes"], restarted.restarts) == (None if changes else True, changes, [])
    ret = restarted(found, timeout=9)
    assert (ret["result"], ret["changes"], restarted.restarts) == (True, changes, [9] if changes else [])


def test_who_holds_an_address_is_left_running_where_the_standby_is_meant(restarted, test_mode) -> None:
    pending = {**SAME, "replaced": "2.2.7"}
    ret = restarted(pending, test_mode, held=["192.0.2.1"], only_standby=True)
    assert (ret["result"], ret["changes"], restarted.restarts) == (True, {}, [])
    assert "holds 192.0.2.1" in ret["comment"]
    ret = restarted(pending, test_mode, held=["192.0.2.1"])
    assert ret["changes"] == UPGRADED
    assert test_mode or ret["comment"].endswith("192.0.2.1 went to another director.")
    assert restarted(pending, test_mode, only_standby=True)["changes"] == UPGRADED
    ret = restarted(STOPPED, only_standby=True)
    assert (ret["result"], restarted.restarts) == (False, [])


def test_a_restart_that_would_not_succeed_is_not_tried(restarted) -> None:
    pending = {**SAME, "replaced": "2.2.7"}
    ret = restarted(pending, accepted=False)
    assert (ret["result"], ret["changes"], restarted.restarts) == (False, {}, [])
    assert "keepalived was left as it is" in ret["comment"]
    ret = restarted(pending, fails="60 seconds after a restart")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, "60 seconds after a restart")


@pytest.mark.parametrize(("found", "reloads"), [(SAME, 0), (UNSEEN, 1), (STOPPED, 0)])
def test_a_changed_file_is_a_reload_if_nothing_else_can_be_seen(loaded, found, reloads) -> None:
    words = {"function": "mod_watch", "sfun": "loaded"}
    ret = loaded(found, **words)
    assert len(loaded.reloads) == reloads
    assert ret["changes"] == (RELOADED if reloads else {})
    assert loaded(found, test=True, **words)["changes"] == ret["changes"]
    assert len(loaded.reloads) == reloads
    assert loaded(UNSEEN, fails="why", **words)["comment"] == "why"


def test_nothing_else_watches(loaded) -> None:
    assert loaded(SAME, function="mod_watch", sfun="configured")["result"] is False


# --- the kernel's table ---


@pytest.fixture
def verified(load_module):
    def run(answer, test=False):
        def correct(_settings, timeout, test):
            run.asked = (timeout, test)
            if isinstance(answer, Exception):
                raise answer
            return answer

        module = load_module("states", "keepalived", __opts__={"test": test}, __salt__={"keepalived.correct": correct})
        return module.table_verified("x", {}, timeout=9)

    return run


CHANGES = {"tcp 192.0.2.1:80": {"scheduler": {"old": "rr", "new": "wrr"}}}


def test_the_table_is_right(verified, test_mode) -> None:
    ret = verified({"changes": {}, "failed": {}, "comment": ""}, test_mode)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert verified.asked == (9, test_mode)


def test_the_table_is_put_right(verified, test_mode) -> None:
    ret = verified({"changes": CHANGES, "failed": {}, "comment": "And this."}, test_mode)
    assert (ret["result"], ret["changes"]) == (None if test_mode else True, CHANGES)
    assert "tcp 192.0.2.1:80" in ret["comment"]
    assert ret["comment"].endswith(" And this.")


def test_what_could_not_be_put_right(verified) -> None:
    ret = verified({"changes": CHANGES, "failed": {"fwmark 5 ipv4": "ENOENT: why"}, "comment": ""})
    assert (ret["result"], ret["changes"]) == (False, CHANGES)
    assert "fwmark 5 ipv4: ENOENT: why" in ret["comment"]


@pytest.mark.parametrize("error", [CommandExecutionError("no"), SaltInvocationError("no")])
def test_no_state_raises(verified, error, test_mode) -> None:
    ret = verified(error, test_mode)
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, "no")


@pytest.mark.parametrize("secret", [1111, "1111", {"shop": "1111"}])
def test_the_module_takes_one_password_or_one_for_each_instance(load_module, secret) -> None:
    settings = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
    settings["vrrp"].update(version=2, advert_interval=1)
    module = load_module(
        "modules", "keepalived", __grains__={"id": "lvs1"}, __salt__={"config.get": lambda *_, **__: secret}
    )
    assert "auth_pass 1111\n" in module.config(settings)
