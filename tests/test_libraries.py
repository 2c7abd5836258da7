"""What is said while the heavy libraries are imported."""

import io
import subprocess
import sys
import threading
import time

import pytest

from cupl_bench.libraries import OPEN_CLIP, load_libraries
from cupl_bench.progress import showing_progress, step

IMPORTS = """
import logging, sys
from cupl_bench.libraries import OPEN_CLIP, load_libraries
names = [name for modules in OPEN_CLIP.values() for name in modules]
class Told(logging.Handler):
    def emit(self, record):
        print(record.getMessage(), "after", *(name for name in names if name in sys.modules))
logging.getLogger("cupl_bench").addHandler(Told())
logging.getLogger("cupl_bench").setLevel(logging.INFO)
load_libraries(OPEN_CLIP)
load_libraries(OPEN_CLIP)
"""


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.slow
def test_a_line_is_written_before_each_library_begins() -> None:
    """The order, not seconds: how long an import takes is the machine's matter."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    there: list[str] = []
    expected = []
    for words, modules in OPEN_CLIP.items():
        expected.append(" ".join([f"loading   {words} after", *there]))
        there += modules
    assert done.stdout.splitlines() == expected


def test_what_is_not_installed_is_left_to_who_needs_it(caplog: pytest.LogCaptureFixture) -> None:
    load_libraries({"nothing": ("no_such_library",), "this": ("sys",)})
    assert caplog.messages == []


def test_what_cannot_be_imported_is_left_to_who_needs_it(
    tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "half_a_library.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    caplog.set_level("INFO", "cupl_bench")
    load_libraries({"half of it": ("half_a_library",)})
    assert caplog.messages == ["loading   half of it"]


def test_on_a_terminal_a_step_turns_and_its_thread_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown = Tty()
    monkeypatch.setattr(sys, "stderr", shown)
    caplog.set_level("INFO", "cupl_bench")
    before = threading.enumerate()
    with showing_progress(), step("loading", "PyTorch"):
        assert len(threading.enumerate()) == len(before) + 1
        first, last = len(shown.getvalue()), time.monotonic() + 30
        while len(shown.getvalue()) == first and time.monotonic() < last:
            time.sleep(0.01)
        assert len(shown.getvalue()) > first
    assert threading.enumerate() == before
    assert "loading PyTorch" in shown.getvalue()
    assert caplog.messages == []


def test_a_thread_ends_when_what_it_shows_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Tty())
    before = threading.enumerate()
    with pytest.raises(KeyboardInterrupt), showing_progress(), step("loading", "PyTorch"):
        raise KeyboardInterrupt
    assert threading.enumerate() == before
