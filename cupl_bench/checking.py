"""Whether finished runs are what they say they are: all that can be seen of it without data and without a model.

Every number of a record is computed anew from its predictions, here and in NumPy alone, not by the code that wrote it.
What only a model can tell (whether the predictions are those of these weights) is for `cupl-bench reproduce`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int64

from cupl_bench.dataset.spec import CUSTOM, read_spec
from cupl_bench.dataset.texts import spec_names
from cupl_bench.embeddings import ALMOST_ONE, Aggregation
from cupl_bench.errors import DatasetError, ResultsError, UnreadableError
from cupl_bench.identity import PROTOCOL_VERSION, content_key
from cupl_bench.intervals import wilson
from cupl_bench.metrics import METRICS, intervals_of, seed_of
from cupl_bench.outcomes import last_outcomes, state_of
from cupl_bench.prompts import GivenEmbeddings
from cupl_bench.question import GROUPS, QuestionRecord
from cupl_bench.records import ARTIFACTS, MetricsRecord, Record, TierRecord, read_record, unlike_artifacts
from cupl_bench.report.answers import missing_cells
from cupl_bench.report.naming import dataset_facts, leaves, recorded
from cupl_bench.report.published import match_published
from cupl_bench.report.significance import mean_per_class_interval
from cupl_bench.report.texts import percent, points
from cupl_bench.scored_file import class_sets, read_scored
from cupl_bench.scorers import INDEPENDENT
from cupl_bench.store import DamagedFileError, files_in, read_arrays
from cupl_bench.truth import ClassSets, Truth

__all__ = ["AskedQuestion", "Checked", "Finding", "Verdict", "check_runs", "damaged_archive", "exit_code"]

Verdict = Literal["ok", "differs", "cannot be judged"]

ROUNDING = 1e-9
"""By how much a number of a record may differ from the same quotient of counts, computed anew."""
SHOWN = 3
"""Cases of a finding that are named."""
PLACES = ("dataset.path", "dataset.root", "dataset.source", "dataset.cache_dir", "prompts.cache_dir", "dataset.name")
"""Settings that say where files lie: fingerprint and digest say what is in them."""
READING = (OSError, pa.ArrowException, KeyError, ValueError, TypeError)
"""What reading a damaged or foreign table raises."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    ``check``: its name. ``subject``: what was checked, in words. ``reason``: why the verdict is so. ``count``: how many
    cases there are. ``cases``: the first three. ``decides``: whether the whole cannot be judged where this cannot; not
    of comparisons with what others have published, which exists of few questions.
    """

    check: str
    subject: str
    verdict: Verdict
    reason: str
    count: int = 0
    cases: tuple[str, ...] = ()
    decides: bool = True


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """A question that should have an answer: what it is called, and its words as a record would hold them."""

    name: str
    words: QuestionRecord


@dataclass(frozen=True, kw_only=True)
class Checked:
    """All findings, the keys of the runs that they are about, and a row for each published number that is near."""

    findings: tuple[Finding, ...]
    run_keys: tuple[str, ...]
    published: pd.DataFrame


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 where all is well, 1 where something differs, 2 where nothing differs and something cannot be judged.

    >>> exit_code([Finding(check="files", subject="2 runs", verdict="differs", reason="1 is lost")])
    1
    """
    found = list(findings)
    if any(one.verdict == "differs" for one in found):
        return 1
    return 2 if any(one.verdict == "cannot be judged" and one.decides for one in found) else 0


def damaged_archive(path: Path, error: ResultsError) -> Checked:
    """Return the one finding of an archive that is refused."""
    finding = Finding(check="archive", subject=path.name, verdict="differs", reason=str(error), count=1)
    return Checked(findings=(finding,), run_keys=(), published=pd.DataFrame())


def check_runs(results_dir: Path, asked: Sequence[AskedQuestion] | None = None) -> Checked:
    """Check the runs below a results folder; nothing is written.

    Args:
        results_dir: where the records lie.
        asked: the questions that should be answered, whose runs alone are looked at; None: all that lie there.

    Raises:
        ResultsError: there is no record.
    """
    records, of_records = _read_all(results_dir)
    if asked is None:
        finished = [one for one in records if one.status == "ok"]
        findings = [_complete(results_dir, records), of_records]
    else:
        answers = _answers_of(asked, records)
        finished = list({one.run_key: one for one in answers.values() if one.status == "ok"}.values())
        findings = [_answered(asked, answers, len(records)), of_records]
        if finished:
            findings.insert(1, _as_asked(asked, answers))
    if not finished:
        return Checked(findings=tuple(findings), run_keys=(), published=pd.DataFrame())
    runs = [_Run.of(record, results_dir) for record in finished]
    published, table = _published(runs)
    findings += [
        _of_each("files", "the files of a run, and their sha256", runs, _files_of),
        _of_each("answers", "the predictions in themselves", runs, _answers_in),
        _of_each("numbers", "the numbers of a record, computed anew from its predictions", runs, _numbers_of),
        _images(runs),
        _weights(runs),
        _of_each("prompts", "the prompts, their counts and their digest", runs, _prompts_of),
        _of_each("class embeddings", "their form, their length and whose they are", runs, _embeddings_of),
        _protocol(runs),
        published,
    ]
    return Checked(
        findings=tuple(findings), run_keys=tuple(sorted(one.record.run_key for one in runs)), published=table
    )


# What was read --------------------------------------------------------------------------------------------------------


@dataclass
class _Seen:
    """What a check says of its cases: ``faults`` differ, ``unknown`` cannot be judged, ``notes`` are only told."""

    faults: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def finding(self, check: str, subject: str, well: str, *, decides: bool = True) -> Finding:
        told = "".join(f"; {note}" for note in self.notes)
        verdict: Verdict = "differs" if self.faults else "cannot be judged" if self.unknown else "ok"
        cases = self.faults or self.unknown
        many = "1 case" if len(cases) == 1 else f"{len(cases):,} cases"
        return Finding(
            check=check,
            subject=subject,
            verdict=verdict,
            reason=f"{many if cases else well}{told}",
            count=len(cases),
            cases=tuple(cases[:SHOWN]),
            decides=decides,
        )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A finished run with its tables; one that cannot be read is the text of the reason."""

    record: Record
    results_dir: Path
    predictions: "_Predictions | str"
    prompts: pd.DataFrame | str

    @classmethod
    def of(cls, record: Record, results_dir: Path) -> "_Run":
        return cls(
            record=record,
            results_dir=results_dir,
            predictions=_read_predictions(record, results_dir),
            prompts=_read_prompts(record, results_dir),
        )

    @property
    def name(self) -> str:
        return _name_of(self.record)


@dataclass(frozen=True, kw_only=True)
class _Predictions:
    """The columns of predictions, and which of them are right; None of those that are not there."""

    index: Int64[np.ndarray, " n"]
    label: Int64[np.ndarray, " n"]
    prediction: Int64[np.ndarray, " n"]
    top5: Int64[np.ndarray, "n k"] | None
    correct: Bool[np.ndarray, " n"] | None
    hits: Bool[np.ndarray, " n"]
    among_five: Bool[np.ndarray, " n"] | None


def _name_of(record: Record) -> str:
    scorer = [] if record.scorer.name == "plain" else [record.scorer.name]
    names = (record.dataset.name, record.backbone.name, record.prompts.name, *scorer)
    return f"{record.run_key} ({' x '.join(names)})"


def _read_all(results_dir: Path) -> tuple[list[Record], Finding]:
    """Return the records below a results folder, the newest first, and what is to be said of their files."""
    paths = files_in(results_dir / "records", ".json")
    if not paths:
        raise ResultsError(f"{results_dir} holds no record, so there is nothing to check. Name another results_dir.")
    records, seen = [], _Seen()
    for path in paths:
        try:
            record = read_record(path)
        except UnreadableError as error:
            seen.unknown.append(str(error))
        except ResultsError as error:
            seen.faults.append(str(error))
        else:
            records.append(record)
            if record.status == "ok" and (record.metrics is None or record.artifacts is None):
                seen.faults.append(f"{_name_of(record)} is called finished and has no numbers or no files")
            seen.faults += [f"{_name_of(record)}: {one}" for one in _unlike_its_words(record)]
            if record.protocol_version != PROTOCOL_VERSION:
                seen.unknown.append(
                    f"{_name_of(record)} is of protocol version {record.protocol_version}, and this program knows"
                    f" {PROTOCOL_VERSION} alone"
                )
    well = f"{len(paths):,} files, each a record under its own run key"
    return sorted(records, key=lambda one: one.created_at, reverse=True), seen.finding("records", "records/", well)


def _unlike_its_words(record: Record) -> list[str]:
    """Return what a record says of itself otherwise than the question that it holds; tables show what it says."""
    words = record.config
    if words is None:
        return []
    names = (record.dataset.name, record.backbone.name, record.prompts.name, record.scorer.name)
    told: dict[str, object] = dict(zip(GROUPS, names, strict=True))
    asked: dict[str, object] = {group: getattr(words, group).get("name") for group in GROUPS}
    told |= {"precision": record.backbone.precision, "budget": record.prompts.budget}
    asked |= {"precision": words.precision, "budget": words.budget}
    if record.metrics is not None:
        told["primary"], asked["primary"] = record.metrics.primary_name, words.primary
    return [
        f"{key} is {value}, and {asked[key]} in its question"
        for key, value in told.items()
        if asked[key] != value and (asked[key] is not None or key == "budget")
    ]


def _path_of(record: Record, results_dir: Path, name: str) -> Path | None:
    place = None if record.artifacts is None else getattr(record.artifacts, name)
    return None if place is None else results_dir / place


def _read_predictions(record: Record, results_dir: Path) -> _Predictions | str:
    path = _path_of(record, results_dir, "predictions")
    if path is None:
        return "the record names no predictions"
    try:
        table = pq.read_table(path)
        numbers = {}
        for name in ("index", "label", "prediction"):
            column = table.column(name)
            if column.null_count or not pa.types.is_integer(column.type):
                raise ValueError(f"{name} is not a whole number in every row")
            numbers[name] = column.to_numpy().astype(np.int64)
        top5 = None
        if "top5" in table.column_names:
            lists = table.column("top5").combine_chunks()
            if not (pa.types.is_list(lists.type) and pa.types.is_integer(lists.type.value_type)):
                raise ValueError("top5 does not hold lists of labels")
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
            if lists.null_count or lists.flatten().null_count or len(set(lengths.tolist())) > 1:
                raise ValueError("top5 does not have as many labels in every row")
            rows = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
            top5 = rows.reshape(len(lists), -1) if len(lists) else None
        correct = None
        if "correct" in table.column_names:
            correct = table.column("correct").to_numpy().astype(bool)
        num_classes, sets = record.dataset.num_classes, None
        if "labels" in table.column_names:
            sets = ClassSets(matrix=class_sets(table, num_classes))
        truth = Truth(labels=numbers["label"], num_classes=num_classes, sets=sets)
        hits, among_five = truth.holds(numbers["prediction"]), None if top5 is None else truth.holds_any(top5)
    except FileNotFoundError:
        return f"{path.parent.name}/{path.name} is not there"
    except READING as error:
        return f"{path.parent.name}/{path.name} cannot be read ({_line(error)})"
    return _Predictions(top5=top5, correct=correct, hits=hits, among_five=among_five, **numbers)


def _read_prompts(record: Record, results_dir: Path) -> pd.DataFrame | str:
    path = _path_of(record, results_dir, "prompts")
    if path is None:
        return ""
    try:
        frame = pq.read_table(path).to_pandas()
        if lost := [name for name in ("label", "class_name", "text") if name not in frame]:
            raise KeyError(f"no column {lost[0]}")
        if not pd.api.types.is_integer_dtype(frame["label"]):
            raise ValueError("label is not a whole number in every row")
        if not all(isinstance(one, str) for name in ("class_name", "text") for one in frame[name]):
            raise ValueError("class_name or text is no text in every row")
        if "weight" in frame and not np.isfinite(frame["weight"].to_numpy(dtype=np.float64)).all():
            raise ValueError("weight is no number in every row")
        if "tier" in frame:
            frame["tier"] = frame["tier"].astype(str)
    except FileNotFoundError:
        return f"{path.parent.name}/{path.name} is not there"
    except READING as error:
        return f"{path.parent.name}/{path.name} cannot be read ({_line(error)})"
    return frame


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _of_each(check: str, subject: str, runs: Sequence[_Run], look: Callable[[_Run, _Seen], None]) -> Finding:
    """Return the finding of a check that looks at one run after another."""
    seen = _Seen()
    for run in runs:
        own = _Seen()
        look(run, own)
        seen.faults += [f"{run.name}: {one}" for one in own.faults]
        seen.unknown += [f"{run.name}: {one}" for one in own.unknown]
        seen.notes += [one for one in own.notes if one not in seen.notes]
    return seen.finding(check, subject, f"{_runs(len(runs))} looked at")


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number:,} runs"


# Complete, and as asked -----------------------------------------------------------------------------------------------


def _complete(results_dir: Path, records: Sequence[Record]) -> Finding:
    """Return whether every question that was asked in a folder has a finished run.

    Where no list of them lies there, the cells of data sets, backbones and prompts must be full.
    """
    seen = _Seen()
    outcomes = last_outcomes(results_dir)
    for job in outcomes:
        state, word = state_of(job, outcomes, results_dir)
        if state != "done":
            seen.faults.append(f"{job} is {state}: {word}")
    if records and not outcomes:  # of an archive, or made from Python
        seen.faults += [
            f"{cell['dataset']} x {cell['backbone']} x {cell['prompts']} has no finished run: {cell['why']}"
            for cell in missing_cells(records).to_dict("records")
        ]
    keys = {path.stem for path in files_in(results_dir / "records", ".json")}
    for place in ARTIFACTS.values():
        folder, _, ending = place.partition("/{}")
        seen.faults += [
            f"{folder}/{path.name} belongs to no record"
            for path in files_in(results_dir / folder, ending)
            if path.stem not in keys and not path.name.startswith(".")
        ]
    subject = f"{len(outcomes):,} questions that were asked here" if outcomes else "every cell of the sweep"
    return seen.finding("complete", subject, "each has a finished record")


def _answers_of(asked: Sequence[AskedQuestion], records: Sequence[Record]) -> dict[str, Record]:
    """Return the record of each question by its name; a failed one only where there is no other.

    A question first takes the record that was asked in the same words, then one whose files lie elsewhere, and last one
    of the same names, which was asked otherwise.
    """
    found: dict[str, Record] = {}
    in_order = sorted(records, key=lambda one: one.status != "ok")  # stable: the newest first

    def take(may_share: bool, may_differ: Callable[[str], bool]) -> None:
        for one in asked:
            used = set() if may_share else {record.run_key for record in found.values()}
            for record in in_order if one.name not in found else ():
                if record.run_key not in used and _same_names(one.words, record):
                    if not all(map(may_differ, _unlike(one.words, record))):
                        continue
                    found[one.name] = record
                    break

    take(True, lambda _: False)
    take(False, PLACES.__contains__)
    take(False, lambda _: True)
    return found


def _same_names(words: QuestionRecord, record: Record) -> bool:
    names = (record.dataset.name, record.backbone.name, record.prompts.name, record.scorer.name)
    return names == tuple(str(getattr(words, group).get("name")) for group in GROUPS)


def _unlike(words: QuestionRecord, record: Record) -> dict[str, str]:
    """Return the settings in which a record was asked otherwise, and how; none that it does not hold."""
    if record.config is None:
        return {}
    wanted, given = _settings(words), _settings(record.config)
    idle = set()
    if record.prompts.seed is None and "seed" not in record.scorer.parameters:
        idle.add("seed")
    if given.get("dataset.limit") is None and wanted.get("dataset.limit") is None:
        idle.add("dataset.seed")
    return {
        key: f"{key}={given[key]} in the record, {value} asked"
        for key, value in wanted.items()
        if key not in idle and key in given and given[key] != value
    }


def _settings(words: QuestionRecord) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for group in GROUPS:
        found |= leaves(words.option(group), f"{group}.")
    found |= {"precision": words.precision, "budget": words.budget, "seed": words.seed}
    return {key: _without_place(key, value) for key, value in found.items()}


def _without_place(key: str, value: object) -> object:
    """Return a setting without the folders of this or another machine, and a class without its module."""
    if not isinstance(value, str):
        return list(value) if isinstance(value, tuple) else value
    if key.endswith("_target_"):
        return value.split(".")[-1]
    return PurePosixPath(value).name if value.startswith(("/", "~", "./", "../")) else value


def _answered(asked: Sequence[AskedQuestion], answers: Mapping[str, Record], num_records: int) -> Finding:
    seen = _Seen()
    for one in asked:
        record = answers.get(one.name)
        if record is None:
            seen.faults.append(f"{one.name} has no record")
        elif record.status != "ok":
            seen.faults.append(f"{one.name} has failed: {record.error}")
    if others := num_records - len({record.run_key for record in answers.values()}):
        seen.notes.append(f"{others:,} other records lie there and are not looked at")
    return seen.finding("complete", f"{len(asked):,} questions of the experiment", "each has a finished record")


def _as_asked(asked: Sequence[AskedQuestion], answers: Mapping[str, Record]) -> Finding:
    seen = _Seen()
    for one in asked:
        record = answers.get(one.name)
        if record is None or record.status != "ok":
            continue
        if record.config is None:
            seen.unknown.append(f"{_name_of(record)} does not hold its question")
        elif unlike := [told for key, told in _unlike(one.words, record).items() if key not in PLACES]:
            seen.faults.append(f"{_name_of(record)}: {'; '.join(unlike)}")
    return seen.finding("as asked", "the settings of each record beside those of the experiment", "all are the same")


# A run in itself ------------------------------------------------------------------------------------------------------


def _files_of(run: _Run, seen: _Seen) -> None:
    record = run.record
    try:
        lost = unlike_artifacts(record, run.results_dir)
    except UnreadableError as error:
        seen.unknown.append(str(error))
        return
    for path in lost:
        is_there = (run.results_dir / path).is_file()
        seen.faults.append(f"{path} {'is not what the run wrote' if is_there else 'is not there'}")
    if record.artifacts is not None and (
        unsigned := record.artifacts.model_dump(exclude_none=True).keys() - (record.artifact_digests or {}).keys()
    ):
        seen.unknown.append(f"the record holds no sha256 of its {', '.join(sorted(unsigned))}")


def _answers_in(run: _Run, seen: _Seen) -> None:
    found, record = run.predictions, run.record
    if isinstance(found, str):
        seen.faults.append(found)
        return
    num_images, num_classes = record.dataset.num_images, record.dataset.num_classes
    if len(found.index) != num_images:
        seen.faults.append(f"{len(found.index):,} predictions, and the record has {num_images:,} images")
    if len(found.index) == 0:
        return
    top5 = found.top5
    checks = {
        "stand out of the order of the images, or twice": np.r_[found.index[0] < 0, np.diff(found.index) <= 0],
        f"have a label that is none of {num_classes:,} classes": (found.label < 0) | (found.label >= num_classes),
        f"have a prediction that is none of {num_classes:,} classes": (found.prediction < 0)
        | (found.prediction >= num_classes),
    }
    if found.correct is not None:
        checks["have a 'correct' that is not label = prediction"] = found.correct != found.hits
    if top5 is not None and top5.shape[1] == min(5, num_classes):
        checks["have a prediction that is not the first of their top5"] = top5[:, 0] != found.prediction
        ordered = np.sort(top5, axis=1)
        twice = ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] != -1)).any(axis=1)
        checks["have a class twice, or none that there is, in their top5"] = twice | (
            (top5 < -1) | (top5 >= num_classes)
        ).any(axis=1)
    elif top5 is not None:
        seen.faults.append(f"top5 holds {top5.shape[1]} labels of each image, not {min(5, num_classes)}")
    for what, wrong in checks.items():
        if wrong.any():
            images = ", ".join(str(one) for one in found.index[wrong][:SHOWN].tolist())
            seen.faults.append(f"{int(wrong.sum()):,} images {what}, first: {images}")


def _numbers_of(run: _Run, seen: _Seen) -> None:
    found, record = run.predictions, run.record
    if record.metrics is None:
        return
    if isinstance(found, str):
        seen.faults.append(f"nothing can be computed: {found}")
        return
    images, hits = _counts(found, record.dataset.num_classes)
    if not images.sum():
        seen.faults.append("there is no prediction to compute a number from")
        return
    metrics, over_images = record.metrics, record.kind in INDEPENDENT
    means = {"top1": hits.sum() / images.sum(), "mean_per_class": (hits[images > 0] / images[images > 0]).mean()}
    told: dict[str, object] = {name: getattr(metrics, name) for name in ("top1", "top1_ci95", "mean_per_class")}
    ours: dict[str, object] = {**means, "top1_ci95": _interval(hits.sum(), images.sum(), over_images)}
    if metrics.primary_name in means:
        told["primary"], ours["primary"] = metrics.primary, means[metrics.primary_name]
    _more_of(run, over_images, seen)
    if found.top5 is not None:
        is_short = record.dataset.num_classes < 5 or bool((found.top5 == -1).any())
        told["top5"] = metrics.top5
        ours["top5"] = None if is_short or found.among_five is None else found.among_five.mean()
    elif metrics.top5 is not None:
        seen.unknown.append("top5 cannot be computed: the predictions hold no such column")
    for name, value in told.items():
        if not _same(value, ours[name]):
            seen.faults.append(f"{name} is {_number(value)} in the record and {_number(ours[name])} by its predictions")
    _tiers_of(run, metrics.tiers or {}, (images, hits), over_images, seen)


def _more_of(run: _Run, over_images: bool, seen: _Seen) -> None:
    """Compute the metrics beyond accuracy anew, their values by the arithmetic of a resample that is the whole."""
    record = run.record
    path = _path_of(record, run.results_dir, "predictions")
    if record.metrics is None or record.metrics.more is None or path is None:
        return
    if unknown := [name for name in record.metrics.more if name not in METRICS]:
        seen.unknown.append(f"the metrics {', '.join(unknown)} are not known to this program")
        return
    told = {METRICS[name]: one for name, one in record.metrics.more.items()}
    try:
        scored = read_scored(path, record.dataset.num_classes, groups=())
    except ResultsError as error:
        seen.faults.append(str(error).replace(str(path), f"{path.parent.name}/{path.name}"))
        return
    found = {metric: metric.measured(scored) for metric in told}
    intervals = intervals_of(found, scored, seed_of(record.dataset.fingerprint)) if over_images else {}
    once = np.ones((1, len(scored.predictions)), dtype=np.float32)
    for metric, one in told.items():
        value = None if found[metric].value is None else float(metric.resampled(scored, once)[0])
        ours: dict[str, object] = {"value": value, "ci95": intervals[metric][0] if over_images else None}
        for key, mine in ours.items():
            if not _same(getattr(one, key), mine):
                seen.faults.append(
                    f"{key} of {metric.name} is {_number(getattr(one, key))} in the record and {_number(mine)} by its"
                    " predictions"
                )
        told_parts = [(part.name, part.num_images, part.value) for part in one.parts if part.num_images]
        parts = [(part.what, part.num_images, part.value) for part in found[metric].parts if part.num_images]
        of_groups = any(isinstance(part[0], str) for part in parts)  # in any order; those of classes in label order
        if (
            set(told_parts) != set(parts)
            if of_groups
            else [part[1:] for part in told_parts] != [part[1:] for part in parts]
        ):
            seen.faults.append(f"the parts of {metric.name} in the record are not those of its predictions")


def _tiers_of(
    run: _Run,
    told: Mapping[str, TierRecord],
    counts: tuple[np.ndarray, np.ndarray],
    over_images: bool,
    seen: _Seen,
) -> None:
    images, hits = counts
    frame = run.prompts
    if isinstance(frame, str) or "tier" not in frame:
        if told:
            seen.unknown.append("its tiers cannot be computed: no table says which class is of which tier")
        return
    tier_of = frame.drop_duplicates("label").set_index("label")["tier"].reindex(range(len(images)))
    if set(tier_of.dropna()) != set(told):
        seen.faults.append(f"tiers {sorted(told)} in the record and {sorted(set(tier_of.dropna()))} by its prompts")
        return
    for name, tier in told.items():
        own = (tier_of == name).to_numpy()
        num_images, num_right = int(images[own].sum()), int(hits[own].sum())
        ours = {
            "num_images": num_images,
            "num_classes": int(own.sum()),
            "top1": num_right / num_images if num_images else None,
            "top1_ci95": _interval(num_right, num_images, over_images) if num_images else None,
        }
        for key, value in ours.items():
            if not _same(getattr(tier, key), value):
                seen.faults.append(
                    f"{key} of tier {name} is {_number(getattr(tier, key))} in the record and {_number(value)} by its"
                    " predictions"
                )


def _counts(found: _Predictions, num_classes: int) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, " c"]]:
    """Return the images of each class, and those that are right; a label that is no class counts nowhere."""
    valid = (found.label >= 0) & (found.label < num_classes)
    images = np.bincount(found.label[valid], minlength=num_classes)
    return images, np.bincount(found.label[valid & found.hits], minlength=num_classes)


def _interval(hits: int, count: int, over_images: bool) -> tuple[float, float] | None:
    return wilson(int(hits), int(count)) if over_images else None


def _same(one: object, other: object) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.allclose(np.asarray(one, dtype=float), np.asarray(other, dtype=float), rtol=0, atol=ROUNDING))


def _number(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_number(one) for one in value)}]"
    return "none" if value is None else str(value) if isinstance(value, int) else f"{value:.6f}"


def _prompts_of(run: _Run, seen: _Seen) -> None:
    record, frame = run.record, run.prompts
    asked = record.prompts
    if isinstance(frame, str):
        if frame:
            seen.faults.append(frame)
        else:
            seen.unknown.append("the record names no table of prompts, as those of earlier versions")
        return
    num_classes = record.dataset.num_classes
    labels, texts = frame["label"].to_numpy(), frame["text"]
    if sorted(set(labels.tolist())) != list(range(num_classes)) or (np.diff(labels) < 0).any():
        seen.faults.append(f"its labels are not those of {num_classes:,} classes in their order")
        return
    for what, told, ours in (
        ("prompts", asked.num_prompts, len(frame)),
        ("distinct prompts", asked.num_distinct, texts.nunique()),
    ):
        if told != ours:
            seen.faults.append(f"{told:,} {what} in the record and {ours:,} in the table")
    if asked.digest not in _digests(run, frame):
        target = recorded(record, "prompts").get("_target_")
        if asked.weighting != "given" and (target is None or str(target).endswith(".EmbeddingsStrategy")):
            seen.notes.append("a digest over features that somebody gave, which are in no file of a run, is not judged")
        else:
            seen.faults.append(
                f"the texts, their order or their weights are not those of the digest {asked.digest[:12]}"
            )


def _digests(run: _Run, frame: pd.DataFrame) -> list[str]:
    """Return the digests that these prompts can have: alone, and with class vectors that somebody gave."""
    asked = run.record.prompts

    def ragged(column: str) -> list[list[object]]:
        return [rows.tolist() for _, rows in frame.groupby("label", sort=True)[column]]

    facts: dict[str, object] = {"texts": ragged("text"), "aggregation": asked.aggregation}
    if asked.weighting == "given" and "weight" in frame:
        facts["weights"] = ragged("weight")
    if asked.uses_images:
        facts["weigh_by_images"] = True
    found = [content_key(facts)]
    path = _path_of(run.record, run.results_dir, "class_embeddings")
    if found[0] != asked.digest and path is not None:
        try:
            rows = read_arrays(path)[0]["class_embeddings"]
        except (FileNotFoundError, UnreadableError, DamagedFileError, KeyError):
            return found
        given = GivenEmbeddings(rows=rows.astype(np.float32), row_of={}, is_of_classes=True)
        found.append(content_key({**facts, "given": given.sha256}))
    return found


def _embeddings_of(run: _Run, seen: _Seen) -> None:
    record = run.record
    path = _path_of(record, run.results_dir, "class_embeddings")
    if path is None:
        return
    try:
        arrays, facts = read_arrays(path)
    except FileNotFoundError:
        seen.faults.append(f"{path.parent.name}/{path.name} is not there")
        return
    except UnreadableError as error:
        seen.unknown.append(str(error))
        return
    except DamagedFileError as error:
        seen.faults.append(str(error).replace(str(path), f"{path.parent.name}/{path.name}"))
        return
    facts = facts if isinstance(facts, dict) else {}  # whatever stands there
    for key, told in (("run_key", record.run_key), ("aggregation", record.prompts.aggregation)):
        if facts.get(key) != told:
            seen.faults.append(f"the file is of the {key} {facts.get(key)}")
    shape = (record.dataset.num_classes, record.backbone.embed_dim)
    matrix = arrays.get("class_embeddings")
    if matrix is None or matrix.shape != shape or matrix.dtype != np.float32:
        told_shape = "no class embeddings" if matrix is None else f"{matrix.dtype} of the shape {matrix.shape}"
        seen.faults.append(f"the file holds {told_shape}, not float32 of the shape {shape}")
        return
    _check_lengths(matrix, "class embeddings", record.prompts.aggregation != Aggregation.MEAN_SIMILARITY, seen)
    if record.prompts.aggregation != Aggregation.MAX_SIMILARITY:
        return
    prompts, owner = arrays.get("prompt_embeddings"), arrays.get("prompt_class")
    if prompts is None or owner is None or owner.ndim != 1 or prompts.shape != (len(owner), shape[1]):
        seen.faults.append("the vectors of single prompts, from which the scores come, are not there")
        return
    if sorted(set(owner.tolist())) != list(range(shape[0])):
        seen.faults.append("the vectors of single prompts are not those of every class")
    _check_lengths(prompts, "vectors of prompts", True, seen)


def _check_lengths(rows: Float[np.ndarray, "r d"], what: str, are_unit: bool, seen: _Seen) -> None:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    fits = abs(lengths - 1) < ALMOST_ONE if are_unit else (lengths < 1 + ALMOST_ONE) & (lengths > 0)
    if wrong := np.flatnonzero(~fits).tolist():
        said = "length one" if are_unit else "at most length one, and more than none"
        rows_said = ", ".join(map(str, wrong[:SHOWN]))
        seen.faults.append(f"{len(wrong):,} of {len(rows):,} {what} are not of {said}, first: {rows_said}")


# Runs beside each other -----------------------------------------------------------------------------------------------


def _images(runs: Sequence[_Run]) -> Finding:
    """Return whether runs on one data set had the same images, and the same label of each."""
    seen = _Seen()
    fingerprints: dict[tuple[object, ...], _Run] = {}
    labels: dict[tuple[object, ...], tuple[_Run, _Predictions]] = {}
    for run in runs:
        dataset = run.record.dataset
        origin = dataset.origin or {}
        if not dataset_facts(run.record):  # the folder of a user may hold other images another day
            key = (dataset.name, dataset.split, origin.get("protocol"), origin.get("names"))
            before = fingerprints.setdefault(key, run)
            if before.record.dataset.fingerprint != dataset.fingerprint:
                seen.faults.append(
                    f"{run.name} has other images, labels or class names of {dataset.name} ({dataset.split}) than"
                    f" {before.name}: fingerprints {dataset.fingerprint[:12]} and"
                    f" {before.record.dataset.fingerprint[:12]}"
                )
        if isinstance(run.predictions, str):
            continue
        own = run.predictions
        first_run, first = labels.setdefault((dataset.fingerprint, dataset.num_broken), (run, own))
        if not np.array_equal(first.index, own.index):
            seen.faults.append(f"{run.name} and {first_run.name} have one fingerprint and predictions of other images")
        elif (other := first.label != own.label).any():
            images = ", ".join(str(one) for one in own.index[other][:SHOWN].tolist())
            seen.faults.append(
                f"{run.name} and {first_run.name} have one fingerprint and other labels of {int(other.sum()):,} images,"
                f" first: {images}"
            )
    sets = len({run.record.dataset.fingerprint for run in runs})
    well = f"{sets:,} {'set' if sets == 1 else 'sets'} of images, each with the same labels in all its runs"
    return seen.finding("images", "the images and labels of runs on one data set", well)


def _weights(runs: Sequence[_Run]) -> Finding:
    """Return whether runs of one backbone had the same weights."""
    seen = _Seen()
    models: dict[str, _Run] = {}
    for run in runs:
        built = run.record.backbone
        asked = {**leaves(recorded(run.record, "backbone")), "is": [built.name, built.architecture, built.pretrained]}
        before = models.setdefault(repr(sorted(asked.items())), run)
        for name in ("weights_sha256", "activation", "embed_dim"):
            told, other = getattr(built, name), getattr(before.record.backbone, name)
            if told != other:
                seen.faults.append(f"{run.name} has the {name} {str(told)[:12]}, and {before.name} {str(other)[:12]}")
    well = f"{len(models):,} of them, each with the same weights in all its runs"
    return seen.finding("weights", "the weights of runs of one backbone", well)


# Beside what is published ---------------------------------------------------------------------------------------------


def _protocol(runs: Sequence[_Run]) -> Finding:
    """Return whether runs on named data sets are over the images and classes of a published protocol."""
    seen = _Seen()
    others: dict[str, int] = {}
    for run in runs:
        own = list(_unlike_protocol(run))
        seen.faults += [f"{run.name}: {one}" for one in own if one is not None]
        if own == [None]:
            others[run.record.dataset.name] = others.get(run.record.dataset.name, 0) + 1
    judged = len(runs) - sum(others.values())
    told = [f"{name} has no published protocol here ({_runs(number)})" for name, number in others.items()]
    if judged:
        seen.notes += told
    else:
        seen.unknown += told
    well = f"{_runs(judged)} over all images and classes of their protocol"
    return seen.finding("protocol", "the images and classes of each published protocol", well, decides=False)


def _unlike_protocol(run: _Run) -> Iterable[str | None]:
    """Yield in what a run differs from its protocol; None alone where no protocol of it is known."""
    record = run.record
    dataset, settings = record.dataset, recorded(record, "dataset")
    if (limit := settings.get("limit")) is not None:
        yield f"only {limit} images of each class: the split is {dataset.split!r}"
        return
    origin, name = dataset.origin or {}, settings.get("spec")
    if name not in spec_names() or dataset.features or origin.get("protocol") in (None, CUSTOM):
        yield None
        return
    try:
        spec = read_spec(str(name))
        protocol = spec.protocol(origin["protocol"])
        classes = spec.classes.without(protocol.without)
        names = classes.named(origin.get("names", ""))
    except DatasetError:
        yield None
        return
    if dataset.split != protocol.split:
        yield f"the split is {dataset.split!r}, and protocol {origin['protocol']} is over {protocol.split!r}"
    if dataset.num_images != protocol.num_images:
        yield f"{dataset.num_images:,} images, and protocol {origin['protocol']} has {protocol.num_images:,}"
    if dataset.num_classes != len(names):
        yield f"{dataset.num_classes:,} classes, and protocol {origin['protocol']} has {len(names):,}"
    elif not isinstance(run.prompts, str):
        told = run.prompts.drop_duplicates("label").set_index("label")["class_name"].reindex(range(len(names)))
        if other := [
            f"{ours!r} is {mine!r} in the list {origin['names']}"
            for ours, mine in zip(told, names, strict=True)
            if ours != mine
        ]:
            yield f"{len(other):,} class names are other ones, first: {'; '.join(other[:SHOWN])}"


def _published(runs: Sequence[_Run]) -> tuple[Finding, pd.DataFrame]:
    """Return whether published numbers of exactly these questions agree, and a row for each that is near or exact."""
    rows = [row for run in runs if (row := _row_of(run)) is not None]
    table = match_published(pd.DataFrame(rows), [run.record for run in runs]) if rows else pd.DataFrame()
    seen = _Seen()
    if table.empty:
        exact = table
    else:
        exact = table[(table["match"] == "exact") & (table["verified"] == "verified")]
        remembered = int(((table["match"] == "exact") & (table["verified"] != "verified")).sum())
        if remembered:
            seen.notes.append(f"{remembered:,} more are unverified and only told")
        if near := int((table["match"] == "near").sum()):
            seen.notes.append(f"{near:,} of nearly the same question are only told")
        for row in exact[~exact["agrees"].astype(bool)].to_dict("records"):
            seen.faults.append(
                f"{row['run_key']} ({row['dataset']} x {row['backbone']} x {row['prompts']}): {row['metric']} is"
                f" {percent(row['ours'])}, and {percent(row['published'])} is published, {points(row['difference'])}"
                f" ({row['source']})"
            )
    if exact.empty:
        seen.unknown.append("no published number is of exactly these questions")
    well = f"{len(exact):,} published numbers of the same question agree"
    return seen.finding("published", "published numbers of the same question", well, decides=False), table


def _row_of(run: _Run) -> dict[str, object] | None:
    """Return a run as `match_published` takes it; each seed stands for itself."""
    record, found = run.record, run.predictions
    if record.metrics is None or isinstance(found, str):
        return None
    images, hits = _counts(found, record.dataset.num_classes)
    if not images.sum():
        return None
    metrics, nothing = record.metrics, (float("nan"), float("nan"))
    low, high = metrics.top1_ci95 or nothing
    of_classes = mean_per_class_interval(hits, images) if record.kind in INDEPENDENT else nothing
    return {
        "run_key": record.run_key,
        "of_seeds": False,
        "dataset": record.dataset.name,
        "split": record.dataset.split,
        "backbone": record.backbone.name,
        "prompts": record.prompts.name,
        "scorer": record.scorer.name,
        "top1": metrics.top1,
        "top1_low": low,
        "top1_high": high,
        "top5": float("nan") if metrics.top5 is None else metrics.top5,
        "mean_per_class": metrics.mean_per_class,
        "mean_per_class_low": of_classes[0],
        "mean_per_class_high": of_classes[1],
        **_headline_of(metrics),
    }


def _headline_of(metrics: MetricsRecord) -> dict[str, object]:
    """Return the headline metric of a run, where it is one beyond accuracy."""
    if metrics.primary_more is None:
        return {}
    low, high = metrics.primary_more.ci95 or (float("nan"), float("nan"))
    return {
        "primary": metrics.primary_name,
        "primary_value": metrics.primary,
        "primary_low": low,
        "primary_high": high,
    }
