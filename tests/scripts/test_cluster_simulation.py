"""A small simulated cluster: jobs that share images and prompts encode nothing twice."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "cluster_simulation.py"


def test_nothing_is_encoded_twice() -> None:
    command = [sys.executable, SCRIPT, "--backbones", "1", "--seconds", "0.01", "--strategies", "simple"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "images: 288 encoded, of which 288 are different\n" in found
    assert "texts: 60 encoded, of which 60 are different\n" in found
    assert re.search(r"^8 jobs, \d+ s; all together they waited \d+ s for rows", found, re.MULTILINE)
