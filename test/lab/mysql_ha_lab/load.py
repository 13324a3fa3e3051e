"""A steady load: one session that commits a row every few milliseconds.

Runs on the lab's client, by itself (copied there), until its standard input ends. Prints one line a commit: when it
began (seconds since the epoch), how many seconds it took, and the error if it failed.
"""

import select
import sys
import time

import pymysql

PAUSE = 0.004
ROW = "INSERT INTO shop.commits (at, pad) VALUES (NOW(6), RANDOM_BYTES(400))"


def main() -> None:
    """Commit until nobody wants it any more."""
    host, password = sys.argv[1:3]
    connection = None
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        at, error = time.time(), ""
        began = time.monotonic()
        try:
            if connection is None:
                connection = pymysql.connect(host=host, user="shop", password=password, autocommit=True)
            with connection.cursor() as cursor:
                cursor.execute(ROW)
        except (pymysql.Error, OSError) as failure:
            error, connection = str(failure).replace("\n", " "), None
        print(f"{at:.6f}\t{time.monotonic() - began:.6f}\t{error}", flush=True)


if __name__ == "__main__":
    main()
