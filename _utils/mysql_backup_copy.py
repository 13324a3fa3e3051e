"""
The data of this host's server copied into a directory, by the servers' own tools: mariadb-backup, MySQL's clone
plugin, mariadb-dump and mysqldump; and dumps loaded again. Knows nothing of Salt.

Sources: MariaDB manual, "mariadb-backup overview" and "mariadb-dump"; MySQL manual, "The Clone Plugin" and
"mysqldump". All of it over the unix socket, as the system's root, without a password.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import host_programs
import mysql_backups as store
import mysql_client
import mysql_dialect
import mysql_gtid
import mysql_private
from mysql_backups import BackupError
from mysql_client import SqlError

DATA, DUMP, ACCOUNTS = "data", "dump.sql", "accounts.sql"
# Well-kept and streaming; the first that is installed, the faster one first.
COMPRESSORS = {".zst": ("zstd", "-q", "-3", "-c"), ".gz": ("gzip", "-6", "-c")}
# Schemas of the server's own, which no dump of ours holds.
SYSTEM = ("mysql", "information_schema", "performance_schema", "sys")
# A server that restarts with the data of another one must not take its identity, nor go on with its replication.
FOREIGN = ("auto.cnf", "mysqld-auto.cnf", "master.info", "multi-master.info", "relay-log.info")
# Where the server may write by the AppArmor profile of its package, and by secure_file_priv.
CONFINED = Path("/var/lib/mysql-files")
_EMPTY_BYTES = 256 << 20  # what a new data directory takes
_POSITION = re.compile(rb"SET GLOBAL gtid_slave_pos='([^']*)'")
_PURGED = re.compile(rb"SET @@GLOBAL\.GTID_PURGED=\s*(?:/\*!80000 '\+'\*/)?\s*'([^']*)'")
_CHUNK = 1 << 20
_TAIL = 1 << 16
BUILT_IN = ("mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema")


class Server(NamedTuple):
    """This host's running server, as far as its backup depends on it."""

    flavor: str
    version: str
    server_id: int
    gtids: str  # everything that its binary log ever had
    data: Path
    socket: str
    layout: dict[str, str]  # what its data directory was made with
    logs: tuple[str, ...]  # how the files of its binary and relay logs begin

    @property
    def dialect(self) -> mysql_dialect.Dialect:
        return mysql_dialect.DIALECTS[self.flavor]


def server() -> Server:
    """This host's running server. Raises BackupError when there is none, or none that is supported."""
    try:
        dialect = mysql_dialect.identify(mysql_client.local("SELECT @@version AS version;")[0]["version"] or "")
        row = mysql_client.local(mysql_dialect.server_sql(dialect))[0]
        shown = mysql_client.local("SHOW GLOBAL VARIABLES;")
    except (SqlError, ValueError) as error:
        raise BackupError(f"the database server on this host: {error}") from error
    variables = {one["Variable_name"]: one["Value"] or "" for one in shown}
    logs = [Path(variables.get(name, "")).name for name in ("log_bin_basename", "relay_log_basename")]
    return Server(
        flavor=dialect.name,
        version=(row["version"] or "").split(" ")[0],
        server_id=int(row["server_id"] or 0),
        gtids=(row["gtids"] or "").replace("\n", ""),
        data=Path(variables["datadir"]),
        socket=variables["socket"],
        layout={name: variables[name] for name in mysql_private.LAYOUT if name in variables},
        logs=tuple(f"{log}." for log in logs if log),
    )


def data_size(server: Server, method: str) -> int:
    """How many bytes a backup of this server takes at most, but for what it grows meanwhile."""
    if method == "physical":
        return store.tree_size(server.data, (*server.logs, "ibtmp", "ib_logfile", "#innodb_redo"))
    tables = "information_schema.tables WHERE table_type = 'BASE TABLE'"
    rows = mysql_client.local(f"SELECT COALESCE(SUM(data_length), 0) AS bytes FROM {tables};", timeout=600)
    return int(rows[0]["bytes"] or 0)


def restored_size(record: dict, place: Path) -> int:
    """How many bytes a data directory takes that is made from a backup."""
    if record["method"] == "physical":
        return store.tree_size(place / DATA)
    return 2 * int(record["data_bytes"]) + _EMPTY_BYTES


def layout_of_new(layout: dict[str, str]) -> dict[str, str]:
    """What of a layout a data directory that dumps are loaded into has too."""
    return {name: value for name, value in layout.items() if name != "innodb_data_file_path"}


# --- physical ---


def physical(server: Server, place: Path, lock: int) -> str:
    """Copy the running server's data directory to ``data`` in a directory, ready for a server to start on it.

    Returns the position that it has, as GTIDs. Raises BackupError.
    """
    return (_mariadb_backup if server.dialect.is_mariadb else _clone)(server, place, lock)


def _mariadb_backup(server: Server, place: Path, lock: int) -> str:
    tool, target = store.program("mariadb-backup"), place / DATA
    store.run([tool, "--backup", "--user=root", f"--socket={server.socket}", f"--target-dir={target}"], lock)
    store.run([tool, "--prepare", f"--target-dir={target}"], lock)
    store.run(["chmod", "-R", "go=", "--", target])  # it leaves some notes of its own readable
    return position(target)


def position(data: Path) -> str:
    """The position of what mariadb-backup copied, as GTIDs, one a domain. Raises BackupError."""
    for name in ("mariadb_backup_binlog_info", "xtrabackup_binlog_info"):
        if (data / name).exists():
            # File, position, GTIDs (one a domain, with line breaks between them).
            words = (data / name).read_text().split("\t", 2)
            return "".join(words[2].split()) if len(words) == 3 else ""
    raise BackupError("mariadb-backup has not said which position it has: is the binary log on?")


def _clone(server: Server, place: Path, lock: int) -> str:
    system = ", ".join(mysql_client.quote(name) for name in SYSTEM)
    others = mysql_client.local(
        "SELECT CONCAT(table_schema, '.', table_name) AS name FROM information_schema.tables WHERE table_type = "
        f"'BASE TABLE' AND engine <> 'InnoDB' AND table_schema NOT IN ({system}) LIMIT 3;"
    )
    if others:
        names = ", ".join(row["name"] or "" for row in others)
        raise BackupError(
            f"the clone plugin copies tables of InnoDB only, and these are not: {names}. Take logical backups"
        )
    # The server writes this copy itself, so it must be able to get there, and nobody else. Where AppArmor keeps it from
    # other places it writes into the one that its profile has for files, which is then moved.
    target = place / DATA
    is_confined = mysql_private.is_confined(mysql_private.program(server.flavor))
    written = CONFINED / "mysql_ha-clone" if is_confined else target
    if is_confined:
        shutil.rmtree(written, ignore_errors=True)
        store.need_room(CONFINED, data_size(server, "physical"), "the clone that is moved from there")
    shutil.chown(place, mysql_private.USER, mysql_private.USER)
    try:
        installed = "FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'"
        if mysql_client.local(f"SELECT COUNT(*) AS there {installed};")[0]["there"] == "0":
            # Not written to the binary log.
            mysql_client.local("INSTALL PLUGIN clone SONAME 'mysql_clone.so';")
        before = _executed()
        mysql_client.local(f"CLONE LOCAL DATA DIRECTORY = {mysql_client.quote(str(written))};", timeout=None)
        after = _executed()
    except SqlError as error:
        raise BackupError(f"CLONE LOCAL DATA DIRECTORY = '{written}': {error}{_about(error)}") from error
    finally:
        shutil.chown(place, "root", "root")
        place.chmod(0o711)
    if is_confined:
        store.run(["mv", "-T", "--", written, target], lock)
    shutil.rmtree(target / "#clone", ignore_errors=True)
    # A first start finishes it, as --prepare does for MariaDB, and takes the replication out that a clone copies.
    with mysql_private.running(server.flavor, target, server.layout, lock) as private:
        private.sql("RESET REPLICA ALL;")
        # Tables of another engine come without their files; these two of the server's own are logs.
        private.sql("TRUNCATE TABLE mysql.general_log; TRUNCATE TABLE mysql.slow_log;")
        position = (private.sql("SELECT @@GLOBAL.gtid_executed AS gtids;")[0]["gtids"] or "").replace("\n", "")
    for name in FOREIGN:
        (target / name).unlink(missing_ok=True)
    place.chmod(0o700)
    if not contains(server.dialect, position, before) or not contains(server.dialect, after, position):
        raise BackupError(
            f"the copy has the position {position}, which does not lie between {before} and {after}, those of the "
            "server before and after it was made"
        )
    return position


def _about(error: SqlError) -> str:
    """What helps against the server's refusals that operators meet."""
    text = str(error)
    if error.code == 1290:
        return ". The plugin `clone` is not installed yet, and this server is sealed: open it once for the first backup"
    if "13" in text and "ermission" in text:
        return ". The server itself writes this copy, and its AppArmor profile must let it (docs/backups.md)"
    return ""


def _executed() -> str:
    return (mysql_client.local("SELECT @@GLOBAL.gtid_executed AS gtids;")[0]["gtids"] or "").replace("\n", "")


def contains(dialect: mysql_dialect.Dialect, larger: str, smaller: str) -> bool:
    """Whether one set of transactions has all of another. Raises BackupError for what is no such set."""
    try:
        return not mysql_gtid.subtract(dialect.parse(smaller), dialect.parse(larger))
    except ValueError as error:
        raise BackupError(f"GTIDs: {error}") from error


# --- logical ---


def logical(server: Server, place: Path, lock: int) -> tuple[str, int]:
    """Dump the applications' databases, and the accounts, into a directory.

    Returns the dump's position as GTIDs, and its bytes before compression. Raises BackupError.
    """
    suffix, compressor = next(
        (suffix, words) for suffix, words in COMPRESSORS.items() if mysql_client.program(words[0])
    )
    rows = mysql_client.local("SELECT schema_name AS name FROM information_schema.schemata;")
    databases = [row["name"] or "" for row in rows if row["name"] not in SYSTEM]
    accounts = _accounts(server)
    with open(place / ACCOUNTS, "w", encoding="utf-8", opener=_private_file) as file:
        file.write(accounts)
    if not databases:
        raise BackupError("this server has no database of an application: there is nothing to dump")
    words = [*_dump_words(server), "--databases", *databases]
    head, tail, size = _piped(words, compressor, place / (DUMP + suffix), lock)
    found = _PURGED.search(head) if server.flavor == "mysql" else _POSITION.search(head + tail)
    if not found or b"-- Dump completed" not in tail:
        raise BackupError("the dump does not say its position, or not that it is complete")
    return found[1].decode().replace("\n", "").replace("\\n", ""), size


def _dump_words(server: Server) -> list[str]:
    common = ["--no-defaults", f"--socket={server.socket}", "--user=root", "--default-character-set=utf8mb4",
              "--single-transaction", "--quick", "--hex-blob", "--routines", "--triggers", "--events"]  # fmt: skip
    if server.dialect.is_mariadb:
        return [store.program("mariadb-dump"), *common, "--gtid", "--master-data=2"]
    # --source-data makes position and rows those of one moment.
    return [store.program("mysqldump"), *common, "--set-gtid-purged=ON", "--source-data=2", "--no-tablespaces"]


def _piped(dump: list[str], compressor: tuple[str, ...], target: Path, lock: int) -> tuple[bytes, bytes, int]:
    """Run a dump through a compressor into a file; return its beginning, its end, and its bytes."""
    head, tail, size = b"", b"", 0
    pipe = subprocess.PIPE
    with open(target, "wb", opener=_private_file) as file, target.with_suffix(".err").open("w+b") as said:
        common = {"stderr": said, "cwd": "/", "env": host_programs.ENVIRONMENT, "pass_fds": (lock,)}
        producer = subprocess.Popen(dump, stdin=subprocess.DEVNULL, stdout=pipe, **common)
        consumer = subprocess.Popen(compressor, stdin=pipe, stdout=file, **common)
        try:
            while chunk := producer.stdout.read(_CHUNK):
                head = head or chunk[:_TAIL]
                tail = (tail + chunk)[-_TAIL:]
                size += len(chunk)
                consumer.stdin.write(chunk)
            consumer.stdin.close()
        except BrokenPipeError:
            producer.kill()
        codes = producer.wait(), consumer.wait()
        said.seek(0)
        if any(codes):
            words = host_programs.last_words(said.read().decode(errors="replace"))
            raise BackupError(f"{Path(dump[0]).name}, exit status {codes[0]}; {compressor[0]}, {codes[1]}: {words}")
    target.with_suffix(".err").unlink()
    return head, tail, size


def _private_file(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _accounts(server: Server) -> str:
    """The statements that make all accounts again, but for the server's own."""
    if server.dialect.is_mariadb:
        return store.run([store.program("mariadb-dump"), "--no-defaults", f"--socket={server.socket}", "--user=root",
                          "--system=users", "--insert-ignore"])  # fmt: skip
    users = mysql_client.local(
        "SELECT u.User AS name, u.Host AS host, EXISTS (SELECT 1 FROM mysql.role_edges WHERE FROM_USER = u.User AND "
        "FROM_HOST = u.Host) AS is_role FROM mysql.user u ORDER BY is_role DESC, name, host;"
    )
    lines = []
    for row in users:
        if row["name"] not in BUILT_IN and (row["name"], row["host"]) != ("root", "localhost"):
            account = f"{mysql_client.quote(row['name'] or '')}@{mysql_client.quote(row['host'] or '')}"
            hexed = "SET SESSION print_identified_with_as_hex = ON;\n"
            made = mysql_client.local(f"{hexed}SHOW CREATE USER {account};")[0]
            lines += [f"DROP USER IF EXISTS {account};", f"{next(iter(made.values()))};"]
            lines += [f"{next(iter(grant.values()))};" for grant in mysql_client.local(f"SHOW GRANTS FOR {account};")]
    return "".join(f"{line}\n" for line in lines)


def load(server: mysql_private.Private, place: Path) -> None:
    """Load a logical backup into a server, outside its binary log. Raises BackupError.

    server
        An empty server of one's own.
    place
        The backup's directory.
    """
    dump = next((found for suffix in COMPRESSORS if (found := place / (DUMP + suffix)).exists()), None)
    if dump is None:
        raise BackupError(f"{place} has no dump")
    expand = COMPRESSORS[dump.suffix][0]
    _fed(server, [store.program(expand), "-q", "-d", "-c", str(dump)])
    _fed(server, ["cat", str(place / ACCOUNTS)])


def _fed(server: mysql_private.Private, words: list[str]) -> None:
    """Have a server execute what a program writes."""
    client = [store.program("mariadb", "mysql"), "--no-defaults", "--protocol=socket", f"--socket={server.socket}",
              "--user=root", "--batch", "--default-character-set=utf8mb4",
              "--init-command=SET SESSION sql_log_bin = 0"]  # fmt: skip
    pipe = subprocess.PIPE
    producer = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=host_programs.ENVIRONMENT
    )
    consumer = subprocess.Popen(client, stdin=producer.stdout, stdout=subprocess.DEVNULL, stderr=pipe,
                                env=host_programs.ENVIRONMENT)  # fmt: skip
    producer.stdout.close()
    said = consumer.communicate()[1]
    words_of_producer = producer.communicate()[1]
    if producer.returncode or consumer.returncode:
        # The client repeats statements, and the server what is near an error; those of accounts hold hashes.
        error = re.search(r"^ERROR \d+.*?(?= near '|$)", said.decode(errors="replace"), flags=re.MULTILINE)
        reasons = [host_programs.last_words(words_of_producer.decode(errors="replace")) if producer.returncode else "",
                   error[0].strip() if error else ""]  # fmt: skip
        raise BackupError(f"it cannot be loaded: {'; '.join(filter(None, reasons)) or 'the client failed'}")


# --- what is in it ---


def check_tables(server: mysql_private.Private) -> int:
    """Have a server check each of its tables; return how many. Raises BackupError with the first complaints."""
    names = server.sql(
        "SELECT table_schema AS db, table_name AS name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
        "AND table_schema NOT IN ('information_schema', 'performance_schema') ORDER BY db, name;"
    )
    tables = [f"{_identifier(row['db'])}.{_identifier(row['name'])}" for row in names]
    wrong = []
    for start in range(0, len(tables), 50):
        try:
            said = server.sql(f"CHECK TABLE {', '.join(tables[start : start + 50])};")
        except SqlError as error:
            raise BackupError(f"CHECK TABLE, from {tables[start]} on: {error}") from error
        wrong += [f"{row['Table']}: {row['Msg_text']}" for row in said if (row["Msg_type"] or "").lower() == "error"]
    if wrong:
        raise BackupError(f"CHECK TABLE complains: {'; '.join(wrong[:5])}" + (" ..." if len(wrong) > 5 else ""))
    return len(tables)


def _identifier(name: str | None) -> str:
    return "`" + (name or "").replace("`", "``") + "`"
