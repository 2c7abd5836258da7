"""Collect what the page shows, as plain data: an overview, and a file for each group, image list, run and prompts.

Numbers are fractions; None stands for what is not known. Texts are a user's and go through JSON alone.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jaxtyping import Float32, Float64, Int64

from cupl_bench.identity import content_key
from cupl_bench.records import Record
from cupl_bench.report.answers import Answers, GroupAnswers, is_by_image, same_images
from cupl_bench.report.comparison import Comparison
from cupl_bench.report.headline import beyond_accuracy, headline_title, own_metric
from cupl_bench.report.published import shown_published
from cupl_bench.report.shown import baseline_names, minus, scored_names, shown_pooled
from cupl_bench.report.significance import ALPHA, Paired, holm, mcnemar_exact, paired_all

__all__ = [
    "BEST_AT_MOST",
    "SIMILARITIES_AT_MOST",
    "GroupContents",
    "best_classes",
    "changed_classes",
    "changed_tiers",
    "effects_of_run",
    "group_contents",
    "image_list",
    "images_key",
    "overview",
    "prompts_file",
    "prompts_of_run",
    "run_contents",
    "similarities_of_run",
    "with_significance",
]

GroupContents = dict[str, Any]

DIFFERENCE = (
    "difference", "difference_low", "difference_high", "difference_classes_low", "difference_classes_high",
    "gained", "lost", "p", "p_holm",
)  # fmt: skip
CHANGED_CLASSES = ("classes_better", "classes_worse", "classes_surely_better", "classes_surely_worse")
OF_A_RUN = (
    "dataset", "split", "backbone", "precision", "prompts", "scorer", "kind", "aggregation", "budget", "seed",
    "num_seeds", "num_images", "num_classes", "num_prompts", "top1", "top1_low", "top1_high", "top1_sd", "top5",
    "mean_per_class", "mean_per_class_low", "mean_per_class_high", "calibration_error", "of_seeds", "best", "baseline",
    "fingerprint", "run_key", "scorer_difference", "scorer_difference_low", "scorer_difference_high", "scorer_p_holm",
    *CHANGED_CLASSES, *DIFFERENCE,
)  # fmt: skip
OF_POOLED = (
    "prompts", "scorer", "kind", "aggregation", "budget", "num_datasets", "difference", "difference_low",
    "difference_high", "difference_datasets_low", "difference_datasets_high",
)  # fmt: skip
BEST_AT_MOST = 2_000_000
"""Answers of all runs together whose five best classes the page holds."""
SIMILARITIES_AT_MOST = 2_000
"""Images of a run whose similarities to single prompts are kept."""


def overview(comparison: Comparison, notes: Sequence[str]) -> dict[str, Any]:
    """Return the first view of the page: every run, and the pooled, published and missing numbers."""
    groups = comparison.groups
    group_of_run = {run.record.run_key: str(place) for place, members in enumerate(groups.values()) for run in members}
    runs = []
    tiers = [str(name) for name in comparison.runs if str(name).startswith("top1_") and name not in OF_A_RUN]
    last = ""  # a mean over seeds stands above its runs, and in their group
    changed = changed_classes(comparison.classes)
    of_tiers = changed_tiers(comparison.classes)
    rows = [row | changed.get(str(row["run_key"]), {}) for row in comparison.runs.to_dict("records")]
    names = scored_names(comparison.runs)
    for place, (row, name) in enumerate(zip(rows, names, strict=True)):
        following = next((group_of_run[one["run_key"]] for one in rows[place:] if one["run_key"]), last)
        last = following
        runs.append(
            {column: row.get(column) for column in OF_A_RUN}
            | {"dataset": row["dataset_shown"], "backbone": row["backbone_shown"], "strategy": name, "group": following}
            | {"tiers": {tier.removeprefix("top1_").replace("_", " "): row[tier] for tier in tiers}}
            | {"changed_tiers": of_tiers.get(str(row["run_key"])), "own": own_metric(row)}
        )
    baseline_of = dict(zip(comparison.runs["run_key"], comparison.runs["baseline_run_key"], strict=True))
    baselines = baseline_names(comparison.runs)
    missing = comparison.missing.head(200)
    return {
        "runs": runs,
        "groups": [
            {
                "dataset": members[0].dataset,
                "backbone": members[0].backbone + ("" if group.scorer == "plain" else f" x {members[0].scorer}"),
                "precision": group.precision,
                "fingerprint": group.fingerprint[:32],
                "baseline": baseline_of[members[0].record.run_key],
                "runs": [run.record.run_key for run in members],
            }
            for group, members in groups.items()
        ],
        "baselines": baselines,
        "minus": minus(baselines),
        "pooled": _as_read(shown_pooled(comparison.pooled)) if len(comparison.pooled) else None,
        "pooled_rows": [
            {column: row[column] for column in OF_POOLED} | {"backbone": row["backbone_shown"]}
            for row in comparison.pooled.to_dict("records")
        ],
        "best_at_most": BEST_AT_MOST,
        "published": _as_read(shown_published(comparison.published)) if len(comparison.published) else None,
        "missing": _as_read(missing) if len(missing) else None,
        "num_missing": len(comparison.missing),
        "newest": max(run.record.created_at for members in groups.values() for run in members).isoformat(
            "T", "minutes"
        ),
        "other_metrics": _other_metrics(comparison.runs),
        "notes": list(notes),
    }


def _other_metrics(runs: pd.DataFrame) -> list[str]:
    """Return the data sets whose metric is beyond accuracy, each with its name."""
    others = runs[beyond_accuracy(runs)].drop_duplicates("dataset_shown")
    return [f"{row.dataset_shown} ({headline_title(str(row.primary))})" for row in others.itertuples()]


def changed_classes(classes: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return for each compared run how many classes gain and lose, and for how many of them that is significant."""
    compared = classes[classes["change"].notna()]
    change, sure = compared["change"].astype(float), compared["p_holm"].astype(float) < ALPHA
    counts = pd.DataFrame(
        {
            "run_key": compared["run_key"], "classes_better": change > 0, "classes_worse": change < 0,
            "classes_surely_better": (change > 0) & sure, "classes_surely_worse": (change < 0) & sure,
        }
    )  # fmt: skip
    sums = counts.groupby("run_key", sort=False).sum()
    return {str(run_key): {name: int(row[name]) for name in CHANGED_CLASSES} for run_key, row in sums.iterrows()}


def changed_tiers(classes: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Return for each compared run the difference of each tier; ``p_holm``: after Holm for all tiers of all runs."""
    compared = classes[classes["tier"].notna() & classes["change"].notna()]
    columns = {name: compared[name].astype(float) for name in ("images", "gained", "lost")}
    tested = compared["p"].notna()
    sums = pd.DataFrame({"run_key": compared["run_key"], "tier": compared["tier"], **columns, "tested": tested})
    found = sums.groupby(["run_key", "tier"], sort=False).agg(
        {"images": "sum", "gained": "sum", "lost": "sum", "tested": "all"}
    )
    p = mcnemar_exact(found["gained"].to_numpy(np.int64), found["lost"].to_numpy(np.int64))
    found["p_holm"] = holm(np.where(found["tested"], p, np.nan))
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for (run_key, tier), row in found.iterrows():
        difference = float(row["gained"] - row["lost"]) / float(row["images"])
        tiers = out.setdefault(str(run_key), {})
        tiers[str(tier).replace("_", " ")] = {"difference": difference, "p_holm": row["p_holm"]}
    return out


def group_contents(group: GroupAnswers) -> GroupContents:
    """Return the classes of a group, each run's right images by class, and all pairs of runs that can be compared.

    A pair with the baseline gets the numbers of the tables (`with_significance`), which are not known yet. Single runs
    of several seeds are compared with nothing but the baseline: the mean over the seeds stands for them. Runs in which
    the scores of images depend on each other are compared with none, because no test over images holds.
    """
    members = group.members
    classes = group.classes[group.classes["run_key"] == members[0].record.run_key]
    seeds = Counter(answers.run.strategy for answers in members)
    pairs: list[dict[str, Any]] = []
    tested: dict[int, list[tuple[int, Answers, Answers]]] = {}  # by what holds their images
    for first, second in itertools.combinations(members, 2):
        one, other = (second, first) if first is group.baseline else (first, second)
        ours, theirs = one.record.run_key, other.record.run_key
        if not same_images(one, other) or len(one.labels) < 2 or not is_by_image(one, other):
            continue
        if other is group.baseline:
            pairs.append({"a": ours, "b": theirs, "family": "table"})
        elif seeds[one.run.strategy] == seeds[other.run.strategy] == 1:
            alike = next(place for place, member in enumerate(members) if same_images(member, one))
            tested.setdefault(alike, []).append((len(pairs), one, other))
            pairs.append({"a": ours, "b": theirs, "family": "group"})
    for alike, several in tested.items():
        found = paired_all(
            [(one.hits, other.hits) for _, one, other in several],
            members[alike].labels,
            [int(one.record.run_key, 16) for _, one, _ in several],
        )
        for (place, _, _), difference in zip(several, found, strict=True):
            pairs[place] |= _difference_of(difference)
    return {
        "class_names": classes["class_name"].astype(str).tolist(),
        "tiers": classes["tier"].tolist() if classes["tier"].notna().any() else None,
        "total": np.bincount(members[0].labels, minlength=len(classes)).tolist(),
        "right": {
            answers.record.run_key: np.bincount(answers.labels[answers.hits], minlength=len(classes)).tolist()
            for answers in members
        },
        "pairs": pairs,
        "num_pairs": len(pairs),
        "images": {answers.record.run_key: images_key(answers) for answers in members},
    }


def with_significance(contents: GroupContents, comparison: Comparison) -> GroupContents:
    """Return the contents of a group with the tables' numbers; other pairs are corrected after Holm for all pairs."""
    runs = comparison.runs
    rows = runs.loc[runs["run_key"] != "", ["run_key", *DIFFERENCE]].set_index("run_key")
    of_table = [
        pair | _difference_of_row(rows.loc[pair["a"]]) for pair in contents["pairs"] if pair["family"] == "table"
    ]
    others = [dict(pair) for pair in contents["pairs"] if pair["family"] == "group"]
    corrected = holm(np.array([pair["p"] for pair in (*of_table, *others)], dtype=np.float64))
    for pair, p in zip(others, corrected[len(of_table) :], strict=True):
        pair["p_holm"] = float(p)
    return contents | {"pairs": [*of_table, *others]}


def _difference_of_row(row: "pd.Series[Any]") -> dict[str, Any]:
    known = {name: row[name] for name in DIFFERENCE if pd.notna(row[name])}
    counts = {name: int(known[name]) for name in ("gained", "lost") if name in known}
    return dict.fromkeys(DIFFERENCE) | known | counts


def _difference_of(found: Paired) -> dict[str, Any]:
    low, high = found.over_classes or (None, None)
    values = (found.difference, *found.over_images, low, high, found.gained, found.lost, found.p, None)
    return dict(zip(DIFFERENCE, values, strict=True))


def images_key(answers: Answers) -> str:
    """Return a name for the answered images: a data set has several where broken images were left out."""
    dataset = answers.record.dataset
    fingerprint = dataset.fingerprint[:32]
    return (
        fingerprint
        if dataset.num_broken == 0
        else f"{fingerprint}-{content_key({'index': answers.index.tolist()})[:8]}"
    )


def image_list(answers: Answers, results_dir: Path) -> dict[str, Any]:
    """Return the images that a run answered: their names and labels, in order."""
    assert answers.record.artifacts is not None  # noqa: S101 - read_answers has read them
    names = pq.read_table(results_dir / answers.record.artifacts.predictions, columns=["image_id"])
    return {
        "labels": answers.labels.tolist(),
        "index": answers.index.tolist() if "-" in images_key(answers) else None,
        "names": names.column("image_id").to_pylist(),
        "thumbnails": {},
    }


def run_contents(
    answers: Answers, results_dir: Path, classes: pd.DataFrame, others: Mapping[str, str | None]
) -> dict[str, Any]:
    """Return the answers of one run, and the facts of its record.

    ``classes``: its rows of the table by class. ``others``: the data that hold its ``prompts``, ``effects``,
    ``similarities`` and best classes (``top5``); None where there are none.
    """
    record = answers.record
    content = record.model_dump(
        mode="json", include={"dataset", "backbone", "prompts", "scorer", "timing", "created_at"}
    )
    kept = {
        name: value for name, value in record.environment.items() if name in ("commit", "dirty", "device", "command")
    }
    return {
        # Of an image of several classes, each of them is right: the page tells right from wrong by the label.
        "predictions": np.where(answers.hits, answers.labels, answers.predictions),
        "margins": None if answers.margin is None else _thousandths(answers.margin),
        "classes": {name: _rounded_column(classes[name].to_numpy()) for name in ("low", "high", "p_holm")},
        **others,
        "curve": _curve(results_dir, record),
        "record": {**content, "environment": kept, "protocol_version": record.protocol_version},
    }


def _thousandths(values: Float32[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return whole thousandths: a page needs no more."""
    thousandths: Int64[np.ndarray, " n"] = np.round(np.nan_to_num(values, posinf=0.0) * 1000).astype(np.int64)
    return thousandths


def best_classes(answers: Answers, results_dir: Path) -> dict[str, Any] | None:
    """Return the best classes of each image, best first and one image after another; None where none were kept."""
    assert answers.record.artifacts is not None  # noqa: S101 - read_answers has read them
    file = pq.ParquetFile(results_dir / answers.record.artifacts.predictions)
    if "top5" not in file.schema_arrow.names:
        return None
    column = file.read(columns=["top5"]).column("top5").combine_chunks()
    classes = column.flatten().to_numpy(zero_copy_only=False)
    width, others = divmod(len(classes), max(len(column), 1))
    return None if others or not width else {"width": width, "classes": classes.tolist()}


def similarities_of_run(path: Path) -> dict[str, Any]:
    """Return what `cupl-bench effects` has measured of single images: similarities to prompts, in ten-thousandths.

    ``images``: by its place, the similarities to each prompt of the class of the image and of one more, ``other``.
    """
    frame = pd.read_parquet(path)
    images: dict[str, dict[str, Any]] = {}
    for at, label, other, values in zip(
        *(frame[name] for name in ("place", "label", "other", "similarity")), strict=True
    ):
        image = images.setdefault(str(at), {"classes": {}, "other": int(other)})
        image["classes"][str(label)] = np.round(np.asarray(values, dtype=np.float64) * 1e4).astype(int).tolist()
    return {"images": images, "kept": len(images), "at_most": SIMILARITIES_AT_MOST}


def prompts_file(record: Record, results_dir: Path) -> Path | None:
    """Return the file of a run's prompts; None for records of earlier versions."""
    if record.artifacts is None or record.artifacts.prompts is None:
        return None
    path = results_dir / record.artifacts.prompts
    return path if path.is_file() else None


def prompts_of_run(path: Path, num_classes: int) -> dict[str, Any]:
    """Return the prompts of each class, and their weights where they have any."""
    frame = pd.read_parquet(path)
    texts: list[list[str]] = [[] for _ in range(num_classes)]
    for label, text in zip(frame["label"], frame["text"], strict=True):
        texts[label].append(text)
    weights: list[list[float]] | None = None
    if "weight" in frame:
        weights = [[] for _ in texts]
        for label, weight in zip(frame["label"], frame["weight"], strict=True):
            weights[label].append(round(float(weight), 6))
    return {"texts": texts, "weights": weights}


def effects_of_run(path: Path, texts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return what `cupl-bench effects` has measured of a run's prompts.

    ``classes``: for each prompt of each class, in the order of ``texts``, how much it adds to the top-1 of its class,
    the top-1 of the class with it alone, and how much it adds to the top-1 of all images. ``templates``: each text
    with what it adds, and the top-1 of it alone.
    """
    frame = pd.read_parquet(path)
    prompts = frame[frame["kind"] == "prompt"]
    measured = {
        (int(label), text): [
            _rounded(top1 - without), _rounded(alone), _rounded(all_top1 - all_without)
        ]
        for label, text, top1, without, alone, all_top1, all_without in zip(
            *(prompts[name] for name in ("label", "text", "class_top1", "class_top1_without", "class_top1_alone",
                                         "top1", "top1_without")), strict=True
        )
    }  # fmt: skip
    templates = frame[frame["kind"] == "template"]
    return {
        "classes": [[measured.get((label, text)) for text in own] for label, own in enumerate(texts)],
        "templates": [
            [text, _rounded(top1 - without), _rounded(alone)]
            for text, top1, without, alone in zip(
                *(templates[name] for name in ("text", "top1", "top1_without", "top1_alone")), strict=True
            )
        ],
    }


def _curve(results_dir: Path, record: Record) -> dict[str, Any] | None:
    """Return accuracy against the number of prompts; None unless `cupl-bench effects` has measured it."""
    path = results_dir / "curves" / f"{record.run_key}.parquet"
    return None if not path.is_file() else {str(name): list(column) for name, column in pd.read_parquet(path).items()}


def _rounded_column(values: Float64[np.ndarray, " c"]) -> list[float | None]:
    return [value if value == value else None for value in np.round(values, 5).tolist()]  # only NaN is not itself


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 5)


def _as_read(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table of texts."""
    rows = [["" if pd.isna(cell) else str(cell) for cell in row] for row in table.itertuples(index=False)]
    return {"columns": [str(name) for name in table], "rows": rows}
