"""What is copied, when, and how it arrives; what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.bed import Result

CONFIG = """
c = Component(name='main', executable='/bin/sleep', args=['60'], host='host1', start_index=1)
c.base_dir = 'work'
c.files = {files}
config.add_component(c)
"""


@pytest.fixture
def host(hosts: list[TestHost]) -> TestHost:
    return hosts[0]


def row(result: Result, host: str = "host1") -> tuple[int, int]:
    """Files copied and unchanged, as the table says."""
    match = re.search(rf"^{host} +(\d+) +(\d+) ", result.stdout, re.MULTILINE)
    assert match, result
    return int(match[1]), int(match[2])


def deploy(controller: Controller, files: dict[str, str], *arguments: str) -> Result:
    controller.config(CONFIG.format(files=files))
    return controller.fastrr(*arguments)


def test_only_what_changed_is_copied_again(controller: Controller, host: TestHost) -> None:
    for name in ("same", "longer", "altered", "missing"):
        controller.write(name, "0123456789")
    files = {name: f"d/{name}" for name in ("same", "longer", "altered", "missing")}
    assert row(deploy(controller, files)) == (4, 0)
    host.sh("cd work/d && echo more >>longer && printf 01234x6789 >altered && rm missing")
    assert row(deploy(controller, files)) == (3, 1)
    assert host.sh("cd work/d && cat same longer altered missing") == "0123456789" * 4
    assert row(deploy(controller, files)) == (0, 4)


@pytest.mark.parametrize("transport", ["stream", "sftp"])
def test_noise_of_start_up_files_is_not_told(
    controller: Controller, host: TestHost, transport: str
) -> None:
    host.sh("printf 'echo some noise\\necho more noise >&2\\n' >.bashrc")
    controller.write("f", "x")
    result = deploy(controller, {"f": "f"}, "--copy-only", "--transport", transport)
    assert (result.status, row(result)) == (0, (1, 0))
    assert "noise" not in result.stdout + result.stderr
    assert "more noise" in host.sh("cat .bashrc")


def test_files_deep_down_and_above_are_replaced(controller: Controller, host: TestHost) -> None:
    deep = "/".join(["directory-of-a-long-name"] * 8)
    for content in ("old", "new"):
        for name in ("a", "b"):
            controller.write(name, content + name)
        result = deploy(controller, {"a": f"{deep}/a", "b": "b"}, "--copy-only")
        assert (result.status, row(result)) == (0, (2, 0))
    assert host.sh(f"cat work/{deep}/a work/b") == "newanewb"


def test_links_are_followed_by_always_copy(controller: Controller, host: TestHost) -> None:
    host.sh("mkdir -p work elsewhere && ln -s ../elsewhere/there work/f")
    controller.write("f", "x")
    for reason in range(2):
        result = deploy(controller, {"f": "f"}, "--copy-only", "--always-copy")
        assert (result.status, row(result)) == (0, (1, 0)), reason
        host.sh("echo later >elsewhere/there")
    deploy(controller, {"f": "f"}, "--copy-only", "--always-copy")
    assert host.sh("cat elsewhere/there; readlink work/f") == "x../elsewhere/there\n"


def test_same_size_and_time_but_other_content_is_found(
    controller: Controller, host: TestHost
) -> None:
    controller.write("f", "0123456789")
    deploy(controller, {"f": "f"})
    host.sh("cd work && touch -r f stamp && printf 9876543210 >f && touch -r stamp f")
    assert row(deploy(controller, {"f": "f"})) == (1, 0)
    assert host.sh("cat work/f") == "0123456789"


def test_permissions_are_preserved_but_are_no_reason_to_copy(
    controller: Controller, host: TestHost
) -> None:
    # Some of them with bits that a umask of 022 would take away.
    modes = (0o644, 0o755, 0o664, 0o775, 0o666, 0o777, 0o400, 0o4750, 0o2711)
    files = {}
    for mode in modes:
        controller.write(f"f{mode:o}", f"mode {mode:o}", mode)
        files[f"f{mode:o}"] = f"f{mode:o}"
    deploy(controller, files)
    for mode in modes:
        assert host.sh(f"stat -c %a work/f{mode:o}").strip() == f"{mode:o}"
    host.sh("chmod 600 work/f755")
    assert row(deploy(controller, files)) == (0, len(modes))
    assert host.sh("stat -c %a work/f755").strip() == "600"
    assert row(deploy(controller, files, "--always-copy")) == (len(modes), 0)
    assert host.sh("stat -c %a work/f755").strip() == "755"


def test_names_of_every_awkward_kind(controller: Controller, host: TestHost) -> None:
    names = [
        "with space",
        "quote'\"quote",
        "$HOME `id` \\n",
        "new\nline",
        "-n",
        ".hidden",
        "ünïcödé 日本",
        "*?[x]",
        os.fsdecode(b"bytes-\xff\xfe"),
        "trailing ",
    ]
    files = {}
    for number, name in enumerate(names):
        controller.write(f"in/{name}", f"content {number}")
        files[f"in/{name}"] = f"out dir/{name}"
    assert row(deploy(controller, files)) == (len(names), 0)
    found = host.sh("cd 'work/out dir' && for f in * .[!.]*; do cat -- \"$f\"; echo; done")
    assert sorted(found.split("\n")[:-1]) == sorted(f"content {n}" for n in range(len(names)))
    assert row(deploy(controller, files)) == (0, len(names))


def test_absolute_home_and_directory_destinations(controller: Controller, host: TestHost) -> None:
    controller.write("f", "x")
    (controller.directory / "empty").mkdir()
    files = {"f": "sub/", "./f": f"{host.home}/abs/f", "empty": "logs/deep"}
    assert deploy(controller, files).status == 0
    assert host.sh("cat work/sub/f abs/f; ls -d work/logs/deep") == "xxwork/logs/deep\n"


def test_a_running_program_is_replaced(controller: Controller, host: TestHost) -> None:
    controller.config(
        """
        c = Component(name='p', executable='prog', args=['60'], host='host1', start_index=1)
        c.base_dir = 'work'
        c.files = {'prog': 'prog'}
        config.add_component(c)
        """
    )
    program = controller.directory / "prog"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    assert controller.fastrr().status == 0
    inode = host.sh("stat -c %i work/prog")
    program.write_bytes(program.read_bytes() + b"another build")
    result = controller.fastrr("--no-kill")
    assert result.status == 0, result
    assert host.sh("stat -c %i work/prog") != inode
    assert host.sh("tail -c 13 work/prog") == "another build"


def test_a_directory_in_the_way_is_refused_before_anything_changes(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("f", "x")
    controller.config(
        """
        c = Component(name='main', executable='/bin/sleep', args=['60'], start_index=1)
        c.base_dir, c.files = 'work', {'f': 'f'}
        for c.host in ('host1', 'host2'):
            config.add_component(c)
        """
    )
    hosts[1].sh("mkdir -p work/f/precious")
    result = controller.fastrr()
    assert result.status == 3
    assert "host2: ./work/f is a directory" in result.stderr
    assert not hosts[0].exists("work")
    assert hosts[0].sessions() == []
    assert hosts[1].exists("work/f/precious")


def test_same_content_at_several_places_is_sent_once(
    controller: Controller, host: TestHost
) -> None:
    (controller.directory / "one").write_bytes(os.urandom(300_000))
    (controller.directory / "copy").write_bytes((controller.directory / "one").read_bytes())
    (controller.directory / "one").chmod(0o775)
    (controller.directory / "copy").chmod(0o664)
    result = deploy(controller, {"one": "a/1", "copy": "b/2", "./one": "c/3"})
    assert re.search(r"^host1 +3 +0 +300 kB ", result.stdout, re.MULTILINE), result
    assert len(set(host.sh("cd work && sha1sum a/1 b/2 c/3 | cut -c 1-40").split())) == 1
    assert host.sh("cd work && stat -c %a a/1 b/2 c/3").split() == ["775", "664", "775"]


def test_a_symbolic_link_is_followed(controller: Controller, host: TestHost) -> None:
    controller.write("f", "new content")
    host.sh("mkdir work store && echo old >store/f && ln -s ../store/f work/f")
    assert row(deploy(controller, {"f": "f"})) == (1, 0)
    assert host.sh("readlink work/f; cat store/f") == "../store/f\nnew content"


def test_two_files_for_one_reached_by_a_link_are_refused_before_anything_changes(
    controller: Controller, host: TestHost
) -> None:
    host.sh("mkdir work && cd work && printf old >real && ln -s real link && printf x >other")
    for name in ("one", "two", "new"):
        controller.write(name, name)
    result = deploy(controller, {"one": "real", "two": "link", "new": "other"})
    assert result.status == 3
    assert re.search(r"work/real should be a copy of both .*/one and .*/two", result.stderr)
    assert host.sh("cd work && cat real other && readlink link") == "oldxreal\n"


@pytest.mark.parametrize("transport", ["stream", "rsync", "sftp"])
def test_one_source_may_reach_a_file_by_two_paths(
    controller: Controller, host: TestHost, transport: str
) -> None:
    host.sh("mkdir work && cd work && printf old >real && ln -s real link")
    controller.write("one", "one")
    result = deploy(controller, {"one": "real", "./one": "link"}, "--transport", transport)
    assert result.status == 0, result
    assert "WARNING" not in result.stderr
    assert host.sh("cd work && cat real && readlink link && ls") == "onereal\nlink\nreal\n"


def test_an_unwritable_directory_is_named_before_anything_changes(
    controller: Controller, hosts: list[TestHost]
) -> None:
    if hosts[0].user == "root":
        pytest.skip("root may write everywhere")
    controller.write("f", "x")
    result = deploy(controller, {"f": "/usr/lib/fastrr/f"})
    assert result.status == 3
    assert "host1: /usr/lib/fastrr can't be made: this account may not write to /usr/lib" in (
        result.stderr
    )


TEMPORARY_NAMES = "find . \"${TMPDIR:-/tmp}\" -name '.fastrr-*'"


def test_no_temporary_name_is_left(controller: Controller, host: TestHost) -> None:
    controller.write("f", "x")
    assert deploy(controller, {"f": "a/f"}).status == 0
    controller.write("f", "other")
    assert deploy(controller, {"f": "a/f", "./f": "f"}).status == 0
    assert host.sh(TEMPORARY_NAMES) == ""


def test_no_temporary_name_is_left_where_a_file_can_t_be_put_in_place(
    controller: Controller, containers: list[TestHost]
) -> None:
    """In a directory for all, a file of root's can't be replaced; this shows when it is tried."""
    host = containers[0]
    controller.write("f", "new")
    controller.write("g", "other")
    path = host.sh("mkdir -p work/b && cd work && echo old >b/f && chmod 1777 b && pwd").strip()
    host.sh(f"chown root {path}/b {path}/b/f", user="root")
    result = deploy(controller, {"f": "b/f", "g": "g"}, "--copy-only")
    assert result.status == 3, result
    assert f"{path}/b/f could not be renamed into place" in result.stderr
    assert host.sh("cat work/b/f work/g") == "old\nother"
    assert host.sh(TEMPORARY_NAMES) == ""


def test_a_full_disk_is_told_before_anything_changes(
    controller: Controller, host: TestHost
) -> None:
    size = 10**15
    with (controller.directory / "big").open("wb") as file:
        try:
            file.truncate(size)
        except OSError:
            size = 10**12
            file.truncate(size)
    # Hashing so much takes hours: the check must come before, or not need it.
    result = deploy(controller, {"big": "big"}, "--timeout", "20")
    assert result.status == 3, result
    assert re.search(r"host1: .* MB are to be copied to the file system .* MB free", result.stderr)
