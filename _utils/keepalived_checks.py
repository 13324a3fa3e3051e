"""
keepalived's checks of real servers: one table says for each type what its keys become and what they may be.

Plain Python that knows nothing of Salt. Rendering and rules both read the table, so that neither knows more than the
other (keepalived 2.2.7 to 2.3.4, ``keepalived/check/check_*.c``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from keepalived_text import MAX_VALUE, UNSAFE, Line, address, block, extra, is_word, lines, number, quoted, word, words
from keepalived_values import (
    MAX_U32,
    SCRIPT,
    SERVER_ADDRESS,
    WORD,
    Key,
    check_extra,
    is_older,
    plain_address,
    too_new,
    yes_no,
)
from pillar_rules import (
    BOOLEAN,
    INTERFACE,
    PORT,
    Rule,
    check_value,
    one_of,
    pattern,
    seconds,
    unknown_keys,
    whole,
)
from pillar_words import is_whole, kind, literal

MAX_INT = 2147483647
DNS_TYPES = ("A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY")
REGEX_OPTIONS = (
    "allow_empty_class",
    "alt_bsux",
    "auto_callout",
    "caseless",
    "dollar_endonly",
    "dotall",
    "dupnames",
    "extended",
    "firstline",
    "match_unset_backref",
    "multiline",
    "never_ucp",
    "never_utf",
    "no_auto_capture",
    "no_auto_possess",
    "no_dotstar_anchor",
    "no_start_optimize",
    "ucp",
    "ungreedy",
    "utf",
    "never_backslash_c",
    "alt_circumflex",
    "alt_verbnames",
    "use_offset_limit",
)
#: The times of checks, which ``mysql_ha:checks`` gives to all of them.
TIMES = {
    "interval": seconds("0.1", "3600"),
    "connect_timeout": seconds("0.1", "600"),
    "retries": whole(1, 100),
    "retry_interval": seconds("0.1", "600"),
    "warmup": seconds("0", "3600"),
}


class Check(NamedTuple):
    """A type of check."""

    block: str
    """The name of its block."""
    keys: Mapping[str, Key]
    """The lines of the block, in their order."""
    required: tuple[str, ...] = ()
    has_urls: bool = False
    needs_port: bool = False
    """Whether it connects to a port, so that a server without one needs it from the check."""


def _list_of(rule: Rule, items: str) -> Rule:
    """Return the rule for a list that is not empty, of values that a rule accepts."""
    return Rule(
        f"a list of {items}",
        lambda value: isinstance(value, (list, tuple)) and bool(value) and all(map(rule.accepts, value)),
    )


def _is_status(value: object) -> bool:
    """Return whether this is a status of HTTP, or a range of them."""
    if is_whole(value, 100, 599):
        return True
    if not isinstance(value, str) or re.fullmatch(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?", value) is None:
        return False
    low, dash, high = value.partition("-")
    return not dash or int(low) <= int(high)


def _statuses(value: object) -> str:
    """Return one or more statuses."""
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given or not all(map(_is_status, given)):
        raise ValueError(f"not a status of HTTP: {kind(value)}")
    return " ".join(map(str, given))


def _is_statuses(value: object) -> bool:
    """Return whether this is a status of HTTP, a range, or a list of these."""
    if isinstance(value, (list, tuple)):
        # More would not fit into a line.
        return 0 < len(value) <= 100 and all(map(_is_status, value))
    return _is_status(value)


def _protocol(value: object) -> str:
    """Return the version of HTTP, which YAML takes for a number."""
    return f"{value:.1f}" if isinstance(value, float) else word(value)


def _escaped(value: object) -> str:
    """
    Return a regular expression in quotes.

    keepalived understands backslashes there, so what would break the line is written by its number, as three octal
    digits: of hexadecimal ones it takes as many as follow (``alloc_strvec_quoted_escaped`` in ``lib/parser.c``).
    """
    if not is_regex(value):
        raise ValueError("not a regular expression that keepalived.conf can hold")
    return '"' + "".join(f"\\{ord(char):03o}" if char in UNSAFE else char for char in str(value)) + '"'


def is_regex(value: object) -> bool:
    """Return whether this is printable ASCII and, written out, not longer than other values."""
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        return False
    return len(value) + 3 * sum(char in UNSAFE for char in value) <= MAX_VALUE


def _hexadecimal(value: object) -> str:
    """Return bytes as keepalived reads them."""
    if not isinstance(value, str):
        raise ValueError(f"no bytes in hexadecimal digits: {kind(value)}")
    return words(value)


def _reply(value: object) -> str:
    """Return the reply that is required: any (``True``), or bytes."""
    return "" if value is True else _hexadecimal(value)


def _pair(value: object) -> str:
    """Return two numbers."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"not two numbers: {kind(value)}")
    return " ".join(map(number, value))


def _all_words(value: object) -> str:
    """Return a list of words."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"not a list: {kind(value)}")
    return " ".join(map(word, value))


def _key(keyword: str, rule: Rule, write: Any = word, since: str = "") -> Key:
    return Key(Line(keyword, write, since), rule)


_BYTES = pattern(
    r"(?=.{1,512}\Z)[0-9A-Fa-f]+( [0-9A-Fa-f]+)*",
    "at most 512 hexadecimal digits, with spaces between them or without, such as '0a 1b' (in quotes)",
)
_ANY_BYTES = pattern(r"(?=.{1,512}\Z)[0-9A-FXa-fx]+( [0-9A-FXa-fx]+)*", "")
_CONNECTION = {
    "address": _key("connect_ip", SERVER_ADDRESS, address),
    "port": _key("connect_port", PORT, number),
    "bind_address": _key("bindto", SERVER_ADDRESS, address),
    "bind_port": _key("bind_port", PORT, number),
    "bind_interface": _key("bind_if", INTERFACE),
    "fwmark": _key("fwmark", whole(0, MAX_U32), number),
    "connect_timeout": _key("connect_timeout", TIMES["connect_timeout"], number),
}
_ALPHA = {"alpha": _key("alpha", BOOLEAN, yes_no)}
_TIMING = {
    "retries": _key("retry", TIMES["retries"], number),
    "retry_interval": _key("delay_before_retry", TIMES["retry_interval"], number),
    "warmup": _key("warmup", TIMES["warmup"], number),
    "interval": _key("delay_loop", TIMES["interval"], number),
    **_ALPHA,
    "log_all_failures": _key("log_all_failures", BOOLEAN, yes_no),
}
_COMMON = {**_CONNECTION, **_TIMING}
_HTTP = {
    **_COMMON,
    "virtualhost": _key("virtualhost", WORD),
    "http_protocol": _key(
        "http_protocol",
        Rule("1.0, 1.0C, 1.1", lambda value: not isinstance(value, bool) and value in ("1.0", "1.0C", "1.1", 1.0, 1.1)),
        _protocol,
    ),
    "fast_recovery": _key("fast_recovery", BOOLEAN, yes_no),
}
_TLS_COMPLIANT = {"tls_compliant": _key("tls_compliant", BOOLEAN, yes_no, "2.2.8")}

#: Every type, by the pillar's word for it.
CHECKS: Mapping[str, Check] = {
    "tcp": Check("TCP_CHECK", _COMMON, needs_port=True),
    "http": Check("HTTP_GET", _HTTP, ("urls",), has_urls=True, needs_port=True),
    "ssl": Check(
        "SSL_GET",
        {**_HTTP, "enable_sni": _key("enable_sni", BOOLEAN, yes_no), **_TLS_COMPLIANT},
        ("urls",),
        has_urls=True,
        needs_port=True,
    ),
    "smtp": Check("SMTP_CHECK", {**_COMMON, "helo_name": _key("helo_name", WORD)}, needs_port=True),
    "dns": Check(
        "DNS_CHECK",
        {
            **_COMMON,
            "query": _key("type", one_of(*DNS_TYPES)),
            "name": _key(
                "name",
                pattern(
                    r"(?=.{1,253}\Z)(\.|([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?)",
                    "a domain name such as example.org",
                ),
            ),
        },
        needs_port=True,
    ),
    "udp": Check(
        "UDP_CHECK",
        {
            **_COMMON,
            "payload": _key("payload", _BYTES, _hexadecimal),
            "require_reply": _key(
                "require_reply",
                Rule(
                    "true (for any reply), or at most 512 hexadecimal digits and x for any of them, such as '0a xx' "
                    "(in quotes)",
                    lambda value: value is True or _ANY_BYTES.accepts(value),
                ),
                _reply,
            ),
            "min_reply_length": _key("min_reply_length", whole(0, 65535), number),
            "max_reply_length": _key("max_reply_length", whole(0, 65535), number),
        },
        needs_port=True,
    ),
    "ping": Check("PING_CHECK", {key: value for key, value in _COMMON.items() if "port" not in key}),
    "misc": Check(
        "MISC_CHECK",
        {
            "script": _key("misc_path", SCRIPT, quoted),
            "timeout": _key("misc_timeout", whole(1, 3600, " of seconds"), number),
            "dynamic": Key(Line("misc_dynamic"), BOOLEAN),
            "user": _key(
                "user",
                pattern(r"[A-Za-z0-9._-]{1,32}( [A-Za-z0-9._-]{1,32})?", "the name of a user, and of a group after it"),
                words,
            ),
            **_TIMING,
        },
        ("script",),
    ),
    "file": Check(
        "FILE_CHECK",
        {
            "track_file": _key("track_file", WORD),
            # `reverse` stands behind the weight, see _values
            "weight": _key("weight", whole(-MAX_INT, MAX_INT), words),
            "reverse": Key(Line("reverse"), BOOLEAN),
        },
        ("track_file",),
    ),
    "bfd": Check("BFD_CHECK", {"name": _key("name", WORD), **_ALPHA}, ("name",)),
}
URL: Mapping[str, Key] = {
    "path": _key(
        "path",
        Rule(
            f"a path such as /health, without spaces and {' '.join(UNSAFE)} (in a URL they are %20 and so on)",
            lambda value: isinstance(value, str) and is_word(value) and value[0] == "/",
        ),
    ),
    "digest": _key("digest", pattern(r"[0-9A-Fa-f]{32}", "32 hexadecimal digits, which genhash computes")),
    "status": _key(
        "status_code",
        Rule("100 to 599, a range such as '200-299', or a list of at most 100 of these", _is_statuses),
        _statuses,
    ),
    "virtualhost": _key("virtualhost", WORD),
    "regex": _key(
        "regex", Rule(f"a regular expression of printable ASCII characters, at most {MAX_VALUE}", is_regex), _escaped
    ),
    "regex_no_match": Key(Line("regex_no_match"), BOOLEAN),
    "regex_options": _key("regex_options", _list_of(one_of(*REGEX_OPTIONS), ", ".join(REGEX_OPTIONS)), _all_words),
    "regex_stack": _key(
        "regex_stack",
        Rule(
            "a list of two whole numbers, the smaller one first",
            lambda value: (
                isinstance(value, (list, tuple))
                and len(value) == 2
                and all(is_whole(item, 1, MAX_INT) for item in value)
                and value[0] <= value[1]
            ),
        ),
        _pair,
    ),
    "regex_min_offset": _key("regex_min_offset", whole(0, MAX_INT), number),
    "regex_max_offset": _key("regex_max_offset", whole(0, MAX_INT), number),
    **_TLS_COMPLIANT,
}
NAMES = (*CHECKS, "none")
ALLOWED = f"{', '.join(NAMES)}, a mapping with a `type` of these, or a list"


def check_lines(check: Mapping[str, Any]) -> list[str]:
    """Return the block of a check, which has its ``type`` and the times that hold for it."""
    kind_of_check = CHECKS[check["type"]]
    values = _values(check)
    for key in kind_of_check.keys:
        if key in values and values[key] is None:
            raise ValueError(f"a check's {key} is empty")
    content = lines(values, {key: entry.line for key, entry in kind_of_check.keys.items() if key != "reverse"})
    # keepalived reads no spaces at the end of a line.
    content = [line.rstrip(" ") for line in content]
    for url in values["urls"] if kind_of_check.has_urls else ():
        content += block("url", lines(url, {key: entry.line for key, entry in URL.items()}))
    return block(kind_of_check.block, [*content, *extra(values.get("extra") or {})])


def _values(check: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of a check, each of which is a line of its own."""
    if check["type"] != "file" or "weight" not in check:
        return check
    return {**check, "weight": f"{number(check['weight'])}{' reverse' if check.get('reverse') is True else ''}"}


def check_errors(path: str, given: object, version: str) -> Iterator[str]:
    """Say what is wrong with the checks of an endpoint or a server: a word, a mapping, or a list of these."""
    if not isinstance(given, (list, tuple)):
        yield from _one(path, given, version)
        return
    if not given:
        yield f"{path}: is an empty list; allowed: {ALLOWED}"
    for index, item in enumerate(given):
        yield from _one(f"{path}:{index}", item, version)
        if len(given) > 1 and type_of(item) == "none":
            yield f"{path}:{index}: is 'none' beside others; allowed: none alone, or only the others"


def type_of(item: object) -> str:
    """Return the type of a check; empty if it has none that is known."""
    name = item.get("type") if isinstance(item, Mapping) else item
    return name if isinstance(name, str) and name in NAMES else ""


def each(given: object) -> Iterator[Mapping[str, Any]]:
    """Yield the checks that can be told, as mappings with a ``type``."""
    for item in given if isinstance(given, (list, tuple)) else [given]:
        if type_of(item) in CHECKS:
            yield item if isinstance(item, Mapping) else {"type": item}


def _one(path: str, item: object, version: str) -> Iterator[str]:
    """Say what is wrong with one check."""
    if not isinstance(item, Mapping):
        if not type_of(item):
            yield f"{path}: is {literal(item)}; allowed: {ALLOWED}"
        elif type_of(item) in CHECKS:
            yield from _missing(path, {}, CHECKS[type_of(item)])
        return
    name = type_of(item)
    if "type" not in item:
        yield f"{path}:type: is missing; allowed: {', '.join(NAMES)}"
        return
    if not name:
        yield from check_value(f"{path}:type", item["type"], one_of(*NAMES))
        return
    if name == "none":
        yield from unknown_keys(path, item, ("type",))
        return
    check = CHECKS[name]
    urls = ("urls",) if check.has_urls else ()
    yield from unknown_keys(path, item, ("type", *check.keys, *urls, "extra"))
    yield from _missing(path, item, check)
    yield from _leaves(path, item, check.keys, version)
    if check.has_urls and "urls" in item:
        yield from _urls(f"{path}:urls", item["urls"], version)
    if "extra" in item:
        yield from check_extra(f"{path}:extra", item["extra"], _owned(name, check))
    yield from _joined(path, name, item, version)


def _owned(name: str, check: Check) -> dict[str, str]:
    """Return the keywords that may not be given as they are, and why."""
    owned = {entry.line.keyword: f"{key} says it" for key, entry in check.keys.items()}
    if check.has_urls:
        owned["url"] = "urls says it"
    if name == "smtp":
        # With it the server's own check gets no time to connect.
        owned["host"] = "a list of checks says it"
    return owned


def _missing(path: str, item: Mapping[Any, Any], check: Check) -> Iterator[str]:
    """Say which keys a check cannot do without."""
    for key in check.required:
        if key not in item:
            allowed = check.keys[key].rule.allowed if key in check.keys else "a list of mappings with a path"
            yield f"{path}:{key}: is missing; allowed: {allowed}"


def _leaves(path: str, item: Mapping[Any, Any], keys: Mapping[str, Key], version: str) -> Iterator[str]:
    """Say what is wrong with single values, and which of them keepalived does not know yet."""
    for key, entry in keys.items():
        if key in item:
            yield from check_value(f"{path}:{key}", item[key], entry.rule)
            yield from too_new(f"{path}:{key}", entry.line.since, version)


def _urls(path: str, urls: object, version: str) -> Iterator[str]:
    """Say what is wrong with what a check of a web server asks for."""
    if not isinstance(urls, (list, tuple)) or not urls:
        shown = "an empty list" if isinstance(urls, (list, tuple)) else kind(urls)
        yield f"{path}: is {shown}; allowed: a list of mappings with a path"
        return
    for index, url in enumerate(urls):
        own = f"{path}:{index}"
        if not isinstance(url, Mapping):
            yield f"{own}: is {kind(url)}; allowed: a mapping with the keys {', '.join(URL)}"
            continue
        yield from unknown_keys(own, url, URL)
        if "path" not in url:
            yield f"{own}:path: is missing; allowed: {URL['path'].rule.allowed}"
        yield from _leaves(own, url, URL, version)
        regex = next((key for key in URL if key.startswith("regex_") and key in url and "regex" not in url), None)
        if regex is not None:
            yield f"{own}:{regex}: is given without a regex; allowed: both, or neither"


def _joined(path: str, name: str, item: Mapping[Any, Any], version: str) -> Iterator[str]:
    """Say what is wrong with values of a check that are right each by itself."""
    user = item.get("user")
    if name == "misc" and isinstance(user, str) and user.split(" ")[0] != "root" and is_older(version, "2.2.8"):
        # `keepalived -t` ends itself when it comes to such a script.
        yield f"{path}:user: is {literal(user)}, which keepalived can test from 2.2.8 on; allowed: root"
    low, high = item.get("min_reply_length", 0), item.get("max_reply_length", 255)
    if name == "udp" and is_whole(low, 0, 65535) and is_whole(high, 0, 65535) and low > high:
        yield f"{path}:min_reply_length: is {low}; allowed: at most max_reply_length, which is {high}"
    if name == "file" and item.get("reverse") is True and "weight" not in item:
        yield f"{path}:reverse: is true without a weight; allowed: both, or neither"
    source, target = plain_address(item.get("bind_address")), plain_address(item.get("address"))
    if source is not None and target is not None and source.version != target.version:
        yield (
            f"{path}:bind_address: is {literal(item['bind_address'])}, of another family than the address to connect "
            f"to; allowed: an IPv{target.version} address"
        )
