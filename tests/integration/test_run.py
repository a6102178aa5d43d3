"""The whole command against real hosts: what a run does, and what it leaves."""

from __future__ import annotations

import re

from conftest import Controller
from testbed import TestHost


def test_copies_starts_and_says_so(controller: Controller, hosts: list[TestHost]) -> None:
    controller.write("prog.sh", "#!/bin/sh\necho started with: $*\nsleep 60\n", 0o755)
    controller.config(
        """
        c = Component()
        c.name, c.executable, c.start_index, c.base_dir = 'main', 'prog.sh', 1, 'work'
        c.files = {'prog.sh': 'prog.sh'}
        for c.host in ('host1', 'host2'):
            config.add_component(c)
        """
    )
    result = controller.fastrr()
    assert result.status == 0, result
    for host in hosts:
        assert re.search(rf"^{host.name} +1 +0 +\d+ B +1 ", result.stdout, re.MULTILINE)
        assert [name.partition(".")[2] for name in host.sessions()] == ["runner"]
        assert host.sh("cat work/prog.sh").startswith("#!/bin/sh\necho started")
        assert host.sh("ps -o args= -p $(cat .local/state/fastrr/*/runner/main/pid)").strip() == (
            f"/bin/sh {host.home}/work/prog.sh"
        )

    again = controller.fastrr()
    assert again.status == 0
    for host in hosts:
        assert re.search(rf"^{host.name} +0 +1 +0 B +1 ", again.stdout, re.MULTILINE)
