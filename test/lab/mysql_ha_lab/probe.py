"""What a client sees: a new connection through the VIP every 50 ms, a write and a read on it.

Runs on the lab's client, by itself (copied there). Prints one JSON object a line: `at` (seconds since the
epoch), `took` (seconds), and `server` (the server_id that answered) or `error`. Ends after --seconds, or
when its standard output goes away.
"""

import argparse
import json
import sys
import time

import pymysql


def attempt(host: str, password: str, limit: float, note: str | None) -> int:
    """One connection; the server_id that served it."""
    connection = pymysql.connect(
        host=host,
        port=3306,
        user="shop",
        password=password,
        database="shop",
        connect_timeout=limit,
        read_timeout=limit,
        write_timeout=limit,
        autocommit=True,
    )
    try:
        with connection.cursor() as cursor:
            if note is not None:
                cursor.execute("INSERT INTO visits (at, note) VALUES (NOW(6), %s)", [note])
            cursor.execute("SELECT @@server_id")
            return cursor.fetchone()[0]
    finally:
        connection.close()


def main() -> None:
    """Probe until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("--password", default="shop-lab-only")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--period", type=float, default=0.05)
    parser.add_argument("--limit", type=float, default=0.3)
    parser.add_argument("--count", type=int, default=0, help="stop after so many attempts")
    parser.add_argument("--note", default="", help="stands in each row that is written")
    parser.add_argument("--read-only", action="store_true")
    asked = parser.parse_args()
    end = time.monotonic() + asked.seconds
    done = 0
    while time.monotonic() < end and not (asked.count and done >= asked.count):
        began, at = time.monotonic(), time.time()
        line = {"at": at}
        try:
            # PyMySQL takes whole seconds for connecting; a socket timeout below rounds up there.
            line["server"] = attempt(asked.host, asked.password, asked.limit, None if asked.read_only else asked.note)
        except (pymysql.Error, OSError) as error:
            line["error"] = str(error)
        line["took"] = time.monotonic() - began
        print(json.dumps(line), flush=True)
        done += 1
        time.sleep(max(0.0, asked.period - (time.monotonic() - began)))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
