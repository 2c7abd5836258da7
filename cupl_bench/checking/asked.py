"""Whether every question that was asked has an answer, and was asked in those words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cupl_bench.checking.findings import Finding, Seen
from cupl_bench.checking.reading import name_of
from cupl_bench.outcomes import last_outcomes, state_of
from cupl_bench.question import GROUPS, TOLD, QuestionRecord
from cupl_bench.records import ARTIFACTS, Record
from cupl_bench.report.missing import missing_cells
from cupl_bench.report.naming import leaves
from cupl_bench.store import files_in

__all__ = ["AskedQuestion", "answered", "answers_of", "as_asked", "complete"]

PLACES = ("dataset.path", "dataset.root", "dataset.source", "dataset.cache_dir", "prompts.cache_dir", "dataset.name")
"""Settings that say where files lie: fingerprint and digest say what is in them."""


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """A question that should have an answer: what it is called, and its words as a record would hold them."""

    name: str
    words: QuestionRecord


def complete(results_dir: Path, records: Sequence[Record]) -> Finding:
    """Return whether every question that was asked in a folder has a finished run.

    Where no list of them lies there, the cells of data sets, backbones and prompts must be full.
    """
    seen = Seen()
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


def answers_of(asked: Sequence[AskedQuestion], records: Sequence[Record]) -> dict[str, Record]:
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
        asked = {key: value for key, value in words.option(group).items() if key not in TOLD.get(group, ())}
        found |= leaves(asked, f"{group}.")
    found |= {"precision": words.precision, "budget": words.budget, "seed": words.seed}
    return {key: _without_place(key, value) for key, value in found.items()}


def _without_place(key: str, value: object) -> object:
    """Return a setting without the folders of this or another machine, and a class without its module."""
    if not isinstance(value, str):
        return list(value) if isinstance(value, tuple) else value
    if key.endswith("_target_"):
        return value.split(".")[-1]
    return PurePosixPath(value).name if value.startswith(("/", "~", "./", "../")) else value


def answered(asked: Sequence[AskedQuestion], answers: Mapping[str, Record], num_records: int) -> Finding:
    """Return whether each question has a record of a finished run among ``num_records``."""
    seen = Seen()
    for one in asked:
        record = answers.get(one.name)
        if record is None:
            seen.faults.append(f"{one.name} has no record")
        elif record.status != "ok":
            seen.faults.append(f"{one.name} has failed: {record.error}")
    if others := num_records - len({record.run_key for record in answers.values()}):
        seen.notes.append(f"{others:,} other records lie there and are not looked at")
    return seen.finding("complete", f"{len(asked):,} questions of the experiment", "each has a finished record")


def as_asked(asked: Sequence[AskedQuestion], answers: Mapping[str, Record]) -> Finding:
    """Return whether each record was asked in the words of its question."""
    seen = Seen()
    for one in asked:
        record = answers.get(one.name)
        if record is None or record.status != "ok":
            continue
        if record.config is None:
            seen.unknown.append(f"{name_of(record)} does not hold its question")
        elif unlike := [told for key, told in _unlike(one.words, record).items() if key not in PLACES]:
            seen.faults.append(f"{name_of(record)}: {'; '.join(unlike)}")
    return seen.finding("as asked", "the settings of each record beside those of the experiment", "all are the same")
