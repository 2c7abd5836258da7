"""The examples of the pages run as they stand there."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from making import make_folder

DOCS = Path(__file__).parent.parent / "docs"


def test_the_blocks_of_the_python_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "photos", {"ant": 2, "bee": 2, "cat": 2})
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / "python.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102 - our own page
    plt.close("all")
    assert (tmp_path / "top1.png").stat().st_size > 1000
    assert len(list((tmp_path / "results/records").glob("*.json"))) == 7
    assert names["X"].shape == (6, 128)  # type: ignore[attr-defined]
