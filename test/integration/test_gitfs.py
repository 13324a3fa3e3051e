"""The formula from a git repository, as the README describes it."""

import subprocess

import pytest
from test_first_contact import by_function


@pytest.fixture(scope="module")
def git_master(salt_factories, file_root, pillar_root, tmp_path_factory):
    """A master that has this tree only as a commit on the branch main of a repository."""
    repository = tmp_path_factory.mktemp("git") / "mysql_ha.git"
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "--all"],
        ["-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-q", "-m", "the tree"],
        ["clone", "-q", "--bare", str(file_root), str(repository)],
    ):
        subprocess.run(["git", *words], cwd=file_root, check=True, timeout=60)
    daemon = salt_factories.salt_master_daemon(
        "gitmaster",
        overrides={
            "open_mode": True,
            "fileserver_backend": ["gitfs"],
            "gitfs_provider": "gitpython",
            "gitfs_base": "main",
            "gitfs_remotes": [f"file://{repository}"],
            "pillar_roots": {"base": [str(pillar_root)]},
        },
    )
    with daemon.started():
        yield daemon


def test_the_first_run_brings_the_modules_along(git_master) -> None:
    minion = git_master.salt_minion_daemon("web2")
    with minion.started():
        client = git_master.salt_cli(timeout=180)
        states = by_function(client.run("state.apply", "mysql_ha", minion_tgt="web2").data)
        assert "modules.ipvs" in states["test.nop"]["name"]
        assert "nothing to do on web2" in states["test.show_notification"]["comment"]


def test_files_are_previewed_from_the_repository(git_master) -> None:
    client = git_master.salt_run_cli(timeout=180)
    for _ in range(2):
        client.run("saltutil.sync_all")
    done = client.run("mysql_ha.preview", "[lvs1, mysql1]")
    assert (done.data["result"], done.returncode) == ("ok", 0)
    assert list(done.data["files"]) == ["lvs1", "mysql1"]
