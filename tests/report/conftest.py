"""What the tests of the report share."""

from pathlib import Path

import pytest
from recorded import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")
