"""Integration tests: a real Salt master and minions on this machine, as a plain user; nothing is installed."""

import shutil

import pytest

from mysql_ha_lab.plan import REPOSITORY
from salt_fixtures import file_root, pytest_unconfigure, salt_factories_config  # noqa: F401


@pytest.fixture(scope="session")
def pillar_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("pillar")
    (root / "top.sls").write_text("base:\n  '*':\n    - mysql_ha\n")
    shutil.copy(REPOSITORY / "pillar.example", root / "mysql_ha.sls")
    return root


@pytest.fixture(scope="session")
def master(salt_factories, file_root, pillar_root):  # noqa: F811
    """A running master that serves this tree and pillar.example."""
    daemon = salt_factories.salt_master_daemon(
        "master",
        overrides={
            "open_mode": True,
            "file_roots": {"base": [str(file_root)]},
            "pillar_roots": {"base": [str(pillar_root)]},
            "fileserver_list_cache_time": 1,
        },
    )
    with daemon.started():
        yield daemon


@pytest.fixture(scope="session")
def minion(master):
    """``minion("web1")``: a running minion of that name that has never seen a module of ours."""
    started = []

    def get(name, **overrides):
        daemon = master.salt_minion_daemon(name, overrides=overrides)
        daemon.after_terminate(shutil.rmtree, daemon.config["cachedir"], ignore_errors=True)
        daemon.start()
        started.append(daemon)
        return daemon

    yield get
    for daemon in started:
        daemon.terminate()


@pytest.fixture(scope="session")
def call(master):
    """``call("web1", "state.apply", "mysql_ha")``: a command from the master, and what that minion answered."""
    client = master.salt_cli(timeout=180)

    def run(name, *words, **options):
        return client.run(*words, minion_tgt=name, **options).data

    return run
