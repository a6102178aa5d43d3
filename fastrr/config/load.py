"""The load step: arg parser, config and muddlers, in this order, then a deployment.

Compatibility with remote_runner decides the order and the working directories: the config runs in
its own directory, muddlers in the caller's. Muddlers may change hosts and write files, so nothing
is looked at or hashed before they have run.
"""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Callable
from types import ModuleType

from fastrr.config import util
from fastrr.config.component import Component, Config
from fastrr.config.options import Options
from fastrr.config.resolve import deployment_from, problems_of
from fastrr.config.userfile import execute, imports_undone, telling_where
from fastrr.errors import ConfigError, Problem
from fastrr.model import LOCALHOST, Deployment


def load(options: Options) -> Deployment:
    """Run the user's files and return what they describe.

    :raises ConfigError: with all problems found.
    :raises SystemExit: when the arg parser ends the program, as argparse does for ``--help``.
    """
    _check_paths(options)
    with imports_undone():
        config = _configuration(options)
    return deployment_from(config, options.config_file)


def _configuration(options: Options) -> Config:
    extra_options = _parse_extra_args(options)
    names = {
        "Component": Component,
        "util": util,
        "options": options,
        "extra_options": extra_options,
    }
    config = Config()
    _run_config(options, config, names)
    for muddler in muddlers(options):
        _run_muddler(muddler, options, config, names)
    return config


def muddlers(options: Options) -> list[str]:
    """Return the muddlers' paths in order."""
    if options.muddler is None:
        return []
    return [options.muddler] if isinstance(options.muddler, str) else list(options.muddler)


def _check_paths(options: Options) -> None:
    """Find what is wrong with the command line itself, all together."""
    problems = []
    wanted = [("config", options.config_file), ("arg parser", options.arg_parser)]
    wanted += [("muddler", path) for path in muddlers(options)]
    for what, path in wanted:
        if path is not None and not os.path.isfile(path):
            problems.append(Problem(f"there is no {what} file {path}{_what_it_is(path)}"))
    if options.extra_args is not None and options.arg_parser is None:
        problems.append(
            Problem("--extra-args needs an --arg-parser to read it; or use -X key=value")
        )
    if problems:
        raise ConfigError(problems)


def _what_it_is(path: str) -> str:
    if os.path.isdir(path):
        return " (it is a directory)"
    return " (it is no regular file)" if os.path.exists(path) else ""


def _parse_extra_args(options: Options) -> object:
    """Return what configs get as ``extra_options``.

    The arg parser's result, with any ``-X`` set on it; without an arg parser a namespace of the
    ``-X``; without both None.
    """
    pairs = dict(pair.split("=", 1) for pair in options.extra_pairs)
    if options.arg_parser is None:
        return argparse.Namespace(**pairs) if pairs else None
    path = options.arg_parser
    module = execute(path, {}, "fastrr_arg_parser", os.getcwd())
    parse_args = _function(module, path, "parse_args", "extra_args, ssh_user")
    extra_args = options.extra_args or ""
    with telling_where(path, exits=True):
        if _wants_second(parse_args, "ssh_user"):
            result = parse_args(extra_args, options.ssh_user)
        else:
            result = parse_args(extra_args)
    try:
        for key, value in pairs.items():
            setattr(result, key, value)
    except AttributeError as error:
        message = f"parse_args returned {result!r}, on which -X can't set anything"
        raise ConfigError([Problem(message, path)]) from error
    return result


def _run_config(options: Options, config: Config, names: dict[str, object]) -> None:
    path = options.config_file
    own = {"config": config, "localhost": LOCALHOST}
    try:
        execute(path, names | own, "fastrr_config", os.path.dirname(path))
    except ConfigError as error:
        if muddlers(options):  # what looks wrong now, a muddler might have mended
            raise
        added = list(config.all_components())
        raise ConfigError(
            [*error.problems, *(problems_of(config, path) if added else ())]
        ) from error


def _run_muddler(path: str, options: Options, config: Config, names: dict[str, object]) -> None:
    module = execute(path, names | {"util": util.anchored()}, "fastrr_muddler", os.getcwd())
    muddle = _function(module, path, "muddle", "config")
    with telling_where(path):
        if _wants_second(muddle, "options"):
            muddle(config, options)
        else:
            muddle(config)


def _function(module: ModuleType, path: str, name: str, parameters: str) -> Callable[..., object]:
    function: object = getattr(module, name, None)
    if not callable(function):
        raise ConfigError([Problem(f"defines no function {name}({parameters})", path)])
    return function


def _wants_second(function: Callable[..., object], name: str) -> bool:
    """Tell whether a function takes a second positional argument, and it is meant to be ``name``.

    One with a default value and another name is the function's own affair.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    second = [parameter for parameter in parameters if parameter.kind in kinds][1:2]
    return any(p.default is p.empty or p.name == name for p in second)
