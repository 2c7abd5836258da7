"""What is said while the heavy libraries are imported."""

import io
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib import import_module

import pytest

from cupl_bench import libraries
from cupl_bench.config.building import build
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


LEFT_OUT = """
import sys
from cupl_bench.libraries import import_no_more_than_needed, import_whole, load_open_clip
import_no_more_than_needed()
heavy = ("timm", "transformers", "torch._dynamo", "torch._dynamo.utils", "wandb")
load_open_clip(())
assert not [name for name in heavy if name in sys.modules], "too much is imported"
import open_clip, torch, torchvision

def built(vision, text):
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1, **text}
    return open_clip.model.CustomTextCLIP(embed_dim=8, vision_cfg=vision, text_cfg=text)

plain = {"image_size": 16, "patch_size": 8, "layers": 1, "width": 64}
of_timm = {"timm_model_name": "test_vit", "image_size": 160, "timm_proj": "linear"}
of_transformers = {"hf_model_name": sys.argv[1], "hf_model_pretrained": False, "hf_pooler_type": "mean_pooler"}
images = torch.zeros(1, 3, 16, 16)
assert built(plain, {}).encode_image(images).shape == (1, 8)
assert not [name for name in heavy if name in sys.modules], "a model loads too much"
for given in ((of_timm, {}), (plain, of_transformers)):
    try:
        built(*given)
    except RuntimeError as error:
        assert "install" in str(error)
    else:
        raise SystemExit("it was not left out")
load_open_clip(("timm",))
assert "transformers" not in sys.modules
assert built(of_timm, {}).encode_image(torch.zeros(1, 3, 160, 160)).shape == (1, 8)
import_whole()
assert built(plain, of_transformers).encode_text(torch.ones(1, 8, dtype=torch.long)).shape == (1, 8)
parts = [open_clip.timm_model, open_clip.hf_model, open_clip.coca_model]
for name in ("TimmModel", "HFTextEncoder", "CoCa", "MultimodalCfg"):
    named = {getattr(part, name, None) for part in (*parts, open_clip, open_clip.model, open_clip.factory)} - {None}
    assert len(named) == 1, (name, named)
boxes = torch.tensor([[0.0, 0.0, 0.0, 8.0, 8.0]])
assert torchvision.ops.roi_align(images, boxes, 4).shape == (1, 3, 4, 4)
assert sys.modules["torch._dynamo.utils"].__file__, "a stand-in was left behind"
assert torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu") in (True, False)
print("done")
"""


@dataclass
class Own:
    """A class of a user's own."""


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


@pytest.mark.slow
def test_a_process_of_its_own_imports_what_its_models_need(tmp_path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,'
        ' "intermediate_size": 16, "vocab_size": 50, "max_position_embeddings": 8}'
    )
    command = [sys.executable, "-c", LEFT_OUT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr[-2000:]


def test_a_class_of_a_users_own_meets_whole_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scorer may use another model of open_clip than the backbone."""
    given: list[str] = []
    monkeypatch.setattr(libraries, "load_open_clip", lambda: given.append("whole"))
    monkeypatch.setattr(libraries, "_leaves_out", True)
    monkeypatch.setitem(sys.modules, "open_clip", sys)
    build({"_target_": "cupl_bench.scorers.plain.PlainScorer"}, "scorer")
    assert libraries._leaves_out
    assert given == []
    for _ in range(2):
        build({"_target_": f"{__name__}.Own"}, "scorer")
    assert not libraries._leaves_out
    assert given == ["whole"]


def test_elsewhere_nothing_is_left_out() -> None:
    assert not libraries._leaves_out
    with libraries._compiler_later():
        assert not isinstance(sys.modules.get(libraries.COMPILER), libraries._Compiler)


def test_another_name_of_the_compiler_is_the_compilers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = import_module(libraries.COMPILER)
    stand_in = libraries._Compiler(libraries.COMPILER)
    assert stand_in.is_compile_supported("cpu") == own.is_compile_supported("cpu")
    assert stand_in.counters is own.counters
    assert not hasattr(stand_in, "__path__")


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
