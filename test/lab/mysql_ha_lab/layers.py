"""The images: made once, kept in the cache, shared by every host of every lab.

    base      Debian as debootstrap leaves it, with systemd and ssh; bare in all that the formula installs
    salt      /opt/salt, a virtual environment with Salt (and PyMySQL for the client's probe)
    packages  /srv/packages, a package repository with what the formula installs: a LAN has no uplink
    kernel    /usr/lib/modules of the guests' kernel, and beside the tree the kernel itself
    sources   the tarballs of keepalived and ipvsadm, unchanged upstream ones from Debian's pool
    keepalived  /opt/keepalived-VERSION, built as the formula builds it; made when a test asks for it

Database hosts whose server comes from another Debian have the first three from there; they are made when a
lab asks for them.

Each layer lies under a name made of all that went into it, so a changed recipe makes a new one and an
interrupted one leaves nothing that looks whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .command import CLEAN_ENVIRONMENT, run
from .disk import mount_overlay, unmount
from .plan import (
    CACHE,
    DEFAULT_FLAVOR,
    FLAVORS,
    NEWER_SUITE,
    REPOSITORY,
    SUITE,
    Flavor,
    HostPlan,
    LabError,
)
from .progress import step

SALT = "3008.3"
RECIPE = 3  # raised by hand when a builder below changes what it makes

BASE_PACKAGES = [
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "iputils-ping", "iputils-arping", "procps",
    "openssh-server", "openssh-client", "python3", "ca-certificates",
]  # fmt: skip
BUILD_PACKAGES = ["gcc", "libc6-dev", "python3-dev", "python3-venv"]
# What the formula installs on Debian beside the database of some flavor (mysql_ha/osfamilymap.yaml, which a test
# compares with this and with the flavors' packages).
COMMON_PACKAGES = [
    "gcc", "make", "pkg-config", "libc6-dev", "libssl-dev", "libnl-3-dev", "libnl-genl-3-dev", "libnftnl-dev",
    "libmnl-dev", "libpcre2-dev", "libsystemd-dev", "libkmod-dev", "libpopt-dev", "nftables",
]  # fmt: skip
SOURCES = ["keepalived", "ipvsadm"]
# The versions of keepalived that are tried, and the Debian whose pool has the upstream tarball.
KEEPALIVED_SUITES = {"2.2.7": "bookworm", "2.3.4": NEWER_SUITE}
KEEPALIVED_STATE = REPOSITORY / "mysql_ha/director/keepalived.sls"
# Files that would change this machine's own kernel settings if a container applied them at boot.
GLOBAL_SYSCTLS = Path("usr/lib/sysctl.d")
UNWANTED_UNITS = [
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer",
    "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service",
    "systemd-networkd-wait-online.service", "console-getty.service", "getty@tty1.service", "getty-static.service",
]  # fmt: skip


@dataclass(frozen=True)
class System:
    """Where the layers of one Debian lie."""

    base: Path
    salt: Path
    packages: Path


@dataclass(frozen=True)
class Layers:
    """Where the layers lie; ``kernel`` is None where containers can be directors."""

    common: System
    database: System
    sources: Path
    kernel: Path | None

    def lower(self, host: HostPlan) -> list[Path]:
        """The layers of a host's disk, the topmost first."""
        kernel = [self.kernel / "tree"] if host.own_kernel and self.kernel else []
        system = self.database if host.database else self.common
        return [*kernel, system.packages, system.salt, system.base]


def mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    listed = run(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Identifier: Packages"])
    for line in listed.stdout.splitlines():
        label, _, uri = line.partition("|")
        if label == "Debian":
            return uri.rstrip("/")
    raise LabError("no Debian mirror in this machine's apt configuration; name one with --mirror")


def ensure_layers(mirror_uri: str | None, with_kernel: bool, database: Flavor) -> Layers:
    """Make whatever layer is missing; one process at a time, however many labs ask."""
    if with_kernel and platform.machine() != "x86_64":
        raise LabError(f"this kernel has no IPVS, and User Mode Linux is not packaged for {platform.machine()}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear_workspaces()
        found = mirror_uri or mirror()
        common = _system(FLAVORS[DEFAULT_FLAVOR], found)
        sources = _layer("sources", [SOURCES, KEEPALIVED_SUITES], "tarballs", _make_sources, found, common.base)
        kernel = None
        if with_kernel:
            kernel = _layer("kernel", [common.base.name], "kernel with IPVS", _make_kernel, found, common.base)
        return Layers(common, _system(database, found), sources, kernel)


@dataclass(frozen=True)
class Keepalived:
    """A keepalived that was built from its tarball, for the images' Debian."""

    version: str
    layer: Path
    base: Path

    @property
    def folder(self) -> str:
        """Where it lies on a host that has the layer: the program, and beside it the libraries it needs."""
        return f"/opt/keepalived-{self.version}"

    @property
    def program(self) -> list[str]:
        """The words that run it on this machine, whose C library may be older, with the image's libraries."""
        own = self.layer / self.folder.lstrip("/")
        loader = next(self.base.glob("usr/lib*/ld-linux*.so.*"))
        libraries = [own / "lib", *self.base.glob("usr/lib/*-linux-gnu")]
        return [str(loader), "--library-path", ":".join(map(str, libraries)), str(own / "keepalived")]


def ensure_keepalived(version: str, mirror_uri: str | None = None) -> Keepalived:
    """Build a keepalived as the formula builds it, unless it lies there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear_workspaces()
        found = mirror_uri or mirror()
        base = _layer("base", [SUITE, BASE_PACKAGES, UNWANTED_UNITS], f"Debian base system ({SUITE})",
                      _make_base, found, SUITE)  # fmt: skip
        recipe = [base.name, version, COMMON_PACKAGES, _configure()]
        layer = _layer("keepalived", recipe, f"keepalived {version}", _make_keepalived, found, base, version)
        return Keepalived(version, layer, base)


def _configure() -> str:
    """The formula's own line that configures keepalived's sources."""
    found = re.search(r"\./configure .*?(?=\n\{%)", KEEPALIVED_STATE.read_text(), re.DOTALL)
    if found is None:
        raise LabError(f"{KEEPALIVED_STATE} does not say how keepalived is configured")
    return " ".join(found[0].split())


def _system(flavor: Flavor, mirror_uri: str) -> System:
    """The Debian of a flavor, with Salt and with what the formula installs there."""
    suite = flavor.suite
    base = _layer("base", [suite, BASE_PACKAGES, UNWANTED_UNITS], f"Debian base system ({suite})",
                  _make_base, mirror_uri, suite)  # fmt: skip
    salt = _layer("salt", [base.name, SALT, BUILD_PACKAGES, "zip"], f"Salt {SALT} ({suite})",
                  _make_salt, mirror_uri, suite, base)  # fmt: skip
    wanted = [*COMMON_PACKAGES, *flavor.packages]
    packages = _layer("packages", [base.name, wanted], f"package repository ({flavor.name})",
                      _make_packages, mirror_uri, suite, base, wanted)  # fmt: skip
    return System(base, salt, packages)


def _layer(name: str, recipe: list[object], title: str, make: Callable[..., None], *arguments: object) -> Path:
    digest = hashlib.sha256(json.dumps([RECIPE, recipe]).encode()).hexdigest()[:12]
    place = CACHE / f"{name}-{digest}"
    if place.exists():
        return place
    with step(f"make the {title} (once, then kept in {CACHE})"):
        part = place.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        make(part, *arguments)
        part.rename(place)
    return place


def _make_base(place: Path, mirror_uri: str, suite: str) -> None:
    run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", suite, place, mirror_uri],
        timeout=1800,
    )
    for unit in UNWANTED_UNITS:
        _link(place / "etc/systemd/system" / unit)
    for settings in (place / GLOBAL_SYSCTLS).glob("*.conf"):
        _link(place / "etc/sysctl.d" / settings.name)
    (place / "etc/machine-id").write_text("")
    (place / "etc/resolv.conf").unlink(missing_ok=True)
    (place / "etc/hostname").unlink(missing_ok=True)
    shutil.rmtree(place / "var/lib/apt/lists")
    (place / "var/lib/apt/lists").mkdir()
    shutil.rmtree(place / "var/cache/apt/archives")
    (place / "etc/apt/sources.list").unlink(missing_ok=True)
    (place / "etc/ssh/sshd_config.d/lab.conf").write_text("UseDNS no\nPrintMotd no\n")
    unit_wants = place / "etc/systemd/system/multi-user.target.wants"
    unit_wants.mkdir(parents=True, exist_ok=True)


def _link(place: Path) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to("/dev/null")


def _make_salt(place: Path, mirror_uri: str, suite: str, base: Path) -> None:
    with _workspace(base, mirror_uri, suite) as root:
        _apt(root, "install", "-y", "--no-install-recommends", *BUILD_PACKAGES)
        _chroot(root, "python3", "-m", "venv", "/opt/salt")
        _chroot(root, "/opt/salt/bin/pip", "install", "-q", "--no-cache-dir", f"salt=={SALT}", "pymysql")
        (place / "opt").mkdir(parents=True)
        run(["cp", "-a", root / "opt/salt", place / "opt/salt"])
    for library in (base / "usr/lib").glob("python3.[0-9]*"):
        # On Python's path by default. While it is missing, two threads of a starting master can stumble over it, and
        # one of its workers then refuses every request for good (saltstack/salt issues 61734, 61808).
        (place / "usr/lib" / f"{library.name.replace('.', '')}.zip").mkdir(parents=True)


def _make_packages(place: Path, mirror_uri: str, suite: str, base: Path, wanted: list[str]) -> None:
    with _workspace(base, mirror_uri, suite) as root:
        _apt(root, "install", "-y", "--no-install-recommends", "--download-only", *wanted)
        repository = place / "srv/packages"
        repository.mkdir(parents=True)
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            shutil.copy(package, repository)
    index = run(["dpkg-scanpackages", "--multiversion", "."], cwd=repository)
    (repository / "Packages").write_text(index.stdout)
    listing = place / "etc/apt/sources.list.d/lab.list"
    listing.parent.mkdir(parents=True)
    listing.write_text("deb [trusted=yes] file:/srv/packages ./\n")


def _make_sources(place: Path, mirror_uri: str, base: Path) -> None:
    with _workspace(base, mirror_uri) as root:
        _apt(root, "install", "-y", "--no-install-recommends", "dpkg-dev")
        target = root / "root"
        fetch = ["sh", "-c", 'cd /root && exec apt-get -q source --download-only --tar-only "$@"', "-"]
        _use_other_suite(root, "deb-src", mirror_uri)
        _chroot(root, *fetch, *SOURCES)
        for suite in KEEPALIVED_SUITES.values():
            if suite != NEWER_SUITE:
                _use_other_suite(root, "deb-src", mirror_uri, suite)
                _chroot(root, *fetch, "keepalived")
        place.mkdir()
        for tarball in target.glob("*.orig.tar.*"):
            name, _, rest = tarball.name.partition("_")
            shutil.copy(tarball, place / f"{name}-{rest.replace('.orig', '')}")


def _make_keepalived(place: Path, mirror_uri: str, base: Path, version: str) -> None:
    own = place / f"opt/keepalived-{version}"
    with _workspace(base, mirror_uri) as root:
        _apt(root, "install", "-y", "--no-install-recommends", "dpkg-dev", *COMMON_PACKAGES)
        _use_other_suite(root, "deb-src", mirror_uri, KEEPALIVED_SUITES[version])
        steps = [
            "cd /root",
            "apt-get -q source --download-only --tar-only keepalived",
            "mkdir sources",
            f"tar -xf keepalived_{version}.orig.tar.gz -C sources --strip-components=1",
            "cd sources",
            _configure(),
            "make -s -j$(nproc)",
            "make -s install DESTDIR=/root/stage",
        ]
        _chroot(root, "sh", "-ec", " && ".join(steps))
        (own / "lib").mkdir(parents=True)
        shutil.copy(root / "root/stage/usr/sbin/keepalived", own)
        linked = run(["chroot", root, "ldd", "/root/stage/usr/sbin/keepalived"], env=_environment()).stdout
        for library in map(Path, re.findall(r"=> (/\S+)", linked)):
            # What the base system has is there already; above all the C library, which fits no other one's loader.
            if not list(base.glob(f"usr/lib/*-linux-gnu/{library.name}")):
                shutil.copy(root / str(library).lstrip("/"), own / "lib" / library.name)
    run(["patchelf", "--set-rpath", "$ORIGIN/lib", own / "keepalived"])


def _make_kernel(place: Path, mirror_uri: str, base: Path) -> None:
    with _workspace(base, mirror_uri) as root:
        _use_other_suite(root, "deb", mirror_uri)
        _chroot(root, "sh", "-c", "cd /root && exec apt-get download user-mode-linux")
        package = next((root / "root").glob("user-mode-linux_*.deb"))
        _chroot(root, "dpkg-deb", "-x", f"/root/{package.name}", "/root/uml")
        unpacked = root / "root/uml/usr"
        modules = place / "tree/usr/lib/modules"
        modules.mkdir(parents=True)
        for version in (unpacked / "lib/uml/modules").iterdir():
            run(["cp", "-a", version, modules / version.name])
        shutil.copy(unpacked / "bin/linux.uml", place / "linux.uml")
    # The kernel is an ordinary program; it runs with the image's C library where this machine's is older.
    run(
        [
            "patchelf",
            "--set-interpreter",
            base / "usr/lib64/ld-linux-x86-64.so.2",
            "--set-rpath",
            base / "usr/lib/x86_64-linux-gnu",
            place / "linux.uml",
        ]
    )


def _use_other_suite(root: Path, kind: str, mirror_uri: str, suite: str = NEWER_SUITE) -> None:
    (root / "etc/apt/sources.list.d/newer.list").write_text(_apt_line(kind, mirror_uri, suite))
    _chroot(root, "apt-get", "update", "-q")


def _apt_line(kind: str, mirror_uri: str, suite: str) -> str:
    # sid's Release file may be past its date on a mirror that lags.
    option = "[check-valid-until=no] " if suite == NEWER_SUITE else ""
    return f"{kind} {option}{mirror_uri} {suite} main\n"


@contextmanager
def _workspace(base: Path, mirror_uri: str, suite: str = SUITE) -> Iterator[Path]:
    """The base system to work in and throw away, able to reach the package registries."""
    place = Path(tempfile.mkdtemp(prefix="work-", dir=CACHE))
    root = place / "root"
    try:
        mount_overlay([base], place)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        # A machine behind a proxy has its own certificate authorities.
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
        (root / "etc/apt/sources.list.d/debian.list").write_text(_apt_line("deb", mirror_uri, suite))
        _chroot(root, "apt-get", "update", "-q")
        yield root
    finally:
        unmount(root)
        shutil.rmtree(place, ignore_errors=True)


def _clear_workspaces() -> None:
    """What a killed build left; the lock makes sure that nobody works there."""
    for place in CACHE.glob("work-*"):
        unmount(place / "root")
        shutil.rmtree(place, ignore_errors=True)


def _environment() -> dict[str, str]:
    passed = {
        key: value
        for key, value in os.environ.items()
        if key.lower() in ("http_proxy", "https_proxy", "no_proxy") or key in ("PIP_INDEX_URL",)
    }
    return CLEAN_ENVIRONMENT | passed | {"DEBIAN_FRONTEND": "noninteractive"}


def _chroot(root: Path, *words: str) -> None:
    run(["chroot", root, *words], env=_environment(), timeout=1800)


def _apt(root: Path, *words: str) -> None:
    _chroot(root, "apt-get", "-q", *words)
