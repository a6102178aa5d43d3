"""Lists of algorithms: what a configuration allows, and whose order it has."""

from __future__ import annotations

import pytest

from fastrr.hosts.ssh import algorithms
from fastrr.hosts.ssh.algorithms import DEFAULTS, Algorithms, Allowed, assembled, fast_first, of_key

DEFAULT = "chacha,ctr128,ctr192,ctr256,aes128-gcm@openssh.com"
"""What this ssh has as its default."""


def ciphers(text: str, default: str | None = DEFAULT) -> Allowed:
    return algorithms.read(
        {"ciphers": [text]}, {} if default is None else {"ciphers": [default]}
    ).ciphers


@pytest.mark.parametrize(
    ("text", "ordered"),
    [
        (DEFAULT, False),
        (f"{DEFAULT},cbc", False),  # +cbc
        ("ctr128,ctr192,ctr256,aes128-gcm@openssh.com", False),  # -chacha
        (f"ctr256,{DEFAULT}", True),  # ^ctr256
        ("ctr128,aes128-gcm@openssh.com", True),
        ("ctr256,ctr128,chacha,ctr192,aes128-gcm@openssh.com", True),
        ("other", True),
    ],
)
def test_an_order_is_somebodys_wish_unless_it_is_the_defaults(text: str, ordered: bool) -> None:
    assert ciphers(text).ordered is ordered
    assert ciphers(text).names == tuple(text.split(","))


def test_where_the_defaults_are_not_known_the_order_counts() -> None:
    assert ciphers(DEFAULT, None).ordered


def test_the_fastest_come_first_only_where_nobody_minds() -> None:
    found = ciphers(DEFAULT)
    assert fast_first(found, found.names)[:2] == ["aes128-gcm@openssh.com", "chacha"]
    chosen = ciphers("ctr128,aes128-gcm@openssh.com")
    assert fast_first(chosen, chosen.names) == ["ctr128", "aes128-gcm@openssh.com"]


def test_what_is_possible_keeps_the_order_of_the_configuration_and_comes_once() -> None:
    assert Allowed("Ciphers", ("c", "a", "x", "c", "b")).within({"a", "b", "c"}) == ["c", "a", "b"]


def test_lists_that_are_not_printed_are_the_defaults() -> None:
    assert algorithms.read({}, {}) == Algorithms()
    assert [allowed.option for allowed in Algorithms()] == list(DEFAULTS)


def test_an_option_by_its_former_name() -> None:
    read = algorithms.read({"pubkeyacceptedkeytypes": ["ssh-ed25519"]}, {})
    assert read.public_keys == Allowed("PubkeyAcceptedAlgorithms", ("ssh-ed25519",), True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("c,a", "c a"),
        ("+x", "a b c x"),
        ("+a,x", "a b c x"),
        ("-b", "a c"),
        ("-*", ""),
        ("^c,x", "c x a b"),
        ("y?", "y1 y2"),
        ("-nothing", "a b c"),
        ("", ""),
    ],
)
def test_lists_as_they_are_written(text: str, names: str) -> None:
    assert assembled(text, ("a", "b", "c"), ("a", "x", "y1", "y2")) == tuple(names.split())


@pytest.mark.parametrize(
    ("key_type", "names"),
    [
        ("ssh-ed25519", ["ssh-ed25519"]),
        ("ssh-rsa", ["rsa-sha2-512", "rsa-sha2-256"]),
        (
            "ssh-rsa-cert-v01@openssh.com",
            ["rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com"],
        ),
        ("sk-ssh-ed25519@openssh.com", ["sk-ssh-ed25519@openssh.com"]),
    ],
)
def test_algorithms_of_a_key(key_type: str, names: list[str]) -> None:
    assert list(of_key(key_type)) == names


def test_nothing_weak_is_a_default() -> None:
    for name in (name for names in DEFAULTS.values() for name in names):
        assert not any(weak in name for weak in ("cbc", "md5", "ssh-rsa", "group1-", "-96"))
