"""The record of a run: all that identifies a number, the number, its uncertainty, and where the answers lie.

Records are written once, to a temporary name and then moved, and never edited.
"""

import hashlib
import logging
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from cupl_bench.errors import ResultsError, first
from cupl_bench.metrics import ACCURACIES
from cupl_bench.question import QuestionRecord
from cupl_bench.scorers import Kind, Use, kind_of
from cupl_bench.store import files_in, unreadable, write_atomically

__all__ = [
    "RECORD_LIMIT",
    "SCHEMA_VERSION",
    "BackboneRecord",
    "CostRecord",
    "DatasetRecord",
    "FeaturesRecord",
    "Kind",
    "MetricRecord",
    "MetricsRecord",
    "PartRecord",
    "PromptsRecord",
    "QuestionRecord",
    "Record",
    "ScorerRecord",
    "StageRecord",
    "TextsRecord",
    "TierRecord",
    "TimingRecord",
    "digest_of_file",
    "finished_record",
    "has_artifacts",
    "read_record",
    "read_records",
    "record_path",
    "unlike_artifacts",
    "write_record",
]

log = logging.getLogger(__name__)

SCHEMA_VERSION: Literal[1] = 1
RECORD_LIMIT = 16_000_000
"""Bytes that no record has: a larger file is something else, and is not read."""
ARTIFACTS = {
    "predictions": "predictions/{}.parquet",
    "class_embeddings": "class_embeddings/{}.safetensors",
    "prompts": "prompts/{}.parquet",
}
"""The files of a run below the results folder, by its run key; a record that names another place is refused."""


class Frozen(BaseModel):
    """A part of a record: it holds its fields and nothing else, and cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Fraction = float
Interval = tuple[float, float]


class FeaturesRecord(Frozen):
    """Image features that were given, and not encoded by this program.

    ``sha256``: of their rows. ``said_to_be_of``: the model that they are said to be of, which nothing here proves.
    """

    given: Literal[True] = True
    sha256: str
    said_to_be_of: str | None


class DatasetRecord(Frozen):
    """The images of a run. ``num_images`` are those that were scored; ``num_broken`` were left out.

    ``origin``: of a named data set its source, protocol and list of class names; of one on the hub its source alone.
    ``features``: that image features were given; None where images were encoded.
    ``version``: of the data set's facts, raised when its numbers can move; 1 in records from before there were any.
    ``licence``: of the images, in words; None where it is not known, and in older records.
    """

    name: str
    split: str
    fingerprint: str
    num_images: int
    num_classes: int
    num_broken: int = 0
    origin: Mapping[str, str] | None = None
    features: FeaturesRecord | None = None
    version: int = Field(default=1, ge=1)
    licence: str | None = None


class BackboneRecord(Frozen):
    """The model of a run, how it was built, and its weights.

    ``tokenization``: the digest of how texts become ids; None for CLIP's own, for the demo's, and in records that were
    made before it was looked at. ``image_size``: None of a model that is not here, whose features were given.
    ``origin``: the repository of the hub that the weights come from, with its commit.
    ``licence``: of the weights, in words; None where it is not known, and in older records.
    """

    name: str
    architecture: str
    pretrained: str
    weights_sha256: str
    activation: str
    precision: Literal["fp32", "bf16", "fp16"]
    embed_dim: int
    image_size: tuple[int, int] | None
    transform: Mapping[str, Any]
    tokenization: str | None = None
    origin: str | None = None
    licence: str | None = None


class TextsRecord(Frozen):
    """Texts that prompts were made of.

    ``source``: a list of templates or a file by its name, or where else they stand. ``licence`` and ``language_model``,
    which wrote them: None where nobody says. A language model ``none``: people wrote them.
    """

    source: str
    licence: str | None = None
    language_model: str | None = None


class CostRecord(Frozen):
    """The language model that wrote descriptions, the tokens that it read and wrote, their price; None: not told."""

    language_model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


class PromptsRecord(Frozen):
    """The prompts of a run. ``join`` says how the class names found their entries in a prompts file, ``source`` which.

    ``seed``: with which prompts were drawn, None where nothing was. ``budget``: how many of each class at most.
    ``weighting``: the rule by which prompts were weighed, ``given`` or ``zpe``, None where all weigh the same.
    ``uses_images``: whether that rule looked at the images, without their labels, that are then classified.
    ``texts``: each source of texts; None in older records.
    ``cost``: what a language model took to write them; None where no file tells, and in older records.
    """

    name: str
    digest: str
    num_prompts: int
    num_distinct: int
    num_truncated: int
    aggregation: str
    join: Mapping[str, int] | None = None
    source: str | None = None
    seed: int | None = None
    budget: int | None = None
    weighting: str | None = None
    uses_images: bool = False
    texts: tuple[TextsRecord, ...] | None = None
    cost: CostRecord | None = None


class ScorerRecord(Frozen):
    """How features became scores.

    ``parameters``: of the scorer; a file by its sha256. ``constants_from``: where their values come from.
    ``uses``: what it looked at beside an image and the class embeddings, the weights of the prompts included.
    ``kind``: the one word for that; in the last three the scores of images depend on each other, and no interval over
    images holds.
    """

    name: str
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    constants_from: str = "none to choose"
    uses: tuple[Use, ...] = ()
    kind: Kind = "zero_shot"

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> "ScorerRecord":
        if self.kind != kind_of(self.uses):
            raise ValueError(f"kind is {self.kind!r}, but what it uses makes it {kind_of(self.uses)!r}")
        return self


class TierRecord(Frozen):
    """Accuracy on the images of one tier of classes: among all classes, and among the tier's classes alone.

    ``top1_ci95`` and ``top1_within`` are None of some scorers (`cupl_bench.scores.TierMetrics`).
    """

    num_images: int
    num_classes: int
    top1: Fraction
    top1_ci95: Interval | None
    top1_within: Fraction | None


class PartRecord(Frozen):
    """The value of a metric of one class or one group, by its name; None where it has no image."""

    name: str
    num_images: int
    value: Fraction | None = Field(ge=0, le=1)


class MetricRecord(Frozen):
    """A metric beyond accuracy, which `cupl_bench.metrics` defines.

    ``value``: None where it is not defined, and ``undefined`` says why. ``ci95``: its 95% interval; ``interval`` says
    how that was made, or why there is none. ``parts``: the classes, in label order, or the groups that it is made of.
    """

    value: Fraction | None = Field(ge=0, le=1)
    ci95: Interval | None
    interval: str
    undefined: str | None = None
    parts: tuple[PartRecord, ...] = ()

    @model_validator(mode="after")
    def _has_a_value_or_a_reason(self) -> "MetricRecord":
        if (self.value is None) == (self.undefined is None):
            raise ValueError("it should have either a value or a reason why it has none")
        return self


class MetricsRecord(Frozen):
    """Fractions in [0, 1]. ``primary`` is the value of the metric that ``primary_name`` names.

    ``top1_ci95``: None where the scores of images depend on each other, so that no interval over images holds.
    ``more``: metrics beyond accuracy by their names, the primary one first; only in records of data sets that name one.
    """

    top1: Fraction = Field(ge=0, le=1)
    top1_ci95: Interval | None
    top5: Fraction | None = Field(default=None, ge=0, le=1)
    mean_per_class: Fraction = Field(ge=0, le=1)
    primary: Fraction = Field(ge=0, le=1)
    primary_name: str = Field(pattern=r"^[a-z0-9_]+$")
    tiers: Mapping[str, TierRecord] | None = None
    more: Mapping[str, MetricRecord] | None = None

    @property
    def primary_more(self) -> MetricRecord | None:
        """The primary metric where it is one beyond accuracy."""
        return (self.more or {}).get(self.primary_name)

    @model_validator(mode="after")
    def _has_its_primary(self) -> "MetricsRecord":
        if self.primary_name in ACCURACIES:
            return self
        if self.primary_more is None or self.primary_more.value != self.primary:
            raise ValueError(f"primary is not the value of {self.primary_name} among 'more'")
        return self

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if self.more is None:  # records of accuracies alone keep their form
            fields.pop("more", None)
        return fields


class StageRecord(Frozen):
    """Wall time of one stage; ``cached`` if all of it was reused."""

    seconds: float
    cached: bool


class TimingRecord(Frozen):
    """Wall time by stage."""

    load_backbone: StageRecord
    image_features: StageRecord
    text_features: StageRecord
    class_embeddings: StageRecord
    scores: StageRecord
    total_seconds: float


class ArtifactsRecord(Frozen):
    """Paths relative to the results folder. ``prompts``: the class names and their prompts, a row per prompt."""

    predictions: str
    class_embeddings: str
    prompts: str | None = None


class Record(Frozen):
    """One run. A failed one has an ``error`` and neither metrics nor artifacts.

    ``config``: the question in words. Older records, without ``config.version``, are read as if they had it.
    ``artifact_digests``: the sha256 of each file that ``artifacts`` names; None in records of earlier versions.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    protocol_version: int
    run_key: str = Field(pattern=r"^[0-9a-f]{12}$")
    status: Literal["ok", "failed"]
    error: str | None = None
    created_at: AwareDatetime
    dataset: DatasetRecord
    backbone: BackboneRecord
    prompts: PromptsRecord
    scorer: ScorerRecord = ScorerRecord(name="plain")
    metrics: MetricsRecord | None = None
    timing: TimingRecord | None = None
    environment: Mapping[str, Any]
    config: QuestionRecord | None = None
    artifacts: ArtifactsRecord | None = None
    artifact_digests: Mapping[str, str] | None = None

    @property
    def kind(self) -> Kind:
        """The kind of the run: of its scorer and of the weights of its prompts, which older records tell apart."""
        return kind_of((*self.scorer.uses, *(("other_images",) if self.prompts.uses_images else ())))

    @model_validator(mode="after")
    def _names_its_own_files(self) -> "Record":
        for name, path in ({} if self.artifacts is None else self.artifacts.model_dump(exclude_none=True)).items():
            if path != ARTIFACTS[name].format(self.run_key):
                raise ValueError(f"artifacts.{name} is {path!r}, which is not a place of this run's files")
        return self


def unlike_artifacts(record: Record, results_dir: Path, names: Sequence[str] | None = None) -> list[str]:
    """Return the files of a finished run that are gone or changed since; of all that it names, or of ``names``.

    Raises:
        UnreadableError: a file may not be read, so nothing is known of it.
    """
    if record.artifacts is None:
        return []
    digests = record.artifact_digests or {}
    return [
        path
        for name, path in record.artifacts.model_dump(exclude_none=True).items()
        if (names is None or name in names) and _is_unlike(results_dir / path, digests.get(name))
    ]


def has_artifacts(record: Record, results_dir: Path) -> bool:
    """Return whether the files that a finished run names are there, whatever they hold."""
    return record.artifacts is not None and all(
        (results_dir / path).is_file() for path in record.artifacts.model_dump(exclude_none=True).values()
    )


def _is_unlike(path: Path, digest: str | None) -> bool:
    try:
        found = digest_of_file(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return True
    except OSError as error:
        raise unreadable(path, error) from error
    return digest is not None and found != digest


def digest_of_file(path: Path) -> str:
    """Return the sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_path(results_dir: Path, run_key: str) -> Path:
    """Return the path of a run's record."""
    return results_dir / "records" / f"{run_key}.json"


def write_record(results_dir: Path, record: Record) -> Path:
    """Write a record; a failed one never takes the place of a finished one."""
    path = record_path(results_dir, record.run_key)
    if record.status == "failed" and finished_record(path) is not None:
        return path
    write_atomically(path, (record.model_dump_json(indent=2) + "\n").encode())
    return path


def read_record(path: Path) -> Record:
    """Return the record in a file.

    Raises:
        UnreadableError: the file may not be read.
        ResultsError: the file is not a record of this version.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ResultsError(f"{path} is not a file, so it is not a record.")
        if found.st_size > RECORD_LIMIT:
            raise ResultsError(f"{path} has {found.st_size / 1e6:,.0f} MB; no record is that large. Move it elsewhere.")
        record = Record.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror}).") from error
    except OSError as error:
        raise unreadable(path, error) from error
    except ValidationError as error:
        what = [f"{'.'.join(str(part) for part in one['loc']) or 'file'}: {one['msg']}" for one in error.errors()]
        raise ResultsError(
            f"{path} is not a record of schema {SCHEMA_VERSION}: {first(what, 3)}. Move it out of the records folder"
            " and run its question again."
        ) from error
    if record.run_key != path.stem:
        raise ResultsError(f"{path} holds the record of run {record.run_key}; a record's name is its run key.")
    return record


def finished_record(path: Path) -> Record | None:
    """Return the record of a finished run in a file; None where there is no file, no record or no finished run.

    Raises:
        ResultsError: there is a file, and the machine does not let it be read.
    """
    if not path.is_file():
        return None
    try:
        record = read_record(path)
    except ResultsError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None
    return record if record.status == "ok" else None


def read_records(results_dir: Path, *, tell: bool = True) -> list[Record]:
    """Return all records below a results folder, by the time they were made. Files that are not records are skipped.

    ``tell``: whether the skipped files are named, which a command does once.

    Raises:
        ResultsError: there is no record.
    """
    records, others = [], []
    for path in files_in(results_dir / "records", ".json"):
        try:
            records.append(read_record(path))
        except ResultsError as error:
            others.append(path.name)
            log.debug("passed over: %s", error)
            why = str(error)
    if not records and not others:
        raise ResultsError(
            f"{results_dir} holds no record yet. Run 'cupl-bench eval' first, or name another results_dir."
        )
    if not records:
        raise ResultsError(f"None of {len(others)} files in {results_dir / 'records'} is a record. The last: {why}")
    if others and tell:
        log.warning(
            "%d files in %s are skipped, because they cannot be read as records: %s. The last: %s",
            len(others), results_dir / "records", first(others), why,
        )  # fmt: skip
    return sorted(records, key=lambda record: record.created_at)
