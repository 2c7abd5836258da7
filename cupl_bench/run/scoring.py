"""Many questions scored in one pass over the image features, each with the answer that it would get alone."""

import json
import logging
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace

from cupl_bench.errors import ResultsError
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.metrics import METRICS, along_with, intervals_of, seed_of
from cupl_bench.records import (
    ArtifactsRecord,
    MetricRecord,
    MetricsRecord,
    PartRecord,
    Record,
    TierRecord,
    digest_of_file,
    write_record,
)
from cupl_bench.run.classes import rows_of_class, weights_of
from cupl_bench.run.device import device_of
from cupl_bench.run.features import features_of_texts
from cupl_bench.run.finished import finished
from cupl_bench.run.recording import failure_recorded, record_of
from cupl_bench.run.towers import Towers
from cupl_bench.run.waiting import Waiting
from cupl_bench.run.writing import write_class_embeddings, write_predictions, write_prompts
from cupl_bench.scored_file import read_scored
from cupl_bench.scorers import INDEPENDENT, Inputs, checked, kind_of
from cupl_bench.scores import Tally, measure, measure_tiers, predictions_of
from cupl_bench.store import is_unreadable, set_aside, tell_unreadable, unreadable, write_atomically

__all__ = ["logit_scale_of", "score_together"]

log = logging.getLogger(__name__)


def score_together(waiting: Sequence[Waiting]) -> list[Record | Exception]:
    """Score questions, write their records, and return for each, in order, its record or its own error.

    The question that is furthest behind is always advanced next, so image features are read once for all questions:
    what one has read is still in memory for the others. Each question has its own tiles, files, times and failures,
    and its predictions equal, to the last bit, those of a pass alone. A question that occurs twice is scored once;
    the second then finds the answer. A scorer that looks at all images holds much memory, and has a pass of its own.
    """
    outcomes: dict[int, Record | Exception] = {}
    left = dict(enumerate(waiting))
    while left:
        first_of_key: dict[str, int] = {}
        for place, one in left.items():
            first_of_key.setdefault(one.prepared.key, place)
        is_again = bool(outcomes)
        together = [place for place in first_of_key.values() if _is_by_image(left[place])]
        alone = [[place] for place in first_of_key.values() if place not in together]
        for places in [together, *alone]:
            outcomes |= _one_pass({place: _Scoring.of(left.pop(place), is_again) for place in places})
    return [outcomes[place] for place in range(len(waiting))]


def _is_by_image(waiting: Waiting) -> bool:
    return waiting.prepared.scorer.needs.kind in INDEPENDENT


@dataclass
class _Scoring:
    """A question that is being scored: what is right of each part that is written, and of all so far.

    ``is_again``: whether the same question was scored just before.
    """

    waiting: Waiting
    is_again: bool
    tallies: Generator[Tally, None, None]
    tally: Tally | None = None

    @classmethod
    def of(cls, waiting: Waiting, is_again: bool) -> "_Scoring":
        return cls(waiting, is_again, _tallies(waiting))

    @property
    def num_scored(self) -> int:
        return 0 if self.tally is None else int(self.tally.images.sum())

    def goes_on(self) -> Record | None:
        """Score one more part; return the record where there is none left.

        Raises:
            CuplBenchError: something that the user can correct; a failed record tells it too.
        """
        prepared = self.waiting.prepared
        with failure_recorded(prepared), prepared.stages.working():
            if self.is_again and self.tally is None and (found := finished(prepared)) is not None:
                return found
            with prepared.stages.stage("scores"):
                part = next(self.tallies, None)
                if part is not None:
                    self.tally = part if self.tally is None else self.tally + part
                    return None
                if self.tally is None:
                    raise ValueError("there is no image to classify")
                metrics = _measured(self.waiting, self.tally)
            prepared.stages.cached["scores"] = False
            return _recorded(self.waiting, metrics)


def _one_pass(scorings: Mapping[int, _Scoring]) -> dict[int, Record | Exception]:
    """Score questions that are all different; give the record or the error of each by its place."""
    outcomes: dict[int, Record | Exception] = {}
    left = dict(scorings)
    with ExitStack() as files:  # whatever ends the pass, no file is left half written
        for one in left.values():
            files.enter_context(closing(one.tallies))
        while left:
            place = min(left, key=lambda each: left[each].num_scored)
            outcome: Record | Exception | None
            try:
                outcome = left[place].goes_on()
            except Exception as error:  # noqa: BLE001 - given to the caller, so that no other question fails with it
                raise_if_interrupted()
                outcome = error
            if outcome is not None:
                outcomes[place] = outcome
                del left[place]
    return outcomes


def _tallies(waiting: Waiting) -> Generator[Tally, None, None]:
    """Score, predict and write part by part, and give what is right of each."""
    prepared = waiting.prepared
    path = prepared.machine.results_dir / f"predictions/{prepared.key}.parquet"
    scale, scorer = logit_scale_of(prepared), prepared.scorer.scorer
    tiles = checked(scorer(_inputs(waiting, scale)), prepared.scorer.name, _shape(waiting))
    keep_scores = any(metric.ranks for metric in along_with(prepared.question.primary))
    parts = predictions_of(tiles, scale, scorer.scores_are, keep_scores=keep_scores)
    yield from write_predictions(path, prepared.dataset, waiting.images, parts)


def _shape(waiting: Waiting) -> tuple[int, int]:
    return len(waiting.images.stored), len(waiting.prepared.dataset.class_names)


def _inputs(waiting: Waiting, logit_scale: float) -> Inputs:
    """Return what a scorer may look at; the labels stay here."""
    prepared, texts = waiting.prepared, waiting.texts
    return Inputs(
        images=waiting.images.stored,
        class_names=prepared.dataset.class_names,
        classes=waiting.classes,
        views=waiting.views,
        prompts=None if texts is None else texts.rows,
        rows_of_class=() if texts is None else rows_of_class(prepared.prompts, texts),
        weights=None if texts is None else weights_of(prepared.prompts, waiting.classes.weights),
        encode=lambda more: features_of_texts(prepared, more),
        files=prepared.scorer.files,
        logit_scale=logit_scale,
        device=device_of(prepared.machine),
    )


def _measured(waiting: Waiting, tally: Tally) -> MetricsRecord:
    prepared, tiers = waiting.prepared, None
    is_plain, over_images = prepared.scorer.is_plain, kind_of(prepared.uses) in INDEPENDENT
    metrics = measure(tally)
    if prepared.dataset.tiers is not None:
        labels = waiting.images.of_kept(prepared.dataset.labels)
        features = waiting.images.stored if is_plain else None
        measured = measure_tiers(features, waiting.classes, tally, labels, prepared.dataset.tiers)
        tiers = {tier: TierRecord(**asdict(values)) for tier, values in measured.items()}
    if not over_images:
        metrics = replace(metrics, top1_ci95=None)
        tiers = tiers and {tier: one.model_copy(update={"top1_ci95": None}) for tier, one in tiers.items()}
    primary = prepared.question.primary
    more = _beyond_accuracy(waiting, over_images) if primary in METRICS else None
    return MetricsRecord(
        **asdict(metrics),
        primary=getattr(metrics, primary) if more is None else more[primary].value,
        primary_name=primary,
        tiers=tiers,
        more=more,
    )


def _beyond_accuracy(waiting: Waiting, over_images: bool) -> dict[str, MetricRecord]:
    """Return the metrics of a question beyond accuracy, measured on the predictions as they are written.

    Raises:
        ResultsError: the primary one is not defined of these answers.
    """
    prepared = waiting.prepared
    dataset, metrics = prepared.dataset, along_with(prepared.question.primary)
    scored = read_scored(
        prepared.machine.results_dir / f"predictions/{prepared.key}.parquet",
        num_classes=len(dataset.class_names),
        groups=() if dataset.groups is None else dataset.groups.names,
    )
    found = {metric: metric.measured(scored) for metric in metrics}
    if (why := found[metrics[0]].undefined) is not None:
        raise ResultsError(f"dataset.primary={metrics[0].name} is not defined of these answers: {why}.")
    intervals = intervals_of(found, scored, seed_of(dataset.fingerprint)) if over_images else {}
    names = dataset.class_names
    return {
        metric.name: MetricRecord(
            value=one.value,
            ci95=intervals[metric][0] if metric in intervals else None,
            interval=intervals[metric][1] if metric in intervals else "none: the scores of images depend on each other",
            undefined=one.undefined,
            parts=tuple(
                PartRecord(
                    name=names[part.what] if isinstance(part.what, int) else part.what,
                    num_images=part.num_images,
                    value=part.value,
                )
                for part in one.parts
            ),
        )
        for metric, one in found.items()
    }


def _recorded(waiting: Waiting, metrics: MetricsRecord) -> Record:
    """Write the files of a question whose predictions are written, and its record; return the record."""
    prepared, images, classes = waiting.prepared, waiting.images, waiting.classes
    key, results_dir, prompts = prepared.key, prepared.machine.results_dir, prepared.prompts
    artifacts = ArtifactsRecord(
        predictions=f"predictions/{key}.parquet",
        class_embeddings=f"class_embeddings/{key}.safetensors",
        prompts=f"prompts/{key}.parquet",
    )
    write_class_embeddings(results_dir / artifacts.class_embeddings, classes, {"run_key": key})
    weights = weights_of(prompts, classes.weights)
    write_prompts(results_dir / f"prompts/{key}.parquet", prepared.dataset, prompts.texts, weights)
    record = record_of(
        prepared,
        status="ok",
        num_broken=int((~images.kept).sum()),
        num_truncated=waiting.num_truncated,
        metrics=metrics,
        timing=prepared.stages.timing(),
        artifacts=artifacts,
        artifact_digests={
            name: digest_of_file(results_dir / path) for name, path in artifacts.model_dump(exclude_none=True).items()
        },
    )
    write_record(results_dir, record)
    low, high = metrics.top1_ci95 or (metrics.top1, metrics.top1)
    if low <= 1 / record.dataset.num_classes and record.dataset.features is not None:
        log.warning(
            "top-1     %s is no better than chance (%.2f%% with %s classes). Either the features and the prompts are of"
            " different models, or the labels are in another order than the class names.",
            key, 100 / record.dataset.num_classes, f"{record.dataset.num_classes:,}",
        )  # fmt: skip
    log.info(
        "top-1     %s %s: %.1f%%%s of %s images",
        key, " x ".join([prepared.question.prompts_name, *([] if prepared.scorer.is_plain else [record.scorer.name])]),
        100 * metrics.top1,
        f" [{100 * low:.1f}, {100 * high:.1f}]" if metrics.top1_ci95 else f" ({record.kind})",
        f"{len(images.stored):,}",
    )  # fmt: skip
    for name, metric in (metrics.more or {}).items():
        value = metric.undefined if metric.value is None else f"{100 * metric.value:.1f}%"
        ends = f" [{100 * metric.ci95[0]:.1f}, {100 * metric.ci95[1]:.1f}]" if metric.ci95 else ""
        log.info("          %s: %s%s", METRICS[name].title, value, ends)
    return record


def logit_scale_of(towers: Towers) -> float:
    """Return the model's factor from similarities to logits, which is stored so that no model is loaded for it."""
    text_key = towers.facts.text_key(towers.question.precision)
    path = towers.machine.cache_dir / "logit_scales" / f"{text_key[:32]}.json"
    try:
        scale = float(json.loads(path.read_text(encoding="utf-8")))
        if math.isfinite(scale):
            return scale
        set_aside(path, f"{path} holds {scale}")
    except FileNotFoundError:
        pass
    except OSError as error:
        tell_unreadable(unreadable(path, error))
    except (ValueError, TypeError) as error:
        set_aside(path, error)
    scale = towers.load_text().logit_scale
    if not is_unreadable(path):
        write_atomically(path, json.dumps(scale).encode())
    return scale
