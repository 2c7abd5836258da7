"""Find the runs that may be compared, and name each so that no two share a name."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

from cupl_bench.errors import ResultsError, first
from cupl_bench.identity import content_key
from cupl_bench.records import Kind, Record
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

__all__ = ["Group", "Run", "Strategy", "comparable", "group_of", "latest", "named_runs", "same_features"]

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
    kept, older = latest(finished)
    if older:
        log.warning("%d older runs of questions that were answered again are left out: %s", len(older), first(older))
    groups: dict[Group, list[Run]] = {}
    for run in _by_scorer(named_runs(kept)):
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


def latest(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
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


def named_runs(records: Sequence[Record]) -> list[Run]:
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
