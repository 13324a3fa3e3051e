"""The execution module between keepalived, the kernel and Salt; keepalived and the kernel are in the lab."""

import contextlib
import types

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

import host_programs
import ipvs_kernel
import ipvs_plan
import ipvs_rules
import keepalived_process
from ipvs_kernel import Outcome, Refusal
from keepalived_data import PILLAR, data, real_server, virtual_server

NAME = "tcp 192.0.2.1:3306"
SERVERS = {"192.0.2.5:3306": {"weight": 3}, "192.0.2.6:3306": {"weight": 3}}


class Host:
    """A keepalived and a kernel's table that are variables."""

    def __init__(self) -> None:
        self.pillar = {"mysql_ha": PILLAR}
        self.running = keepalived_process.Keepalived(100, 101)
        self.configuration = ""
        self.present = ipvs_rules.table({NAME: {"scheduler": "wrr", "servers": SERVERS}})
        self.servers = {"192.0.2.5": {"weight": 3}, "192.0.2.6": {"weight": 3}}
        self.data = None
        self.questions = 0
        self.made = []
        self.refused = []
        self.reload = True
        self.restart = True
        self.replaced = False
        self.is_loaded = True

    def says(self, *_):
        self.questions += 1
        if self.data is not None:
            found = self.data(self.questions) if callable(self.data) else self.data
            return found or None
        servers = (real_server(address, **words) for address, words in self.servers.items())
        return data(virtual_server("VS VIP = 192.0.2.1, VPORT = 3306", *servers))

    def table(self):
        return self.present

    def make(self, changes):
        if self.refused:
            return Outcome([], [Refusal(change, 1, "EPERM: why") for change in changes])
        self.made += changes
        table = {key: ipvs_plan.Entry(entry.service, dict(entry.servers)) for key, entry in self.present.items()}
        for change in changes:
            if change.server is None:
                table[change.key] = ipvs_plan.Entry(
                    change.new, table[change.key].servers if change.key in table else {}
                )
            elif change.action == ipvs_plan.DELETE:
                del table[change.key].servers[change.server]
            else:
                table[change.key].servers[change.server] = change.new
        self.present = table
        return Outcome(list(changes), [])

    @contextlib.contextmanager
    def kernel(self):
        if not self.is_loaded:
            raise ipvs_kernel.IpvsError("modprobe ip_vs", 2, True)
        yield self


@pytest.fixture
def host(monkeypatch):
    one = Host()
    monkeypatch.setattr(keepalived_process, "find", lambda: one.running)
    monkeypatch.setattr(keepalived_process, "configuration", lambda _: one.configuration)
    monkeypatch.setattr(keepalived_process, "data", one.says)
    monkeypatch.setattr(keepalived_process, "is_replaced", lambda _: one.replaced)
    monkeypatch.setattr(ipvs_kernel, "Ipvs", one.kernel)
    return one


@pytest.fixture
def module(load_module, host, monkeypatch):
    one = load_module(
        "modules", "keepalived", __grains__={"id": "lvs1"}, __opts__={"id": "lvs1"},
        __salt__={"config.get": lambda *_, **__: None, "service.reload": lambda _: host.reload,
                  "service.restart": lambda _: host.restart})  # fmt: skip
    made = types.SimpleNamespace(compile_pillar=lambda: host.pillar)
    monkeypatch.setattr(one.salt.pillar, "get_pillar", lambda *_, **__: made)
    monkeypatch.setattr(one, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(one, "BLIND_SECONDS", 0.05)
    # Salt would flush the line at exit, when pytest has closed the stream that it goes to.
    monkeypatch.setattr(one.log, "warning", lambda *_: None)
    return one


def test_foreign_addresses_are_judged_by_what_the_host_has(module) -> None:
    eth0 = {"up": True, "inet": [{"address": "192.0.3.2", "netmask": "255.255.255.0", "broadcast": None}]}
    interfaces = {"lo": {"up": True}, "eth0": eth0}
    module.__salt__["network.interfaces"] = lambda: interfaces
    (sentence,) = module.foreign_addresses(PILLAR)
    assert "192.0.2.1 is in none of the networks of eth0 on this host (192.0.3.0/24)" in sentence
    eth0["secondary"] = [{"type": "inet", "address": "192.0.2.9", "netmask": "255.255.255.0"}]
    eth0["inet6"] = [{"address": "fe80::1", "prefixlen": "64", "scope": "link"}]
    assert module.foreign_addresses(PILLAR) == []
    with pytest.raises(CommandExecutionError, match="the virtual addresses of lvs1: "):
        module.foreign_addresses({})


# --- its test of a configuration ---


@pytest.fixture
def program(monkeypatch):
    def will(status=0, said="", error=None):
        def outcome(words, timeout):
            will.words = words
            if error:
                raise host_programs.ProgramError(error)
            return status, said

        monkeypatch.setattr(host_programs, "outcome", outcome)
        monkeypatch.setattr(host_programs, "find", lambda name: f"/usr/sbin/{name}")

    return will


def test_a_text_is_tested_in_a_file_that_goes_again(module, program) -> None:
    program()
    assert module.check_text("global_defs {\n}\n") == {"accepted": True, "comment": "keepalived accepts it."}
    assert program.words[:-1] == ["/usr/sbin/keepalived", "--config-test", "--use-file"]
    assert module.check(program.words[-1])["accepted"] is False


def test_what_there_is_to_say_hides_the_password(module, program, tmp_path) -> None:
    program(5, "(Line 1) Truncating auth_pass to 8 characters\n")
    place = tmp_path / "k.conf"
    place.write_text("    auth_pass secretsecret\n")
    for found in (module.check(str(place)), module.check_text(place.read_text())):
        assert found["accepted"] is False
        assert "exit status 5" in found["comment"]
        assert "secretsecret" not in found["comment"]


@pytest.mark.parametrize("error", ["not installed: keepalived", "keepalived did not end within 60 seconds"])
def test_no_test_is_no_acceptance(module, program, error) -> None:
    program(error=error)
    assert module.check_text("x") == {"accepted": False, "comment": f"keepalived could not check it: {error}"}
    assert module.version() is None


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_is_no_configuration(module, program, text) -> None:
    program()
    assert module.check_text(text)["accepted"] is False


def test_files_that_cannot_be_read_or_written(module, program, tmp_path, monkeypatch) -> None:
    program()
    assert module.check(str(tmp_path / "none"))["comment"].endswith("cannot be read: No such file or directory")
    assert module.check(str(tmp_path))["comment"].endswith("cannot be read: Is a directory")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.tempfile, "NamedTemporaryFile", full)
    assert module.check_text("x")["comment"].endswith("No space left on device")


def test_its_version(module, program) -> None:
    program(said="Keepalived v2.3.4 (06/10,2025), git commit v2.3.3-1\n\nCopyright ...\n")
    assert module.version() == "2.3.4"
    program(said="something else")
    assert module.version() is None


# --- what it runs with ---


def test_what_is_in_use(module, host) -> None:
    host.configuration = module.config(PILLAR)
    assert module.in_use(PILLAR) == {"running": True, "configuration": True, "only_at_start": [], "replaced": None}
    other = {**PILLAR, "keepalived": {"global_defs": {"nftables": "x"}}}
    assert module.in_use(other) == {
        "running": True,
        "configuration": False,
        "only_at_start": ["nftables"],
        "replaced": None,
    }
    host.configuration = None
    assert module.in_use(PILLAR) == {"running": True, "configuration": None, "only_at_start": [], "replaced": None}
    host.running = None
    assert module.in_use(PILLAR) == {"running": False, "configuration": None, "only_at_start": [], "replaced": None}


def test_a_replaced_program_is_told_by_its_version(module, host, program) -> None:
    host.configuration, host.replaced = module.config(PILLAR), True
    program(said="Keepalived v2.2.7 (01/16,2022)\n")
    assert module.in_use(PILLAR)["replaced"] == "2.2.7"
    assert program.words == ["/proc/100/exe", "--version"]
    program(said="?")
    assert module.in_use(PILLAR)["replaced"] == "the former one"
    assert module.in_use_accepts(PILLAR)["accepted"] is True
    assert program.words[0] == "/proc/100/exe"
    program(5, "(Line 3) Unknown keyword 'x'\n")
    assert "it refuses the configuration: exit status 5" in module.in_use_accepts(PILLAR)["comment"]
    assert module.accepts("/stage/keepalived", PILLAR)["accepted"] is False
    assert program.words[0] == "/stage/keepalived"
    host.running = None
    with pytest.raises(CommandExecutionError, match="does not run on this host"):
        module.in_use_accepts(PILLAR)


def test_who_holds_the_addresses(module) -> None:
    own = ["127.0.0.1", "192.0.2.2"]
    module.__salt__.update({"network.ip_addrs": lambda include_loopback: own,
                            "network.ip_addrs6": lambda include_loopback: ["fe80::1%eth0"]})  # fmt: skip
    assert module.held_addresses(PILLAR) == []
    own.append("192.0.2.1")
    assert module.held_addresses(PILLAR) == ["192.0.2.1"]
    with pytest.raises(CommandExecutionError, match="the virtual addresses of lvs1: "):
        module.held_addresses({})


def test_a_restart_is_waited_for(module, host) -> None:
    host.configuration = module.config(PILLAR)
    assert module.restart(PILLAR) is True
    host.configuration = "another one"
    with pytest.raises(CommandExecutionError, match="1 seconds after a restart keepalived does not run with its"):
        module.restart(PILLAR, timeout=1)
    host.configuration, host.servers = module.config(PILLAR), {}
    with pytest.raises(CommandExecutionError, match="keepalived does not run with what the pillar says"):
        module.restart(PILLAR, timeout=1)
    host.restart = False
    with pytest.raises(CommandExecutionError, match="keepalived does not start"):
        module.restart(PILLAR)


def test_a_reload_is_waited_for(module, host) -> None:
    host.configuration = module.config(PILLAR)
    assert module.reload(PILLAR) is True
    host.configuration = "another one"
    with pytest.raises(CommandExecutionError, match="1 seconds after a reload keepalived does not run with its new"):
        module.reload(PILLAR, timeout=1)
    host.reload = False
    with pytest.raises(CommandExecutionError, match="could not be told to reload"):
        module.reload(PILLAR)
    for wrong in (0, 3601, "soon", None):
        with pytest.raises(SaltInvocationError, match="timeout: is .*; allowed: 1 to 3600 of seconds"):
            module.reload(PILLAR, timeout=wrong)


# --- the table ---


def right(host) -> bool:
    return host.present == ipvs_rules.table({NAME: {"scheduler": "wrr", "servers": SERVERS}})


def test_a_table_that_is_right(module, host) -> None:
    assert module.differences() == {}
    assert module.correct() == {"changes": {}, "failed": {}, "comment": ""}
    assert module.correct(test=True) == {"changes": {}, "failed": {}, "comment": ""}
    assert host.made == []


def test_a_table_that_is_put_right(module, host) -> None:
    host.present = ipvs_rules.table(
        {NAME: {"scheduler": "rr", "servers": {"192.0.2.5": {"weight": 1}, "192.0.2.9": {}}}}
    )
    expected = {NAME, *(f"{NAME} -> 192.0.2.{last}:3306" for last in (5, 6, 9))}
    differences = module.differences()
    assert set(differences) == {"table"}
    assert set(differences["table"]) == expected
    assert host.made == []
    predicted = module.correct(test=True)
    assert predicted["changes"] == differences["table"]
    assert host.made == []
    assert module.correct() == predicted
    assert right(host)
    assert module.correct()["changes"] == {}


def test_what_the_kernel_refuses(module, host) -> None:
    host.present = {}
    host.refused = [1]
    done = module.correct()
    assert done["changes"] == {}
    assert done["failed"][NAME] == "EPERM: why"


def test_somebody_who_changes_it_again_and_again(module, host, monkeypatch) -> None:
    wrong = ipvs_rules.table({NAME: {"scheduler": "rr", "servers": SERVERS}})
    monkeypatch.setattr(host, "table", lambda: wrong)
    host.present = wrong
    assert module.correct()["failed"] == {NAME: "somebody else changes it again and again"}


def test_keepalived_does_not_run(module, host) -> None:
    host.running = None
    for function in (module.differences, module.correct):
        with pytest.raises(CommandExecutionError, match="keepalived does not run on this host"):
            function()
    # It will be started, and adds what is missing.
    host.present = {}
    assert module.correct(test=True)["changes"] == {}
    host.present = ipvs_rules.table({NAME: {"scheduler": "rr"}})
    assert set(module.correct(test=True)["changes"]) == {NAME}
    host.is_loaded = False
    assert module.correct(test=True)["changes"] == {}


def test_no_endpoints_nothing_to_do(module, host) -> None:
    host.running = None
    for settings in ({}, {"endpoints": {}}):
        assert module.differences(settings) == {}
        assert module.correct(settings)["changes"] == {}


def test_a_pillar_that_cannot_be_made(module, host) -> None:
    host.pillar = {"_errors": ["Rendering SLS 'mysql_ha' failed"]}
    with pytest.raises(CommandExecutionError, match="The pillar cannot be made: Rendering SLS"):
        module.differences()
    host.pillar = {}
    assert module.differences() == {}


@pytest.mark.parametrize("settings", [{"endpoints": {"a": 5}}, {"endpoints": []}, [], {"endpoints": {"a": {
    "address": "192.0.2.1", "port": 0, "servers": {"x": {"address": "192.0.2.5"}}}}}])  # fmt: skip
def test_settings_that_make_no_table(module, settings) -> None:
    with pytest.raises(CommandExecutionError, match="mysql_ha:endpoints make no table"):
        module.differences(settings)


def test_it_is_waited_for_until_it_has_read_the_configuration(module, host) -> None:
    host.data = lambda count: data() if count < 4 else Host().says()
    assert module.correct()["changes"] == {}
    assert host.questions > 4


def test_it_never_reads_the_configuration(module, host) -> None:
    host.servers["192.0.2.5"] = {"weight": 9}
    assert module.differences()["keepalived"] == [f"{NAME} -> 192.0.2.5:3306: it has the weight 9, not 3"]
    with pytest.raises(
        CommandExecutionError, match="keepalived does not run with what the pillar says:\n  .* weight 9"
    ):
        module.correct(timeout=1)
    assert host.made == []


def test_many_disagreements_are_counted(module, host) -> None:
    host.data = data(*(virtual_server(f"VS VIP = 192.0.2.1, VPORT = {port}") for port in range(1, 40)))
    with pytest.raises(CommandExecutionError, match="and 30 more$"):
        module.correct(timeout=1)


@pytest.mark.parametrize("text", ["", "what nobody expects"])
def test_without_knowing_what_keepalived_knows(module, host, text) -> None:
    host.data = lambda _: text
    host.present = ipvs_rules.table(
        {NAME: {"scheduler": "rr", "servers": {"192.0.2.5": {"weight": 1}, "192.0.2.9": {}}}}
    )
    expected = {NAME, f"{NAME} -> 192.0.2.9:3306"}
    differences = module.differences()
    assert set(differences["table"]) == expected
    assert "could not be read" in differences["keepalived"][0]
    predicted = module.correct(test=True)
    assert set(predicted["changes"]) == expected
    assert "could not be read" in predicted["comment"]
    assert module.correct()["changes"] == predicted["changes"]
    assert module.correct()["changes"] == {}


def test_a_check_that_takes_a_server_out_meanwhile(module, host) -> None:
    """The kernel's table was read after it, what keepalived knew before it: nothing must be put back."""
    both = Host().says()
    only_one = Host()
    only_one.servers["192.0.2.6"]["alive"] = False
    host.data = lambda count: both if count < 2 else only_one.says()
    host.present = ipvs_rules.table({NAME: {"scheduler": "wrr", "servers": {"192.0.2.5": {"weight": 3}}}})
    assert module.differences() == {}
    assert module.correct()["changes"] == {}


def test_test_mode_before_a_reload(module, host) -> None:
    pillar = {**PILLAR, "nodes": {**PILLAR["nodes"], "mysql1": {**PILLAR["nodes"]["mysql1"], "weight": 5}}}
    assert module.correct(pillar, test=True)["changes"] == {}
    servers = {"mysql1": {"upper_threshold": 100}}
    pillar = {**PILLAR, "endpoints": {"write": {**PILLAR["endpoints"]["write"], "servers": servers}}}
    expected = {f"{NAME} -> 192.0.2.5:3306": {"upper_threshold": {"old": None, "new": 100}}}
    assert module.correct(pillar, test=True)["changes"] == expected
    host.servers["192.0.2.5"]["upper"] = 100
    assert module.correct(pillar)["changes"] == expected


def test_what_it_is_going_to_leave(module, host) -> None:
    assert module.leaving() == []
    moved = {"other": {**PILLAR["endpoints"]["write"], "address": "192.0.2.2"}}
    assert module.leaving({**PILLAR, "endpoints": moved}) == [NAME]
    # What it does not say, nobody knows.
    host.data = lambda _: ""
    assert module.leaving({**PILLAR, "endpoints": moved}) == []
    host.running = None
    assert module.leaving({**PILLAR, "endpoints": moved}) == []
    with pytest.raises(CommandExecutionError, match="mysql_ha:endpoints make no table"):
        module.leaving({"endpoints": {"a": 5}})


def test_a_configuration_may_need_a_user_that_the_host_does_not_have_yet(load_module, monkeypatch) -> None:
    module, there = load_module("modules", "keepalived"), {"root"}

    def getpwnam(name):
        if name not in there:
            raise KeyError(name)

    monkeypatch.setattr(module.pwd, "getpwnam", getpwnam)
    text = "global_defs {\n    script_user keepalived_script\n}\n"
    assert module.lacks_user(text)
    # A user that the pillar names is its own affair.
    assert not module.lacks_user(text.replace("keepalived_script", "nobody"))
    assert not module.lacks_user("global_defs {\n}\n")
    there.add("keepalived_script")
    assert not module.lacks_user(text)
