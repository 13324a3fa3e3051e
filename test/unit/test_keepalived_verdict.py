"""What keepalived's exit statuses and words are made of; its words are those of 2.2.7 and 2.3.4."""

import pytest

from keepalived_verdict import MEANINGS, verdict

TEXT = """# Managed by Salt
global_defs {
    router_id shop_lvs1
}

virtual_server 192.0.2.1 3306 {
    delay_loop 1
    real_server 192.0.2.5 3306 {
        uthreshhold 100
    }
}
static_rules {
    x
}
"""


def test_accepted() -> None:
    assert verdict(0, "", TEXT) == (True, "keepalived accepts it.")
    assert verdict(0, "a notice of no weight\n", TEXT).accepted


@pytest.mark.parametrize("said", [
    "Config files missing '/etc/keepalived/x.conf'.",
    "Configuration file '/etc/keepalived/' is a directory - skipping",
    "Unable to find configuration file /etc/keepalived/keepalived.conf (glob returned 3)",
])  # fmt: skip
def test_the_status_0_of_a_file_that_was_not_read(said) -> None:
    found = verdict(0, said + "\n", TEXT)
    assert not found.accepted
    assert said in found.comment


@pytest.mark.parametrize("status", [*MEANINGS, 3, 99, -9])
def test_every_other_status_refuses_and_is_explained(status) -> None:
    found = verdict(status, "words of its own\n", TEXT)
    assert not found.accepted
    assert str(abs(status)) in found.comment
    assert "words of its own" in found.comment
    assert "it said nothing" in verdict(status, "", TEXT).comment


def test_the_fault_of_2_2_7_is_known() -> None:
    assert "2.2.7 ends itself" in verdict(-15, "", TEXT).comment
    assert "2.2.7 ends itself" in verdict(143, "", TEXT).comment


def test_script_security_says_what_to_do() -> None:
    said = "SECURITY VIOLATION - scripts are being executed but script_security not enabled.\n"
    comment = verdict(6, said, TEXT).comment
    for word in ("SECURITY VIOLATION", "enable_script_security", "script_user", "keepalived_script"):
        assert word in comment


@pytest.mark.parametrize(("line", "place"), [
    (9, "(line 9: `uthreshhold 100` in virtual_server 192.0.2.1 3306 > real_server 192.0.2.5 3306; "
        "see mysql_ha:endpoints)"),
    (3, "(line 3: `router_id shop_lvs1` in global_defs; see mysql_ha:keepalived:global_defs)"),
    (6, "(line 6: `virtual_server 192.0.2.1 3306`; see mysql_ha:endpoints)"),
    (13, "(line 13: `x` in static_rules; see mysql_ha:keepalived:extra)"),
])  # fmt: skip
@pytest.mark.parametrize("head", ["(/tmp/x.conf: Line {})", "(Line {})"])
def test_the_place_in_the_file_and_in_the_pillar(line, place, head) -> None:
    comment = verdict(5, f"{head.format(line)} Unknown keyword 'x'\n", TEXT).comment
    assert comment.endswith(f"  Unknown keyword 'x' {place}")


@pytest.mark.parametrize("number", ["0", "15", "4000", "5"])
def test_a_line_that_is_not_there(number) -> None:
    said = f"(/x: Line {number}) words"
    assert verdict(5, said, TEXT).comment.endswith(f"  {said}")


def test_many_words_are_counted_and_the_same_are_said_once() -> None:
    comment = verdict(5, "".join(f"number {count}\n" * 2 for count in range(30)), TEXT).comment
    assert comment.count("number 0") == 1
    assert comment.endswith("and 18 more")
