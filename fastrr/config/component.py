"""What a config file builds: components, and the configuration that collects them."""

from __future__ import annotations

import copy
import difflib
import sys
from collections.abc import Iterator
from types import FrameType

from fastrr.model import LOCALHOST

_PACKAGE = __name__.partition(".")[0]


class Component:
    """One program to run: the attributes below, and no others.

    Without a default, an attribute must be set: ``name``, ``executable``, ``host``,
    ``start_index``. Keyword arguments set attributes, too: ``Component(name='main')``.
    """

    name: str
    """What it is called in messages and in its window; unique on its host."""
    executable: str
    """Path of the program: absolute, or relative to base_dir (on localhost: to the config)."""
    args: list[str]
    """Its arguments, which reach it byte for byte."""
    base_dir: str | None
    """Its working directory on the host; None: a new temporary directory of its own."""
    files: dict[str, str]
    """Local path (relative: to the config) → path on the host (relative: to base_dir)."""
    dirs: list[str]
    """Directories to make on the host (relative: to base_dir)."""
    host: str
    """``[user@]host[:port]``, a Host of ssh's configuration, or ``localhost``."""
    start_index: float
    """Components are started in order of this; those with the same, together."""
    wait: bool
    """Whether fastrr waits for its end, and lets its exit status decide its own."""
    env: dict[str, str]
    """Environment variables to set for it."""
    expand: bool
    """Whether the host's shell expands ``$VAR``, ``$(command)`` and backslashes in args."""
    num_cores: object
    """For muddlers to compute with; fastrr only carries it."""
    num_cpus: object
    """Likewise."""

    def __init__(self, **attributes: object) -> None:
        self.args = []
        self.base_dir = None
        self.files = {}
        self.dirs = []
        self.wait = False
        self.env = {}
        self.expand = False
        for attribute, value in attributes.items():
            setattr(self, attribute, value)

    def __setattr__(self, attribute: str, value: object) -> None:
        if attribute not in LEGAL_ATTRIBUTES:
            raise AttributeError(_unknown(attribute))
        object.__setattr__(self, attribute, value)

    def __getattr__(self, attribute: str) -> object:
        if attribute in LEGAL_ATTRIBUTES:
            raise AttributeError(f"the component's {attribute} has not been set yet")
        raise AttributeError(_unknown(attribute))

    def __repr__(self) -> str:
        return f"<Component {self.__dict__.get('name', 'without a name')!r}>"


LEGAL_ATTRIBUTES = frozenset(Component.__annotations__)
REQUIRED_ATTRIBUTES = ("name", "executable", "host", "start_index")


def _unknown(attribute: str) -> str:
    nearest = difflib.get_close_matches(attribute, LEGAL_ATTRIBUTES, 1, 0.5)
    if nearest:
        return f"a component has no attribute {attribute!r}: did you mean {nearest[0]!r}?"
    return (
        f"a component has no attribute {attribute!r}; it has: {', '.join(sorted(LEGAL_ATTRIBUTES))}"
    )


class Config:
    """The components of a config file, in the order they were added."""

    LOCAL_HOST = LOCALHOST

    def __init__(self) -> None:
        self._components: list[Component] = []
        self._origins: dict[int, tuple[str, int]] = {}

    def add_component(self, component: Component) -> None:
        """Add a deep copy of ``component``: one object can serve as a template again and again."""
        if not isinstance(component, Component):
            hint = ": write Component()" if component is Component else ""
            raise TypeError(f"add_component() takes a Component, not {component!r}{hint}")
        added = copy.deepcopy(component, _copied_flat(component))
        self._components.append(added)
        self._origins[id(added)] = _caller(sys._getframe(1))  # noqa: SLF001 (no public way to the caller)

    def clear_components(self) -> None:
        """Forget all components."""
        self._components = []

    def all_components(self) -> Iterator[Component]:
        """Yield the components themselves: what is changed on them counts.

        What is added meanwhile is not among them.
        """
        return iter(list(self._components))

    def all_remote_components(self) -> Iterator[Component]:
        """Yield those that do not run on localhost."""
        return (c for c in list(self._components) if c.host != LOCALHOST)

    def all_local_components(self) -> Iterator[Component]:
        """Yield those that run on localhost."""
        return (c for c in list(self._components) if c.host == LOCALHOST)

    def all_hosts(self) -> set[str]:
        """Return the hosts of all components."""
        return {c.host for c in self._components}

    @property
    def was_cleared(self) -> bool:
        """Whether components had been added, but none is left."""
        return bool(self._origins) and not self._components

    def origin(self, component: Component) -> tuple[str, int] | tuple[None, None]:
        """Return file and line of the ``add_component`` that added ``component``."""
        return self._origins.get(id(component), (None, None))


def _copied_flat(component: Component) -> dict[int, object]:
    """Return deepcopy's memo with what needs no deep copy: dicts of strings, of 10,000 perhaps."""
    return {
        id(value): dict(value)
        for value in vars(component).values()
        if type(value) is dict and all(type(k) is str and type(v) is str for k, v in value.items())
    }


def _caller(frame: FrameType | None) -> tuple[str, int]:
    while frame is not None and frame.f_globals.get("__name__", "").startswith(f"{_PACKAGE}."):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame else ("", 0)
