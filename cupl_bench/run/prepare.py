"""Find out all that a question needs before the first image is decoded, and whether it is answered."""

import logging
from dataclasses import replace
from pathlib import Path

from cupl_bench.backbone import BackboneFacts, identified_by
from cupl_bench.backbone.given import GivenSource
from cupl_bench.dataset import Dataset
from cupl_bench.errors import ConfigError
from cupl_bench.metrics import METRICS, undefined
from cupl_bench.prompts import Prompts, prompts_of
from cupl_bench.ranks import from_first, in_turn
from cupl_bench.records import Record
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.finished import finished
from cupl_bench.run.prepared import Prepared, left_out_before
from cupl_bench.run.timing import Stages
from cupl_bench.scorers.facts import ScorerFacts, check_fit, facts_of
from cupl_bench.store import write_atomically

__all__ = ["check_metric", "prepare", "prepared_of", "say_key", "say_question", "scorer_of", "with_width"]

log = logging.getLogger(__name__)


def prepare(question: Question, machine: Machine, bench: Workbench) -> Record | Prepared:
    """Find out what a question needs; return its record where it is answered already.

    Every process of torchrun calls it, and gets the same.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    stages = Stages()
    with stages.working():
        prepared = replace(in_turn(lambda: prepared_of(question, machine, bench)), stages=stages)
        prepared = replace(prepared, left_out=from_first(lambda: left_out_before(prepared)))
        say_key(prepared)
        found = from_first(lambda: finished(prepared))
    return prepared if found is None else found


def prepared_of(question: Question, machine: Machine, bench: Workbench) -> Prepared:
    """Return a question with its data set, its prompts and the facts of its backbone.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    _check_results_dir(machine.results_dir)
    dataset = bench.dataset(question.dataset, machine.cache_dir)
    check_metric(question, dataset)
    prompts = prompts_of(question.prompts, dataset.class_names)
    facts = identified_by(question.backbone, machine.cache_dir, download=True)
    facts = with_width(dataset, prompts, facts, question.backbone_name)
    return Prepared(
        question=question,
        machine=machine,
        bench=bench,
        dataset=dataset,
        prompts=prompts,
        facts=facts,
        scorer=scorer_of(question, dataset, prompts),
    )


def check_metric(question: Question, dataset: Dataset) -> None:
    """Check that the headline metric is defined of the images, before any of them is encoded.

    Raises:
        ConfigError: it is not, or reads what the scorer does not say.
    """
    primary = question.primary
    why = undefined(primary, dataset.truth)
    if why is None and primary in METRICS and METRICS[primary].is_sure and question.scorer.scores_are == "scores":
        why = f"scorer={question.scorer_name} does not say how sure it is of an image"
    if why is not None:
        raise ConfigError(
            f"dataset.primary={primary} is not defined of dataset={question.dataset_name}: {why}. Take other images or"
            " another metric: docs/metrics.md says what each needs, docs/own/dataset.md how to give groups and classes."
        )


def scorer_of(question: Question, dataset: Dataset, prompts: Prompts) -> ScorerFacts:
    """Return the scorer of a question with the files that it reads.

    Raises:
        ScorerError: a file cannot be had, or the scorer would not get what it needs.
    """
    facts = facts_of(question.scorer_name, question.scorer)
    check_fit(
        facts,
        prompts,
        dataset.class_names,
        has_images=dataset.features is None,
        has_text_tower=not isinstance(question.backbone, GivenSource),
    )
    return facts


def with_width(dataset: Dataset, prompts: Prompts, facts: BackboneFacts, name: str) -> BackboneFacts:
    """Return the facts of a backbone with the width of its features, which all that is given must have.

    Raises:
        ConfigError: features, class vectors and the backbone are of several widths.
    """
    widths = {
        "the image features (dataset)": None if dataset.features is None else dataset.features.width,
        "the class vectors (prompts)": None if prompts.given is None else int(prompts.given.rows.shape[1]),
        f"the backbone {name}": facts.embed_dim,
    }
    told = {what: width for what, width in widths.items() if width is not None}
    if len(set(told.values())) > 1:
        raise ConfigError(
            f"{', '.join(f'{what} is {width} wide' for what, width in told.items())}: these are not of one model."
        )
    if not told:
        raise ConfigError(
            f"backbone={name} encodes nothing, and neither features nor class vectors are given: name a backbone that"
            " can be loaded."
        )
    features = dataset.features
    encodes_prompts = facts.embed_dim is not None and prompts.given is None
    if features and encodes_prompts and features.weights_sha256 not in (None, facts.weights_sha256):
        log.warning(
            "the image features are of %s with the weights %s, and %s encodes the prompts with the weights %s: unless"
            " these are the same in another file, the scores mean nothing",
            features.said_to_be_of, str(features.weights_sha256)[:12], name, facts.weights_sha256[:12],
        )  # fmt: skip
    return facts if facts.embed_dim is not None else replace(facts, embed_dim=next(iter(told.values())))


def _check_results_dir(results_dir: Path) -> None:
    """Check that records can be written, before any work is done.

    Raises:
        ResultsError: they cannot.
    """
    probe = results_dir / "records" / ".probe"
    write_atomically(probe, b"")
    probe.unlink(missing_ok=True)


def say_key(prepared: Prepared) -> None:
    """Tell the run key and the names of a question."""
    question = prepared.question
    scorer = () if prepared.scorer.is_plain else (question.scorer_name,)
    names = (question.dataset_name, question.backbone_name, question.prompts_name, *scorer)
    log.info("%s  %s, %s", prepared.key, " x ".join(names), question.precision)


def say_question(prepared: Prepared) -> None:
    """Tell the images and the prompts of a question that is now answered."""
    dataset, prompts = prepared.dataset, prepared.prompts
    log.info(
        "dataset   %s, split %s: %s images of %s classes, fingerprint %s",
        prepared.question.dataset_name, dataset.split, f"{len(dataset.labels):,}", f"{len(dataset.class_names):,}",
        dataset.fingerprint[:12],
    )  # fmt: skip
    for note in dataset.notes:
        log.info("          %s", note)
    if (twins := dataset.under_two_labels()) is not None:
        log.warning("          %s", twins)
    log.info(
        "prompts   %s: %s prompts, %s distinct, %s",
        prepared.question.prompts_name, f"{prompts.num_prompts:,}", f"{len(prompts.distinct()):,}", prompts.aggregation,
    )  # fmt: skip
    if prompts.budget is not None:
        fewer = sum(len(row) < prompts.budget for row in prompts.texts)
        log.info(
            "          at most %s of each class, %s%s",
            f"{prompts.budget:,}", "all kept" if prompts.seed is None else f"drawn with seed {prompts.seed}",
            f"; {fewer:,} of {len(prompts.texts):,} classes have fewer and keep all" if fewer else "",
        )  # fmt: skip
    if prompts.join is not None:
        joined = ", ".join(f"{count} {how}" for how, count in prompts.join.items() if count)
        log.info("          class names joined: %s", joined)
