"""Published numbers beside those of the same question."""

from pathlib import Path

import pandas as pd
import pytest
from recorded import Store

OPENAI = {"architecture": "ViT-B-32-quickgelu", "pretrained": "openai", "backbone": "vit_b32_openai"}

IMAGENET = {"dataset": "imagenet", "origin": {"protocol": "standard", "names": "openai"}, "split": "val"}


def settings(**changes: object) -> dict:
    """The configuration of an ensemble on ImageNet."""
    return {
        "dataset": {"texts": {"templates": "openai_imagenet_80", "cupl": "cupl:imagenet"}, "decode": "exact"},
        "prompts": {"templates": "${dataset.texts.templates}", "aggregation": "mean", **changes},
    }


def published(store: Store) -> pd.DataFrame:
    return store.write().published


def test_the_same_question_stands_beside_its_published_number(store: Store) -> None:
    store.add("ensemble", 0.6333, **OPENAI, **IMAGENET, config=settings())
    table = published(store)
    exact = table[table["match"] == "exact"]
    assert set(exact["source"]) >= {"CLIP_benchmark benchmark.csv", "open_clip docs/openclip_results.csv"}
    row = exact[exact["source"] == "open_clip docs/openclip_results.csv"].iloc[0]
    assert row["published"] == pytest.approx(0.633, abs=0.001)
    assert row["difference"] == pytest.approx(row["ours"] - row["published"])
    assert row["agrees"] == (row["ours_low"] - 0.003 <= row["published"] <= row["ours_high"] + 0.003)
    assert (table["verified"] == "verified").all()
    assert "open_clip docs" in (store.folder / "tables" / "published.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"origin": {"protocol": "custom", "names": "openai"}}, "split: val"),
        ({"origin": {"protocol": "standard", "names": "disambiguated"}}, "class names: openai"),
        ({"config": settings(aggregation="max_similarity")}, "prompts.aggregation=max_similarity"),
        ({"config": settings(templates=["{}"])}, "prompts.templates="),
        ({"config": None}, "settings not recorded"),
        ({"split": "val, 3 per class (seed 0)"}, "split: val"),
    ],
)
def test_a_near_match_says_what_differs(store: Store, change: dict, differs: str) -> None:
    store.add("ensemble", 0.6333, **{**OPENAI, **IMAGENET, "config": settings(), **change})
    table = published(store)
    assert set(table["match"]) == {"near"}
    assert table["differs"].str.contains(differs, regex=False).all()


CUB = {"dataset": "cub", "origin": {"protocol": "standard", "names": "hyphen"}, "split": "test"}

DCLIP = {
    "_target_": "cupl_bench.prompts.descriptors.DescriptorsStrategy", "name": "dclip", "article": "original",
    "path": "${dataset.texts.descriptors}", "before": "", "after": "", "aggregation": "mean_similarity",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "name", "prompts", "texts", "source", "exact"),
    [
        (CUB, "dclip", DCLIP, {}, "WaffleCLIP repo results", None),  # its DCLIP begins with "A photo of a"
        (CUB, "dclip_photo", DCLIP | {"before": "A photo of a ", "after": "."}, {}, "WaffleCLIP repo results", True),
        (CUB, "dclip_photo", DCLIP | {"before": "a picture of a ", "after": "."}, {}, "WaffleCLIP repo results", False),
        (CUB, "dclip", DCLIP, {}, "DCLIP paper Table", True),
        (CUB, "dclip", DCLIP | {"path": "mine.json"}, {}, "DCLIP paper Table", False),
        (CUB, "dclip", DCLIP | {"_target_": "a.Mine"}, {}, "DCLIP paper Table", False),
        (CUB, "dclip", DCLIP | {"more": 1}, {}, "DCLIP paper Table", False),
        (IMAGENET, "dclip", DCLIP, {}, "DCLIP paper Table", False),  # DCLIP's code ends those of ImageNet with a stop
        (IMAGENET, "dclip", DCLIP | {"after": "${dataset.texts.end}"}, {"end": "."}, "wording", True),
        (CUB, "simple", {"_target_": "x.TemplatesStrategy", "templates": ["a photo of a {}."]}, {},
         "WaffleCLIP repo results", True),
        (CUB, "simple", {"_target_": "x.TemplatesStrategy", "templates": ["a photo of the {}."]}, {},
         "WaffleCLIP repo results", False),
    ],
)  # fmt: skip
def test_a_published_number_of_another_wording_is_never_shown_as_the_same(
    store: Store, dataset: dict, name: str, prompts: dict, texts: dict, source: str, exact: bool | None
) -> None:
    config = {"dataset": {"texts": {"descriptors": None, "concept": "bird", **texts}}, "prompts": prompts}
    store.add(name, 0.5, **OPENAI, **dataset, config=config)
    table = published(store)
    if source == "wording":  # only the wording is asked about: the option of this version may refer to nothing
        assert not table["differs"].str.contains("wording", regex=False).any()
        return
    own = table[table["source"] == source]
    if exact is None:
        assert not len(own)
        return
    assert len(own)
    others = own["differs"].str.contains("wording|prompts[.]")
    assert (own["wording"].str.len() > 0).all()
    assert exact != others.any()
    if not exact:
        assert set(own["match"]) == {"near"}
        assert others.all()


@pytest.mark.slow
def test_one_sentence_under_two_names_has_the_published_numbers_of_both(store: Store) -> None:
    """CoOp's template of Cars is the plain one, its template of DTD another."""
    own = {"architecture": "ViT-B-16-quickgelu", "pretrained": "openai", "backbone": "vit_b16_openai"}

    def sources(dataset: str, name: str, template: str) -> set[tuple[str, str]]:
        origin = {"dataset": dataset, "split": "coop test", "origin": {"protocol": "coop", "names": "openai"}}
        prompts = {"_target_": "x.TemplatesStrategy", "templates": "${dataset.texts.coop}"}
        config = {"dataset": {"texts": {"coop": [template]}}, "prompts": prompts}
        store.add(name, 0.5, **own, **origin, config=config)
        table = published(store)
        table = table[(table["dataset"] == dataset) & (table["prompts"] == name)]
        return set(zip(table["source"], table["match"], strict=True))

    assert ("mariodoebler/test-time-adaptation tutorial", "near") not in sources("eurosat", "coop", "{} texture.")
    assert sources("dtd", "coop", "{} texture.") == {("ProText paper", "near")}
    assert sources("imagenet_r", "coop", "a photo of a {}.") == {("mariodoebler/test-time-adaptation tutorial", "near")}
    assert sources("imagenet_r", "simple", "a photo of the {}.") >= {("ProText paper", "near")}


def test_every_published_row_of_coops_template_is_told_by_its_option() -> None:
    import yaml

    from cupl_bench.report.published import read_published

    conf = Path(__file__).parents[2] / "conf" / "dataset"
    own = {path.stem: yaml.safe_load(path.read_text())["texts"]["coop"] for path in conf.glob("*.yaml")}
    rows = read_published()
    theirs = [
        place
        for place, row in rows.iterrows()
        if [row["wording"]] == own.get(row["dataset"]) != ["a photo of a {}."] or "as CoOp" in row["wording"]
    ]
    assert len(theirs) == 17
    assert set(rows.loc[theirs, "strategy"]) == {"coop"}
    assert theirs == rows.index[rows["strategy"] == "coop"].tolist()


def test_every_published_row_says_its_wording_and_that_of_an_option_is_the_options() -> None:
    import yaml

    from cupl_bench.report.naming import leaves
    from cupl_bench.report.published import our_wording, read_published

    rows = read_published()
    assert (rows["wording"].str.len() > 0).all()
    conf = Path(__file__).parents[2] / "conf"
    for _, row in rows[rows["source"] == "WaffleCLIP repo results"].iterrows():
        option = leaves(yaml.safe_load((conf / "prompts" / f"{row['strategy']}.yaml").read_text()))
        dataset = leaves(yaml.safe_load((conf / "dataset" / f"{row['dataset']}.yaml").read_text()), "${dataset.")
        settings = {key: dataset.get(str(value).rstrip("}"), value) for key, value in option.items()}
        assert our_wording(settings).casefold() == row["wording"].casefold()


def test_unverified_numbers_are_called_so_and_strangers_have_none(store: Store) -> None:
    own = {"architecture": "ViT-L-14-quickgelu", "pretrained": "openai", "backbone": "vit_l14_openai"}
    store.add("cupl", 0.76, **own, **IMAGENET, config={"dataset": {}, "prompts": {"variant": None}})
    store.add("cupl", 0.76, dataset="mine")
    table = published(store)
    assert set(table["dataset"]) == {"imagenet"}
    unverified = table[table["verified"] == "unverified"]
    assert list(unverified["source"]) == ["CuPL paper main table"]
    assert "(unverified)" in (store.folder / "tables" / "published.md").read_text()


def test_published_rows_speak_our_words() -> None:
    import yaml

    from cupl_bench.dataset.spec import read_spec
    from cupl_bench.metrics import METRICS as BEYOND_ACCURACY
    from cupl_bench.report.published import METRICS, read_published

    root = Path(__file__).parents[2]
    rows = read_published()
    assert not rows.duplicated().any()
    assert set(rows["metric"]) <= {*METRICS, *BEYOND_ACCURACY}
    assert set(rows["verified"]) == {"yes", "no"}
    assert rows["value"].between(0, 100).all()
    for name, own in rows.groupby("dataset"):
        spec = read_spec(name)
        assert set(own["protocol"]) - {""} <= set(spec.protocols)
        assert set(own["names"]) - {""} <= set(spec.classes.names)
    for name in set(rows["strategy"]):
        assert (root / "conf" / "prompts" / f"{name}.yaml").is_file(), name
    for (name, architecture, pretrained), _ in rows[rows["backbone"] != ""].groupby(
        ["backbone", "architecture", "pretrained"]
    ):
        option = yaml.safe_load((root / "conf" / "backbone" / f"{name}.yaml").read_text())
        assert (option["architecture"], option["pretrained"]) == (architecture, pretrained)
