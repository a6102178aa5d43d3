"""Text from outside is shown by a terminal, and not obeyed."""

from __future__ import annotations

import pytest

from fastrr.text import ALL_CHARS, LINE_CHARS, message, printable, printable_lines, shortened

CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
DECEIVING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x2028, 0x2029]


@pytest.mark.parametrize("code", CONTROLS)
def test_a_control_character_is_made_visible(code: int) -> None:
    assert printable(f"a{chr(code)}b") == f"a\\x{code:02x}b"


@pytest.mark.parametrize("code", DECEIVING)
def test_what_changes_the_order_of_characters_is_made_visible(code: int) -> None:
    assert printable(f"a{chr(code)}b") == f"a\\u{code:04x}b"
    assert printable_lines(f"a{chr(code)}b") == f"a\\u{code:04x}b"


@pytest.mark.parametrize("byte", range(0x80, 0x100))
def test_a_byte_that_is_no_utf8_is_made_visible(byte: int) -> None:
    assert printable(bytes([byte]).decode("utf-8", "surrogateescape")) == f"\\x{byte:02x}"


def test_a_lone_surrogate_is_made_visible() -> None:
    assert printable("\ud800") == "\\ud800"


def test_sequences_that_hide_in_others_are_no_sequences_any_more() -> None:
    assert printable("\x1b\x1b[m\x9b2J") == "\\x1b\\x1b[m\\x9b2J"


def test_all_other_text_stays_as_it_is() -> None:
    text = "".join(map(chr, range(0x20, 0x7F))) + "äß€ \xa0日本語 עברית 😀"
    assert printable(text) == printable_lines(text) == message(text) == text


def test_lines_keep_their_newlines_and_tabs_only() -> None:
    kept = {code for code in CONTROLS if printable_lines(chr(code)) == chr(code)}
    assert kept == {0x09, 0x0A}


def test_a_message_of_several_lines_can_not_pass_for_two() -> None:
    assert message("one\nERROR: two\n    three") == "one\n    ERROR: two\n    three"


def test_a_message_is_cut() -> None:
    cut = message("a" * 1_000_000 + "z")
    assert len(cut) < ALL_CHARS
    assert all(len(line) < LINE_CHARS + 100 for line in cut.splitlines())
    assert cut.startswith("aaa")
    assert cut.endswith("aaaz")
    assert "characters left out" in cut
    many = message("line\n" * 1_000_000)
    assert len(many) < 3 * ALL_CHARS


def test_what_is_short_enough_is_not_cut() -> None:
    assert shortened("abcd", 4) == "abcd"
    assert shortened("abcdefgh", 4) == "ab ... (4 characters) ... gh"
