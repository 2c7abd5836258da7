"""The record of a question: what was asked, and the answer or the reason why there is none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from cupl_bench.environment import describe_environment
from cupl_bench.errors import CuplBenchError, ResultsError
from cupl_bench.identity import PROTOCOL_VERSION
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.memory import is_lack_of_memory, out_of_memory
from cupl_bench.prompts.costs import cost_of
from cupl_bench.prompts.provenance import written_by
from cupl_bench.records import (
    BackboneRecord,
    CostRecord,
    DatasetRecord,
    FeaturesRecord,
    PromptsRecord,
    Record,
    ScorerRecord,
    TextsRecord,
    write_record,
)
from cupl_bench.run.device import device_of
from cupl_bench.run.prepared import Prepared
from cupl_bench.scorers import kind_of
from cupl_bench.store import user_cache_dir

__all__ = ["failure_recorded", "record_of"]


def record_of(
    prepared: Prepared, *, status: Literal["ok", "failed"], num_broken: int = 0, num_truncated: int = 0, **rest: Any
) -> Record:
    """Return the record of a question, with the answer, or the error, in ``rest``."""
    question, dataset, prompts = prepared.question, prepared.dataset, prepared.prompts
    return Record(
        protocol_version=PROTOCOL_VERSION,
        run_key=prepared.key,
        status=status,
        created_at=datetime.now(UTC),
        dataset=DatasetRecord(
            name=question.dataset_name,
            split=dataset.split,
            fingerprint=dataset.fingerprint,
            num_images=len(dataset.labels) - num_broken,
            num_classes=len(dataset.class_names),
            num_broken=num_broken,
            origin=dataset.origin,
            features=None
            if dataset.features is None
            else FeaturesRecord(sha256=dataset.features.sha256, said_to_be_of=dataset.features.said_to_be_of),
            version=dataset.version,
            licence=dataset.licence,
        ),
        backbone=BackboneRecord(
            name=question.backbone_name,
            precision=question.precision,
            tokenization=prepared.facts.tokenization,
            origin=prepared.facts.origin,
            licence=question.config.backbone.get("licence"),
            **{name: value for name, value in prepared.facts.as_record().items() if name != "model"},
        ),
        prompts=PromptsRecord(
            name=question.prompts_name,
            digest=prompts.digest,
            num_prompts=prompts.num_prompts,
            num_distinct=len(prompts.distinct()),
            num_truncated=num_truncated,
            aggregation=prompts.aggregation,
            join=prompts.join,
            source=prompts.source,
            seed=prompts.seed,
            budget=prompts.budget,
            weighting=prompts.weighting,
            uses_images=prompts.weigh_by_images,
            texts=_texts(prepared),
            cost=_cost(prepared) if status == "ok" else None,
        ),
        scorer=ScorerRecord(
            name=prepared.scorer.name,
            parameters=prepared.scorer.told,
            constants_from=prepared.scorer.constants_from,
            uses=(uses := prepared.uses),
            kind=kind_of(uses),
        ),
        environment=describe_environment(
            device_of(prepared.machine),
            (prepared.machine.results_dir, prepared.machine.cache_dir),
            prepared.machine.command,
        ),
        config=question.config,
        **rest,
    )


def _texts(prepared: Prepared) -> tuple[TextsRecord, ...]:
    """Return where the texts of the prompts come from."""
    filled = (prepared.prompts.join or {}).get("filled", 0) > 0
    settings = _settings(prepared) or dict(prepared.question.config.prompts)
    return tuple(TextsRecord(**one._asdict()) for one in written_by(settings, with_fill=filled))


def _cost(prepared: Prepared) -> CostRecord | None:
    """Return what the files of the prompts say of their cost."""
    settings = _settings(prepared)
    cost = None if settings is None else cost_of(settings)
    return None if cost is None else CostRecord(**vars(cost))


def _settings(prepared: Prepared) -> Mapping[str, Any] | None:
    """Return the prompts' settings as they are here; None where a place is known to the user's own configuration."""
    words = prepared.question.config
    try:
        return words.resolved(prepared.machine.cache_dir, user_cache_dir(), ["prompts"])["prompts"]
    except ResultsError:
        return None


@contextmanager
def failure_recorded(prepared: Prepared) -> Iterator[None]:
    """Write a failed record if the block raises an error of the user or of the machine.

    Raises:
        CuplBenchError: what went wrong; a lack of memory is told as one.
    """
    try:
        yield
    except CuplBenchError as error:
        raise_if_interrupted()
        _write_failure(prepared, error)
        raise
    except (MemoryError, RuntimeError) as error:
        raise_if_interrupted()
        if not is_lack_of_memory(error):
            raise
        told = out_of_memory("answer this question")
        _write_failure(prepared, told)
        raise told from error


def _write_failure(prepared: Prepared, error: Exception) -> None:
    failed = record_of(prepared, status="failed", error=f"{type(error).__name__}: {error}")
    write_record(prepared.machine.results_dir, failed)
