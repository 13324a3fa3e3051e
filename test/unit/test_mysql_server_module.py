"""How the server is started; the servers themselves are in the lab."""

import pytest


@pytest.mark.parametrize("fails", [True, False])
def test_a_service_that_systemd_has_given_up_on_is_started(load_module, monkeypatch, fails) -> None:
    done = []
    module = load_module("modules", "mysql_server", __salt__={"service.start": lambda name: done.append(name) or True})

    def run(words, timeout):
        done.append(words)
        if fails:
            raise module.ProgramError("no such unit, or no systemd")

    monkeypatch.setattr(module.host_programs, "run", run)
    monkeypatch.setattr(module, "answers", lambda _wait: True)
    module.start("mysql")
    assert done == [["systemctl", "reset-failed", "mysql"], "mysql"]
