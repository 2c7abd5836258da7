"""What `./scripts/test --quick` leaves out: single tests that are marked slow, and few files as a whole."""

import ast
from pathlib import Path

HERE = Path(__file__).parent
ALL_SLOW = {
    "describe/test_real_server.py", "faults/test_disks.py", "faults/test_interrupts.py", "faults/test_stored_things.py",
    "journeys/test_demo.py", "journeys/test_ranks.py", "report/test_page_in_browser.py",
    "scripts/test_cluster_simulation.py", "scripts/test_dataset_pages.py",
}  # fmt: skip
"""Files in which every test is slow."""


def slow_of(file: Path) -> list[bool]:
    """Of each test of a file, whether it is marked slow or long."""
    module = ast.parse(file.read_text())
    of_all = [ast.unparse(node) for node in module.body if ast.unparse(node).startswith("pytestmark = ")]
    whole = any("mark.slow" in one or "mark.long" in one for one in of_all)
    tests = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    marks = [{ast.unparse(mark) for mark in node.decorator_list} for node in tests]
    return [whole or not mark.isdisjoint({"pytest.mark.slow", "pytest.mark.long"}) for mark in marks]


def test_every_other_file_has_tests_that_are_quick() -> None:
    found = {file.relative_to(HERE).as_posix(): slow_of(file) for file in sorted(HERE.rglob("test_*.py"))}
    assert len(found) > 90
    assert {name for name, slow in found.items() if all(slow)} == ALL_SLOW
