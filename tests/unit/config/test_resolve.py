"""From components to a deployment: where everything goes, and what is wrong with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrr.config.component import Component, Config
from fastrr.config.resolve import deployment_from, problems_of
from fastrr.errors import ConfigError, Problem
from fastrr.model import Deployment, FileTarget, FreshBase, HostPlan, SourceFile


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the config is, with files ``a`` and ``b`` and a directory ``d`` beside it."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d").mkdir()
    return tmp_path


def component(**attributes: object) -> Component:
    """Return a component that is fine as it is, on host ``h`` with base_dir ``/base``."""
    fine: dict[str, object] = {
        "name": "main",
        "host": "h",
        "executable": "prog",
        "start_index": 1,
        "base_dir": "/base",
    }
    return Component(**fine | attributes)


def resolve(directory: Path, *components: Component) -> Deployment:
    config = Config()
    for each in components:
        config.add_component(each)
    return deployment_from(config, str(directory / "config.py"))


def host_plan(directory: Path, *components: Component) -> HostPlan:
    (plan,) = resolve(directory, *components).hosts
    return plan


def problems(directory: Path, *components: Component) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        resolve(directory, *components)
    return list(caught.value.problems)


def messages(directory: Path, *components: Component) -> list[str]:
    return [problem.message for problem in problems(directory, *components)]


# components


def test_a_component_becomes_a_plan(directory: Path) -> None:
    args = ["$HOME", 'a "b"', "c\nd", "", b"caf\xe9", Path("p")]
    (plan,) = host_plan(
        directory,
        component(args=args, env={"X": "1", "y_2": ""}, wait=True, expand=True, start_index=0.5),
    ).components
    assert (plan.name, plan.host, plan.executable, plan.base_dir) == ("main", "h", "prog", "/base")
    assert plan.args == ("$HOME", 'a "b"', "c\nd", "", os.fsdecode(b"caf\xe9"), "p")
    assert plan.env == (("X", "1"), ("y_2", ""))
    assert plan.wait
    assert plan.expand
    assert plan.start_index == 0.5


def test_hosts_and_components_keep_the_order_of_the_config(directory: Path) -> None:
    deployment = resolve(
        directory,
        component(host="z", start_index=3),
        component(host="a", start_index=-1),
        component(host="z", name="second", start_index=3.0),
    )
    assert [plan.host for plan in deployment.hosts] == ["z", "a"]
    assert [each.name for each in deployment.hosts[0].components] == ["main", "second"]
    assert deployment.start_indexes == (-1, 3)


@pytest.mark.parametrize("executable", ["prog", "./bin/prog", "/bin/ls"])
def test_a_remote_executable_is_left_alone(directory: Path, executable: str) -> None:
    (plan,) = host_plan(directory, component(executable=executable)).components
    assert plan.executable == executable


def test_the_executable_is_not_copied_unless_files_says_so(directory: Path) -> None:
    assert host_plan(directory, component(executable="a")).files == ()


@pytest.mark.parametrize(
    ("base_dir", "expected"),
    [
        ("/srv/x", "/srv/x"),
        ("/srv//x/./y/../", "/srv/x"),
        ("//srv/x", "/srv/x"),
        ("/", "/"),
        ("x", "./x"),
        ("./x/", "./x"),
        (".", "."),
        ("~", "."),
        ("~/", "."),
        ("~/x", "./x"),
        (Path("/srv/x"), "/srv/x"),
    ],
)
def test_base_dir_is_absolute_or_relative_to_the_login_directory(
    directory: Path, base_dir: str | Path, expected: str
) -> None:
    plan = host_plan(directory, component(base_dir=base_dir))
    assert plan.components[0].base_dir == expected
    assert plan.directories == (expected,)
    assert plan.fresh == ()


# files


def placed(directory: Path, base_dir: str | None, destination: str) -> str:
    """Return where ``a`` goes; in ``temp/`` where that is in a temporary base_dir."""
    plan = host_plan(directory, component(base_dir=base_dir, files={"a": destination}))
    (fresh,) = plan.fresh or [FreshBase("")]
    (target,) = plan.files + fresh.files
    assert target.source == str(directory / "a")
    return target.destination if plan.files else f"temp/{target.destination}"


@pytest.mark.parametrize(
    ("destination", "in_base", "in_home_base", "in_temporary"),
    [
        ("x", "/base/x", "./work/x", "temp/x"),
        ("./x/y", "/base/x/y", "./work/x/y", "temp/x/y"),
        ("x/../y", "/base/y", "./work/y", "temp/y"),
        ("x/", "/base/x/a", "./work/x/a", "temp/x/a"),
        (".", "/base/a", "./work/a", "temp/a"),
        ("./", "/base/a", "./work/a", "temp/a"),
        ("x/.", "/base/x/a", "./work/x/a", "temp/x/a"),
        ("..", "/a", "./a", "temp/../a"),
        ("/abs/x", "/abs/x", "/abs/x", "/abs/x"),
        ("/abs/", "/abs/a", "/abs/a", "/abs/a"),
        ("//abs//x", "/abs/x", "/abs/x", "/abs/x"),
        ("/", "/a", "/a", "/a"),
        ("~", "./a", "./a", "./a"),
        ("~/", "./a", "./a", "./a"),
        ("~/x", "./x", "./x", "./x"),
        ("./~/x", "/base/~/x", "./work/~/x", "temp/~/x"),
        ("~x", "/base/~x", "./work/~x", "temp/~x"),
    ],
)
def test_destinations(
    directory: Path, destination: str, in_base: str, in_home_base: str, in_temporary: str
) -> None:
    assert placed(directory, "/base", destination) == in_base
    assert placed(directory, "work", destination) == in_home_base
    assert placed(directory, None, destination) == in_temporary


@pytest.mark.parametrize("destination", ["/abs/x", "~/x"])
def test_with_a_temporary_base_dir_files_elsewhere_are_the_hosts(
    directory: Path, destination: str
) -> None:
    plan = host_plan(directory, component(base_dir=None, files={"a": destination, "b": "x"}))
    assert [target.destination for target in plan.files] == [destination.replace("~", ".")]
    assert [target.destination for target in plan.fresh[0].files] == ["x"]


def test_each_component_without_base_dir_has_a_temporary_one_of_its_own(directory: Path) -> None:
    plan = host_plan(
        directory,
        component(base_dir=None, files={"a": "x", "d": "made"}, dirs=["logs"]),
        component(base_dir=None, files={"b": "x"}, name="other"),
    )
    assert plan.fresh == (
        FreshBase("main", (FileTarget(str(directory / "a"), "x"),), ("made", "logs")),
        FreshBase("other", (FileTarget(str(directory / "b"), "x"),)),
    )
    assert plan.files == ()
    assert plan.directories == ()
    assert [each.base_dir for each in plan.components] == [None, None]


@pytest.mark.parametrize("key", ["a", "./a", "d/../a", "{}/a", "{}//a"])
def test_local_paths_are_relative_to_the_config(
    directory: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    deployment = resolve(directory, component(files={key.format(directory): "x"}))
    path = str(directory / "a")
    assert [target.source for target in deployment.hosts[0].files] == [path]
    assert deployment.sources == {path: SourceFile.at(path, os.stat(path))}


def test_home_in_local_paths_is_expanded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(directory))
    assert list(resolve(directory, component(files={"~/a": "x"})).sources) == [f"{directory}/a"]


def test_two_ways_to_write_one_source_are_no_conflict(directory: Path) -> None:
    plan = host_plan(directory, component(files={"a": "x", "./a": "./x"}))
    assert plan.files == (FileTarget(f"{directory}/a", "/base/x"),)


def test_one_source_may_go_to_several_places(directory: Path) -> None:
    plan = host_plan(directory, component(files={"a": "x", "./a": "y"}))
    assert [target.destination for target in plan.files] == ["/base/x", "/base/y"]


def test_components_may_share_a_file(directory: Path) -> None:
    files = {"a": "x"}
    plan = host_plan(directory, component(files=files), component(files=files, name="other"))
    assert len(plan.files) == 1


def test_names_that_begin_alike_are_no_conflict_in_a_temporary_base_dir(directory: Path) -> None:
    (fresh,) = host_plan(directory, component(base_dir=None, files={"a": "ab", "b": "abc"})).fresh
    assert [target.destination for target in fresh.files] == ["ab", "abc"]


def test_a_link_is_copied_as_what_it_leads_to(directory: Path) -> None:
    (directory / "link").symlink_to("a")
    deployment = resolve(directory, component(files={"link": "x"}))
    (source,) = deployment.sources.values()
    assert source.path == str(directory / "link")
    assert source.signature.inode == os.stat(directory / "a").st_ino


def test_the_mode_is_that_of_the_file(directory: Path) -> None:
    (directory / "a").chmod(0o4751)
    (source,) = resolve(directory, component(files={"a": "x"})).sources.values()
    assert source.mode == 0o4751


# directories


def test_a_directory_as_key_is_made_and_nothing_more(directory: Path) -> None:
    (directory / "d" / "inside").touch()
    deployment = resolve(directory, component(files={"d": "logs", "d/": "/var/x/"}))
    (plan,) = deployment.hosts
    assert plan.files == ()
    assert plan.directories == ("/base/logs", "/var/x", "/base")
    assert deployment.sources == {}


@pytest.mark.parametrize(
    ("directory_wanted", "expected"),
    [("logs", "/base/logs"), ("/var/x/", "/var/x"), ("~/x", "./x"), (".", "/base")],
)
def test_dirs_are_made_relative_to_base_dir(
    directory: Path, directory_wanted: str, expected: str
) -> None:
    plan = host_plan(directory, component(dirs=[directory_wanted]))
    assert set(plan.directories) == {"/base", expected}


def test_dirs_elsewhere_are_the_hosts_though_base_dir_is_temporary(directory: Path) -> None:
    plan = host_plan(directory, component(base_dir=None, dirs=["/var/x", "~/y", "z"]))
    assert plan.directories == ("/var/x", "./y")
    assert plan.fresh[0].directories == ("z",)


# localhost


def local(**attributes: object) -> Component:
    return component(host="localhost", **attributes)


def test_on_localhost_paths_are_relative_to_the_config(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    plan = host_plan(directory, local(executable="bin/x", base_dir="work", dirs=["logs"]))
    assert plan.components[0].executable == f"{directory}/bin/x"
    assert plan.components[0].base_dir == f"{directory}/work"
    assert plan.directories == (f"{directory}/work/logs", f"{directory}/work")


def test_on_localhost_absolute_paths_and_homes_are_known(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (plan,) = host_plan(directory, local(executable="/bin/ls", base_dir="~/x")).components
    assert (plan.executable, plan.base_dir) == ("/bin/ls", "/home/me/x")
    (plan,) = host_plan(directory, local(executable="~/bin/x")).components
    assert plan.executable == "/home/me/bin/x"


def test_on_localhost_too_no_base_dir_means_a_temporary_one(directory: Path) -> None:
    plan = host_plan(directory, local(base_dir=None))
    assert plan.fresh == (FreshBase("main"),)
    assert plan.components[0].executable == f"{directory}/prog"


def test_on_localhost_there_are_no_files_to_copy(directory: Path) -> None:
    assert messages(directory, local(files={"a": "x", "nope": "y"})) == [
        "it runs on localhost and has files ('a', ...): they are here already; set files = {}"
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "me@localhost", "localhost:2222", "[::1]"])
def test_other_names_of_this_machine_are_reached_by_ssh(directory: Path, host: str) -> None:
    plan = host_plan(directory, component(host=host, files={"a": "x"}))
    assert plan.host == host
    assert plan.components[0].executable == "prog"


# sources that can't be copied


def test_a_missing_source_is_told_with_its_key_and_path(directory: Path) -> None:
    assert messages(directory, component(files={"x/../nope": "x", "a": "a"})) == [
        f"files['x/../nope']: {directory}/nope can't be copied: No such file or directory"
    ]


def test_a_link_to_nowhere_or_to_itself(directory: Path) -> None:
    (directory / "dangling").symlink_to("nowhere")
    (directory / "loop").symlink_to("loop")
    dangling, loop = messages(directory, component(files={"dangling": "x", "loop": "y"}))
    assert dangling.endswith("dangling can't be copied: No such file or directory")
    assert loop.endswith("loop can't be copied: Too many levels of symbolic links")


def test_what_is_no_regular_file_is_not_opened(directory: Path) -> None:
    os.mkfifo(directory / "fifo")
    assert messages(directory, component(files={"fifo": "x", "/dev/null": "y"})) == [
        f"files['fifo']: {directory}/fifo is no regular file",
        "files['/dev/null']: /dev/null is no regular file",
    ]


@contextlib.contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Drop root's rights, if there are any, for a while."""
    user = os.getuid()
    if user == 0:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if user == 0:
            os.setresuid(0, 0, 0)


def test_what_may_not_be_read_is_found_before_anything_is_connected_to() -> None:
    open_to_all = Path(tempfile.mkdtemp())
    try:
        open_to_all.chmod(0o755)
        (open_to_all / "secret").touch(0)
        (open_to_all / "closed").mkdir(0)
        with as_ordinary_user():
            found = messages(open_to_all, component(files={"secret": "x", "closed/a": "y"}))
        assert found == [
            f"files['secret']: {open_to_all}/secret may not be read",
            f"files['closed/a']: {open_to_all}/closed/a can't be copied: Permission denied",
        ]
    finally:
        shutil.rmtree(open_to_all)


# conflicts


def test_two_sources_for_one_destination(directory: Path) -> None:
    assert messages(directory, component(files={"a": "x", "b": "./x"})) == [
        f"/base/x on h should be a copy of {directory}/b, but it wants {directory}/a there, too"
    ]


def test_two_sources_for_one_destination_of_two_components(directory: Path) -> None:
    first = component(files={"a": "x"})
    second = component(files={"b": "/base/x"}, name="other", base_dir="/elsewhere")
    (problem,) = problems(directory, first, second)
    assert problem.component == "other"
    assert problem.file is not None
    assert problem.message == (
        f"/base/x on h should be a copy of {directory}/b, "
        f"but component 'main' wants {directory}/a there, too ({problem.file}:{problem.line})"
    )


def test_two_sources_for_one_destination_of_a_template_and_another(directory: Path) -> None:
    """Where a template's files go is found out for its first host, and known for the others."""
    template = {"files": {"a": "x", "b": "y"}}
    other = component(host="g", name="other", files={"b": "/base/x", "a": "z"})
    (problem,) = problems(
        directory,
        component(**template),
        other,
        component(host="g", **template),
        component(host="i"),
    )
    assert problem.component == "main"
    assert problem.message == (
        f"/base/x on g should be a copy of {directory}/a, "
        f"but component 'other' wants {directory}/b there, too ({problem.file}:{problem.line})"
    )


def test_a_template_adds_to_what_its_host_has_already(directory: Path) -> None:
    template = {"files": {"a": "x", "d": "made"}, "dirs": ["logs"]}
    others = {"name": "other", "base_dir": "/other", "files": {"b": "y"}, "dirs": ["more"]}
    deployment = resolve(
        directory,
        component(**template),
        component(host="g", **others),
        component(host="g", **template),
        component(host="i", **template),
        component(host="i", **others),
        component(host="j", **template),
    )
    first, second, third, fourth = deployment.hosts
    assert {target.destination for target in first.files} == {"/base/x"}
    assert set(first.directories) == {"/base", "/base/made", "/base/logs"}
    assert fourth._replace(host="h", components=first.components) == first
    for plan in (second, third):
        assert {(target.source, target.destination) for target in plan.files} == {
            (f"{directory}/a", "/base/x"),
            (f"{directory}/b", "/other/y"),
        }
        assert set(plan.directories) == {*first.directories, "/other", "/other/more"}


@pytest.mark.parametrize(
    "change", [{"base_dir": "/more"}, {"base_dir": None}, {"dirs": ["more"]}, {"files": {"b": "y"}}]
)
def test_a_template_that_was_changed_is_another(directory: Path, change: dict[str, object]) -> None:
    template: dict[str, object] = {"files": {"a": "x"}, "dirs": ["logs"]}
    changed = component(**{"host": "g", **template, **change})
    _, plan = resolve(directory, component(**template), changed).hosts
    assert plan == host_plan(directory, changed)


def test_two_sources_for_one_destination_in_a_temporary_base_dir(directory: Path) -> None:
    assert messages(directory, component(base_dir=None, files={"a": "x", "b": "x"})) == [
        f"x on h should be a copy of {directory}/b, but it wants {directory}/a there, too"
    ]


def test_the_same_destination_on_another_host_is_no_conflict(directory: Path) -> None:
    deployment = resolve(
        directory, component(files={"a": "x"}), component(files={"b": "x"}, host="other")
    )
    assert [len(plan.files) for plan in deployment.hosts] == [1, 1]


@pytest.mark.parametrize("base_dir", ["/base", "work", None])
@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"files": {"a": "x", "b": "x/y"}}, "for {}x/y"),
        ({"files": {"a": "x", "b": "x/y/z"}}, "for {}x/y/z"),
        ({"files": {"a": "x", "d": "x"}}, "too"),
        ({"files": {"a": "x"}, "dirs": ["x"]}, "too"),
        ({"files": {"a": "x"}, "dirs": ["x/logs"]}, "for {}x/logs"),
    ],
)
def test_a_file_that_should_be_a_directory_too(
    directory: Path, base_dir: str | None, wanted: dict[str, object], why: str
) -> None:
    base = {"/base": "/base/", "work": "./work/", None: ""}[base_dir]
    assert messages(directory, component(base_dir=base_dir, **wanted)) == [
        f"{base}x on h should be a copy of {directory}/a, and a directory, {why.format(base)}"
    ]


def test_a_file_in_place_of_a_base_dir(directory: Path) -> None:
    first = component(files={"a": "/srv/x"}, dirs=[])
    second = component(name="other", base_dir="/srv/x/y")
    (problem,) = problems(directory, first, second)
    assert problem.component == "main"
    assert problem.line is not None
    assert problem.message == (
        f"/srv/x on h should be a copy of {directory}/a, and a directory, for /srv/x/y"
    )


# attributes


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("name", "", "name must be a string that is not empty, not ''"),
        ("name", "  ", "name must be a string that is not empty, not '  '"),
        ("name", 3, "name must be a string that is not empty, not 3"),
        ("name", "a\nb", "name has a control character in it"),
        ("name", "x" * 201, "name is too long: it names a directory, which takes 200 bytes"),
        ("name", "ä/" * 50, "name is too long: it names a directory, which takes 200 bytes"),
        ("name", "\ud800", r"name has a character that can't be encoded: '\ud800' in '\ud800'"),
        ("executable", "", "executable must be a path, not ''"),
        ("executable", ["ls"], "executable must be a path, not ['ls']"),
        ("executable", "a\0b", r"executable has a NUL character in it: 'a\x00b'"),
        ("base_dir", "", "base_dir must be a path, not ''"),
        ("base_dir", 3, "base_dir must be a path, not 3"),
        ("host", "", "host '' names no host: write [user@]host[:port]"),
        ("host", ["h"], "host must be a string, not ['h']"),
        ("start_index", "1", "start_index must be a number, not '1'"),
        ("start_index", True, "start_index must be a number, not True"),
        ("start_index", float("nan"), "start_index must be a number, not nan"),
        ("args", "-a", "args must be a list of strings, not '-a'"),
        ("args", None, "args is None: leave it out, or give it a value"),
        ("args", ["-n", 3], "args[1] must be a string, not 3: write '3'"),
        ("args", ["a\0b"], r"args[0] has a NUL character in it: 'a\x00b'"),
        ("args", [b"a\0b"], r"args[0] has a NUL character in it: 'a\x00b'"),
        ("args", ["\udfff"], r"args[0] has a character that can't be encoded: '\udfff' in "),
        ("files", ["a"], "files must be a dict of local path: path on the host, not ['a']"),
        ("files", None, "files is None: leave it out, or give it a value"),
        ("files", {"a": None}, "files['a'] must be a path, not None"),
        ("files", {"a": ""}, "files['a'] must be a path, not ''"),
        ("files", {3: "a"}, "files has a key that must be a path, not 3"),
        ("files", {"a": "x\0"}, r"files['a'] has a NUL character in it: 'x\x00'"),
        ("dirs", "logs", "dirs must be a list of paths, not 'logs'"),
        ("dirs", ["logs", 3], "dirs[1] must be a path, not 3"),
        ("env", ["A=1"], "env must be a dict of name: value, not ['A=1']"),
        ("env", {"A": 1}, "env['A'] must be a string, not 1: write '1'"),
        ("env", {"A B": "1"}, "env has a name that is none for an environment variable: 'A B'"),
        ("env", {"A": "x\0"}, r"env['A'] has a NUL character in it: 'x\x00'"),
        ("wait", "no", "wait must be True or False, not 'no'"),
        ("expand", "yes", "expand must be True or False, not 'yes'"),
    ],
)
def test_a_value_that_can_not_be_used_is_told(
    directory: Path, attribute: str, value: object, message: str
) -> None:
    (told,) = messages(directory, component(**{attribute: value}))
    assert told.startswith(message)


def test_what_only_a_shell_on_the_host_would_expand_is_refused(directory: Path) -> None:
    base_dir, executable = messages(directory, component(base_dir="~bob/x", executable="~/x"))
    assert base_dir.startswith("base_dir '~bob/x': of homes, only one's own is known")
    assert executable.startswith("executable '~/x': ~ is not expanded here: write an absolute path")


@pytest.mark.parametrize("start_index", [0, -1, 0.5, float("inf"), 10**400])
def test_any_number_is_a_start_index(directory: Path, start_index: float) -> None:
    assert resolve(directory, component(start_index=start_index)).start_indexes == (start_index,)


@pytest.mark.parametrize("name", ["it's", "a b", "../x", "ünï", ".hidden", "$x", "x" * 200])
def test_names_are_free(directory: Path, name: str) -> None:
    assert host_plan(directory, component(name=name)).components[0].name == name


@pytest.mark.parametrize("wait", [0, 1, True, False])
def test_numbers_will_do_for_flags(directory: Path, wait: object) -> None:
    assert bool(host_plan(directory, component(wait=wait)).components[0].wait) == bool(wait)


def test_what_must_be_set_is_told_together(directory: Path) -> None:
    assert messages(directory, Component()) == [
        "name, executable, host and start_index must be set"
    ]
    assert messages(directory, Component(name="x", host="h", executable="e")) == [
        "start_index must be set"
    ]
    assert messages(directory, component(host=None, executable=None)) == [
        "executable and host must be set"
    ]


def test_names_are_unique_on_a_host_only(directory: Path) -> None:
    resolve(directory, component(), component(host="other"))
    (problem,) = problems(directory, component(), component(start_index=2))
    assert problem.message == (
        f"h has a component of this name already, added at {problem.file}:{problem.line}: "
        "give each a name of its own"
    )


def test_all_problems_are_told_together(directory: Path) -> None:
    found = problems(
        directory,
        component(start_index="1", args="x", files={"nope": "x"}),
        component(name="two", files={"missing": "x", "a": "y", "b": "y"}),
        component(name="two"),
        local(name="three", files={"a": "x"}),
        component(name="four", files={"a": "z", "b": "z/z"}),
        Component(),
    )
    assert [(problem.component, problem.message.split()[0]) for problem in found] == [
        ("main", "start_index"),
        ("main", "args"),
        ("main", "files['nope']:"),
        ("two", "files['missing']:"),
        ("two", "/base/y"),
        ("two", "h"),
        ("three", "it"),
        (None, "name,"),
        ("four", "/base/z"),
    ]
    assert all(problem.file and problem.line for problem in found)


def test_a_config_without_components(directory: Path) -> None:
    assert problems(directory) == [
        Problem("adds no component: call config.add_component(...)", f"{directory}/config.py")
    ]


def test_a_config_whose_components_were_cleared(directory: Path) -> None:
    config = Config()
    config.add_component(component())
    config.clear_components()
    with pytest.raises(ConfigError, match="no component is left: all that were added have been"):
        deployment_from(config, str(directory / "config.py"))


def test_what_is_wrong_so_far_can_be_asked(directory: Path) -> None:
    config = Config()
    assert problems_of(config, str(directory / "config.py")) == []
    config.add_component(component(files={"nope": "x"}))
    (problem,) = problems_of(config, str(directory / "config.py"))
    assert problem.component == "main"


# scale


def test_64_hosts_times_500_files_are_resolved_quickly_and_share_their_targets(
    directory: Path,
) -> None:
    tree = directory / "tree"
    tree.mkdir()
    for number in range(500):
        (tree / f"file{number}").touch()
    template = component(files={f"tree/file{n}": f"to/file{n}" for n in range(500)})
    config = Config()
    began = time.perf_counter()
    for number in range(64):
        template.host = f"host{number}"
        config.add_component(template)
    deployment = deployment_from(config, str(directory / "config.py"))
    assert time.perf_counter() - began < 10  # well below 1 s; slow machines may be busy, too
    assert len(deployment.sources) == 500
    assert [len(plan.files) for plan in deployment.hosts] == [500] * 64
    first, *others = deployment.hosts
    for plan in others:
        assert all(mine is other for mine, other in zip(first.files, plan.files, strict=True))
