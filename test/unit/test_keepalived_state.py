"""keepalived.configured: what it shows and what it hides; keepalived's own check runs in the lab."""

import stat
from pathlib import Path

import pytest
import yaml
from salt.exceptions import CommandExecutionError

import keepalived_conf

ROOT = Path(__file__).resolve().parents[2]
NEW = "global_defs {\n    router_id a_lvs1\n}\nauthentication {\n    auth_pass n3wpass\n}\n"
OLD = NEW.replace("n3wpass", "0ldpass")


@pytest.fixture
def configured(load_module, tmp_path):
    place = tmp_path / "keepalived.conf"

    def run(test=False, refuses=False, text=NEW):
        def managed(name, contents, mode, **_):
            if refuses:
                return {
                    "result": False,
                    "changes": {},
                    "comment": "check_cmd failed: auth_pass n3wpass\nunknown keyword",
                }
            if not test:
                Path(name).write_text(contents)
                Path(name).chmod(int(mode, 8))
            return {"result": True, "changes": {}, "comment": ""}

        def config(_settings):
            if text is None:
                raise CommandExecutionError("keepalived.conf for lvs1: no such director")
            return text

        module = load_module(
            "states",
            "keepalived",
            __opts__={"test": test},
            __states__={"file.managed": managed},
            __salt__={"keepalived.config": config, "keepalived.redact": keepalived_conf.redact},
        )
        return module.configured(str(place), {})

    run.place = place
    return run


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


@pytest.mark.parametrize("secret", [1111, "1111", {"shop": "1111"}])
def test_the_module_takes_one_password_or_one_for_each_instance(load_module, secret) -> None:
    settings = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
    settings["vrrp"].update(version=2, advert_interval=1)
    module = load_module(
        "modules", "keepalived", __grains__={"id": "lvs1"}, __salt__={"config.get": lambda *_, **__: secret}
    )
    assert "auth_pass 1111\n" in module.config(settings)
