"""Real SSH hosts for tests, the demo and the benchmark: Docker containers, or sshds on loopback."""

from testbed.bed import Bed, TestHost, open_bed, prepare

__all__ = ["Bed", "TestHost", "open_bed", "prepare"]
