"""The embedded default, as a newcomer meets it: from a wheel, in an environment of its own, from another folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import cupl_bench
from cupl_bench.archive import import_runs
from cupl_bench.records import Record, read_records
from cupl_bench.report.comparison import compare
from cupl_bench.reproduction import compare_runs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STRATEGIES = ["name_only", "simple", "ensemble", "cupl", "cupl_ensemble"]


@dataclass(frozen=True)
class Demo:
    folder: Path
    out: str
    seconds: float

    @property
    def records(self) -> dict[str, Record]:
        return {record.prompts.name: record for record in read_records(self.folder / "results")}

    @property
    def table(self) -> pd.DataFrame:
        return compare(read_records(self.folder / "results"), self.folder / "results").runs.set_index("prompts")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cupl-bench` of an environment that holds the wheel; its dependencies come from the one that runs the tests.

    A path file lends the other packages, but not this one: path files in a lent folder are not followed, so the
    editable installation stays out of sight.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        str(wheel),
    ]
    subprocess.run(install, check=True)
    own = next(folder.glob("lib/python*/site-packages"))
    lent = next(path for path in sys.path if path.endswith("site-packages"))
    (own / "lent.pth").write_text(lent)
    where = subprocess.run(
        [str(python), "-c", "import cupl_bench; print(cupl_bench.__file__)"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(own) in where.stdout
    return folder / "bin" / "cupl-bench"


def newcomer(folder: Path) -> dict[str, str]:
    """The environment of somebody who has a home and a cache, no network, and no checkout of ours."""
    own = {"HOME": str(folder / "home"), "CUPL_BENCH_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own


@pytest.fixture(scope="module")
def demo(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("elsewhere")
    began = time.monotonic()
    done = subprocess.run([program, "eval"], cwd=folder, env=newcomer(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return Demo(folder=folder, out=done.stdout, seconds=time.monotonic() - began)


def test_the_wheel_carries_configurations_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "cupl_bench").rglob("*")]:
        if path.is_file() and "__pycache__" not in path.parts:
            inside = path.relative_to(ROOT).as_posix()
            assert (f"cupl_bench/{inside}" if inside.startswith("conf/") else inside) in names


def test_it_prints_the_table_and_leaves_the_records(demo: Demo) -> None:
    assert list(demo.records) == STRATEGIES
    assert "Accuracy in percent: dataset demo, backbone demo, images 2,304" in demo.out
    assert "rendered flowers, not photographs" in demo.out
    assert "2,816 reused, 0 encoded" in demo.out  # cupl_ensemble costs nothing after cupl and ensemble
    assert demo.out.count("2,304 encoded") == 1
    assert {path.name for path in demo.folder.iterdir()} == {"results", "cache"}
    for record in demo.records.values():
        assert record.status == "ok"
        assert record.dataset.num_images >= 2000
        assert record.dataset.num_classes >= 25
        assert record.environment["commit"] is None


def test_cupl_beats_simple_by_five_points_and_its_interval_leaves_out_zero(demo: Demo) -> None:
    cupl = demo.table.loc["cupl"]
    assert cupl["difference"] >= 0.05
    assert cupl["difference_low"] > 0


def test_the_gain_is_made_where_names_say_nothing(demo: Demo) -> None:
    cupl, simple = demo.table.loc["cupl"], demo.table.loc["simple"]
    assert cupl["top1_never_alone"] >= 0.60
    assert simple["top1_never_alone"] < 0.30
    for tier in ("often", "rarely"):
        assert cupl[f"top1_{tier}"] > simple[f"top1_{tier}"] - 0.05


def test_where_strategies_do_not_differ_the_table_says_so(demo: Demo) -> None:
    ensemble = demo.table.loc["ensemble"]
    line = next(line for line in demo.out.splitlines() if line.strip().startswith("ensemble "))
    assert ("n.s." in line) == (ensemble["difference_low"] <= 0 <= ensemble["difference_high"])


def run(demo: Demo, program: Path, *arguments: str) -> str:
    done = subprocess.run(
        [program, *arguments], cwd=demo.folder, env=newcomer(demo.folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shuffled_descriptions_fall_far_below_all(demo: Demo, program: Path) -> None:
    lowest = demo.table["top1"].min()
    run(demo, program, "eval", "prompts=cupl_shuffled")
    assert demo.records["cupl_shuffled"].metrics.top1 < lowest - 0.2


def test_the_eighty_together_beat_the_mean_of_the_eighty_alone(demo: Demo) -> None:
    """From the stored text features, each template as a classifier of its own."""
    import numpy as np

    from cupl_bench.backbone.open_clip import OpenClipSource
    from cupl_bench.dataset.demo import DemoSource
    from cupl_bench.embeddings import build_class_embeddings
    from cupl_bench.features import encode_images, encode_texts
    from cupl_bench.prompts.sources import fill, read_templates
    from cupl_bench.scores import count, measure, predict
    from cupl_bench.store import RowStore

    assets = ROOT / "cupl_bench" / "backbone" / "assets" / "demo"
    source = OpenClipSource(
        architecture=str(assets / "open_clip_config.json"),
        pretrained=str(assets / "model.safetensors"),
        transform_of=None,
    )
    import torch

    cache = demo.folder / "cache"
    facts = source.identify(cache, download=False)
    backbone = source.load(facts, torch.device("cpu"), "fp32")
    dataset = DemoSource(split="test", limit=None, seed=0)(cache)
    stores = [
        RowStore(folder=cache / kind / key("fp32")[:32], facts={})
        for kind, key in (("image_features", facts.image_key), ("text_features", facts.text_key))
    ]
    images = encode_images(dataset, lambda: backbone, stores[0], batch_size=128, num_workers=0, skip_broken=False)
    templates = read_templates("openai_imagenet_80")
    texts = [fill(template, name) for template in templates for name in dataset.class_names]
    features = encode_texts(texts, lambda: backbone, stores[1], tokenizer=facts.tokenizer, batch_size=128)
    assert (images.num_encoded, features.num_encoded) == (0, 0)
    alone = []
    for number in range(len(templates)):
        rows = features.row_of_text[number * len(dataset.class_names) : (number + 1) * len(dataset.class_names)]
        classes = build_class_embeddings(features.rows, [[row] for row in rows])
        alone.append(measure(count(predict(images.stored, classes), dataset.labels, len(dataset.class_names))).top1)
    assert demo.records["ensemble"].metrics.top1 >= np.mean(alone) + 0.02


def test_each_clause_of_its_paragraph_is_what_the_records_say(demo: Demo, tmp_path: Path) -> None:
    results = shutil.copytree(demo.folder / "results", tmp_path / "results")
    for path in (results / "records").glob("*.json"):  # of other tests
        if json.loads(path.read_text())["prompts"]["name"] not in STRATEGIES:
            path.unlink()
    told = {
        one["prompts"]["name"]: one for one in map(json.loads, map(Path.read_text, (results / "records").iterdir()))
    }
    paper = cupl_bench.paper(results)
    data, weights, place = (told["simple"][part] for part in ("dataset", "backbone", "environment"))
    seconds = sum(one["timing"]["total_seconds"] for one in told.values())
    reused = sum(one["timing"]["image_features"]["cached"] for one in told.values())
    packages = ", ".join(f"{name} `{version}`" for name, version in place["packages"].items() if version)
    source = "openai_imagenet_80 (openai/CLIP, as open_clip has them)"
    templates = f"texts of `{source}` (written by people, licence MIT (openai/CLIP))"
    written = "texts of `demo.json` (written by a language model that is not named, licence Apache-2.0)"
    texts = {
        "name_only": "with the template `{}`", "simple": "with the template `a photo of a {}.`", "ensemble": templates,
        "cupl": written, "cupl_ensemble": f"{written}, {templates}",
    }  # fmt: skip
    cited = {"simple": "radford2021learning", "ensemble": "radford2021learning"} | dict.fromkeys(
        ("cupl", "cupl_ensemble"), "pratt2023what"
    )

    def strategy(name: str) -> str:
        asked = told[name]["prompts"]
        source = re.fullmatch(r"(\S+) sha256:(\w{12})\w*", asked["source"] or "")
        head = f"`{name}`{f' [@{cited[name]}]' if name in cited else ''}"
        file = f" from `{source[1]}` with the sha256 `{source[2]}`" if source else ""
        counts = f"{asked['num_prompts']:,} prompts with the digest `{asked['digest'][:12]}`{file}"
        return f"{head}: {counts}, the mean of their unit vectors stands for a class, {texts[name]}"

    keys = [f"`{told[name]['run_key']}`" for name in STRATEGIES]
    time = f"{seconds:.1f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"
    assert {one["scorer"]["name"] for one in told.values()} == {"plain"}
    assert {one["prompts"]["seed"] for one in told.values()} == {None}
    assert all(one["environment"] | {"command": ""} == place | {"command": ""} for one in told.values())
    digests = [data["fingerprint"][:12], weights["weights_sha256"][:12]]
    threads = f"{place['threads']} thread{'s' if place['threads'] > 1 else ''}"
    expected = [
        f"Data: `demo` [@cupl_bench]: split `test`, {data['num_images']:,} images of {data['num_classes']} classes,"
        f" version {data['version']}, fingerprint `{digests[0]}`, licence {data['licence']}; its metric is top-1"
        " accuracy.",
        f"Weights: `demo` [@cupl_bench]: architecture `{weights['architecture']}`, weights `{weights['pretrained']}`"
        f" with the sha256 `{digests[1]}`, activation `{weights['activation']}`, precision `{weights['precision']}`,"
        f" images of 64 x 64 pixels, licence {weights['licence']}.",
        f"Prompts: {'; '.join(map(strategy, STRATEGIES))}.",
        "Scores: an image gets the class of its greatest cosine similarity, and the first of equals.",
        "Seeds: no prompt, no score and no sample of images was drawn at random.",
        f"Machines: `{place['processor']}` with {place['memory_gb']} GB of memory (`{place['device_name']}`),"
        f" {threads}, no GPU. Computing: {time} of wall time, summed over 5 runs; in {reused} runs all image features"
        " were there already, whose time is not counted unless another of these runs made them; failed runs, earlier"
        " runs of the same questions, and training are not counted.",
        f"Software: cupl\\_bench `{place['cupl_bench']}` [@cupl_bench], its commit not recorded, with Python"
        f" `{place['python']}`, {packages.replace('_', chr(92) + '_')}, on `{place['platform']}`.",
        "Statistics: intervals of top-1 hold 95% over images, after Wilson [@wilson1927probable]; differences of top-1"
        " to the baseline `simple` are paired on the same images, with 95% intervals by a bootstrap over images of"
        " 10,000 resamples [@hesterberg2015what], drawn with the run key as seed, and tested by McNemar's exact test"
        " [@mcnemar1947note]; their p are corrected after Holm [@holm1979simple] for 4 differences, and those"
        " below 0.05 are called significant.",
        f"Records: 5 runs of protocol version {told['simple']['protocol_version']}, with the run keys"
        f" {', '.join(keys[:-1])} and {keys[-1]}; digests are the first 12 hex digits of a sha256, of which the records"
        " hold all.",
    ]
    assert paper.markdown.removeprefix("**Reproducibility.** ").splitlines() == expected
    assert paper.unknown == ("the commit of the program",)
    assert paper.bibtex.count("@") == 7


def test_the_reference_runs_are_reproduced_bit_for_bit(demo: Demo, tmp_path: Path) -> None:
    """On another processor, or with other versions, sums may round otherwise: then within tolerance is enough."""
    import_runs(ROOT / "results" / "reference" / "demo.zip", tmp_path)
    for reference in read_records(tmp_path):
        again = demo.records[reference.prompts.name]
        assert again.run_key == reference.run_key
        found = compare_runs((reference, tmp_path), (again, demo.folder / "results"))
        same = all(reference.environment[one] == again.environment[one] for one in ("processor", "packages", "python"))
        assert found.verdict in (["equal"] if same else ["equal", "within tolerance"]), found


def test_a_second_run_reuses_everything(demo: Demo, program: Path) -> None:
    began = time.monotonic()
    out = run(demo, program, "eval")
    assert out.count("finished before") == len(STRATEGIES)
    assert time.monotonic() - began < demo.seconds
