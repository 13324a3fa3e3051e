"""
This minion's MySQL or MariaDB server: its configuration, checked by the server itself, and its service.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from salt.exceptions import CommandExecutionError

import host_programs
import mysql_client
import mysql_dialect
import mysql_handshake
import mysql_settings
from host_programs import ProgramError
from mysql_client import SqlError

__virtualname__ = "mysql_server"

BINARIES = {"mariadb": "mariadbd", "mysql": "mysqld"}
ERROR_LOGS = ("/var/log/mysql/error.log",)
# Beside the configuration, without the ending that the server reads: what it was last started with, and what it
# could not start with.
STARTED, REFUSED = ".started", ".refused"
READ_ONLY_VARIABLE = 1238
CHECK_SECONDS = 60


def __virtual__():
    return __virtualname__


def binary(flavor):
    """
    Where the server's program is; empty when it is not installed.

    flavor
        ``mariadb`` or ``mysql``.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_server.binary mariadb
    """
    return mysql_client.program(BINARIES[flavor])


def options(flavor, node, port, settings, tls=None):
    """
    All options that a server gets: the formula's own, the defaults, and what the pillar adds or says instead.

    flavor
        ``mariadb`` or ``mysql``.

    node
        The node's entry in ``mysql_ha:nodes``.

    port, settings
        ``mysql_ha:database:port`` and ``mysql_ha:database:settings``.

    tls
        The files ``ca``, ``certificate`` and ``key``; None for what the server makes itself.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_server.options mariadb '{server_id: 1, address: 192.168.1.5}' 3306 '{max_connections: 500}'
    """
    return mysql_settings.options(flavor, node, port, settings, tls)


def check(flavor, values):
    """
    What the server itself has to say against these options, in its own words; an empty list when it would start
    with them as they are, and when it is not installed. Nothing is changed.

    flavor, values
        ``mariadb`` or ``mysql``, and options as :py:func:`options` returns them.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_server.check mariadb '{max_connections: 500}'
    """
    program = binary(flavor)
    if not program:
        return []
    folder = tempfile.mkdtemp(prefix="mysql_ha-")
    try:
        candidate = Path(folder, "candidate.cnf")
        candidate.write_text(mysql_settings.render(values))
        done = subprocess.run(
            [program, f"--defaults-file={candidate}", *_CHECK[flavor]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CHECK_SECONDS,
            cwd="/",
            env={"PATH": mysql_client.PATH, "LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"{program} could not check its configuration: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = mysql_settings.complaints(done.stderr.splitlines())
    if done.returncode and not found:
        found = [f"exit status {done.returncode}: {done.stderr.strip()[-500:]}"]
    return found


# MySQL tells what it would change in a value only as a warning, and those only when asked.
_CHECK = {"mysql": ["--validate-config", "--log-error-verbosity=2"], "mariadb": ["--help", "--verbose"]}


def compare(path, flavor, values):
    """
    Hold options against the file and against the running server: ``file`` (what would change in it), ``running``
    (what can be changed in the running server without a restart), ``pending`` (what waits for its next start) and
    ``overridden`` (what another option file, or MySQL's SET PERSIST, says otherwise), each as {option: {old, new}}.

    path
        The option file.

    flavor, values
        ``mariadb`` or ``mysql``, and options as :py:func:`options` returns them.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_server.compare /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf mariadb '{max_connections: 500}'
    """
    text = mysql_settings.render(values)
    old = _read(path)
    found = {"file": mysql_settings.file_changes(old, text), "running": {}, "pending": {}, "overridden": {}}
    variables = _variables()
    if variables is None:
        return found
    differing = mysql_settings.differing(mysql_settings.parse(text), variables)
    persisted = _persisted(flavor)
    for name, change in differing.items():
        if name in persisted:
            kind = "overridden"
        else:
            at_start = name in mysql_settings.AT_START_ONLY or not _is_dynamic(flavor, name)
            kind = "pending" if at_start else "running"
        found[kind][name] = change
    place = Path(path)
    has_read_it = place.exists() and _started() > place.stat().st_mtime
    if not found["file"] and has_read_it:
        # What still looks otherwise is the same in the server's own words, or said by a file that is read later.
        found["overridden"] |= {name: change for name, change in found["pending"].items()
                                if mysql_settings.overrides(_origin(flavor, name), path)}  # fmt: skip
        found["pending"] = {}
    _add_dropped(found, flavor, text, old, old if has_read_it else _read(path + STARTED), variables)
    return found


def _add_dropped(found, flavor, text, old, started, variables):
    """Options that are no longer specified: back to the server's default at once where that is possible."""
    wanted = mysql_settings.parse(text)
    for option in {**mysql_settings.parse(started), **mysql_settings.parse(old)}:
        name = option.removeprefix("loose_")
        if option in wanted or name not in variables:
            continue
        if name in mysql_settings.AT_START_ONLY or not _is_dynamic(flavor, name):
            found["pending"][name] = {"old": variables[name], "new": None}
        elif option in mysql_settings.parse(old):
            found["running"][name] = {"old": variables[name], "new": mysql_settings.DEFAULT}


def current(path):
    """
    The option file as it is on this host, fit to be shown: values that can be secrets are hidden. None when there is
    no such file.

    path
        The option file.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_server.current /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf
    """
    return mysql_settings.redact(_read(path)) if Path(path).exists() else None


def write(path, values, secret=False):
    """
    Write an option file, whole or not at all. What the running server was started with is kept beside it.

    path
        The option file.

    values
        Options as :py:func:`options` returns them.

    secret
        Whether one of the values is a secret: only root and the server then may read the file.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_server.write /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf '{server_id: 1}'
    """
    place, part = Path(path), Path(f"{path}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if _variables() is not None:
            if not place.exists():
                # As empty as what it was started with.
                Path(path + STARTED).write_text("")
            elif place.stat().st_mtime < _started():
                shutil.copy2(place, path + STARTED)
        with open(part, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(mysql_settings.render(values))
            file.flush()
            os.fsync(file.fileno())
        if secret:
            shutil.chown(part, group="mysql")
        part.chmod(0o640 if secret else 0o644)
        part.replace(place)
    except (OSError, LookupError) as error:
        part.unlink(missing_ok=True)
        raise CommandExecutionError(f"{path} could not be written and is as it was: {error}") from error


def set_running(changes):
    """
    Give variables of the running server other values, at once and without a restart. Returns what is still
    otherwise afterwards, as {variable: sentence}.

    changes
        {variable: {"old": ..., "new": ...}} as :py:func:`compare` returns it.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_server.set_running '{max_connections: {old: 151, new: 500}}'
    """
    refused = {}
    for name, change in changes.items():
        try:
            mysql_client.local(mysql_settings.set_statement(name, change["new"]))
        except SqlError as error:
            refused[name] = str(error)
    return refused


def answers(wait=0):
    """
    Whether the server lets the system's root in.

    wait
        For how many seconds (0 to 600) to try.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_server.answers wait=10
    """
    end = time.monotonic() + wait
    while True:
        try:
            mysql_client.local("SELECT 1;", timeout=10)
        except SqlError:
            if time.monotonic() >= end:
                return False
        else:
            return True
        time.sleep(0.5)


def start(service, wait=120):
    """
    Start the server and wait until it answers. Raises with the server's own words when it does not.

    service
        The service's name.

    wait
        For how many seconds (1 to 3600) it may take; recovery after a crash takes its time.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_server.start mariadb
    """
    _control("start", service, wait)


def restart(path, service, wait=120):
    """
    Restart the server with its present configuration. When it does not start with that, the configuration that it
    was last started with comes back and it is started again; raises with the server's own words.

    path, service
        The option file and the service's name.

    wait
        For how many seconds (1 to 3600) a start may take.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_server.restart /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf mariadb
    """
    before = Path(path + STARTED)
    try:
        _control("restart", service, wait)
    except CommandExecutionError as error:
        if not before.exists():
            raise
        Path(path).replace(path + REFUSED)
        before.replace(path)
        _control("start", service, wait)
        raise CommandExecutionError(
            f"{error}\nThe configuration that it was last started with is back, and it runs. What it could not "
            f"start with is kept as {path + REFUSED}"
        ) from error
    before.unlink(missing_ok=True)


def variable(name):
    """
    The value of a variable of the running server, as SHOW GLOBAL VARIABLES has it; None when there is none.

    name
        The variable's name.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_server.variable ssl_cert
    """
    rows = _local(f"SHOW GLOBAL VARIABLES LIKE {mysql_client.quote(name.replace('_', chr(92) + '_'))};")
    return rows[0]["Value"] if rows else None


def reload_tls():
    """
    Let the running server read its certificate and key again. Connections stay.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_server.reload_tls
    """
    _local(_dialect().reload_tls)


def tls_fingerprint(address, port):
    """
    The SHA-256 fingerprint of the certificate that a server shows its clients. Asked as one of them, from an address
    that an account may come from.

    address, port
        Where the server listens.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_server.tls_fingerprint 192.168.1.5 3306
    """
    try:
        certificate = mysql_handshake.shown_certificate(address, port)
    except mysql_handshake.HandshakeError as error:
        raise CommandExecutionError(str(error)) from error
    return hashlib.sha256(certificate).hexdigest()


def _control(action, service, wait):
    began = time.time()
    sizes = {log: Path(log).stat().st_size for log in ERROR_LOGS if Path(log).exists()}
    said = ""
    _forget_failures(service)
    try:
        works = __salt__[f"service.{action}"](service)
    except CommandExecutionError as error:
        works, said = False, str(error)
    if works and answers(wait):
        return
    words = ""
    for _ in range(10):
        # The journal has the last lines a moment after the service is known to have failed.
        words = _own_words(service, began, sizes)
        if words:
            break
        time.sleep(0.3)
    words = words or said or f"no answer within {wait} s"
    raise CommandExecutionError(f"{service} does not start: {words}")


def _forget_failures(service):
    """Have systemd start a service that failed so often, at boot without its data for one, that it has given up."""
    # It fails for a service that is not known or has not failed, and on a host without systemd, which is all the same.
    with suppress(ProgramError):
        host_programs.run(["systemctl", "reset-failed", service], timeout=30)


def _own_words(service, began, sizes):
    """What the server wrote into its error log and into the journal since then."""
    lines = []
    for log in ERROR_LOGS:
        if Path(log).exists():
            with open(log, errors="replace") as file:
                file.seek(sizes.get(log, 0))
                lines += file.read().splitlines()
    if mysql_client.program("journalctl"):
        words = ["journalctl", "--no-pager", "-q", "-o", "cat", "-u", service, f"--since=@{int(began)}"]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=30)
        lines += done.stdout.splitlines()
    return "; ".join(mysql_settings.complaints(lines)[:5])


def _read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CommandExecutionError(f"{path} cannot be read: {error}") from error


def _variables():
    """The running server's variables; None when there is none that answers."""
    try:
        rows = mysql_client.local("SHOW GLOBAL VARIABLES;")
    except SqlError:
        return None
    return {row["Variable_name"].lower(): row["Value"] or "" for row in rows}


def _started():
    """When the running server's process was started, in seconds of the system's clock."""
    pid_file = _local("SELECT @@GLOBAL.pid_file AS place;")[0]["place"]
    try:
        pid = int(Path(pid_file).read_text())
        # After the name in parentheses, the 20th field: in ticks since the system's boot (proc(5)).
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        # In whole seconds, of which none may be too many.
        return time.time() - int(_local("SHOW GLOBAL STATUS LIKE 'Uptime';")[0]["Value"]) - 1
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def _persisted(flavor):
    """The variables that MySQL's SET PERSIST overrides at each start."""
    if flavor != "mysql":
        return set()
    sql = "SELECT VARIABLE_NAME AS name FROM performance_schema.persisted_variables;"
    return {row["name"].lower() for row in _local(sql)}


def _origin(flavor, name):
    """The option file that gave a variable of the running server its value; empty when none did."""
    if flavor == "mysql":
        sql = "SELECT VARIABLE_PATH AS path FROM performance_schema.variables_info WHERE VARIABLE_NAME = "
    else:
        sql = "SELECT GLOBAL_VALUE_PATH AS path FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME = "
    rows = _local(sql + mysql_client.quote(name) + ";")
    return (rows[0]["path"] or "") if rows else ""


def _is_dynamic(flavor, name):
    """Whether a variable of the running server can be changed."""
    if not re.fullmatch(r"[a-z0-9_]+", name):
        return False
    if flavor == "mariadb":
        sql = "SELECT READ_ONLY AS fixed FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME = "
        rows = _local(sql + mysql_client.quote(name.upper()) + ";")
        return bool(rows) and rows[0]["fixed"] == "NO"
    try:
        # MySQL has no list of them: it refuses by number, and a variable that gets the value it has does not change.
        mysql_client.local(f"SET GLOBAL {name} = @@GLOBAL.{name};")
    except SqlError as error:
        return error.code != READ_ONLY_VARIABLE
    return True


def _dialect():
    try:
        return mysql_dialect.identify(_local("SELECT @@version AS version;")[0]["version"])
    except ValueError as error:
        raise CommandExecutionError(str(error)) from error


def _local(sql):
    try:
        return mysql_client.local(sql)
    except SqlError as error:
        raise CommandExecutionError(f"the database server on {__grains__['id']}: {error}") from error
