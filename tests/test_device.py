"""All that runs on a GPU, on a pretended one: the numbers of the CPU, nothing left behind, and few waits."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from conftest import Cli
from making import TINY, TinyModel, make_clip, make_folder
from pretend_device import GPU, Waits, pretend_gpu
from test_effects import made

import cupl_bench
from cupl_bench.effects import measure_prompts, measure_templates
from cupl_bench.embeddings import Aggregation, unit_rows
from cupl_bench.records import Record
from cupl_bench.truth import ClassSets

NAMES = ["ant", "bee", "cat", "dog", "eel"]
SCORERS = ["plain", "autoclip", "zlap", "tda", "transclip", "zero", "awt"]
"""Whole runs of each way in which a scorer is called: what each of them computes is in `scorers/test_on_gpu.py`."""
WAITS_FOR_EACH_IMAGE = {"awt"}  # each image stops scaling by itself
SEVERAL = 4
"""How often a line may wait. There are five classes, and more images and prompts, so that a wait for each is seen."""
BY_DESIGN = {
    "backbone/open_clip_models._NothingDrawn.__torch_function__": "a model is loaded parameter by parameter",
    "backbone/open_clip_models._fill": "a model is loaded parameter by parameter",
    "backbone/in_memory._digest_of_weights": "every parameter is read for the digest",
    "backbone/prefix_tree._forward": "five arrays say what a block of the tree is, which has thousands of tokens",
    "outside": "the test moves a model",
}
"""Functions that wait more often than that, and why they may."""
HALF_ERROR = {"fp16": 4e-3, "bf16": 3e-2}
HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}

RUN_HERE = {
    "test_scorers[plain]": ["backbone/open_clip_models", "backbone/pixels", "backbone/prefix_tree", "backbone/text",
        "features", "run/device", "scores"],
    "test_scorers[zero]": ["backbone/open_clip_models", "features", "scorers/view_tiles", "scorers/zero"],
    "test_templates_are_weighed_without_a_wait_for_each": ["template_weights"],
    "test_a_model_of_transformers": ["backbone/transformers_models"],
    "test_a_model_in_memory[prefix tree]": ["backbone/in_memory", "backbone/prefix_tree", "backbone/text"],
    "test_a_model_in_memory[padded rows]": ["backbone/in_memory", "backbone/text"],
    "test_effects_of_prompts_and_templates[False-mean]": ["effects"],
}  # fmt: skip
"""What each test is to run on the GPU. A scorer's modules are those of `scorers/test_on_gpu.py`."""
ON_THE_CPU = {
    "array_files": "reads files",
    "backbone/__init__": "hands a device on",
    "backbone/given": "hands a device on; features that are given are of no model",
    "backbone/open_clip": "finds weights and a tokenizer",
    "backbone/products": "changes nothing but what a CPU computes",
    "backbone/transformers": "finds weights and a tokenizer",
    "backbone/weights": "reads weights",
    "classify": "compares the features of a few images, which came from the GPU: test_classify",
    "dataset/decode": "decodes",
    "environment": "tells the device's name",
    "feature_folders": "writes files",
    "parts": "halves batches; hands tensors on",
    "prompts/files": "reads files",
    "ranks": "joins processes; what they say to each other are objects of Python",
    "run/bench": "hands a device on",
    "smallest_set": "calls effects",
    "view_features": "crops; the backbone takes the crops to its device",
}
"""Modules that know of PyTorch and compute nothing on a device, with what they do instead."""

OF_VIEWS = ("zero", "awt")
OWN = {"autoclip": ["prompts=ensemble"]}
Gpu = Callable[[], AbstractContextManager[Waits]]
Ask = Callable[..., tuple[Record, pd.DataFrame]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    make_folder(root / "few", dict.fromkeys(NAMES, 3))
    make_folder(root / "many", dict.fromkeys(NAMES, 6))
    return root


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and caches of both devices, which the tests of this file share."""
    return tmp_path_factory.mktemp("places")


@pytest.fixture
def ask(photos: Path, places: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Ask:
    def asked(
        device: str, *overrides: str, few: bool = True, again: str = "always", **parts: Any
    ) -> tuple[Record, pd.DataFrame]:
        given = [*tiny.overrides, *overrides] if "backbone" not in parts else list(overrides)
        record = cupl_bench.evaluate(
            "dataset=folder", f"dataset.path={photos / ('few' if few else 'many')}", *given, f"device={device}",
            "dataset.texts.templates=openai_imagenet_80", f"rerun={again}",
            results_dir=places / device[:3] / "results", cache_dir=places / device[:3] / "cache", **parts,
        )  # fmt: skip
        return record, cupl_bench.load_predictions(places / device[:3] / "results", record.run_key)

    return asked


def agree(cpu: tuple[Record, pd.DataFrame], gpu: tuple[Record, pd.DataFrame], within: float = 1e-4) -> None:
    assert gpu[0].run_key == cpu[0].run_key
    assert gpu[0].environment["device"] == str(GPU)
    assert gpu[0].metrics == cpu[0].metrics
    assert (gpu[1]["prediction"] == cpu[1]["prediction"]).all()
    pd.testing.assert_series_equal(gpu[1]["score"], cpu[1]["score"], rtol=within, atol=within)


def in_loops(waits: Waits, several: int = SEVERAL) -> set[str]:
    """The functions that waited more often than ``several`` times in one line, but for those that may."""
    return {place.partition(":")[0].partition(".<locals>")[0] for place in waits.often(several)} - set(BY_DESIGN)


@pytest.fixture
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[Waits]]:
    """A pretended GPU; at its end, the modules that the test is to run there have run there."""

    @contextmanager
    def pretended() -> Iterator[Waits]:
        with pretend_gpu(monkeypatch) as waits:
            yield waits
            assert set(RUN_HERE.get(request.node.name, ())) <= waits.modules

    return pretended


@pytest.mark.slow
@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers(ask: Ask, gpu: Gpu, scorer: str) -> None:
    asked = [*OWN.get(scorer, []), f"scorer={scorer}"]
    on_cpu = ask("cpu", *asked)
    with gpu() as waits:
        agree(on_cpu, ask(str(GPU), *asked))
        assert in_loops(waits) == ({"scorers/awt.AwtScorer._scores"} if scorer in WAITS_FOR_EACH_IMAGE else set())
        for_few = _again(waits, lambda: ask(str(GPU), *asked))
        encoded = ["scorer=plain"] if scorer not in OF_VIEWS else asked
        ask(str(GPU), *encoded, few=False, again="missing")
        for_many = _again(waits, lambda: ask(str(GPU), *asked, few=False))
    assert for_few > 0
    assert (for_many > for_few) == (scorer in WAITS_FOR_EACH_IMAGE), (for_few, for_many)


def _again(waits: Waits, ask: Callable[[], object]) -> int:
    """How often the CPU waits while a question is answered whose features are stored."""
    waits.clear()
    ask()
    return waits.total()


@pytest.mark.slow
def test_templates_are_weighed_without_a_wait_for_each(ask: Ask, gpu: Gpu) -> None:
    on_cpu = ask("cpu", "prompts=zpe")
    with gpu() as waits:
        agree(on_cpu, ask(str(GPU), "prompts=zpe"))
    assert in_loops(waits) == {"template_weights.zero_shot_weights"}  # megabytes each: a comment there says why


@pytest.mark.slow
def test_a_model_of_transformers(ask: Ask, gpu: Gpu, tmp_path: Path) -> None:
    asked = {"backbone": "transformers"}
    model = f"backbone.path={make_clip(tmp_path / 'clip')}"
    on_cpu = ask("cpu", model, **asked)
    with gpu():
        agree(on_cpu, ask(str(GPU), model, **asked))


@pytest.mark.slow
@pytest.mark.parametrize("precision", HALF)
def test_half_precision_is_that_of_both_towers(ask: Ask, gpu: Gpu, precision: str) -> None:
    asked = [f"precision={precision}", "scorer=wca", "scorer.crops=4"]
    on_cpu = ask("cpu", *asked)
    with gpu() as waits:
        on_gpu = ask(str(GPU), *asked)
        assert in_loops(waits) == set()
    assert on_gpu[0].backbone.precision == precision
    # By the tower that asked: the weights of all its layers, but for the projection of the tree, which is in float32.
    of = {function: Counter[torch.dtype]() for function, _ in waits.products}
    for (function, dtype), count in waits.products.items():
        of[function][dtype] += count
    assert set(of.pop("backbone/open_clip_models.load.<locals>.encode_images")) == {HALF[precision]}
    assert set(of.pop("backbone/open_clip_models._load.<locals>.encode_text")) == {HALF[precision]}
    tree = of.pop("backbone/prefix_tree._forward")
    assert tree[HALF[precision]] == TINY["text_cfg"]["layers"] * 4 * tree[torch.float32]
    assert tree.total() == tree[HALF[precision]] + tree[torch.float32]
    assert {dtype for counts in of.values() for dtype in counts} == {torch.float32}  # scores
    agree(on_cpu, on_gpu, within=HALF_ERROR[precision])


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["plain", "transclip"])
def test_given_features_of_half_precision(scorer: str, gpu: Gpu, tmp_path: Path) -> None:
    """No scorer meets half precision: features of towers and of files are made unit rows in float32 first."""
    generator = np.random.default_rng(0)
    vectors = unit_rows(generator.normal(size=(5, 16)).astype(np.float32), "vectors")
    labels = np.repeat(np.arange(5), 8)
    rows = (vectors[labels] + 0.6 * generator.normal(size=(40, 16))).astype(np.float16)
    np.savez(tmp_path / "given.npz", features=rows, labels=labels, class_names=np.array(NAMES))
    np.save(tmp_path / "vectors.npy", vectors)

    def asked(device: str) -> pd.DataFrame:
        record = cupl_bench.evaluate(
            "dataset=features", f"dataset.path={tmp_path / 'given.npz'}", "backbone=given", "backbone.name=somebody",
            "prompts=embeddings", f"prompts.path={tmp_path / 'vectors.npy'}", f"scorer={scorer}", f"device={device}",
            results_dir=tmp_path / device[:3], cache_dir=tmp_path / "cache",
        )  # fmt: skip
        return cupl_bench.load_predictions(tmp_path / device[:3], record.run_key)

    on_cpu = asked("cpu")
    with gpu() as waits:
        on_gpu = asked(str(GPU))
        assert {dtype for _, dtype in waits.products} <= {torch.float32, torch.float64}
        assert waits.products
        assert in_loops(waits) == set()
    assert (on_gpu["prediction"] == on_cpu["prediction"]).all()
    pd.testing.assert_series_equal(on_gpu["score"], on_cpu["score"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_classify(photos: Path, tiny: TinyModel, cli: Cli, gpu: Gpu, precision: str) -> None:
    images = [str(path) for path in sorted(photos.glob("few/*/0.jpg"))]
    asked = ["classify", *images, f"class_names=[{','.join(NAMES)}]", *tiny.overrides, f"precision={precision}"]
    assert cli(*asked, "device=cpu", "output=json") == 0, cli.err
    on_cpu = json.loads(cli.out)["images"]
    with gpu() as waits:
        assert cli(*asked, f"device={GPU}", "output=json") == 0, cli.err
    on_gpu = json.loads(cli.out)["images"]
    assert len(on_gpu) == 5
    for gpu_answer, cpu_answer in zip(on_gpu, on_cpu, strict=True):
        assert gpu_answer["image"] == cpu_answer["image"]
        shares = [{row["class_name"]: row["probability"] for row in one["classes"]} for one in (gpu_answer, cpu_answer)]
        assert shares[0] == pytest.approx(shares[1], abs=1e-4 if precision == "fp32" else 3e-2)
    assert in_loops(waits) == {"features.finite_units"}  # an image after the other: a comment in classify says why
    towers = {dtype for (function, dtype), _ in waits.products.items() if "encode_images" in function}
    assert towers == {torch.float32 if precision == "fp32" else HALF[precision]}


@pytest.mark.slow
@pytest.mark.parametrize("note", ["prefix tree", "padded rows"])
def test_a_model_in_memory(ask: Ask, gpu: Gpu, note: str) -> None:
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**TINY)
    preprocess = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(size=32), is_train=False)
    known = open_clip.SimpleTokenizer()
    tokenizer = known if note == "prefix tree" else known.__call__  # not known to be of open_clip
    ours = cupl_bench.Model(model, preprocess, tokenizer, name=note)
    on_cpu = ask("cpu", backbone=ours)
    with gpu() as waits:
        model.to(GPU)
        agree(on_cpu, ask(str(GPU), backbone=ours))
        assert in_loops(waits) == set()
        assert ("backbone/prefix_tree" in waits.modules) == (note == "prefix tree")


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", list(Aggregation))
@pytest.mark.parametrize("several", [False, True])
def test_effects_of_prompts_and_templates(aggregation: Aggregation, several: bool, gpu: Gpu) -> None:
    images, labels, texts, rows = made(0, ragged=False)
    held = np.random.default_rng(0).choice([-1, 0, 1], size=(len(labels), len(rows))).astype(np.int8)
    held[np.arange(len(labels)), labels] = 1
    sets = ClassSets(matrix=held) if several else None
    # Five counts of two tallies where there are 28 changes; three answers where there are four templates.
    for measured, several_waits in ((measure_prompts, 10), (measure_templates, 3)):
        on_cpu = measured(images, labels, texts, rows, aggregation, sets=sets)
        with gpu() as waits:
            on_gpu = measured(images, labels, texts, rows, aggregation, device=GPU, sets=sets)
            assert in_loops(waits, several_waits) == set()
        for name, value in vars(on_cpu).items():
            np.testing.assert_array_equal(getattr(on_gpu, name), value, err_msg=name)


def test_what_was_left_on_the_cpu_is_refused_as_a_gpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_gpu(monkeypatch) as waits:
        there = torch.ones(2, 2, device=GPU)
        with pytest.raises(RuntimeError, match="on the CPU"):
            there @ torch.ones(2, 2)
        assert not waits
        assert there.sum().item() == 4
        assert waits.total() == 1


def test_every_module_that_knows_of_pytorch_is_run_here_or_stays_on_the_cpu() -> None:
    package = Path(cupl_bench.__file__).parent
    knows = re.compile(r"^\s*(import torch|from torch)\b|\.cpu\(\)|\.to\(\w*device", re.MULTILINE)
    found = {
        str(path.relative_to(package).with_suffix(""))
        for path in package.rglob("*.py")
        if knows.search(path.read_text())
    }
    run = {module for modules in RUN_HERE.values() for module in modules}
    scorers = {module for module in found if module.startswith("scorers/")}  # scorers/test_on_gpu.py
    assert found - scorers == (run - scorers) | set(ON_THE_CPU)
    assert not run & set(ON_THE_CPU)
