"""Read the predictions of runs, and find the runs that may be compared."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Int64

from cupl_bench.errors import ResultsError, first
from cupl_bench.identity import content_key
from cupl_bench.metrics import Scored
from cupl_bench.records import Kind, Record, unlike_artifacts
from cupl_bench.report.naming import (
    SHORT,
    Arena,
    dataset_facts,
    dataset_name,
    known_as,
    same_words,
    tell_apart,
    tell_prompts_apart,
)
from cupl_bench.scored_file import class_sets, read_scored
from cupl_bench.scorers import INDEPENDENT
from cupl_bench.truth import ClassSets, Truth

__all__ = [
    "Answers",
    "Group",
    "Run",
    "Strategy",
    "class_facts",
    "comparable",
    "group_of",
    "is_by_image",
    "missing_cells",
    "read_answers",
    "same_features",
    "same_images",
]

log = logging.getLogger(__name__)


class Group(NamedTuple):
    """Runs that answered the same images with the same features and scorer: all that must be equal for a comparison.

    ``scorer_key``: a digest of the scorer's parameters; the seed is none of them.
    """

    dataset: str
    split: str
    fingerprint: str
    num_images: int
    backbone: str
    weights_sha256: str
    activation: str
    precision: str
    transform: str
    decode: str
    scorer: str
    scorer_key: str


OF_DATASET = ("split", "decode", "num_images", "fingerprint")
"""Fields of a `Group` that tell data sets of one name apart, beside the folder of their images."""


class Strategy(NamedTuple):
    """What distinguishes the runs of a group, apart from the seed. ``prompts``: a name that no other question has."""

    prompts: str
    aggregation: str
    weighting: str | None
    budget: int | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run with the names that tables give it: no two data sets, backbones, prompts or scorers share one.

    ``collection``: the data set, whatever its split, version or decoding: two folders are two, two splits are one.
    """

    record: Record
    group: Group
    collection: str
    dataset: str
    backbone: str
    prompts: str
    scorer: str

    @property
    def seed(self) -> int | None:
        """The seed of the draws: of the prompts, or of the scorer."""
        of_scorer = self.record.scorer.parameters.get("seed")
        return of_scorer if self.record.prompts.seed is None else self.record.prompts.seed

    @property
    def strategy(self) -> Strategy:
        """The strategy, without its seed."""
        asked = self.record.prompts
        return Strategy(self.prompts, asked.aggregation, asked.weighting, asked.budget)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of a run, in the order of the images.

    ``margin`` and ``confidence`` are None where the predictions of earlier versions, or of some scorers, lack them.
    ``right``: which predictions are one of the classes of their image, where it may be of several.
    """

    run: Run
    index: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    predictions: Int64[np.ndarray, " n"]
    margin: Float32[np.ndarray, " n"] | None
    confidence: Float32[np.ndarray, " n"] | None
    right: Bool[np.ndarray, " n"] | None = None

    @property
    def record(self) -> Record:
        """The record of the run."""
        return self.run.record

    @property
    def hits(self) -> Bool[np.ndarray, " n"]:
        """Return which images were classified right."""
        hits: Bool[np.ndarray, " n"] = self.labels == self.predictions if self.right is None else self.right
        return hits

    def scored(self, results_dir: Path) -> Scored:
        """Return all that a metric beyond accuracy needs, read anew: it may be large.

        Raises:
            ResultsError: as `read_answers`.
        """
        assert self.record.artifacts is not None  # noqa: S101 - read_answers has read them
        path = results_dir / self.record.artifacts.predictions
        return read_scored(path, self.record.dataset.num_classes, groups=())


def group_of(record: Record) -> Group:
    """Return the group of a run."""
    dataset, backbone = record.dataset, record.backbone
    decode = "exact" if record.config is None else record.config.decode
    return Group(
        dataset=dataset.name,
        split=dataset.split,
        fingerprint=dataset.fingerprint,
        num_images=dataset.num_images,
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        activation=backbone.activation,
        precision=backbone.precision,
        transform=json.dumps(backbone.transform, sort_keys=True),
        decode=decode,
        scorer=record.scorer.name,
        scorer_key=content_key({name: value for name, value in record.scorer.parameters.items() if name != "seed"}),
    )


def read_answers(results_dir: Path, run: Run) -> Answers:
    """Read the predictions of a finished run.

    Raises:
        ResultsError: they are missing, damaged, or not those of the record.
    """
    record = run.record
    if record.artifacts is None:
        raise ResultsError(f"Record {record.run_key} names no predictions.")
    path = results_dir / record.artifacts.predictions
    again = "Run its question again with rerun=always."
    if path.is_file() and unlike_artifacts(record, results_dir, ["predictions"]):
        raise ResultsError(
            f"{path}, the predictions of run {record.run_key}, are not those that it wrote: the file was altered or"
            f" damaged. {again}"
        )
    try:
        file = pq.ParquetFile(path)
        more = {"margin", "confidence", "labels", "not_counted"}
        columns = ["index", "label", "prediction", *(more & set(file.schema_arrow.names))]
        table = file.read(columns=columns)
        num_classes = record.dataset.num_classes
        sets = ClassSets(matrix=class_sets(table, num_classes)) if "labels" in columns else None
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise ResultsError(
            f"{path}, the predictions of run {record.run_key}, cannot be read ({error}). {again}"
        ) from error
    if table.num_rows != record.dataset.num_images:
        raise ResultsError(
            f"{path} holds {table.num_rows:,} predictions, but the record of run {record.run_key} has"
            f" {record.dataset.num_images:,} images. {again}"
        )

    def column(name: str) -> Int64[np.ndarray, " n"]:
        values: Int64[np.ndarray, " n"] = table.column(name).to_numpy().astype(np.int64, copy=False)
        return values

    hits = Truth(labels=column("label"), num_classes=num_classes, sets=sets).holds(column("prediction"))
    right = int(np.count_nonzero(hits))
    if record.metrics is None or abs(record.metrics.top1 - right / table.num_rows) > 1e-6:
        raise ResultsError(
            f"The record of run {record.run_key} has another top1 than its predictions, {right:,} of"
            f" {table.num_rows:,} right: one of the two was altered. {again}"
        )

    def float_column(name: str) -> Float32[np.ndarray, " n"] | None:
        if name not in columns or table.column(name).null_count:  # a scorer has no such thing
            return None
        values: Float32[np.ndarray, " n"] = table.column(name).to_numpy().astype(np.float32)
        return values

    return Answers(
        run=run,
        index=column("index"),
        labels=column("label"),
        predictions=column("prediction"),
        margin=float_column("margin"),
        confidence=float_column("confidence"),
        right=None if sets is None else hits,
    )


def is_by_image(*answers: Answers) -> bool:
    """Return whether the score of each image depends on no other image, so that intervals over images hold."""
    return all(one.record.kind in INDEPENDENT for one in answers)


def same_images(ours: Answers, other: Answers) -> bool:
    """Return whether two runs answered the same images: a paired comparison needs that."""
    return np.array_equal(ours.index, other.index) and np.array_equal(ours.labels, other.labels)


def class_facts(results_dir: Path, records: Sequence[Record]) -> pd.DataFrame:
    """Return the classes by label, ``class_name`` and ``tier``, as runs of one group tell them.

    If no run tells them, the name is the label as text and the tier is missing: old records name no file of prompts.
    """
    labels = range(records[0].dataset.num_classes)
    facts = pd.DataFrame({"class_name": [str(label) for label in labels], "tier": None}, index=list(labels))
    for record in records:
        path = None if record.artifacts is None or record.artifacts.prompts is None else record.artifacts.prompts
        if path is None or not (results_dir / path).is_file():
            continue
        try:
            if unlike_artifacts(record, results_dir, ["prompts"]):
                raise OSError("it is not what the run wrote")
            file = pq.ParquetFile(results_dir / path)
            columns = ["label", "class_name", *({"tier"} & set(file.schema_arrow.names))]
            told = file.read(columns=columns).to_pandas().drop_duplicates("label").set_index("label")
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise ResultsError(
                f"{results_dir / path}, the prompts of run {record.run_key}, cannot be read ({error}). Run its question"
                " again with rerun=always."
            ) from error
        return facts.assign(**{str(name): told[name].reindex(facts.index) for name in told})
    return facts


def comparable(records: Sequence[Record], results_dir: Path) -> dict[Group, list[Run]]:
    """Return the finished runs by what may be compared, each question once. Log what was left out, and why.

    Raises:
        ResultsError: nothing is finished, or versions of the protocol or of a data set are mixed.
    """
    finished = [record for record in records if record.status == "ok"]
    if not finished:
        raise ResultsError(f"None of {len(records)} runs is finished. Their records below {results_dir} say why.")
    versions = sorted({record.protocol_version for record in finished})
    if len(versions) > 1:
        raise ResultsError(
            f"The records mix protocol versions {versions}, whose numbers are not comparable. Run the older questions"
            " again, or keep each version in a results_dir of its own."
        )
    _check_versions(finished)
    kept, older = _latest(finished)
    if older:
        log.warning("%d older runs of questions that were answered again are left out: %s", len(older), first(older))
    groups: dict[Group, list[Run]] = {}
    for run in _by_scorer(_named(kept)):
        groups.setdefault(run.group, []).append(run)
    _tell_kept_apart(list(groups))
    for members in groups.values():
        _tell_changed_files(members)
    return groups


def _check_versions(records: Sequence[Record]) -> None:
    """Check that all runs on a data set are of one version of it.

    Raises:
        ResultsError: they are not.
    """
    runs_of: dict[str, dict[int, list[str]]] = {}
    for record in records:
        runs_of.setdefault(known_as(record), {}).setdefault(record.dataset.version, []).append(record.run_key)
    for name, versions in runs_of.items():
        if len(versions) == 1:
            continue
        older = sorted(versions)[:-1]
        told = "; ".join(
            f"version {one}: {len(runs)} run{'' if len(runs) == 1 else 's'}, {first(runs, 3)}"
            for one, runs in sorted(versions.items())
        )
        raise ResultsError(
            f"The records mix {len(versions)} versions of the data set {name}, whose numbers are not comparable:"
            f" {told}. Run the questions of version {' and '.join(map(str, older))} again and move their older records"
            f" out of the records folder, or keep each version in a results_dir of its own."
        )


def _by_scorer(runs: Sequence[Run]) -> list[Run]:
    """Return the runs so that those of the same features follow each other, by the kind of their scorer."""
    first_of: dict[object, int] = {}
    for place, run in enumerate(runs):
        first_of.setdefault(same_features(run.group), place)
    kinds = get_args(Kind)
    if all(run.group.scorer == "plain" for run in runs):
        return list(runs)
    return sorted(
        runs,
        key=lambda run: (
            first_of[same_features(run.group)], run.group.scorer != "plain", kinds.index(run.record.scorer.kind)
        ),
    )  # fmt: skip


def same_features(group: Group) -> Group:
    """Return the group without its scorer: runs that are equal in it read the same features of images."""
    return group._replace(scorer="", scorer_key="")


def _asked(record: Record) -> tuple[object, ...]:
    """Return what identifies the question of a run: older runs of it have the same prompts, not only the same name."""
    asked = record.prompts
    own = (asked.name, asked.digest, asked.aggregation, asked.weighting, asked.budget, asked.seed)
    return group_of(record), *own, record.scorer.parameters.get("seed")


def _latest(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Return the newest run of each question at the place of its first, and the keys of the older ones."""
    cells: dict[tuple[object, ...], Record] = {}
    older: list[str] = []
    for record in records:
        cell = _asked(record)
        if cell in cells:
            older.append(cells[cell].run_key)
        cells[cell] = record
    return list(cells.values()), older


def _tell_changed_files(members: Sequence[Run]) -> None:
    """Name runs that were asked in the same words, whose files held other prompts: both stand in the tables."""
    cells: dict[tuple[object, ...], list[Run]] = {}
    for run in members:
        asked = run.record.prompts
        cells.setdefault((asked.name, asked.aggregation, asked.budget, run.seed), []).append(run)
    for alike in cells.values():
        for place, run in enumerate(alike):
            changed = [other for other in alike[place + 1 :] if same_words(run.record, other.record)]
            if changed:
                newest = max(changed, key=lambda one: one.record.created_at)
                log.warning(
                    "%s of run %s and %s of run %s were asked in the same words, but the files that they read held"
                    " different prompts: both are shown, and the second is newer",
                    run.prompts, run.record.run_key, newest.prompts, newest.record.run_key,
                )  # fmt: skip
                break


def _named(records: Sequence[Record]) -> list[Run]:
    """Return the runs with their names; records of the same question are taken for one."""
    groups = [group_of(record) for record in records]
    datasets: dict[tuple[object, ...], tuple[str, Mapping[str, str]]] = {}
    backbones: dict[tuple[object, ...], tuple[str, Mapping[str, str]]] = {}
    keys = []
    for record, group in zip(records, groups, strict=True):
        of_dataset = {field: getattr(group, field) for field in OF_DATASET}
        of_backbone = {
            field: value
            for field, value in group._asdict().items()
            if field not in {*OF_DATASET, "dataset", "backbone", "precision", "scorer", "scorer_key"}
        }
        keys.append(((group.dataset, *of_dataset.values()), (group.backbone, *of_backbone.values())))
        facts = dataset_facts(record) | {
            "decode": f"decode={group.decode}",
            "split": group.split, "num_images": f"{group.num_images:,} images", "fingerprint": group.fingerprint[:SHORT]
        }  # fmt: skip
        if (names := (record.dataset.origin or {}).get("names")) is not None:
            facts["names"] = f"names={names}"
        datasets.setdefault(keys[-1][0], (dataset_name(record), facts))
        built = record.backbone
        facts = {
            field: str(value) if len(str(value)) <= SHORT * 4 else f"{field.split('_')[0]} {_digest(value)}"
            for field, value in of_backbone.items()
        }
        facts = {"architecture": Path(built.architecture).name, "pretrained": Path(built.pretrained).name, **facts}
        backbones.setdefault(keys[-1][1], (group.backbone, facts))
    of_datasets = _apart(datasets, ("path", *OF_DATASET[:-1], "names", OF_DATASET[-1]))
    folders = {
        key: (name, {"path": facts["path"]} if "path" in facts else {}) for key, (name, facts) in datasets.items()
    }
    collections = _apart(folders, ("path",))
    of_backbones = _apart(backbones, ("architecture", "pretrained"))
    prompts = tell_prompts_apart(records, groups)
    scorers: dict[tuple[object, ...], tuple[str, Mapping[str, str]]] = {}
    for record, group in zip(records, groups, strict=True):
        facts = {name: f"{name}={_short(value)}" for name, value in record.scorer.parameters.items() if name != "seed"}
        scorers.setdefault((group.scorer, group.scorer_key), (group.scorer, facts))
    of_scorers = _apart(scorers, ())
    return [
        Run(
            record=record,
            group=group,
            collection=collections[one],
            dataset=of_datasets[one],
            backbone=of_backbones[other],
            prompts=name,
            scorer=of_scorers[group.scorer, group.scorer_key],
        )
        for record, group, (one, other), name in zip(records, groups, keys, prompts, strict=True)
    ]


def _apart(
    things: Mapping[tuple[object, ...], tuple[str, Mapping[str, str]]], kinds: Sequence[str]
) -> dict[tuple[object, ...], str]:
    """Return a name for each thing, with what tells it apart from others of its name; ``kinds`` are tried first."""
    out: dict[tuple[object, ...], str] = {}
    for name in dict.fromkeys(name for name, _ in things.values()):
        own = [key for key, (one, _) in things.items() if one == name]
        facts = [things[key][1] for key in own]
        order = dict.fromkeys([*kinds, *(kind for one in facts for kind in one)])
        parts = tell_apart(facts, order, [Arena(tuple(range(len(own))))])
        out |= {key: f"{name} ({', '.join(texts)})" if texts else name for key, texts in zip(own, parts, strict=True)}
    return out


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 2 * SHORT else _digest(value)


def _digest(value: object) -> str:
    text = str(value)
    return text[:SHORT] if re.fullmatch(r"[0-9a-f]{16,}", text) else content_key({"value": text})[:SHORT]


def _tell_kept_apart(groups: Sequence[Group]) -> None:
    """Name what keeps groups of one data set and one backbone apart."""
    named: dict[tuple[str, str], list[Group]] = {}
    for group in dict.fromkeys(same_features(one) for one in groups):
        named.setdefault((group.dataset, group.backbone), []).append(group)
    for (dataset, backbone), several in named.items():
        differ = [name for name in Group._fields if len({getattr(group, name) for group in several}) > 1]
        if differ:
            log.warning(
                "%s x %s is split into %d groups that are not compared: they differ in %s",
                dataset, backbone, len(several), ", ".join(differ),
            )  # fmt: skip


def missing_cells(records: Sequence[Record]) -> pd.DataFrame:
    """Return the cells of data set x backbone x prompts that the others of their sweep have.

    ``dataset``, ``backbone``, ``prompts``, ``budget``, ``scorer`` and ``why``, which is the error of a failed run. Data
    sets and backbones belong to one sweep if runs connect them.
    """
    answered = [record for record in records if record.status == "ok"]
    open_ones = [
        record for record in records
        if record.status == "failed"
        and not any(group_of(one) == group_of(record) and _same_question(one, record) for one in answered)
    ]  # fmt: skip
    runs = _named(_latest([*answered, *open_ones])[0])
    finished = {_cell(run) for run in runs if run.record.status == "ok"}
    failed = {_cell(run): run.record.error for run in runs if run.record.status == "failed"}
    rows = []
    for datasets, backbones in _sweeps({cell[:2] for cell in (*finished, *failed)}):
        of_sweep = [cell for cell in (*finished, *failed) if cell[0] in datasets]
        strategies = sorted({cell[2:] for cell in of_sweep}, key=str)
        for dataset in sorted(datasets):
            for backbone in sorted(backbones):
                for strategy in strategies:
                    cell = (dataset, backbone, *strategy)
                    if cell not in finished:
                        rows.append((*cell, failed.get(cell, "not run")))
    return pd.DataFrame(rows, columns=["dataset", "backbone", "prompts", "budget", "scorer", "why"])


def _same_question(one: Record, other: Record) -> bool:
    ours, theirs = one.prompts, other.prompts
    alike = (ours.name, ours.budget, ours.seed) == (theirs.name, theirs.budget, theirs.seed)
    return alike and same_words(one, other)


def _cell(run: Run) -> tuple[str, str, str, int | None, str]:
    return run.collection, run.group.backbone, run.prompts, run.record.prompts.budget, run.scorer


def _sweeps(pairs: set[tuple[str, str]]) -> list[tuple[set[str], set[str]]]:
    """Return the sets of data sets and backbones that runs connect, directly or through others."""
    sweeps: list[tuple[set[str], set[str]]] = []
    for dataset, backbone in sorted(pairs):
        touched = [sweep for sweep in sweeps if dataset in sweep[0] or backbone in sweep[1]]
        merged = ({dataset}.union(*(one[0] for one in touched)), {backbone}.union(*(one[1] for one in touched)))
        sweeps = [*(sweep for sweep in sweeps if sweep not in touched), merged]
    return sweeps
