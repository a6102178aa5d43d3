"""Components and the configuration that collects them."""

from __future__ import annotations

import copy
import threading

import pytest

from fastrr.config.component import LEGAL_ATTRIBUTES, Component, Config


def names(config: Config) -> list[str]:
    return [component.name for component in config.all_components()]


# Component


def test_defaults() -> None:
    component = Component()
    assert component.args == []
    assert component.files == {}
    assert component.dirs == []
    assert component.env == {}
    assert component.base_dir is None
    assert component.wait is False
    assert component.expand is False


def test_each_component_has_containers_of_its_own() -> None:
    first, second = Component(), Component()
    first.args.append("x")
    first.files["a"] = "b"
    assert (second.args, second.files) == ([], {})


def test_keyword_arguments_set_attributes() -> None:
    component = Component(name="main", wait=True)
    assert component.name == "main"
    assert component.wait is True


@pytest.mark.parametrize("attribute", ["num_cores", "num_cpus"])
def test_what_muddlers_compute_with_is_carried(attribute: str) -> None:
    config = Config()
    config.add_component(Component(**{attribute: 8}))
    assert getattr(next(config.all_components()), attribute) == 8


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("nam", "name"),
        ("start_idx", "start_index"),
        ("basedir", "base_dir"),
        ("arg", "args"),
        ("file", "files"),
        ("hosts", "host"),
        ("exectuable", "executable"),
    ],
)
def test_an_unknown_attribute_is_refused_with_the_nearest(slip: str, meant: str) -> None:
    wanted = f"^a component has no attribute '{slip}': did you mean '{meant}'\\?$"
    with pytest.raises(AttributeError, match=wanted):
        setattr(Component(), slip, 1)
    with pytest.raises(AttributeError, match=wanted):
        getattr(Component(), slip)
    with pytest.raises(AttributeError, match=wanted):
        Component(**{slip: 1})


def test_where_none_is_near_all_are_named() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'xyzzy'; it has: ") as caught:
        Component(xyzzy=1)
    for attribute in LEGAL_ATTRIBUTES:
        assert attribute in str(caught.value)


def test_an_attribute_not_set_yet_says_so() -> None:
    with pytest.raises(AttributeError, match="the component's host has not been set yet"):
        _ = Component().host


def test_copies_survive_unset_attributes() -> None:
    component = copy.deepcopy(Component(name="x"))
    assert component.name == "x"
    assert not hasattr(component, "host")
    assert hasattr(copy.copy(component), "args")


def test_the_repr_has_the_name_if_any() -> None:
    assert repr(Component(name="x")) == "<Component 'x'>"
    assert repr(Component()) == "<Component 'without a name'>"


# Config


def test_one_object_is_a_template_again_and_again() -> None:
    """The manual's own example goes on with ``other = main``, which is the same object."""
    config = Config()
    component = Component(name="main", args=["-a"], files={"a": "b"})
    config.add_component(component)
    component.name = "other"
    component.args.append("-b")
    component.files.clear()
    config.add_component(component)
    first, second = config.all_components()
    assert (first.name, first.args, first.files) == ("main", ["-a"], {"a": "b"})
    assert (second.name, second.args, second.files) == ("other", ["-a", "-b"], {})


def test_all_components_are_the_live_ones_in_order() -> None:
    config = Config()
    for name in ("b", "a"):
        config.add_component(Component(name=name))
    for component in config.all_components():
        component.name += "!"
    assert names(config) == ["b!", "a!"]


def test_components_added_while_iterating_do_not_go_on_for_ever() -> None:
    config = Config()
    config.add_component(Component(name="x", host="h"))
    for component in config.all_components():
        config.add_component(component)
    for component in config.all_remote_components():
        config.add_component(component)
    assert names(config) == ["x"] * 4


def test_remote_and_local_components_and_hosts() -> None:
    config = Config()
    for name, host in (("a", "h1"), ("b", "localhost"), ("c", "h2"), ("d", "h1")):
        config.add_component(Component(name=name, host=host))
    assert [component.name for component in config.all_remote_components()] == ["a", "c", "d"]
    assert [component.name for component in config.all_local_components()] == ["b"]
    assert config.all_hosts() == {"h1", "h2", "localhost"}


def test_clearing_while_iterating_is_what_muddlers_do() -> None:
    config = Config()
    config.add_component(Component(name="x"))
    for component in config.all_components():
        config.clear_components()
        component.name = "y"
        config.add_component(component)
    assert names(config) == ["y"]
    config.clear_components()
    assert names(config) == []
    assert config.all_hosts() == set()


def test_whether_components_were_cleared_is_known() -> None:
    config = Config()
    assert not config.was_cleared
    config.add_component(Component())
    assert not config.was_cleared
    config.clear_components()
    assert config.was_cleared


@pytest.mark.parametrize("thing", [None, "main", {"name": "main"}, Component])
def test_only_components_can_be_added(thing: object) -> None:
    with pytest.raises(TypeError, match=r"^add_component\(\) takes a Component, not "):
        Config().add_component(thing)  # type: ignore[arg-type]


def test_a_forgotten_call_is_told() -> None:
    with pytest.raises(TypeError, match=r"not <class '.*Component'>: write Component\(\)$"):
        Config().add_component(Component)  # type: ignore[arg-type]


def test_what_can_not_be_copied_is_refused_when_it_is_added() -> None:
    with pytest.raises(TypeError, match="lock"):
        Config().add_component(Component(num_cores=threading.Lock()))


def test_the_origin_is_the_line_of_add_component() -> None:
    config = Config()
    exec(compile("\n\nconfig.add_component(c)", "/x/config.py", "exec"), {
        "config": config, "c": Component(), "__name__": "fastrr_config",
    })  # fmt: skip
    assert config.origin(next(config.all_components())) == ("/x/config.py", 3)
    assert config.origin(Component()) == (None, None)
