"""What docs/architecture.md says of the code is so."""

from __future__ import annotations

import re
import subprocess
import sys

from testbed.bed import REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "architecture.md").read_text()
MODULES = DOCUMENT[DOCUMENT.index("## Modules") :].split("\n## ", 1)[0]


def test_the_layers_are_those_that_lint_checks() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    (layers,) = re.findall(r"^layers = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    checked = re.findall(r'"(.*?)"', layers)
    (block,) = re.findall(r"```\n(.*?)```", MODULES, re.DOTALL)
    told = [line.split("  ", 1)[0].strip() for line in block.splitlines()]
    assert told == checked[1:], "all but __main__"


def test_every_module_that_is_named_is_there() -> None:
    named = set(
        re.findall(r"`((?:cli|ui|config|run|files|components|hosts)/\w+(?:\.\w+)?)`", DOCUMENT)
    )
    assert len(named) > 10
    for name in named:
        path, _, suffix = name.partition(".")
        candidates = (f"{path}.py", f"{path}.sh", path) if suffix not in {"py", "sh"} else (name,)
        assert any((REPOSITORY / "fastrr" / one).exists() for one in candidates), name


def test_paramiko_is_not_imported_before_hosts_are_known() -> None:
    """It takes a tenth of a second, while ssh's configuration can be read (`hosts.warm_up`)."""
    program = "import sys, fastrr.cli.run; sys.exit('paramiko' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
