"""What applications with connection pools see: many long-lived sessions, each of which asks something now and then.

Runs on the lab's client, by itself (copied there). Arguments: the password, then HOST=COUNT for each virtual address.
Prints one JSON object a line: `{"open": N}` when all are open, and for each session that breaks its `host`, the
`server` (server_id) that it was on, `at` and the `error`. A broken session is not opened again. Ends when its standard
output goes away.
"""

import json
import sys
import time

import pymysql

PERIOD = 0.5
ANSWER_WITHIN = 10


def main() -> None:
    """Keep the sessions busy."""
    password, *wanted = sys.argv[1:]
    sessions = []
    for one in wanted:
        host, count = one.split("=")
        for _ in range(int(count)):
            session = pymysql.connect(
                host=host, port=3306, user="shop", password=password, database="shop", connect_timeout=ANSWER_WITHIN,
                read_timeout=ANSWER_WITHIN, write_timeout=ANSWER_WITHIN, autocommit=True,
            )  # fmt: skip
            sessions.append((host, ask(session), session))
    say({"open": [(host, server) for host, server, _ in sessions]})
    while True:
        began = time.monotonic()
        for one in list(sessions):
            host, server, session = one
            try:
                answered = ask(session)
                if answered != server:
                    raise pymysql.OperationalError(f"server {answered} answered")
            except (pymysql.Error, OSError) as error:
                say({"host": host, "server": server, "at": time.time(), "error": str(error)})
                sessions.remove(one)
        say({"asked": len(sessions), "took": time.monotonic() - began})
        time.sleep(max(0.0, PERIOD - (time.monotonic() - began)))


def ask(session: pymysql.Connection) -> int:
    """The server_id of the database that this session is on."""
    with session.cursor() as cursor:
        cursor.execute("SELECT @@server_id")
        return cursor.fetchone()[0]


def say(what: dict) -> None:
    """One line."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
