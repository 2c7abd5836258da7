"""The program from Python: one function for each command, which returns its answer and prints nothing.

Nothing here prints, handles signals, or leaves a setting behind; each function may be called again, from a notebook,
a thread or an event loop. Mistakes raise `CuplBenchError` with the message of the command line.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from cupl_bench.backbone import identified_by
from cupl_bench.choices import Choice, asked_by, name_of
from cupl_bench.dataset.in_memory import GivenImage, listed
from cupl_bench.embeddings import build_class_embeddings
from cupl_bench.errors import ConfigError, CuplBenchError
from cupl_bench.progress import showing_progress
from cupl_bench.prompts import prompts_of
from cupl_bench.records import Record
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.device import batch_size_of, num_workers_of
from cupl_bench.run.flow import run, run_together
from cupl_bench.run.towers import Towers
from cupl_bench.scorers import Scorer

if TYPE_CHECKING:
    import pandas as pd

    from cupl_bench.paragraph import Paper

__all__ = [
    "EmbeddedClasses",
    "class_embeddings",
    "compare",
    "encode_images",
    "evaluate",
    "load_predictions",
    "load_results",
    "paper",
    "published",
    "sweep",
]


def evaluate(
    *overrides: str,
    dataset: Choice | None = None,
    backbone: Choice | None = None,
    prompts: Choice | None = None,
    scorer: str | Scorer | None = None,
    progress: bool = False,
    **keys: object,
) -> Record:
    """Answer one question, or find its answer, and return its record: ``cupl-bench eval`` without its output.

    Args:
        overrides: as they are typed on the command line, such as ``"dataset.path=photos"``.
        dataset: the name of an option; a list of (image, label) pairs (`GivenImage`; a class index or a class name);
            `Features` that were computed elsewhere; or a function of the cache folder that gives a `Dataset`.
        backbone: the name of an option, or a `Model` in memory.
        prompts: the name of an option; a list of templates; a map class name -> sentences; an array of class vectors
            (C x D); or a function of the class names that gives `Prompts` or a list of texts for each class.
        scorer: the name of an option, or a `cupl_bench.scorers.Scorer`.
        progress: whether long work shows a progress bar, in a notebook or on a terminal.
        keys: keys of the root, such as ``results_dir``, ``cache_dir``, ``precision``, ``seed``, ``rerun``; and
            ``config_dir``, a folder with options of your own.

    Returns:
        The record, which also lies under ``results_dir``, with the run key of the same question on the command line.

    Raises:
        CuplBenchError: a mistake that the user can mend.

    Example:
        >>> import cupl_bench, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = cupl_bench.evaluate("dataset.limit=1", prompts="simple", results_dir=folder)
        >>> record.dataset.num_images
        32
    """
    choices = {"dataset": dataset, "backbone": backbone, "prompts": prompts, "scorer": scorer}
    question, machine = asked_by(overrides, choices, keys)
    with showing_progress(progress):
        return run(question, machine, Workbench())


def sweep(
    *overrides: str,
    dataset: Sequence[Choice] | None = None,
    backbone: Sequence[Choice] | None = None,
    prompts: Sequence[Choice] | None = None,
    scorer: Sequence[str | Scorer] | None = None,
    progress: bool = False,
    **keys: object,
) -> list[Record]:
    """Answer the questions of every combination of choices; return their records in order, scorers changing fastest.

    Args:
        overrides: as `evaluate`.
        dataset: a list of what `evaluate` takes.
        backbone: a list of what `evaluate` takes.
        prompts: a list of what `evaluate` takes.
        scorer: a list of what `evaluate` takes.
        progress: as `evaluate`.
        keys: as `evaluate`; a list is swept over.

    Raises:
        CuplBenchError: after all other questions were answered: those that could not be, with their reasons.
    """
    groups: dict[str, list[Any]] = {
        name: [None] if options is None else list(options)
        for name, options in (
            ("dataset", dataset),
            ("backbone", backbone),
            ("prompts", prompts),
            ("scorer", scorer),
        )
    }
    if empty := [name for name, options in groups.items() if not options]:
        raise ConfigError(f"{empty[0]} is an empty list: there is nothing to ask.")
    swept = {name: value for name, value in keys.items() if isinstance(value, list | tuple)}
    fixed = {name: value for name, value in keys.items() if name not in swept}
    bench = Workbench(several_backbones=len(groups["backbone"]) > 1)
    called: list[str] = []
    found: list[Record | Exception] = []
    for one_dataset, one_backbone in product(groups["dataset"], groups["backbone"]):
        asked: list[Callable[[], tuple[Question, Machine]]] = []
        for values, one_prompts, one_scorer in product(product(*swept.values()), groups["prompts"], groups["scorer"]):
            choices = {
                "dataset": one_dataset,
                "backbone": one_backbone,
                "prompts": one_prompts,
                "scorer": one_scorer,
            }
            given = {**fixed, **dict(zip(swept, values, strict=True))}
            asked.append(partial(asked_by, overrides, choices, given))
            called.append(" ".join(f"{name}={name_of(one)}" for name, one in choices.items() if one is not None))
        with showing_progress(progress):
            found += run_together(asked, bench)
    failures = [(name, one) for name, one in zip(called, found, strict=True) if isinstance(one, Exception)]
    for _, error in failures:
        if not isinstance(error, CuplBenchError):
            raise error
    if failures:
        name, error = failures[0]
        raise CuplBenchError(
            f"{len(failures)} of {len(found)} questions have no answer; the records of the others are written. First:"
            f" {name}: {error}"
        )
    return [one for one in found if isinstance(one, Record)]


def load_results(results_dir: str | Path = "results") -> "pd.DataFrame":
    """Return a row for each finished run below ``results_dir``, in the order in which they were made.

    Raises:
        ResultsError: there is no record.
    """
    import pandas as pd

    from cupl_bench.records import read_records

    rows = []
    for record in read_records(Path(results_dir).expanduser()):
        if record.metrics is None:
            continue
        low, high = record.metrics.top1_ci95 or (None, None)
        rows.append(
            {
                "run_key": record.run_key,
                "dataset": record.dataset.name,
                "split": record.dataset.split,
                "features": "encoded" if record.dataset.features is None else "given",
                "backbone": record.backbone.name,
                "prompts": record.prompts.name,
                "scorer": record.scorer.name,
                "kind": record.kind,
                "precision": record.backbone.precision,
                "aggregation": record.prompts.aggregation,
                "budget": record.prompts.budget,
                "seed": record.scorer.parameters.get("seed") if record.prompts.seed is None else record.prompts.seed,
                "num_images": record.dataset.num_images,
                "num_classes": record.dataset.num_classes,
                "num_prompts": record.prompts.num_prompts,
                "top1": record.metrics.top1,
                "top1_low": low,
                "top1_high": high,
                "top5": record.metrics.top5,
                "mean_per_class": record.metrics.mean_per_class,
                "primary": record.metrics.primary,
                "primary_name": record.metrics.primary_name,
                **{name: one.value for name, one in (record.metrics.more or {}).items()},
                "created_at": record.created_at,
            }
        )
    return pd.DataFrame(rows)


def load_predictions(results_dir: str | Path, run_key: str) -> "pd.DataFrame":
    """Return a row for each image of a run: index, image_id, label, prediction, correct, top5, score, margin.

    Raises:
        ResultsError: there is no such finished run, or its file is gone or altered.
    """
    import pandas as pd

    from cupl_bench.errors import ResultsError
    from cupl_bench.records import read_record, record_path, unlike_artifacts

    folder = Path(results_dir).expanduser()
    record = read_record(record_path(folder, run_key))
    if record.artifacts is None:
        raise ResultsError(f"The run {run_key} has failed and left no predictions: {record.error}")
    if lost := unlike_artifacts(record, folder, ["predictions"]):
        raise ResultsError(f"{folder / lost[0]} is gone, or is not what the run wrote. Run its question again.")
    return pd.read_parquet(folder / record.artifacts.predictions)


def compare(
    results_dir: str | Path = "results", baseline: str | None = None, *, over_datasets: bool = False
) -> "pd.DataFrame":
    """Return the comparison of all runs below ``results_dir``: the columns of ``tables/comparison.csv``.

    Args:
        results_dir: where the records lie.
        baseline: the prompts that the others are compared with, by their name in the table; None: the first of
            simple and name_only, else those that were run first.
        over_datasets: whether to return the ranks over data sets in its place: the columns of ``tables/ranking.csv``,
            with what was left out or cannot be said as a list of sentences in ``attrs["notes"]``; no row where the
            runs cover a single data set.

    Raises:
        ResultsError: there is no record, a file of a run is gone or altered, or there is no such baseline.
    """
    from cupl_bench.records import read_records
    from cupl_bench.report.comparison import compare as compare_records
    from cupl_bench.report.standings import notes_of

    folder = Path(results_dir).expanduser()
    found = compare_records(read_records(folder), folder, baseline=baseline)
    if not over_datasets:
        return found.runs
    ranking = found.standings.table.copy()
    ranking.attrs["notes"] = notes_of(found.standings)
    return ranking


def paper(results_dir: str | Path = "results", baseline: str | None = None) -> "Paper":
    """Return the paragraph of a reproducibility checklist about the runs below ``results_dir``: ``report paper``.

    Args:
        results_dir: where the records lie.
        baseline: as `compare`.

    Returns:
        Its ``markdown`` and ``latex``, the ``bibtex`` that they cite, and what is ``unknown``, in words.

    Raises:
        ResultsError: as `compare`.
    """
    from cupl_bench.paragraph import paper_of
    from cupl_bench.records import read_records

    folder = Path(results_dir).expanduser()
    return paper_of(read_records(folder), folder, baseline=baseline)


def published(*words: str, **filters: str) -> "pd.DataFrame":
    """Return published numbers in percent, a row each: the columns of results/published.csv.

    Args:
        words: that a row must hold in any of its columns.
        filters: ``dataset``, ``protocol``, ``backbone``, ``prompts``, ``scorer``, ``metric``, ``source`` or
            ``verified``: values between commas, with ``*`` for any letters.

    Raises:
        ResultsError: a word or a value is in no row.

    Example:
        >>> import cupl_bench
        >>> cupl_bench.published("DMN", dataset="pets", scorer="plain")["value"].tolist()
        [90.32]
    """
    from cupl_bench.report.published import search_published

    return search_published(words, filters)


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedClasses:
    """Class embeddings for use elsewhere.

    ``matrix``: C x D, float32, row i is class i: unit rows, but for the aggregation ``mean_similarity``.
    ``logit_scale``: the model's factor from similarities to logits.
    """

    matrix: Float32[np.ndarray, "c d"]
    class_names: tuple[str, ...]
    logit_scale: float


def class_embeddings(
    class_names: Sequence[str],
    *overrides: str,
    backbone: Choice | None = None,
    prompts: Choice | None = None,
    **keys: object,
) -> EmbeddedClasses:
    """Return the class embeddings of ``class_names``: the zero-shot classifier of a backbone and a prompt strategy.

    Args:
        class_names: in label order.
        overrides: as `evaluate`.
        backbone: as `evaluate`.
        prompts: as `evaluate`.
        keys: as `evaluate`.

    Raises:
        CuplBenchError: a mistake that the user can mend.

    Example:
        >>> import cupl_bench
        >>> cupl_bench.class_embeddings(["daisy", "poppy"], backbone="demo", prompts="simple").matrix.shape
        (2, 128)
    """
    from cupl_bench.run.classes import rows_of_class
    from cupl_bench.run.features import features_of_prompts
    from cupl_bench.run.scoring import logit_scale_of

    if isinstance(class_names, str):
        raise ConfigError("class_names is one text; give a list of names.")
    question, machine = asked_by(overrides, {"dataset": None, "backbone": backbone, "prompts": prompts}, keys)
    written = prompts_of(question.prompts, tuple(class_names))
    if written.weigh_by_images:
        raise ConfigError(f"prompts={question.prompts_name} weighs prompts by images, and there are none here.")
    towers = _towers(question, machine)
    features = features_of_prompts(towers, written)
    built = build_class_embeddings(
        features.rows, rows_of_class(written, features), written.aggregation, written.weights
    )
    return EmbeddedClasses(matrix=built.matrix, class_names=tuple(class_names), logit_scale=logit_scale_of(towers))


def encode_images(
    images: Iterable[GivenImage], *overrides: str, backbone: Choice | None = None, **keys: object
) -> Float32[np.ndarray, "n d"]:
    """Return the unit features of images, a row for each, in order; equal images are encoded once, and kept.

    Args:
        images: paths, bytes of image files, or images of Pillow.
        overrides: as `evaluate`.
        backbone: as `evaluate`.
        keys: as `evaluate`.

    Raises:
        CuplBenchError: an image cannot be read or decoded, or another mistake that the user can mend.
    """
    from cupl_bench.features import encode_images as encode_into_store

    question, machine = asked_by(overrides, {"dataset": None, "backbone": backbone, "prompts": None}, keys)
    towers = _towers(question, machine)
    features = encode_into_store(
        listed(images),
        towers.load,
        towers.images,
        decode_by=question.decode,
        batch_size=batch_size_of(machine),
        num_workers=num_workers_of(machine),
        skip_broken=False,
    )
    return features.stored[:]


def _towers(question: Question, machine: Machine) -> Towers:
    facts = identified_by(question.backbone, machine.cache_dir, download=True)
    return Towers(question=question, machine=machine, bench=Workbench(), facts=facts)
