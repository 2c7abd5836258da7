"""What a run asks, and where it happens."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cupl_bench.backbone import BackboneSource, Precision
from cupl_bench.border import parse
from cupl_bench.dataset import DatasetSource
from cupl_bench.dataset.decode import Decode
from cupl_bench.errors import ConfigError, nearest
from cupl_bench.metrics import ACCURACIES, METRICS
from cupl_bench.prompts import PromptStrategy
from cupl_bench.question import QuestionRecord
from cupl_bench.scorers import Scorer
from cupl_bench.scorers.plain import PlainScorer

__all__ = ["Machine", "Question", "Rerun", "check_primary"]

Rerun = Literal["missing", "always", "never", "failed"]


def check_primary(primary: object, key: str) -> None:
    """Check that a name is that of a headline metric; ``key`` is what the user calls it.

    Raises:
        ConfigError: there is no such metric, or less of it is better.
    """
    headlines = [*ACCURACIES, *(name for name, metric in METRICS.items() if not metric.lower_is_better)]
    if primary in headlines:
        return
    if primary in METRICS:
        beside = [name for name, metric in METRICS.items() if primary in metric.along]
        raise ConfigError(f"{key}={primary}: less of it is better, so it is no headline. It stands beside {beside[0]}.")
    raise ConfigError(
        f"{key}={primary} is not a metric; choose one of {', '.join(headlines)}.{nearest(str(primary), headlines)}"
    )


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a run asks; all of it can change the number, and enters the run key.

    ``config`` is the same in words, from which it was built and which the record keeps: it is not hashed.
    """

    dataset_name: str
    dataset: DatasetSource
    skip_broken: bool
    decode: Decode
    primary: str
    backbone_name: str
    backbone: BackboneSource
    precision: Precision
    prompts_name: str
    prompts: PromptStrategy
    config: QuestionRecord
    scorer_name: str = "plain"
    scorer: Scorer = field(default_factory=PlainScorer)

    def __post_init__(self) -> None:
        for name, known in (("decode", Decode), ("precision", Precision)):
            parse(known, getattr(self, name), name, ConfigError)
        check_primary(self.primary, "primary")
        object.__setattr__(self, "skip_broken", parse(bool, self.skip_broken, "skip_broken", ConfigError))

    @property
    def names(self) -> dict[str, str]:
        """The name of what is asked about, by its group."""
        return {
            "dataset": self.dataset_name, "backbone": self.backbone_name, "prompts": self.prompts_name,
            "scorer": self.scorer_name,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run happens; none of it moves a number by more than rounding.

    ``device``: its name, of which `cupl_bench.run.device` makes a device of PyTorch. ``batch_size``, ``num_workers``:
    None where the device decides. ``rerun``: which questions are answered anew. ``shard``: part i of n of the images,
    which is encoded and nothing else; None: all of a run. ``command``: the command line that asks this question alone,
    for the record; None: it was not asked on one.
    """

    results_dir: Path
    cache_dir: Path
    device: str
    batch_size: int | None
    num_workers: int | None
    cache_limit_gb: float
    rerun: Rerun
    shard: tuple[int, int] | None
    command: str | None = None

    def __post_init__(self) -> None:
        parse(Rerun, self.rerun, "rerun", ConfigError)
