"""A place where steps can be done for real, without SSH."""

from __future__ import annotations

from pathlib import Path

import pytest
from testbed.shells import Box
from testbed.stand import Stand

from fastrr.files import ledger


@pytest.fixture
def stand(one_box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """A host in a box; what was written there a moment ago counts as being at rest."""
    monkeypatch.setattr(ledger, "AT_REST_S", 0.0)
    return Stand(one_box, tmp_path)
