"""
What stands in ``keepalived.conf`` for keepalived as a whole: ``global_defs``, and what the pillar adds in keepalived's
own words. The lines, and the rules for them.

Plain Python that knows nothing of Salt. No rule raises. Facts: keepalived 2.2.7 to 2.4.3, ``core/global_parser.c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from keepalived_text import (
    MAX_DEPTH,
    MAX_VALUE,
    UNSAFE,
    block,
    extra,
    is_keyword,
    is_line,
    is_text,
    number,
    word,
    words,
)
from keepalived_values import is_older, too_new
from keepalived_vrrp import FILE, GARP_GLOBAL, SCRIPT, USER, sync_daemon
from pillar_rules import Rule, check_value, decimal, label, not_mappings, part, pattern, whole
from pillar_words import kind, literal

#: ``global_defs`` keywords that a pillar may not give, and why.
REFUSED_GLOBALS = {
    "router_id": "this formula writes it itself",
    "vrrp_version": "this formula writes it itself, from mysql_ha:vrrp:version",
    "vrrp_strict": "it drops the packets to the virtual addresses",
    "notification_email": "without a list of addresses it swallows the lines that follow",
}

#: The versions of keepalived that brought keywords after 2.2.7, in ``global_defs`` and in instances.
SINCE = {
    "2.2.8": ("json_version", "v3_checksum_as_v2", "no_virtual_ipaddress", "timer_expired_backup", "multihop"),
    "2.3.0": (
        "dbus_no_interface_name", "snmp_rs_stats_update_interval", "snmp_vs_stats_update_interval", "use_symlink_paths",
    ),
    "2.3.2": ("iproute_etc_dir", "iproute_usr_dir"),
    "2.3.3": (
        "json_dump_file", "state_dump_file", "stats_dump_file", "vrrp_owner_ignore_adverts", "owner_ignore_adverts",
    ),
    "2.4.0": ("vrrp_delay_after_boot",),
}  # fmt: skip
_SINCE = {keyword: version for version, keywords in SINCE.items() for keyword in keywords}

#: What no ``extra`` may hold, however deep, and why.
REFUSED_ANYWHERE = {
    "vrrp_strict": "it drops the packets to the virtual addresses",
    "strict_mode": "it drops the packets to the virtual addresses",
    "authentication": "passwords belong in mysql_ha:secrets:vrrp",
    "auth_pass": "passwords belong in mysql_ha:secrets:vrrp",
    "auth_hmac": "its key would stand in the open",
}
_REFUSED_TOP = {**REFUSED_ANYWHERE, "global_defs": "its keywords belong in mysql_ha:keepalived:global_defs"}
_EXTRA_VALUES = "text, a number, true, false, a mapping, or a list of these"
_EXTRA_NAMES = "1 to 64 of the characters A-Z a-z 0-9 _ -, not include, and perhaps words after it, 200 together"
_EXTRA_WORDS = "words in characters that keepalived.conf can hold, not include at the beginning, 200 together"
_SCRIPT_KEY = re.compile(r"script|quorum_(up|down)|notify(_[a-z_]+)?")
_KEYWORD = re.compile(r"[a-z0-9_]{1,64}")
#: Who runs programs when the pillar does not say. keepalived itself looks for this user (``lib/notify.c``).
DEFAULT_SCRIPT_USER = "keepalived_script"

_FIFOS = ("notify_fifo", "vrrp_notify_fifo", "lvs_notify_fifo")


def _with_user(rule: Rule, what: str) -> Rule:
    """Return the rule for a path that a user, or a user and a group, may follow."""

    def accepts(value: object) -> bool:
        if not isinstance(value, str) or len(value) > MAX_VALUE:
            return False
        path, _, user = value.partition(" ")
        return rule.accepts(path) and (not user or USER.accepts(user))

    return Rule(f"the absolute path of a {what}, and perhaps after it {USER.allowed}", accepts)


def _as_number(rule: Rule) -> Rule:
    """Return the rule for a number that may also be given as text, which keepalived reads alike."""

    def accepts(value: object) -> bool:
        text = str(value) if isinstance(value, str) or decimal(value) is not None else ""
        if len(text) > 20 or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            return False
        return rule.accepts(int(float(text)) if float(text).is_integer() else float(text))

    return Rule(rule.allowed, accepts)


MAIL = pattern(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,99}", "an address such as ops@example.org")

#: Keywords of which keepalived takes only some values.
KNOWN = {
    **{line.keyword: _as_number(rule) for line, rule in GARP_GLOBAL.values()},
    "notification_email_from": Rule(
        f"{MAIL.allowed}, or a name", lambda value: MAIL.accepts(value) or (isinstance(value, str) and is_text(value))
    ),
    "script_user": USER,
    **{name: _with_user(FILE, "FIFO") for name in _FIFOS},
    **{f"{name}_script": _with_user(SCRIPT, "program") for name in _FIFOS},
    "startup_script": _with_user(SCRIPT, "program"),
    "shutdown_script": _with_user(SCRIPT, "program"),
    "startup_script_timeout": _as_number(whole(1, 1000, " of seconds")),
    "shutdown_script_timeout": _as_number(whole(1, 1000, " of seconds")),
    "lvs_timeouts": Rule(
        "one or more of the words tcp, tcpfin and udp, each with a whole number of seconds, such as 'tcp 900 udp 300'",
        lambda value: (
            isinstance(value, str)
            and len(value) <= 60
            and re.fullmatch(r"((tcp|tcpfin|udp) +[0-9]{1,8} *)+", value.strip(" ")) is not None
        ),
    ),
}


def is_global_keyword(keyword: object) -> bool:
    """Return whether this is a keyword that a pillar may give in ``global_defs``."""
    return (
        isinstance(keyword, str)
        and _KEYWORD.fullmatch(keyword) is not None
        and is_keyword(keyword)
        and keyword not in REFUSED_GLOBALS
    )


def global_defs(settings: Mapping[str, Any], node: str) -> list[str]:
    """Return the block ``global_defs``, which keepalived wants before all others."""
    given, garp = settings["keepalived"].get("global_defs") or {}, settings["vrrp"].get("garp") or {}
    lines = [
        f"router_id {word(settings['cluster'])}_{word(node)}",
        f"vrrp_version {number(settings['vrrp']['version'])}",
    ]
    # A switch that lost its table, or came back after a split, learns the way to the addresses again.
    garp = garp if "vrrp_garp_master_refresh" in given else {"refresh": 60, **garp}
    lines += [f"{key.line.keyword} {number(garp[name])}" for name, key in GARP_GLOBAL.items() if name in garp]
    lines += sync_daemon(settings, node)
    # Without it root would run programs that others could have changed.
    lines += ["enable_script_security"] if "enable_script_security" not in given else []
    # A FIFO belongs to the user who runs programs.
    if "script_user" not in given and (uses_scripts(settings) or any(name in given for name in _FIFOS)):
        lines.append(f"script_user {script_user(settings)}")
    for keyword, value in given.items():
        lines += _global(keyword, value)
    return block("global_defs", lines)


def script_user(settings: Mapping[str, Any]) -> str:
    """Return who runs the programs for which the pillar names nobody."""
    # keepalived 2.2.7 cannot test a configuration with another user than root: -t ends itself with SIGTERM.
    return "root" if is_older(settings["keepalived"].get("version"), "2.2.8") else DEFAULT_SCRIPT_USER


def uses_scripts(settings: Mapping[Any, Any]) -> bool:
    """Return whether the pillar has programs that keepalived is to run."""
    vrrp, keepalived = part(settings, "vrrp"), part(settings, "keepalived")
    sections = [part(settings, "endpoints"), *(part(vrrp, key) for key in ("scripts", "instances", "groups"))]
    # Not the sections' own keys: those are names.
    named = any(_has_script(own) for section in sections for own in section.values())
    return named or _has_script(keepalived.get("extra")) or any(map(_is_program, part(keepalived, "global_defs")))


def _is_program(keyword: object) -> bool:
    """Return whether a keyword of ``global_defs`` names a program: ``startup_script``, ``notify_fifo_script``."""
    return isinstance(keyword, str) and keyword.endswith("_script")


def _has_script(value: object, depth: int = 0) -> bool:
    """Return whether a part of the pillar has a key for a program."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, Mapping):
        named = any(isinstance(key, str) and _SCRIPT_KEY.fullmatch(key) for key in value)
        return named or any(_has_script(item, depth + 1) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_has_script(item, depth + 1) for item in value)


def _global(keyword: object, value: object) -> list[str]:
    """Return the lines of one keyword of ``global_defs``; ``True`` and ``None`` stand for a keyword without a value."""
    if keyword == "notification_email" and isinstance(value, (list, tuple)) and value:
        return block(keyword, map(_mail, value))
    if not is_global_keyword(keyword):
        raise ValueError(f"not a keyword that global_defs may hold: {keyword!r}")
    if value is True or value is None:
        return [str(keyword)]
    if keyword == "notification_email_from" and MAIL.accepts(value):
        return [f"{keyword} {value}"]
    if isinstance(value, str):
        return [f"{keyword} {words(value)}"]
    return [f"{keyword} {number(value)}"]


def _mail(value: object) -> str:
    """Return an address for mail, whose @ keepalived reads as it stands because it is not at a line's beginning."""
    if not MAIL.accepts(value):
        raise ValueError(f"not an address for mail: {str(value)[:60]!r}")
    return str(value)


def top(settings: Mapping[str, Any]) -> list[str]:
    """Return what the pillar adds at the top level of the file."""
    return extra(settings["keepalived"].get("extra") or {})


# ---- rules


def errors(section: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:keepalived``, beside its source."""
    path = "mysql_ha:keepalived"
    yield from not_mappings(path, section, ("global_defs",))
    given, version = part(section, "global_defs"), section.get("version")
    for keyword, value in given.items():
        own = f"{path}:global_defs:{label(keyword)}"
        if keyword == "notification_email" and isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield from check_value(f"{own}:{index}", item, MAIL)
            if not value:
                yield f"{own}: is an empty list; allowed: a list of addresses such as ops@example.org"
            continue
        if is_global_keyword(keyword):
            yield from check_value(own, value, KNOWN.get(keyword, GLOBAL_VALUE))
            yield from too_new(own, _SINCE.get(keyword, ""), version)
        elif isinstance(keyword, str) and keyword in REFUSED_GLOBALS:
            yield f"{own}: is refused, because {REFUSED_GLOBALS[keyword]}; allowed: other keywords"
        else:
            allowed = "1 to 64 of the characters a-z 0-9 _, and not include"
            yield f"{own}: is not a usable keyword; allowed: {allowed}"
    yield from _fifos(f"{path}:global_defs", given)
    if "extra" in section:
        yield from extra_errors(f"{path}:extra", section["extra"], _REFUSED_TOP, version)


def _fifos(path: str, given: Mapping[Any, Any]) -> Iterator[str]:
    """Say which FIFOs are the same, and which programs have none to read."""
    first: dict[str, str] = {}
    for name in _FIFOS:
        value = given.get(name)
        if isinstance(value, str) and KNOWN[name].accepts(value):
            file = value.split(" ")[0]
            if first.setdefault(file, name) != name:
                yield f"{path}:{name}: is at {literal(file)}, as is {path}:{first[file]}; allowed: a FIFO of its own"
        if f"{name}_script" in given and name not in given:
            yield f"{path}:{name}_script: is given without {name}; allowed: both, or neither"


def extra_errors(
    path: str, content: object, refused: Mapping[str, str], version: object, depth: int = 0
) -> Iterator[str]:
    """Say what is wrong with lines that the pillar gives as they are; none of their values is shown."""
    if not isinstance(content, Mapping):
        yield f"{path}: is {kind(content)}; allowed: a mapping of keepalived's keywords to their values"
        return
    if depth >= MAX_DEPTH:
        yield f"{path}: stands too deep in other blocks; allowed: {MAX_DEPTH} levels"
        return
    for head, value in content.items():
        own = f"{path}:{label(head)}"
        keyword = words(head).split(" ")[0] if is_text(head) else ""
        if not (is_line(head) if depth else is_keyword(keyword)) or len(head) > 200:
            yield f"{own}: is not a usable keyword; allowed: {_EXTRA_WORDS if depth else _EXTRA_NAMES}"
            continue
        if keyword in refused:
            yield f"{own}: is refused, because {refused[keyword]}; allowed: other keywords"
            continue
        yield from too_new(own, _SINCE.get(keyword, ""), version)
        is_list = isinstance(value, (list, tuple))
        for index, item in enumerate(value if is_list else [value]):
            place = f"{own}:{index}" if is_list else own
            if isinstance(item, Mapping):
                yield from extra_errors(place, item, REFUSED_ANYWHERE, version, depth + 1)
            elif not (item is None or isinstance(item, bool) or is_text(item) or decimal(item) is not None):
                yield f"{place}: is {_unshown(item)}; allowed: {_EXTRA_VALUES}"


def _unshown(value: object) -> str:
    """Return what is wrong with a value of ``extra``, without showing it: it may be a secret."""
    if not isinstance(value, str):
        return kind(value)
    if len(value) > MAX_VALUE:
        return f"text of more than {MAX_VALUE} characters"
    return f"text that is empty or holds one of {' '.join(UNSAFE)}, a line break, or what is not ASCII"


def _is_global_value(value: object) -> bool:
    """Return whether a keyword of ``global_defs`` may have this value."""
    return is_text(value) or value is True or value is None or decimal(value) is not None


GLOBAL_VALUE = Rule(
    f"a number, true (for the keyword alone), or 1 to {MAX_VALUE} printable ASCII characters except {' '.join(UNSAFE)}",
    _is_global_value,
)
