"""Another account of a host, which would like to run code as the one that deploys there.

It sees all command lines and all names in directories that everybody may read, and is as quick as
it can: for each holding directory that it gets to know of it makes one of that name, with a script
where fastrr has its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.shells import eventually

TRIES = 3
NEIGHBOUR = "busybox-user"

WATCHER = r"""
use strict;
my ($where, $until) = ("WHERE", time + 50);
my %made;
sub plant {
    my ($name) = @_;
    for my $directory ($where, "$where/one", "$where/two") {
        next if $made{"$directory/$name"}++ or !-d $directory;
        umask 0;
        mkdir "$directory/$name" or next;
        mkdir "$directory/$name/.fastrr-control";
        open my $script, ">", "$directory/$name/.fastrr-control/finish" or next;
        print $script "id >>$where/was-run-as; exit\n";
        close $script;
        open my $all, ">", "$directory/$name/.fastrr-control/all";
        open my $log, ">>", "$where/planted";
        print $log "$directory/$name\n";
    }
}
open my $begun, ">", "$where/begun";
while (time < $until and !-e "$where/stop") {
    for my $path (glob "/proc/[0-9]*/cmdline") {
        open my $file, "<", $path or next;
        local $/;
        my $line = <$file> // "";
        plant(".fastrr-$1") while $line =~ /\.fastrr-([0-9a-f]+-\d+)/g;
    }
    for my $path (glob "/tmp/fastrr-* $where/.fastrr-* $where/*/.fastrr-*") {
        plant(".fastrr-$1") while $path =~ /([0-9a-f]{12}-\d+)/g;
    }
}
open my $ended, ">", "$where/ended";
"""

CONFIG = """
config.add_component(Component(
    executable='/bin/true', host='host1', start_index=1, name='main',
    files={files!r}, base_dir='{base_dir}',
))
"""


@pytest.fixture
def shared(containers: list[TestHost]) -> Iterator[str]:
    """A directory of a host that everybody may write to, as /tmp is."""
    path = "/var/tmp/shared"
    containers[0].sh(f"mkdir -m 1777 {path}", user="root")
    containers[0].sh(f"chmod 1777 {path}", user="root")
    yield path
    containers[0].sh(f"rm -rf {path}", user="root")


@contextlib.contextmanager
def neighbour(host: TestHost, shared: str) -> Iterator[None]:
    """Have the neighbour watch and plant for the time inside."""
    script = WATCHER.replace("WHERE", shared)
    host.sh(f"cat >{shared}/watcher <<'END'\n{script}\nEND\n", user=NEIGHBOUR)
    host.sh(f"perl {shared}/watcher >/dev/null 2>&1 &", user=NEIGHBOUR)
    eventually(lambda: host.exists(f"{shared}/begun"))
    try:
        yield
    finally:
        host.sh(f"touch {shared}/stop", user=NEIGHBOUR)
        eventually(lambda: host.exists(f"{shared}/ended"), 60)


@pytest.mark.parametrize("way", ["at once", "prepared", "several directories", "new directory"])
def test_no_script_of_a_neighbour_is_run(
    controller: Controller, containers: list[TestHost], shared: str, way: str
) -> None:
    host = containers[0]
    places = {
        "at once": ["f", "g"],
        "prepared": ["f", "g"],
        "several directories": ["one/f", "two/g", "h"],
        "new directory": ["new/deep/f", "g"],
    }[way]
    for directory in ("one", "two"):
        host.sh(f"mkdir {shared}/{directory}")
    host.sh(f"chmod 755 {shared}/one {shared}/two")
    files = {f"{shared}/{place}": place.replace("/", "-") for place in places}
    base_dir = f"{shared}/made" if way == "prepared" else f"{host.home}"
    controller.config(
        CONFIG.format(files={name: path for path, name in files.items()}, base_dir=base_dir)
    )
    done = 0
    with neighbour(host, shared):
        for number in range(TRIES):
            for name in files.values():
                controller.write(name, f"{name} {number}")
            host.sh(f"rm -rf {shared}/new {shared}/made")
            result = controller.fastrr("--copy-only")
            assert "Traceback" not in result.output
            if result.status == 0:
                done += 1
                for path, name in files.items():
                    assert host.sh(f"cat {path}") == f"{name} {number}"
            else:
                assert "somebody else" in result.output, result
    assert not host.exists(f"{shared}/was-run-as"), host.sh(f"cat {shared}/was-run-as")
    ours = host.run(f"find {shared} -name '.fastrr-*' -user {host.user}").stdout
    assert ours == ""
    assert done or host.exists(f"{shared}/planted"), "nobody has tried anything"
