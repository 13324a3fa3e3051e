"""
A replica that follows the other master when its own is gone: the rules, and the program that goes by them.

The program runs as a service of systemd on each replica (mysql_follow_unit), without Salt and without any password. It
asks the replica's own server over its unix socket each second, and moves it when all of this holds:

- the receiver has been trying to connect for some seconds, and says nothing but that nobody is there;
- the master does not greet us either, so that it is not just busy, or refusing the replica's account;
- the other master does;
- the source has not changed for a while, by whomever, so that nothing goes to and fro.

It does nothing while replication is stopped (by an operator, or by an error of the applier), while a copy is being
made, or on a server that takes writes. It never moves a replica back: ``mysql_replication.following`` does.
Knows nothing of Salt.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mysql_client
import mysql_dialect
import mysql_handshake
from mysql_client import SqlError

#: How long a receiver may be without its master, and how long a source stays at least: seconds.
PATIENCE, PAUSE = 5.0, 30.0
PERIOD = 1.0
ANSWER_SECONDS = 2.0
#: There while a copy of another server is being made here (mysql_data).
COPYING = Path("/var/lib/mysql_ha/copy.json")

Channel = Mapping[str, Any]


class Memory(NamedTuple):
    """What is known of the replica from before; times are seconds of a clock that only goes forward."""

    source: str = ""  # host:port
    changed: float | None = None  # when the source last was another one; None: never seen
    lost: float | None = None  # since when the receiver has been without it


def is_lost(channel: Channel | None) -> bool:
    """
    Whether a replica cannot reach its source, and wants to.

    channel
        As ``mysql_dialect.channel`` returns it.
    """
    if channel is None or channel["receiving"] or channel["applier_error"] or not channel["applying"]:
        return False
    # A receiver that is stopped has no state; one that tries has no error until its first try has failed.
    error = channel["receiver_error"].split(":")[0]
    return bool(channel["receiver_state"]) and (not error or error in mysql_dialect.UNREACHABLE)


def remember(memory: Memory, channel: Channel | None, now: float) -> Memory:
    """What is known after another look at the replica, at the time ``now``."""
    if channel is None:
        return memory._replace(lost=None)
    source = str(channel["source"])
    if source != memory.source:
        memory = Memory(source, now if memory.source else None)
    if not is_lost(channel):
        return memory._replace(lost=None)
    return memory if memory.lost is not None else memory._replace(lost=now)


def is_due(memory: Memory, now: float) -> bool:
    """Whether it is time to look for another master."""
    if memory.lost is None or now - memory.lost < PATIENCE:
        return False
    return memory.changed is None or now - memory.changed >= PAUSE


def other(masters: Mapping[str, str], source: str) -> str | None:
    """
    The name of the master that a replica may move to; None if it does not read from one of the two.

    masters
        Their addresses, ``host:port``, by name.
    source
        Where the replica reads from.
    """
    if source not in masters.values():
        return None
    return next((name for name, address in masters.items() if address != source), None)


class Follower:
    """One replica, and what is done about it; ``ask`` runs statements on it, ``greets`` tries a master."""

    def __init__(
        self,
        masters: Mapping[str, str],
        ask: Callable[[str], list[mysql_client.Row]] = mysql_client.local,
        greets: Callable[[str, int, float], bool | None] = mysql_handshake.greeting,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda sentence: print(sentence, flush=True),
    ) -> None:
        self.masters, self.memory = masters, Memory()
        self._ask, self._greets, self._clock, self._say = ask, greets, clock, say
        self._said = ""
        self._server: tuple[mysql_dialect.Dialect, tuple[int, ...]] | None = None

    def look(self) -> None:
        """Look once, and move the replica if that is due."""
        try:
            if COPYING.exists():
                self.memory = self.memory._replace(lost=None)
                return
            channel = self._channel()
            self.memory = remember(self.memory, channel, self._clock())
            if channel is not None and is_due(self.memory, self._clock()):
                self._move(channel)
        except SqlError as error:
            # Another server may come up in its place.
            self._server, self.memory = None, self.memory._replace(lost=None)
            self._tell(f"The database server here does not answer: {error}")
            return
        if self.memory.lost is None:
            self._said = ""

    def _channel(self) -> Channel | None:
        if self._server is None:
            text = self._ask("SELECT @@version AS version;")[0]["version"] or ""
            self._server = mysql_dialect.identify(text), mysql_dialect.version(text)
        dialect = self._server[0]
        return mysql_dialect.channel(dialect, self._ask(dialect.channel_sql))

    def _move(self, channel: Channel) -> None:
        name = other(self.masters, channel["source"])
        if name is None:
            self._tell(f"{channel['source']} is not reached, and is no master of this cluster: nothing is done.")
            return
        lost = next(one for one, address in self.masters.items() if address == channel["source"])
        if self._greeting(lost) is not None:
            self._tell(f"{lost} answers, though replication does not reach it: nothing is done.")
            return
        if not self._greeting(name):
            self._tell(f"{lost} is not reached, and {name} does not answer either: waiting for one of them.")
            return
        if self._ask("SELECT @@GLOBAL.read_only AS closed;")[0]["closed"] != "1":
            self._tell(f"{lost} is not reached, but this server takes writes, so it is no replica: nothing is done.")
            return
        dialect, version = self._server or (mysql_dialect.MYSQL, ())
        rows = self._ask(dialect.heartbeat_sql) if dialect.heartbeat_sql else []
        heartbeat = float((rows[0]["heartbeat"] if rows else None) or channel["heartbeat"])
        host, _, port = self.masters[name].rpartition(":")
        self._ask(mysql_dialect.move_statements(dialect, host, int(port), heartbeat, version))
        gone = self._clock() - (self.memory.lost or self._clock())
        self.memory = Memory(self.masters[name], self._clock())
        self._said = ""
        self._say(f"{lost} ({channel['source']}) has not been reached for {gone:.0f} s: this replica now follows "
                  f"{name} ({self.masters[name]}).")  # fmt: skip

    def _greeting(self, name: str) -> bool | None:
        host, _, port = self.masters[name].rpartition(":")
        return self._greets(host, int(port), ANSWER_SECONDS)

    def _tell(self, sentence: str) -> None:
        """Say something that may last, once."""
        if sentence != self._said:
            self._said = sentence
            self._say(sentence)


def main(words: list[str] | None = None) -> None:
    """Follow for ever: ``mysql_follow.py mysql1=192.168.1.5:3306 mysql2=192.168.1.6:3306``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("masters", nargs=2, metavar="NAME=HOST:PORT")
    follower = Follower(dict(word.split("=", 1) for word in parser.parse_args(words).masters))
    while True:
        follower.look()
        time.sleep(PERIOD)


if __name__ == "__main__":
    main()
