"""Which keys known_hosts has on file for a host, and adding one."""

from __future__ import annotations

import base64
import fcntl
import multiprocessing
import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from testbed.needs import need

from fastrr.hosts.ssh import known_hosts
from fastrr.hosts.ssh.known_hosts import Entry, OnFile, look_up, parse

KEY, OTHER_KEY = b"a key", b"another key"


def line(names: str, key: bytes = KEY, marker: str = "") -> str:
    return f"{marker} {names} ssh-ed25519 {base64.b64encode(key).decode()}\n".lstrip()


def on_file(text: str, name: str) -> OnFile:
    return look_up(parse(text, "kh"), name)


# Reading


@pytest.mark.parametrize(
    ("patterns", "name"),
    [
        ("web", "web"),
        ("a,web,b", "web"),
        ("WEB.Example.org", "web.example.ORG"),
        ("*.example.org", "web.example.org"),
        ("*.example.org", "a.b.example.org"),
        ("192.0.2.?", "192.0.2.7"),
        ("[web]:2200", "[web]:2200"),
        ("[*]:2200", "[web]:2200"),
        ("[::1]:22,*", "::1"),
        ("!bad.example.org,*.example.org", "web.example.org"),
    ],
)
def test_names_an_entry_is_about(patterns: str, name: str) -> None:
    assert on_file(line(patterns), name).has(KEY)


@pytest.mark.parametrize(
    ("patterns", "name"),
    [
        ("web", "web2"),
        ("web", "web.example.org"),
        ("192.0.2.?", "192.0.2.70"),
        ("*.example.org,!bad.example.org", "bad.example.org"),
        ("!bad.example.org,*.example.org", "bad.example.org"),
        ("!other", "web"),
        ("[web]:2200", "web"),
        ("[web]:2200", "[web]:2201"),
        ("[abc]", "a"),
    ],
)
def test_names_an_entry_is_not_about(patterns: str, name: str) -> None:
    assert on_file(line(patterns), name) == OnFile()


def test_an_entry_tells_its_place_and_its_type() -> None:
    (entry,) = parse("# comment\n\n" + line("web"), "/etc/kh")
    assert entry == Entry(("web",), "ssh-ed25519", KEY, None, "/etc/kh:3")


def test_a_hashed_name_is_found(tmp_path: Path) -> None:
    text = known_hosts.line_for("[web]:2200", "ssh-ed25519", KEY, hashed=True)
    assert text.startswith("|1|")
    assert "web" not in text
    assert on_file(text, "[WEB]:2200").has(KEY)
    assert not on_file(text, "web").has(KEY)


def test_what_ssh_keygen_hashes_is_found(tmp_path: Path) -> None:
    file, keygen = tmp_path / "kh", need("ssh-keygen")
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    public = (tmp_path / "key.pub").read_text().split()[1]
    file.write_text(f"web,[gate]:2200 ssh-ed25519 {public}\n")
    subprocess.run([keygen, "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "web" not in file.read_text()
    entries = known_hosts.read([str(file)])
    for name in ("web", "[gate]:2200"):
        assert look_up(entries, name).has(base64.b64decode(public))


def test_the_entry_without_a_port_serves_where_there_is_none_with_it() -> None:
    found = on_file(line("web"), "[web]:2200")
    assert found.has(KEY)
    assert found.keys == ()
    assert found.key_types == ["ssh-ed25519"]


def test_an_entry_with_the_port_rules_out_that_without() -> None:
    found = on_file(line("web") + line("[web]:2200", OTHER_KEY), "[web]:2200")
    assert found.has(OTHER_KEY)
    assert not found.has(KEY)


@pytest.mark.parametrize("name", ["web", "[web]:2200"])
def test_a_revoked_key_is_known_as_such_and_not_trusted(name: str) -> None:
    found = on_file(line("web", marker="@revoked"), name)
    assert [entry.key for entry in found.revoked] == [KEY]
    assert not found.has(KEY)


def test_the_key_of_a_certificate_authority_is_no_host_key() -> None:
    found = on_file(line("*.org,web", marker="@cert-authority"), "web")
    assert found == OnFile(authorities=found.authorities)
    assert [entry.key for entry in found.authorities] == [KEY]
    assert not found.has(KEY)


def test_the_authority_of_a_name_is_that_of_all_its_ports_and_of_no_other() -> None:
    text = line("web", marker="@cert-authority")
    assert on_file(text, "[web]:2200").authorities
    assert not on_file(text, "mail").authorities


@pytest.mark.parametrize(
    "broken",
    [
        "web",
        "web ssh-ed25519",
        "web ssh-ed25519 not*base64",
        "web ssh-ed25519 AAA",
        "@revoked",
        "@revoked web",
        "|1|x ssh-ed25519 AAAA",
        "|1|!|! ssh-ed25519 AAAA",
        "|1|a|b|c ssh-ed25519 AAAA",
        "|2|AAAA|AAAA ssh-ed25519 AAAA",
        "| ssh-ed25519 AAAA",
        "\x00\x0c\x85",
        "# web ssh-ed25519 AAAA",
    ],
)
def test_a_broken_line_hides_no_other(broken: str) -> None:
    found = on_file(f"{broken}\n{line('web')}", "web")
    assert [(entry.key, entry.place) for entry in found.keys] == [(KEY, "kh:2")]


def test_comments_after_a_key_and_windows_line_ends_do_no_harm() -> None:
    text = line("web").strip() + " joe's machine\r\n"
    assert on_file(text, "web").has(KEY)


def test_files_are_read_in_order_and_missing_ones_passed_over(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(line("web"))
    two.write_bytes(b"\xff\xfe comment\n" + line("web", OTHER_KEY).encode())
    entries = known_hosts.read([str(one), str(tmp_path / "missing"), str(two), str(tmp_path)])
    assert [entry.key for entry in entries] == [KEY, OTHER_KEY]


# Adding


def add(path: Path, name: str = "web", key: bytes = KEY, hashed: bool = False) -> None:
    known_hosts.add(str(path), name, "ssh-ed25519", key, hashed)


def test_a_file_is_made_that_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / ".ssh" / "known_hosts"
    add(file)
    assert file.read_text() == line("web")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_mode_of_a_file_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "kh"
    file.touch(0o644)
    add(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_last_line_without_its_end_is_not_grown(tmp_path: Path) -> None:
    file = tmp_path / "kh"
    file.write_text(line("gate").strip())
    add(file)
    assert file.read_text() == line("gate") + line("web")


@pytest.mark.parametrize("hashed", [False, True])
def test_a_key_that_is_there_is_not_added_again(tmp_path: Path, hashed: bool) -> None:
    file = tmp_path / "kh"
    add(file, hashed=hashed)
    add(file, hashed=hashed)
    add(file, "WEB", hashed=hashed)
    assert len(file.read_text().splitlines()) == 1


def test_another_key_and_another_name_are_added(tmp_path: Path) -> None:
    file = tmp_path / "kh"
    add(file)
    add(file, key=OTHER_KEY)
    add(file, "gate")
    assert file.read_text() == line("web") + line("web", OTHER_KEY) + line("gate")


def _add_many(path: str, own: str) -> None:
    for number in range(20):
        known_hosts.add(path, f"{own}{number}", "ssh-ed25519", KEY, hashed=False)
        known_hosts.add(path, f"shared{number}", "ssh-ed25519", KEY, hashed=True)


def test_processes_that_add_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    file = tmp_path / "kh"
    context = multiprocessing.get_context("fork")
    adders = [context.Process(target=_add_many, args=(str(file), own)) for own in "abcd"]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(20)
        assert adder.exitcode == 0
    lines = file.read_text().splitlines()
    assert len(lines) == 4 * 20 + 20
    entries = known_hosts.read([str(file)])
    for name in [f"{own}{number}" for own in ("a", "d", "shared") for number in range(20)]:
        assert len(look_up(entries, name).keys) == 1, name


def test_who_adds_waits_for_whoever_is_at_it(tmp_path: Path) -> None:
    """And sees then what that has filed."""
    file = tmp_path / "kh"
    with file.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        arguments = (str(file), "web", "ssh-ed25519", KEY, False)
        adder = threading.Thread(target=known_hosts.add, args=arguments, daemon=True)
        adder.start()
        adder.join(0.2)
        assert adder.is_alive()
        held.write(line("web"))
    adder.join(10)
    assert file.read_text() == line("web")


# Not at all


def test_a_name_in_brackets_is_revoked_only_by_entries_about_it() -> None:
    text = line("other", marker="@revoked") + line("[web]:2200")
    assert on_file(text, "[web]:2200").revoked == ()
    assert on_file(line("web", marker="@revoked"), "[web]:2200").revoked
    assert on_file(line("[web]:2200", marker="@revoked"), "[web]:2200").revoked


def test_a_key_that_is_no_base64_is_passed_over() -> None:
    assert parse(f"web ssh-ed25519 *{base64.b64encode(KEY).decode()}\n", "kh") == []


def test_what_is_commented_out_is_not_on_file() -> None:
    assert parse(f"# {line('web')}#{line('web')}", "kh") == []


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "kh"
    for text, mtime in ((line("web"), 1), (line("web"), 2), (line("web2"), 2), (line("wab2"), 3)):
        file.write_text(text)
        os.utime(file, (mtime, mtime))
        assert known_hosts.read([str(file)]) == parse(text, str(file))


def test_a_key_is_filed_hashed_only_where_that_is_wanted(tmp_path: Path) -> None:
    for hashed in (False, True):
        file = tmp_path / f"{hashed}"
        known_hosts.add(str(file), "web", "ssh-ed25519", KEY, hashed)
        assert file.read_text().startswith("|1|") is hashed
        assert on_file(file.read_text(), "web").has(KEY)


def test_a_file_that_is_no_text_gets_another_line(tmp_path: Path) -> None:
    file = tmp_path / "kh"
    file.write_bytes(b"\xff\xfe\n")
    known_hosts.add(str(file), "web", "ssh-ed25519", KEY, hashed=False)
    assert on_file(file.read_bytes().decode(errors="replace"), "web").has(KEY)
