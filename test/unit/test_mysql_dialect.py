"""Which statements each dialect gets, and how its answers are read; the real servers are in the lab.

The rows are those of real servers (MySQL 9.7.4, MariaDB 11.8.6), and of MySQL 8.0's manual where nothing here runs it.
"""

import pytest

import mysql_dialect as dialect

MYSQL_ROW = {
    "Channel_Name": "", "Source_Host": "192.168.1.6", "Source_Port": "3306", "Source_User": "repl",
    "Replica_IO_State": "Waiting for source to send event", "Replica_IO_Running": "Yes", "Replica_SQL_Running": "Yes",
    "Auto_Position": "1", "Source_SSL_Allowed": "Yes", "Source_SSL_Verify_Server_Cert": "Yes",
    "Source_SSL_CA_File": "/etc/mysql/mysql_ha-tls/ca.pem", "Connect_Retry": "1", "Last_IO_Errno": "0",
    "Last_SQL_Errno": "0", "Seconds_Behind_Source": "0", "Retrieved_Gtid_Set": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1",
}  # fmt: skip
MARIADB_ROW = {
    "Connection_name": "", "Master_Host": "192.168.1.6", "Master_Port": "3306", "Master_User": "repl",
    "Slave_IO_State": "Waiting for master to send event", "Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes",
    "Using_Gtid": "Slave_Pos", "Master_SSL_Allowed": "Yes", "Master_SSL_Verify_Server_Cert": "Yes",
    "Master_SSL_CA_File": "/etc/mysql/mysql_ha-tls/ca.pem", "Connect_Retry": "1", "Last_IO_Errno": "0",
    "Last_SQL_Errno": "0", "Seconds_Behind_Master": "0", "Gtid_IO_Pos": "2-2-7", "Slave_heartbeat_period": "0.250",
}  # fmt: skip
CHANNEL = dialect.Channel("192.168.1.6", 3306, "repl", ca_file="/etc/mysql/mysql_ha-tls/ca.pem")
NOW = {"mysql": lambda row=MYSQL_ROW: dialect.channel(dialect.MYSQL, [row], "0.250"),
       "mariadb": lambda row=MARIADB_ROW: dialect.channel(dialect.MARIADB, [row])}  # fmt: skip
ROWS = {"mysql": MYSQL_ROW, "mariadb": MARIADB_ROW}
FLAVORS = pytest.mark.parametrize("flavor", ["mysql", "mariadb"])


@pytest.mark.parametrize(("text", "name"), [
    ("9.7.4-2", "mysql"), ("8.4.6", "mysql"), ("8.0.22", "mysql"), ("8.0.45-0ubuntu0.24.04.1", "mysql"),
    ("11.8.9-MariaDB-0+deb13u1 from Debian", "mariadb"), ("10.11.18-MariaDB-0+deb12u1-log", "mariadb"),
])  # fmt: skip
def test_a_server_is_what_it_says(text, name) -> None:
    assert dialect.identify(text).name == name


@pytest.mark.parametrize("text", ["8.0.21", "5.7.44-log", "10.6.22-MariaDB", "", "nonsense"])
def test_what_is_too_old_is_refused_by_name(text) -> None:
    with pytest.raises(ValueError, match="is not supported; supported: .* and newer"):
        dialect.identify(text)


def test_both_answers_read_alike() -> None:
    mysql, mariadb = NOW["mysql"](), NOW["mariadb"]()
    differing = {key for key in mysql if mysql[key] != mariadb[key]}
    assert differing == {"receiver_state", "gtid_received"}


@FLAVORS
def test_a_channel_as_specified_has_no_differences(flavor) -> None:
    assert CHANNEL.differences(NOW[flavor]()) == {}


@FLAVORS
@pytest.mark.parametrize(("field", "column", "value", "old"), [
    ("source", "{source}_Host", "192.168.1.60", "192.168.1.60:3306"),
    ("source", "{source}_Port", "33060", "192.168.1.6:33060"),
    ("user", "{source}_User", "root", "root"),
    ("gtid", "{gtid}", "No", False),
    ("tls", "{source}_SSL_Allowed", "No", False),
    ("tls_verify", "{source}_SSL_Verify_Server_Cert", "No", False),
    ("ca_file", "{source}_SSL_CA_File", "", ""),
    ("connect_retry", "Connect_Retry", "60", 60),
])  # fmt: skip
def test_every_difference_of_a_channel_is_named(flavor, field, column, value, old) -> None:
    words = dialect.DIALECTS[flavor]
    row = ROWS[flavor] | {column.format(source=words.source, gtid=words.auto_position[0]): value}
    assert CHANNEL.differences(NOW[flavor](row))[field]["old"] == old
    assert len(CHANNEL.differences(NOW[flavor](row))) == 1


def test_the_heartbeat_is_compared() -> None:
    assert CHANNEL.differences(dialect.channel(dialect.MYSQL, [MYSQL_ROW], "30.000")) == {
        "heartbeat": {"old": 30.0, "new": 0.25}}  # fmt: skip
    slow = dialect.channel(dialect.MARIADB, [MARIADB_ROW | {"Slave_heartbeat_period": "30.000"}])
    assert CHANNEL.differences(slow) == {"heartbeat": {"old": 30.0, "new": 0.25}}


@FLAVORS
def test_no_channel_differs_in_everything_and_named_ones_are_not_ours(flavor) -> None:
    words = dialect.DIALECTS[flavor]
    assert dialect.channel(words, []) is None
    assert dialect.channel(words, [ROWS[flavor] | {words.channel_key: "analytics"}]) is None
    assert {change["old"] for change in CHANNEL.differences(None).values()} == {None}


@FLAVORS
def test_a_broken_applier(flavor) -> None:
    words = dialect.DIALECTS[flavor]
    row = ROWS[flavor] | {f"{words.replica}_SQL_Running": "No", "Last_SQL_Errno": "1062",
                          "Last_SQL_Error": "Duplicate entry", f"Seconds_Behind_{words.source}": None}  # fmt: skip
    now = NOW[flavor](row)
    assert (now["receiving"], now["applying"], now["seconds_behind"]) == (True, False, None)
    assert now["applier_error"] == "1062: Duplicate entry"


def test_mysql_is_pointed_by_gtid_verified_and_never_gives_up() -> None:
    sql = dialect.change_statements(dialect.MYSQL, CHANNEL, "it's", (9, 7, 4))
    assert sql == (
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '192.168.1.6', SOURCE_PORT = 3306, SOURCE_USER = 'repl', "
        "SOURCE_PASSWORD = 'it''s', SOURCE_SSL = 1, SOURCE_SSL_VERIFY_SERVER_CERT = 1, "
        "SOURCE_SSL_CA = '/etc/mysql/mysql_ha-tls/ca.pem', SOURCE_CONNECT_RETRY = 1, SOURCE_HEARTBEAT_PERIOD = 0.25, "
        "SOURCE_AUTO_POSITION = 1, SOURCE_RETRY_COUNT = 0, GET_SOURCE_PUBLIC_KEY = 0;\n"
    )


def test_mysql_in_clear_text_asks_for_the_public_key() -> None:
    sql = dialect.change_statements(dialect.MYSQL, CHANNEL._replace(tls=False, ca_file=""), "x")
    assert "SOURCE_SSL = 0, SOURCE_SSL_VERIFY_SERVER_CERT = 0" in sql
    assert "GET_SOURCE_PUBLIC_KEY = 1" in sql


def test_mysql_8_0_22_knows_the_old_words_only() -> None:
    sql = dialect.change_statements(dialect.MYSQL, CHANNEL, "x", (8, 0, 22))
    assert sql.startswith("CHANGE MASTER TO MASTER_HOST = '192.168.1.6'")
    assert "SOURCE" not in sql.replace("GET_MASTER_PUBLIC_KEY", "")
    assert dialect.identify("8.0.25").semi_sync["source_plugin"] == "semisync_master.so"
    assert dialect.identify("8.0.25").semi_sync["wait_no_replica"] == "rpl_semi_sync_master_wait_no_slave"
    assert dialect.identify("8.0.26").semi_sync["source_plugin"] == "semisync_source.so"


def test_mariadb_is_pointed_by_its_own_words() -> None:
    sql = dialect.change_statements(dialect.MARIADB, CHANNEL, "x", (11, 8, 6))
    assert sql.startswith("CHANGE MASTER TO MASTER_HOST = '192.168.1.6'")
    assert sql.endswith("MASTER_HEARTBEAT_PERIOD = 0.25, MASTER_USE_GTID = slave_pos;\n")
    assert "RETRY_COUNT" not in sql


def test_threads() -> None:
    assert dialect.MYSQL.start() == "START REPLICA;\n"
    assert dialect.MARIADB.stop("IO_THREAD") == "STOP SLAVE IO_THREAD;\n"
    assert dialect.MYSQL.forget() == "STOP REPLICA; RESET REPLICA ALL;"


def test_read_only_takes_the_strongest_lock_and_opens_all_of_it() -> None:
    assert dialect.read_only_statements(dialect.MYSQL, True) == "SET GLOBAL super_read_only = ON;\n"
    assert dialect.read_only_statements(dialect.MYSQL, False) == "SET GLOBAL read_only = OFF;\n"
    assert dialect.read_only_statements(dialect.MARIADB, True) == "SET GLOBAL read_only = ON;\n"


# The columns and values that matter here of SHOW REPLICA STATUS, as operators published them of their servers: 8.0
# (its retry count is 86400) and 8.4 (10). Neither series is in the Debian releases that the lab is made of.
RECORDED = {
    "8.0": {
        "Replica_IO_State": "Waiting for source to send event", "Source_User": "repl", "Source_Port": "3306",
        "Source_Host": "192.168.1.6", "Connect_Retry": "60", "Replica_IO_Running": "Yes", "Replica_SQL_Running": "Yes",
        "Source_SSL_Allowed": "No", "Source_SSL_CA_File": "", "Seconds_Behind_Source": "0",
        "Source_SSL_Verify_Server_Cert": "No", "Last_IO_Errno": "0", "Last_IO_Error": "", "Last_SQL_Errno": "0",
        "Last_SQL_Error": "", "Source_Retry_Count": "86400", "Auto_Position": "1", "Channel_Name": "",
        "Retrieved_Gtid_Set": "7caa9a48-b325-11ed-8541-fab81f64ee00:16333", "Get_Source_public_key": "0",
        "Executed_Gtid_Set": "7caa9a48-b325-11ed-8541-fab81f64ee00:1-16333,\n"
        "c1a67221-f9fc-11ed-bffd-fa8338b09400:1-106",
    },
    "8.4": {
        "Replica_IO_State": "", "Source_User": "repl", "Source_Port": "3306", "Source_Host": "192.168.1.6",
        "Connect_Retry": "10", "Replica_IO_Running": "No", "Replica_SQL_Running": "Yes", "Source_SSL_Allowed": "No",
        "Source_SSL_CA_File": "", "Seconds_Behind_Source": None, "Source_SSL_Verify_Server_Cert": "No",
        "Last_IO_Errno": "2005", "Last_SQL_Errno": "0", "Last_SQL_Error": "", "Source_Retry_Count": "10",
        "Last_IO_Error": "Error connecting to source 'repl@192.168.1.6:3306'. This was attempt 10/10, with a delay of "
        "10 seconds between attempts. Message: Unknown MySQL server host",
        "Retrieved_Gtid_Set": "", "Executed_Gtid_Set": "", "Auto_Position": "0", "Channel_Name": "",
    },
}  # fmt: skip


def test_an_answer_of_mysql_8_0() -> None:
    now = dialect.channel(dialect.identify("8.0.33"), [RECORDED["8.0"]], "30.000")
    assert (now["source"], now["receiving"], now["applying"], now["gtid"]) == ("192.168.1.6:3306", True, True, True)
    assert set(CHANNEL.differences(now)) == {"tls", "tls_verify", "ca_file", "connect_retry", "heartbeat"}
    executed = dialect.MYSQL.parse(RECORDED["8.0"]["Executed_Gtid_Set"])
    assert dialect.mysql_gtid.count(executed) == 16333 + 106


def test_an_answer_of_mysql_8_4_that_gave_up() -> None:
    now = dialect.channel(dialect.identify("8.4.0"), [RECORDED["8.4"]], "30.000")
    assert (now["receiving"], now["applying"], now["seconds_behind"], now["gtid"]) == (False, True, None, False)
    assert now["receiver_error"].startswith("2005: Error connecting to source")


def test_a_move_names_the_source_alone() -> None:
    assert dialect.move_statements(dialect.MYSQL, "192.168.1.6", 3306, 0.25, (9, 7, 4)) == (
        "STOP REPLICA;\nCHANGE REPLICATION SOURCE TO SOURCE_HOST = '192.168.1.6', SOURCE_PORT = 3306, "
        "SOURCE_HEARTBEAT_PERIOD = 0.25, SOURCE_AUTO_POSITION = 1;\nSTART REPLICA;\n"
    )
    assert dialect.move_statements(dialect.MARIADB, "192.168.1.6", 3306, 0.25) == (
        "STOP SLAVE;\nCHANGE MASTER TO MASTER_HOST = '192.168.1.6', MASTER_PORT = 3306, "
        "MASTER_HEARTBEAT_PERIOD = 0.25, MASTER_USE_GTID = slave_pos;\nSTART SLAVE;\n"
    )
    assert "CHANGE MASTER TO MASTER_HOST" in dialect.move_statements(dialect.MYSQL, "a", 1, 1, (8, 0, 22))


@pytest.mark.parametrize(("value", "asked"), [
    ("ON", ["SHOW", "SET GLOBAL super_read_only = OFF", "write", "SET GLOBAL super_read_only = ON"]),
    ("OFF", ["SHOW", "write"]),
    (None, ["SHOW", "write"]),
])  # fmt: skip
@pytest.mark.parametrize("fails", [False, True])
def test_root_writes_on_a_closed_server_and_it_is_closed_again(value, asked, fails) -> None:
    done = []

    def ask(sql):
        done.append(sql)
        return [{"Variable_name": "super_read_only", "Value": value}] if value and sql.startswith("SHOW") else []

    try:
        with dialect.writable(ask):
            ask("write")
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert [one.strip(";\n") if one[:4] != "SHOW" else "SHOW" for one in done] == asked
