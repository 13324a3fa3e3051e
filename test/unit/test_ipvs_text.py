"""The format of ipvsadm's --save and --restore; ipvsadm itself is in the lab."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipvs_model as model
import ipvs_rules as rules
import ipvs_text as text
from ipvs_strategies import tables

# As `ipvsadm -S -n` 1.31 writes it.
SAVED = """\
-A -t 192.168.1.100:3306 -s wrr
-a -t 192.168.1.100:3306 -r 192.168.1.5:3306 -g -w 3
-A -u 192.0.2.1:53 -s rr -o
-a -u 192.0.2.1:53 -r 192.0.2.5:5353 -m -w 0
-A --sctp-service 192.0.2.1:99 -s mh -b mh-port
-A -t [2001:db8::1]:80 -s sh -p 100 -M 64 -b sh-fallback,sh-port
-A -f 5 -s wlc -p 60 -M 255.255.255.0
-a -f 5 -r 192.0.2.6:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-A -f 5 -6 -s lblcr
"""


def test_what_ipvsadm_saves_is_read_and_written_alike() -> None:
    table = text.parse(SAVED)
    assert text.save(table) == SAVED
    assert model.table_as_dict(table)["fwmark 5 ipv4"] == {
        "scheduler": "wlc", "persistence_timeout": 60, "persistence_netmask": "255.255.255.0",
        "servers": {"192.0.2.6:0": {"forward": "tunnel", "weight": 1, "tunnel": "gue", "tunnel_port": 6080,
                                    "tunnel_flags": ["csum"]}}}  # fmt: skip


@given(tables)
def test_every_table_survives_the_format(wanted: dict) -> None:
    table = rules.table(wanted)
    assert text.parse(text.save(table)) == table


@pytest.mark.parametrize("line", [
    "ipvsadm -A -t 192.0.2.1:80 -s rr -p",
    "--add-service --tcp-service=192.0.2.1:80 --scheduler rr --persistent 300",
    "-A -t192.0.2.1:80 -srr -p300",
    "# a comment\n\n-A -t 192.0.2.1:80 -s rr --persistent=300",
])  # fmt: skip
def test_other_spellings_mean_the_same(line: str) -> None:
    assert text.save(text.parse(line)) == "-A -t 192.0.2.1:80 -s rr -p 300\n"


def test_a_mark_that_ipvsadm_saved_as_negative() -> None:
    assert next(iter(text.parse("-A -f -1 -s rr"))).fwmark == 2**32 - 1


@pytest.mark.parametrize(("lines", "sentence"), [
    ("-D -t 192.0.2.1:80", "line 1: -D: is no option of a saved table"),
    ("-A -t web:http -s rr", "line 1: --tcp-service: is 'web:http'; allowed: a numeric address and port"),
    ("-A -t 192.0.2.1:80 -s", "line 1: -s: lacks its value"),
    ("-A -s rr", "line 1: names no service"),
    ("-a -t 192.0.2.1:80 -r 192.0.2.5:80", "line 1: adds a server to tcp 192.0.2.1:80, which no line before it adds"),
    ("-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80", "line 2: -a lacks -r"),
    ("-A -t 192.0.2.1:80 -s rr\n-A -t 192.0.2.1:80 -s rr", "line 2: adds tcp 192.0.2.1:80 a second time"),
    ("-A -a -t 192.0.2.1:80", "line 1: says neither -A nor -a, or both"),
    ("-A -t 192.0.2.1:80 -s 'rr", "line 1: \"-A -t 192.0.2.1:80 -s 'rr\": No closing quotation"),
    ("-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 192.0.2.5:80 -w x", "line 2: weight: is 'x'; allowed: 0 to"),
])  # fmt: skip
def test_a_line_that_cannot_work_is_named(lines: str, sentence: str) -> None:
    with pytest.raises(rules.Wrong) as caught:
        text.parse(lines)
    assert str(caught.value).startswith(sentence)


@given(st.text("-aAtrswpfx6 =:.192[]\n'\"", max_size=60))
def test_nonsense_gives_a_table_or_a_sentence(given_text: str) -> None:
    try:
        text.parse(given_text)
    except rules.Wrong as error:
        assert str(error).startswith("line ")
