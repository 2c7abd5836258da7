"""The paragraph of a reproducibility checklist: each clause is the records', and what they do not say is not known."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli
from making import make_run

import cupl_bench
from cupl_bench.conf_folder import conf_dir
from cupl_bench.dataset.spec import read_spec
from cupl_bench.dataset.texts import spec_names
from cupl_bench.paragraph import Paper, paper_of
from cupl_bench.paragraph.citations import bibtex, entries, keys_of
from cupl_bench.records import Record, read_records

PETS = {
    "name": "pets", "split": "coop test", "fingerprint": "a" * 64, "num_images": 4, "num_classes": 2, "num_broken": 1,
    "origin": {"source": "timm/oxford-iiit-pet@abc", "protocol": "coop", "names": "openai"}, "version": 3,
    "licence": "CC BY-SA 4.0",
}  # fmt: skip
BIRDS = {"name": "birds", "split": "test", "fingerprint": "f" * 64, "num_images": 4, "num_classes": 2}
MODEL = {
    "name": "vit_b32_openai", "architecture": "ViT-B-32-quickgelu", "pretrained": "openai", "weights_sha256": "c" * 64,
    "activation": "quick_gelu", "precision": "fp32", "embed_dim": 8, "image_size": [32, 32], "transform": {},
    "origin": "timm/vit@def", "licence": "MIT (openai/CLIP)",
}  # fmt: skip
PLACE = {
    "cupl_bench": "0.4.0", "commit": "1" * 40, "dirty": False, "python": "3.11.7", "platform": "Linux", "device": "cpu",
    "device_name": "x86_64", "processor": "A Processor, 2 cores", "memory_gb": 8, "threads": 1,
    "packages": {"torch": "2.15.0", "datasets": None},
}  # fmt: skip


def prompts(name: str = "simple", **changes: Any) -> dict[str, Any]:
    plain = {
        "name": name, "digest": "d" * 64, "num_prompts": 2, "num_distinct": 2, "num_truncated": 0,
        "aggregation": "mean", "texts": [{"source": "written out in the question"}],
    }  # fmt: skip
    return plain | changes


def options(**groups: Any) -> dict[str, Any]:
    """The words of a question about options of conf/, with changes by group."""
    found: dict[str, Any] = {"version": 2}
    for group in ("dataset", "backbone", "prompts", "scorer"):
        path = conf_dir() / group / f"{groups.get(group, {}).get('name')}.yaml"
        own = yaml.safe_load(path.read_text()) if path.is_file() else {}
        found[group] = {key: value for key, value in own.items() if key not in ("primary", "skip_broken", "decode")}
    return found


def run(results: Path, *given: Any, **changes: Any) -> Record:
    """A finished run of the options that it names; its table of prompts is not there, as of earlier versions."""
    changes = {"config": options(**changes), **changes} if changes.get("prompts") else changes
    record = make_run(results, *given, **changes)
    (results / f"prompts/{record.run_key}.parquet").unlink()
    return record


def told(folder: Path) -> Paper:
    return paper_of(read_records(folder), folder)


def sentence(paper: Paper, opening: str) -> str:
    """The line of the paragraph that opens so, without the heading."""
    lines = paper.markdown.removeprefix("**Reproducibility.** ").splitlines()
    (line,) = (line for line in lines if line.startswith(opening))
    return line


def test_every_fact_of_a_full_record_stands_in_it(tmp_path: Path) -> None:
    config = options(dataset=PETS, backbone=MODEL, prompts=prompts())
    config["prompts"]["templates"] = ["a {}, 5% #1_ [b]"]
    metrics = {"top1": 0.75, "top1_ci95": [0.3, 0.95], "mean_per_class": 0.75, "primary": 0.75}
    run(
        tmp_path, "0" * 12, dataset=PETS, backbone=MODEL, prompts=prompts(num_truncated=1), environment=PLACE,
        config=config, metrics={**metrics, "primary_name": "mean_per_class"},
    )  # fmt: skip
    paper = told(tmp_path)
    assert paper.unknown == ()
    assert sentence(paper, "Data:") == (
        "Data: Oxford-IIIT Pets (`pets`) [@zhou2022learning; @parkhi2012cats]: split `coop test`, 4 images of 2"
        " classes, 1 image that could not be decoded left out, protocol `coop`, source `timm/oxford-iiit-pet@abc`,"
        " class names `openai`, version 3, fingerprint `aaaaaaaaaaaa`, licence CC BY-SA 4.0; its metric is the mean"
        " over classes of their top-1 accuracy."
    )
    assert sentence(paper, "Weights:") == (
        "Weights: `vit_b32_openai` [@radford2021learning]: architecture `ViT-B-32-quickgelu`, weights `openai` with the"
        " sha256 `cccccccccccc`, from `timm/vit@def`, activation `quick_gelu`, precision `fp32`, images of 32 x 32"
        " pixels, licence MIT (openai/CLIP)."
    )
    assert sentence(paper, "Prompts:") == (
        "Prompts: `simple` [@radford2021learning]: 2 prompts with the digest `dddddddddddd`, 1 of them cut to the"
        " model's context, the mean of their unit vectors stands for a class, with the template `a {}, 5% #1_ [b]`."
    )
    assert sentence(paper, "Machines:") == (
        "Machines: `A Processor, 2 cores` with 8 GB of memory (`x86_64`), 1 thread, no GPU. Computing: 0.5 seconds of"
        " wall time, summed over 1 run; failed runs, earlier runs of the same questions, and training are not counted."
    )
    assert sentence(paper, "Software:") == (
        "Software: cupl\\_bench `0.4.0` [@cupl_bench] at the commit `111111111111`, unchanged, with Python `3.11.7`,"
        " torch `2.15.0`, on `Linux`."
    )
    assert "normal intervals of a stratified mean" in sentence(paper, "Statistics:")
    assert "baseline" not in sentence(paper, "Statistics:")
    assert "1 run of protocol version 1, with the run keys `000000000000`" in sentence(paper, "Records:")
    assert r"with the template \texttt{a \{\}, 5\% \#1\_ [b]}." in paper.latex
    assert r"Pets (\texttt{pets}) \cite{zhou2022learning,parkhi2012cats}: split" in paper.latex


def test_what_an_old_record_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    run(tmp_path, "0" * 12, timing=None)
    paper = told(tmp_path)
    assert paper.unknown == (
        "a reference for the data set birds", "the licence of the data set birds", "a reference for the backbone small",
        "the licence of the weights of small", "who wrote the texts of simple, and their licence, in 1 run",
        "whether parts from outside the program drew anything, in 1 run", "the model of the processor",
        "the memory of the machine", "the time of 1 run", "the commit of the program",
    )  # fmt: skip
    assert "version 1, fingerprint `ffffffffffff`, licence not known" in sentence(paper, "Data:")
    assert sentence(paper, "Weights:").endswith("licence not known.")
    assert sentence(paper, "Prompts:").endswith("who wrote their texts was not recorded.")
    assert "a processor whose model was not recorded, its memory not recorded" in sentence(paper, "Machines:")
    assert "the time of 1 run was not recorded" in sentence(paper, "Machines:")
    assert "its commit not recorded" in sentence(paper, "Software:")


def test_texts_say_who_wrote_them(tmp_path: Path) -> None:
    source = f"mine.json sha256:{'e' * 64}"
    texts = [
        {"source": "mine.json", "licence": "CC BY 4.0", "language_model": "gpt-x"},
        {"source": "openai_imagenet_80", "licence": "MIT", "language_model": "none"},
        {"source": "other.json"}, {"source": "given in memory"},
    ]  # fmt: skip
    run(tmp_path, "0" * 12, prompts=prompts("file", source=source, texts=texts, num_distinct=1))
    paper = told(tmp_path)
    assert sentence(paper, "Prompts:") == (
        "Prompts: `file`: 2 prompts (1 distinct) with the digest `dddddddddddd` from `mine.json` with the sha256"
        " `eeeeeeeeeeee`, the mean of their unit vectors stands for a class, texts of `mine.json` (written by gpt-x,"
        " licence CC BY 4.0), texts of `openai_imagenet_80` (written by people, licence MIT), texts of `other.json`"
        " (nobody says who wrote them, licence not known), of texts given in memory, of which nobody says"
        " who wrote them."
    )
    assert {"who wrote other.json", "the licence of other.json", "who wrote the texts of file, and their licence"} < {
        *paper.unknown
    }


def test_two_data_sets_seeds_and_machines(tmp_path: Path) -> None:
    gpu = {**PLACE, "device": "cuda", "device_name": "A GPU", "dirty": True}
    for number, (dataset, seed) in enumerate([(BIRDS, 0), (BIRDS, 7), (PETS, 0)]):
        own = prompts("waffle", seed=seed, digest=f"{number}" * 64, budget=3)
        run(tmp_path, f"{number:012x}", number + 1, dataset=dataset, prompts=own, environment=PLACE)
    for number, dataset in enumerate([BIRDS, PETS]):
        run(tmp_path, f"{number + 9:012x}", dataset=dataset, prompts=prompts(), environment=gpu)
    paper = told(tmp_path)
    assert sentence(paper, "Seeds") == (
        "Seeds of what was drawn at random: the prompts `waffle` with `0` and `7`; nothing else was."
    )
    assert sentence(paper, "Data:").count("fingerprint") == 2
    machines = sentence(paper, "Machines:")
    assert "no GPU (3 runs); a GPU `A GPU` beside `A Processor, 2 cores` with 8 GB of memory (2 runs)" in machines
    assert "2.5 seconds of wall time, summed over 5 runs" in machines
    assert "2 prompts with the digest `000000000000` on `birds`" in sentence(paper, "Prompts:")
    assert "at most 3 of each class" in sentence(paper, "Prompts:")
    statistics = sentence(paper, "Statistics:")
    assert "to the baseline `simple` are paired" in statistics
    assert "for 2 differences" in statistics
    assert "of a mean over seeds they are a bootstrap over images" in statistics
    assert (
        "McNemar's exact test [@mcnemar1947note] and for means over seeds the paired t test over images" in statistics
    )
    software = sentence(paper, "Software:")
    assert software.count("at the commit") == 2
    assert "with changes that are in no commit" in software


def test_scorers_whose_images_depend_on_each_other_have_no_interval(tmp_path: Path) -> None:
    scorer = {
        "name": "zlap", "parameters": {"k": 5, "seed": 1}, "constants_from": "the paper", "uses": ["other_images"],
        "kind": "transductive",
    }  # fmt: skip
    metrics = {"top1": 0.75, "top1_ci95": None, "mean_per_class": 0.75, "primary": 0.75, "primary_name": "top1"}
    run(tmp_path, "0" * 12, prompts=prompts(), scorer=scorer, metrics=metrics)
    run(tmp_path, "1" * 12, prompts=prompts(uses_images=True, weighting="zpe"), metrics=metrics)
    paper = told(tmp_path)
    assert "intervals" not in sentence(paper, "Statistics:")
    assert "for `simple` and `zlap` the scores" in sentence(paper, "Statistics:")
    assert "so there is neither interval nor test over images" in sentence(paper, "Statistics:")
    (line,) = (one for one in paper.markdown.splitlines() if "Scorer `zlap`" in one)
    assert "(k `5`; constants from the paper); it looks at other images; kind: transductive." in line
    assert "Scores: an image gets the class of its greatest cosine similarity" in line
    assert sentence(paper, "Seeds").endswith("random: the scorer `zlap` with `1`; nothing else was.")


def test_every_seed_is_told(tmp_path: Path) -> None:
    scorer = {"name": "zero", "parameters": {"seed": 4}, "uses": ["views"], "kind": "zero_shot_views"}
    config = options(dataset=PETS, backbone=MODEL, prompts=prompts(), scorer=scorer)
    config["dataset"] |= {"limit": 2, "seed": 9}
    run(tmp_path, "0" * 12, dataset=PETS, backbone=MODEL, prompts=prompts(seed=1), scorer=scorer, config=config)
    assert sentence(told(tmp_path), "Seeds") == (
        "Seeds of what was drawn at random: the prompts `simple` with `1`; the scorer `zero` with `4`; the images of"
        " `pets` with `9`; nothing else was."
    )
    config["scorer"] = {"_target_": None, "name": "mine"}
    run(tmp_path, "1" * 12, dataset=PETS, backbone=MODEL, prompts=prompts("ensemble"), config=config)
    assert "parts from outside the program drew anything is not known" in sentence(told(tmp_path), "Seeds")


def test_features_that_were_given_are_not_called_encoded(tmp_path: Path) -> None:
    given = {"given": True, "sha256": "9" * 64, "said_to_be_of": "ViT-B-32"}
    model = {**MODEL, "name": "given", "architecture": "given", "pretrained": "given", "licence": None}
    run(tmp_path, "0" * 12, dataset={**BIRDS, "features": given}, backbone=model, prompts=prompts())
    paper = told(tmp_path)
    assert "given as image features (sha256 `999999999999`, said to be of `ViT-B-32`)" in sentence(paper, "Data:")
    assert sentence(paper, "Weights:").endswith("`given`: its features were given, and its weights are not known.")
    assert "sha256 `cccccccccccc`" not in paper.markdown


def test_a_name_alone_is_cited_for_nothing(tmp_path: Path) -> None:
    """Of ours are what is read as our option reads it, not what somebody calls so."""
    folder = {"_target_": "cupl_bench.dataset.folder.FolderSource", "name": "pets", "path": "photos"}
    config = options(dataset=PETS, backbone=MODEL, prompts=prompts("cupl"))
    config["dataset"] = folder
    config["backbone"]["pretrained"] = "mine.pt"
    config["prompts"]["_target_"] = "mine.Strategy"
    own = {**PETS, "origin": None}
    run(tmp_path, "0" * 12, dataset=own, backbone=MODEL, prompts=prompts("cupl"), config={**config, "decode": "fast"})
    paper = told(tmp_path)
    assert paper.unknown == (
        "a reference for the data set pets",
        "a reference for the backbone vit_b32_openai",
        "whether parts from outside the program drew anything, in 1 run",
        "the model of the processor",
        "the memory of the machine",
        "the commit of the program",
    )
    assert sentence(paper, "Data:").startswith("Data: `pets`: split")
    assert "decoded by `fast`" in sentence(paper, "Data:")
    assert "[@" not in "".join(sentence(paper, one) for one in ("Data:", "Weights:", "Prompts:"))


def test_no_value_of_a_record_is_markup(tmp_path: Path) -> None:
    odd = {**BIRDS, "name": "a`b\x01\x03*_$", "licence": r"\input{x} [@x] <b> *"}
    run(tmp_path, "0" * 12, dataset=odd, prompts=prompts())
    paper = told(tmp_path)
    assert r"licence \\input{x} \[@x\] \<b\> \*;" in paper.markdown
    assert "`` a`b *_$ ``" in paper.markdown
    assert r"\textbackslash{}input\{x\}" in paper.latex
    assert paper.latex.count("{") - paper.latex.count(r"\{") == paper.latex.count("}") - paper.latex.count(r"\}")
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", paper.markdown + paper.latex)


@pytest.mark.slow
def test_the_command_writes_it_and_python_gives_it(cli: Cli) -> None:
    record = run(cli.results, "0" * 12, dataset=PETS, prompts=prompts())
    before = cli.results / "records" / "000000000000.json"
    assert cli("report", "paper") == 0, cli.err
    paper = cupl_bench.paper(cli.results)
    for name, content in (("paper.md", paper.markdown), ("paper.tex", paper.latex), ("paper.bib", paper.bibtex)):
        assert (cli.results / "tables" / name).read_text() == content
        assert f"tables/{name}" in cli.out
    assert paper.markdown in cli.out
    assert f"not known, {len(paper.unknown)} things to find out by hand: a reference for the backbone small" in cli.out
    assert not (cli.results / "report").exists()
    assert Record.model_validate_json(before.read_text()) == record
    assert cli("report", "paper", "output=json") == 0
    assert json.loads(cli.out)["unknown"] == list(paper.unknown)
    assert cli("report", "papre") == 2
    assert "Did you mean" in cli.err or "paper" in cli.err
    assert cli("report", "paper", "page") == 2


# Citations ------------------------------------------------------------------------------------------------------------


def test_every_data_set_backbone_and_published_strategy_has_its_reference() -> None:
    names = {
        group: sorted(path.stem for path in (conf_dir() / group).glob("*.yaml")) for group in ("backbone", "prompts")
    }
    own = {
        "open_clip",
        "transformers",
        "given",
        "file",
        "templates",
        "embeddings",
        "union",
        "names",
        "name_only",
        "cupl_top",
    }
    things = [f"dataset:{name}" for name in spec_names()]
    things += [f"{group}:{name}" for group, row in names.items() for name in row if name not in own]
    assert [thing for thing in things if not keys_of(thing)] == []
    assert keys_of("dataset:mine", "backbone:open_clip", "prompts:file") == []
    known = {*things, *(f"scorer:{path.stem}" for path in (conf_dir() / "scorer").glob("*.yaml"))}
    known |= {
        "software",
        "protocol:coop",
        "dataset:demo",
        *(f"statistics:{one}" for one in ["wilson", "mcnemar", "holm", "bootstrap"]),
    }
    patterns = [pattern for entry in entries().values() for pattern in entry.cited_for]
    assert [one for one in patterns if "*" not in one and one not in known] == []


def test_a_reference_is_the_one_that_the_spec_names() -> None:
    """The year, and arXiv's number where the spec has one, are in the entry; so is the first author's name."""
    for name in spec_names():
        text = "\n".join(entries()[key].text for key in keys_of(f"dataset:{name}"))
        told = read_spec(name).citation
        surname = re.sub(r"[{}\\']", "", told.split()[0].rstrip(","))
        assert surname in re.sub(r"[{}\\']", "", text), name
        for number in re.findall(r"\d{4}\.\d{5}|(?<![\d.])\d{4}\.\d{4}(?!\d)", told):
            assert number in text, name
        years = re.findall(r"(?<![\d.])(?:19|20)\d\d(?![\d.])", told)
        assert not years or any(year in text for year in years), name


def test_entries_are_whole_and_only_those_that_are_cited_are_written() -> None:
    for entry in entries().values():
        assert entry.text.startswith("@")
        assert entry.text.count("{") == entry.text.count("}")
        assert "cited_for" not in entry.text
        assert "title = " in entry.text
    assert len({entry.key for entry in entries().values()}) == len(entries())
    assert bibtex(["parkhi2012cats", "parkhi2012cats"]).count("@") == 1


def test_a_data_set_without_an_entry_gets_its_specs_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from cupl_bench.paragraph import citations

    monkeypatch.setattr(citations, "spec_names", lambda: ["pets"])
    monkeypatch.setattr(citations, "_keys", lambda *_: [])
    entry = citations.entries.__wrapped__()["dataset-pets"]
    assert entry.text.splitlines()[1:3] == [
        "  title = {Oxford-IIIT Pets},",
        "  note = {Parkhi et al., Cats and Dogs, CVPR 2012}",
    ]
