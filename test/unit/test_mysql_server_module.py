"""How the server is started; the servers themselves are in the lab."""

import subprocess
from types import SimpleNamespace

import pytest


@pytest.mark.parametrize("installed", [True, False])
def test_a_service_that_systemd_has_given_up_on_is_started(load_module, monkeypatch, installed) -> None:
    done = []
    module = load_module("modules", "mysql_server", __salt__={"service.start": lambda name: done.append(name) or True})

    def run(words, **_):
        done.append(words)
        return subprocess.CompletedProcess(words, 1, "", "")

    monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(module.mysql_client, "program", lambda name: f"/usr/bin/{name}" if installed else "")
    monkeypatch.setattr(module, "answers", lambda _wait: True)
    module.start("mysql")
    assert done == [["/usr/bin/systemctl", "reset-failed", "mysql"]] * installed + ["mysql"]
