"""From a configuration to a deployment: every attribute checked, every path resolved.

All problems are collected; nothing is connected to.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from posixpath import basename, dirname, join, normpath
from typing import NamedTuple

from fastrr.config.attributes import check_attributes, check_files
from fastrr.config.component import Component, Config
from fastrr.errors import ConfigError, Problem
from fastrr.hosts.shell import parent
from fastrr.model import (
    LOCALHOST,
    ComponentPlan,
    Deployment,
    FileTarget,
    FreshBase,
    HostPlan,
    SourceFile,
)


def deployment_from(config: Config, config_file: str) -> Deployment:
    """Return the deployment that ``config`` describes.

    :raises ConfigError: with everything that is wrong with it.
    """
    resolver = _Resolver(config, config_file)
    deployment = resolver.resolve()
    if resolver.problems:
        raise ConfigError(resolver.problems)
    return deployment


def problems_of(config: Config, config_file: str) -> list[Problem]:
    """Return what is wrong with the components added so far."""
    resolver = _Resolver(config, config_file)
    resolver.resolve()
    return [problem for problem in resolver.problems if problem.component or problem.line]


@dataclass(slots=True)
class _HostParts:
    """A host plan in the making."""

    files: dict[str, FileTarget] = field(default_factory=dict)
    """By destination."""
    owners: dict[str, Component] = field(default_factory=dict)
    """Which component wanted a destination first."""
    directories: dict[str, None] = field(default_factory=dict)
    fresh: list[FreshBase] = field(default_factory=list)
    components: dict[str, ComponentPlan] = field(default_factory=dict)
    added: dict[str, Component] = field(default_factory=dict)
    """The components themselves, by name."""

    def plan(self, host: str) -> HostPlan:
        return HostPlan(
            host,
            tuple(self.files.values()),
            tuple(self.directories),
            tuple(self.fresh),
            tuple(self.components.values()),
        )

    def files_needed_as_directories(self) -> Iterator[tuple[FileTarget, str]]:
        """Yield each file whose place should be a directory, too, and what needs that."""
        seen: set[str] = set()
        needed = {path: path for path in self.directories}
        for where in self.files:
            needed.setdefault(parent(where), where)
        for directory, needed_by in needed.items():
            above = directory
            while above not in seen and above not in ("/", ".", ""):
                seen.add(above)
                if above in self.files:
                    yield self.files[above], needed_by
                above = dirname(above)


class _Placed(NamedTuple):
    """Files and directories of a component that was the first of its host."""

    files: dict[str, FileTarget]
    directories: dict[str, None]


class _Resolver:
    def __init__(self, config: Config, config_file: str) -> None:
        self.problems: list[Problem] = []
        self._config = config
        self._config_file = config_file
        self._config_directory = os.path.dirname(config_file)
        self._sources: dict[str, SourceFile] = {}
        self._looked_at: dict[str, SourceFile | str | None] = {}
        self._local_paths: dict[str, str] = {}
        self._targets: dict[tuple[str, str], FileTarget] = {}
        self._placed: dict[object, _Placed] = {}
        """Where all files of a component go: a template's are the same on every host."""
        self._hosts: dict[str, _HostParts] = defaultdict(_HostParts)

    def resolve(self) -> Deployment:
        components = list(self._config.all_components())
        if not components:
            what = (
                "no component is left: all that were added have been cleared"
                if self._config.was_cleared
                else "adds no component: call config.add_component(...)"
            )
            self.problems.append(Problem(what, self._config_file))
        for component in components:
            self._add(component)
        for host, parts in self._hosts.items():
            self._check_files_are_no_directories(parts, host)
        plans = tuple(parts.plan(host) for host, parts in self._hosts.items())
        return Deployment(plans, self._sources)

    def _wrong(self, component: Component, message: str) -> None:
        file, line = self._config.origin(component)
        name = component.__dict__.get("name")
        label = name if isinstance(name, str) else None
        self.problems.append(Problem(message, file, line, label))

    def _check_files_are_no_directories(self, parts: _HostParts, host: str) -> None:
        for target, needed_by in parts.files_needed_as_directories():
            where = target.destination
            why = f"for {needed_by}" if needed_by != where else "too"
            self._wrong(
                parts.owners[where],
                f"{where} on {host} should be a copy of {target.source}, and a directory, {why}",
            )

    def _place_of(self, component: Component) -> str:
        file, line = self._config.origin(component)
        return f"{file}:{line}" if file else "elsewhere"

    def _add(self, component: Component) -> None:
        def wrong(message: str) -> None:
            self._wrong(component, message)

        before = len(self.problems)
        check_attributes(component, wrong)
        if len(self.problems) > before:
            self._look_at_sources(component, wrong)
            return
        parts = self._hosts[component.host]
        if other := parts.added.get(component.name):
            wrong(
                f"{component.host} has a component of this name already, added at "
                f"{self._place_of(other)}: give each a name of its own"
            )
            self._look_at_sources(component, wrong)
            return
        parts.added[component.name] = component
        base_dir = self._base_dir(component)
        parts.components[component.name] = ComponentPlan(
            name=component.name,
            host=component.host,
            executable=self._executable(component),
            args=tuple(os.fsdecode(arg) for arg in component.args),
            base_dir=base_dir,
            start_index=component.start_index,
            wait=component.wait,
            expand=component.expand,
            env=tuple(component.env.items()),
        )
        if component.host == LOCALHOST and component.files:
            wrong(
                f"it runs on localhost and has files ({next(iter(component.files))!r}, ...): "
                "they are here already; set files = {}"
            )
            return
        self._place(component, base_dir, parts, wrong)

    def _look_at_sources(self, component: Component, wrong: Callable[[str], None]) -> None:
        """Say which files are missing where something else is wrong already."""
        files = component.__dict__.get("files")
        if check_files(files) is None and component.__dict__.get("host") != LOCALHOST:
            for key in component.files:
                self._source(os.fspath(key), wrong)

    def _source(self, key: str, wrong: Callable[[str], None]) -> SourceFile | str | None:
        """Return what `_look_at` says about a key of ``files``, having reported what is wrong."""
        local = self._locally(key)
        source = self._look_at(local)
        if isinstance(source, str):
            wrong(f"files[{key!r}]: {local} {source}")
        return source

    def _base_dir(self, component: Component) -> str | None:
        if component.base_dir is None:
            return None
        base_dir = os.fspath(component.base_dir)
        if component.host == LOCALHOST:
            return self._local(base_dir)
        return _on_host(base_dir, ".")

    def _executable(self, component: Component) -> str:
        executable = os.fspath(component.executable)
        return self._local(executable) if component.host == LOCALHOST else executable

    def _local(self, path: str) -> str:
        """A local path: absolute, in the home directory, or relative to the config file."""
        return os.path.normpath(os.path.join(self._config_directory, os.path.expanduser(path)))

    def _place(
        self,
        component: Component,
        base_dir: str | None,
        parts: _HostParts,
        wrong: Callable[[str], None],
    ) -> None:
        """Add the component's files and directories to its host's."""
        wanted = (base_dir, tuple(component.files.items()), tuple(component.dirs))
        if not parts.files and (placed := self._placed.get(wanted)) is not None:
            parts.files.update(placed.files)
            parts.owners.update(dict.fromkeys(placed.files, component))
            parts.directories.update(placed.directories)
            return
        first_of_host, problems = not (parts.files or parts.directories), len(self.problems)
        self._place_each(component, base_dir, parts, wrong)
        if base_dir is not None and first_of_host and len(self.problems) == problems:
            self._placed[wanted] = _Placed(dict(parts.files), dict(parts.directories))

    def _place_each(
        self,
        component: Component,
        base_dir: str | None,
        parts: _HostParts,
        wrong: Callable[[str], None],
    ) -> None:
        base = "" if base_dir is None else base_dir
        own = _HostParts()
        for key, value in component.files.items():
            local = self._locally(os.fspath(key))
            source = self._source(os.fspath(key), wrong)
            if source is None:
                where = _on_host(os.fspath(value), base)
                (parts if _known(where, base) else own).directories[where] = None
            elif isinstance(source, SourceFile):
                self._sources[local] = source
                where = _on_host(_with_name(os.fspath(value), local), base)
                into = parts if _known(where, base) else own
                target = self._target(local, where)
                owner = into.owners.setdefault(where, component)
                if (other := into.files.setdefault(where, target)) is not target:
                    who = "it" if owner is component else f"component {owner.name!r}"
                    at = "" if owner is component else f" ({self._place_of(owner)})"
                    wrong(
                        f"{where} on {component.host} should be a copy of {local}, but {who} "
                        f"wants {other.source} there, too{at}"
                    )
        for directory in component.dirs:
            where = _on_host(os.fspath(directory), base)
            (parts if _known(where, base) else own).directories[where] = None
        self._check_files_are_no_directories(own, component.host)
        if base_dir is None:
            files, directories = tuple(own.files.values()), tuple(own.directories)
            parts.fresh.append(FreshBase(component.name, files, directories))
        else:
            parts.directories[base_dir] = None

    def _target(self, source: str, destination: str) -> FileTarget:
        """One object for all hosts that want the same: there may be 10,000 files and 64 hosts."""
        key = (source, destination)
        if (target := self._targets.get(key)) is None:
            target = self._targets[key] = FileTarget(source, destination)
        return target

    def _locally(self, path: str) -> str:
        """`_local`, remembered: a template's files come again with each host."""
        if (local := self._local_paths.get(path)) is None:
            local = self._local_paths[path] = self._local(path)
        return local

    def _look_at(self, path: str) -> SourceFile | str | None:
        """Return the file at ``path``, None for a directory, or what is wrong with it."""
        if path not in self._looked_at:
            self._looked_at[path] = _look_at(path)
        return self._looked_at[path]


def _with_name(wanted: str, source: str) -> str:
    """A destination that names a directory means a file of the source's name in it, as for cp."""
    if wanted == "~" or wanted.endswith("/") or basename(wanted) in (".", ".."):
        return join(wanted, os.path.basename(source))
    return wanted


@lru_cache(maxsize=1 << 17)
def _on_host(path: str, base: str) -> str:
    """Resolve a path on a host against ``base``; see `fastrr.model` for its form.

    An empty ``base`` stands for a temporary base_dir: the result is then relative to that.
    """
    if path == "~" or path.startswith("~/"):
        path, base = path[2:], "."
    joined = normpath(join(base, path))
    if joined.startswith("//"):  # POSIX leaves its meaning open, and so does normpath
        return joined[1:]
    if joined.startswith("/") or not base or joined == ".":
        return joined
    return f"./{joined}"


def _known(where: str, base: str) -> bool:
    """Tell whether a resolved path stands by itself, not relative to a temporary base_dir."""
    return bool(base) or where.startswith(("/", "./")) or where == "."


def _look_at(path: str) -> SourceFile | str | None:
    try:
        status = os.stat(path)
    except OSError as error:
        return f"can't be copied: {error.strerror}"
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if not os.access(path, os.R_OK):
        return "may not be read"
    return SourceFile.at(path, status)
