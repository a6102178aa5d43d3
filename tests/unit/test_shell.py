"""Quoting and framing: what any shell makes of a script is what was meant."""

from __future__ import annotations

import string
from posixpath import dirname

import pytest
from testbed.shells import Box

from fastrr.hosts.shell import (
    SHELL_COMMAND,
    fits_a_line,
    here_document,
    is_plain,
    join,
    parent,
    quote,
    script,
    to_bytes,
    to_text,
)

AWKWARD = (
    "",
    " ",
    "two words",
    "it's",
    '"double"',
    "$HOME ${x} $(id) `id`",
    "back\\slash\\n",
    "new\nline",
    "ends in newline\n",
    "\ttab\rreturn",
    "*?[a-z]{a,b}",
    "~/x ~root",
    "-n",
    "--",
    "!history",
    "#comment",
    "a=b",
    "a;b&c|d<e>f(g)",
    "grüße 日本語 🚀",
    "\u2028\u0085\x0c\x1c",
    "'",
    "''",
    "\\",
    "FASTRR_END_OF_LINES",
    to_text(bytes(range(1, 256))),
    to_text(b"invalid \xff\xfe utf-8 \xc3"),
)


BRACES = ("{a,b}", "x{a,b}y", "{1..3}", "{a..c}x", "{,}", "{}", "{a", "a}", "{a,b}{c,d}")
"""What shells make several words of, or none; not all do."""

PUNCTUATION = tuple(
    word.replace("?", character)
    for character in f"{string.punctuation} \t\n\x01\x7f\xa0"
    for word in ("?", "a?b", "?a", "a?", "??", "a?/b", "?{a,b}")
)


@pytest.mark.parametrize("word", ["a", "A-Z_0.9", "/usr/bin/x", "user@host:%+=,", "-n"])
def test_a_plain_word_is_left_as_it_is(word: str) -> None:
    assert quote(word) == word


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", "'it'\\''s'"),
        ("$x", "'$x'"),
        ("~", "'~'"),
        ("a\n", "'a\n'"),
        ("ü", "'ü'"),
    ],
)
def test_anything_else_is_put_in_single_quotes(text: str, word: str) -> None:
    assert quote(text) == word


def test_a_nul_has_no_place_in_a_word() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


def test_joined_words_are_quoted_one_by_one() -> None:
    assert join(["ls", "-l", "my file"]) == "ls -l 'my file'"


def test_every_byte_survives_the_way_to_text_and_back() -> None:
    every_byte = bytes(range(256))
    assert to_bytes(to_text(every_byte)) == every_byte


def test_quoted_words_arrive_byte_for_byte(box: Box) -> None:
    words = (*AWKWARD, *BRACES, *PUNCTUATION)
    for name in ("a", "b", "ab", "?", "~"):
        (box.home / name).touch()  # for patterns to stand for
    asked = script(f"printf '%s\\0' {join(words)}\n")
    assert box.ask(asked).split(b"\0")[:-1] == [to_bytes(word) for word in words]


def test_only_what_every_shell_takes_as_it_is_is_plain(box: Box) -> None:
    plain = [word for word in (*AWKWARD, *BRACES, *PUNCTUATION) if is_plain(word)]
    assert {"-n", "a=b", "a@b", "a%b", "a:b"} <= set(plain)
    asked = script(f"printf '%s\\0' {' '.join(plain)}\n")
    assert box.ask(asked).split(b"\0")[:-1] == [to_bytes(word) for word in plain]


def test_lines_of_a_here_document_arrive_byte_for_byte(box: Box) -> None:
    lines = [word for word in AWKWARD if "\n" not in word]
    asked = script(f"cat {here_document(lines)}")
    assert box.ask(asked) == b"".join(to_bytes(line) + b"\n" for line in lines)


def test_a_here_document_may_hold_its_own_end_mark() -> None:
    assert here_document(["FASTRR_END_OF_LINES", "FASTRR_END_OF_LINES_"]) == (
        "<<'FASTRR_END_OF_LINES__'\n"
        "FASTRR_END_OF_LINES\n"
        "FASTRR_END_OF_LINES_\n"
        "FASTRR_END_OF_LINES__\n"
    )


@pytest.mark.parametrize("garbled", ["\n", "\r", "\\"])
def test_what_tools_that_work_by_lines_do_not_give_back_fits_no_line(garbled: str) -> None:
    assert [fits_a_line(f"{a}{garbled}{b}") for a in ("", "a") for b in ("", "b")] == [False] * 4


def test_all_other_characters_fit_a_line() -> None:
    assert fits_a_line("".join(map(chr, {*range(1, 256)} - {*b"\n\r\\"})) + "\u2028\udcff")


def test_the_frame_is_one_compound_command() -> None:
    assert script("ls\n", nonce="n1").text == (
        "{\n"
        "echo '@fastrr n1 begin'\n"
        "echo '@fastrr n1 begin' >&2\n"
        "(\n"
        "ls\n"
        ")\n"
        'printf "\\n@fastrr n1 end %s\\n" "$?"\n'
        "} </dev/null\n"
    )


def test_the_login_shell_sees_one_command_that_reads_the_script() -> None:
    assert SHELL_COMMAND == "exec sh -c 'eval \"$(cat)\"'"


def test_what_others_said_before_is_left_out_of_the_errors() -> None:
    sent = script("ls\n", nonce="n1")
    assert sent.errors_of(b"noise\n@fastrr n1 begin\nls: oh\n@fastrr n1 begin\nno\n") == (
        b"ls: oh\nno\n"
    )
    assert sent.errors_of(b"it never began\n") == b"it never began\n"


def test_two_scripts_have_different_marks() -> None:
    assert script("true\n").nonce != script("true\n").nonce


@pytest.mark.parametrize(
    ("printed", "body"),
    [
        (b"", b""),
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"no newline", b"no newline"),
        (b"\n\n", b"\n\n"),
        (b"@fastrr n0 end 3\n", b"@fastrr n0 end 3\n"),
    ],
)
def test_noise_around_an_answer_is_no_part_of_it(printed: bytes, body: bytes) -> None:
    asked = script("true\n", nonce="n1")
    noise = b"motd\n@fastrr n0 begin\n\n@fastrr n0 end 0\n@fastrr n1\nto begin\n"
    output = noise + b"@fastrr n1 begin\n" + printed + b"\n@fastrr n1 end 7\n" + noise
    assert asked.body_of(output) == (body, 7)


def test_noise_may_end_without_a_newline() -> None:
    asked = script("true\n", nonce="n1")
    assert asked.body_of(b"prompt> @fastrr n1 begin\nx\n@fastrr n1 end 0\n") == (b"x", 0)


def test_an_answer_that_was_cut_short_anywhere_is_none() -> None:
    asked = script("true\n", nonce="n1")
    whole = b"hello\n@fastrr n1 begin\nbody\n\n@fastrr n1 end 127\n"
    assert asked.body_of(whole) == (b"body\n", 127)
    assert {asked.body_of(whole[:length]) for length in range(len(whole))} == {None}


def test_an_answer_of_another_script_is_none() -> None:
    asked = script("true\n", nonce="n1")
    assert asked.body_of(b"@fastrr n2 begin\nx\n@fastrr n2 end 0\n") is None


def test_the_status_is_that_of_the_body(box: Box) -> None:
    for status in (0, 1, 42, 255):
        asked = script(f"echo said\nexit {status}\n")
        assert asked.body_of(box.run(asked).stdout) == (b"said\n", status)


def test_a_script_has_nothing_to_read(box: Box) -> None:
    assert box.ask(script("cat\necho done\n")) == b"done\n"


def test_half_a_script_does_nothing(box: Box) -> None:
    whole = script("echo started >touched\n" * 3)
    for length in (len(whole.text) // 2, len(whole.text) - 3):
        half = type(whole)(whole.text[:length], whole.nonce)
        done = box.run(half)
        assert half.body_of(done.stdout) is None
        assert done.returncode != 0
        assert not (box.home / "touched").exists()
        assert b"begin" not in done.stdout


def test_a_long_script_is_read_whole(box: Box) -> None:
    """Longer than one argument may be, and than a pipe holds."""
    asked = script(f"printf %s {quote('é x' * 100_000)} | wc -c\n")
    assert int(box.ask(asked)) == 100_000 * 4


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("/a/b", "/a"),
        ("/a", "/"),
        ("/", "/"),
        ("./a", "."),
        ("./a/b", "./a"),
        ("abc", ""),
        ("", ""),
    ],
)
def test_the_directory_of_a_path_is_what_dirname_says(path: str, directory: str) -> None:
    assert parent(path) == dirname(path) == directory


def test_a_status_of_any_length_is_none() -> None:
    one = script("true\n", "x")
    assert one.body_of(b"@fastrr x begin\n\n@fastrr x end 255\n") == (b"", 255)
    assert one.body_of(b"@fastrr x begin\n\n@fastrr x end " + b"9" * 100_000 + b"\n") is None
