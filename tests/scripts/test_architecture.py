"""The drawing of the rooms is that of the imports, and the page about it names files that exist."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"


@pytest.fixture
def architecture(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import architecture

    yield architecture
    del sys.modules["architecture"]


def test_the_drawing_is_that_of_the_imports(architecture) -> None:
    assert architecture.DRAWING.read_text("utf-8") == architecture.drawing(), "run: python scripts/architecture.py"


def test_arrows_point_down_and_pass_no_box(architecture) -> None:
    drawing = architecture.drawing()
    boxes = [
        tuple(map(int, box))
        for box in re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" rx', drawing)
    ]
    assert len(boxes) == len(architecture.ROOMS)
    for path in re.findall(r'<path d="M([^"]+)" fill="none"', drawing):
        x, y = map(int, path.split(" ")[0].split("C")[0].split(","))
        for part in re.findall(r"C\S+ \S+ (\S+),(\S+)|V(\d+)", path):
            to_x, to_y = (x, int(part[2])) if part[2] else (int(part[0]), int(part[1]))
            assert to_y > y
            if part[2]:  # straight through a row: beside its boxes
                assert not any(
                    left <= x <= left + wide and y < top + high and top < to_y for left, top, wide, high in boxes
                )
            x, y = to_x, to_y


def test_a_module_without_a_room_and_a_circle_are_told(architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = dict(architecture.ROOMS)
    monkeypatch.setattr(architecture, "ROOMS", rooms | {"Errors": ("border",)})
    with pytest.raises(SystemExit, match="In no room: errors"):
        architecture.drawing()
    monkeypatch.setattr(architecture, "ROOMS", rooms | {"Errors": ("errors", "border", "gone")})
    with pytest.raises(SystemExit, match="not in the package: gone"):
        architecture.drawing()
    swapped = {"Store": (*rooms["Store"], "config"), "Configuration": ("composition", "schema", "conf_folder")}
    monkeypatch.setattr(architecture, "ROOMS", rooms | swapped)
    with pytest.raises(SystemExit, match="in a circle"):
        architecture.drawing()


def test_the_page_tells_of_every_room(architecture) -> None:
    assert re.findall(r"^### (.+)$", PAGE.read_text("utf-8"), re.MULTILINE) == list(architecture.ROOMS)


def test_the_page_counts_its_stations_and_files() -> None:
    text = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| \d+ \| [^|]+ \| ([^|]+) \|", text, re.MULTILINE)
    files = [file for row in rows for file in re.findall(r"`([^`]+)`", row)]
    assert f"passes {len(rows)} stations in {len(set(files))} files" in text
    assert len(files) == len(set(files))
    assert [file for file in files if not ((ROOT / "cupl_bench" / file).is_file() or (ROOT / file).is_file())] == []


def test_the_page_names_functions_that_are_there() -> None:
    rows = re.findall(r"^\| \d+ \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    files = [file for names, _ in rows for file in re.findall(r"`([^`]+)`", names)]
    code = "\n".join((ROOT / "cupl_bench" / file).read_text("utf-8") for file in files)
    named = [name for _, by in rows for name in re.findall(r"`(\w+)`", by)]
    assert len(named) > len(rows)
    assert [name for name in named if not re.search(rf"^(?:def|class) {name}\b", code, re.MULTILINE)] == []
