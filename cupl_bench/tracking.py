"""Send results elsewhere, after they lie on the disk. wandb and pandas are imported only where they are used."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from cupl_bench.paths import absolute
from cupl_bench.records import Record, record_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tracker", "WandbTracker", "no_tracker", "per_class_counts"]

log = logging.getLogger(__name__)

SECONDS_TO_START = 60
"""How long wandb may try to reach its server before a run goes on without it."""


@runtime_checkable
class Tracker(Protocol):
    """Takes what a command has finished. It never raises: a result is never lost to tracking."""

    def __call__(self, records: Sequence[Record], results_dir: Path, sweep: str | None) -> None:
        """Take finished runs; ``sweep`` names the sweep that they belong to, None for a single run."""
        ...


def no_tracker(records: Sequence[Record], results_dir: Path, sweep: str | None) -> None:
    """Track nothing."""


@dataclass(frozen=True, kw_only=True)
class WandbTracker:
    """Weights & Biases: a run for each record, under its run key, so that the same question is the same run.

    ``project``, ``entity``: where on the server. ``mode``: ``online``; ``offline`` keeps files below ``folder`` for
    `wandb sync`; ``disabled`` does nothing. The key comes from wandb's own login or WANDB_API_KEY.

    What a run holds: the record as its configuration; metrics with their intervals and seconds by stage as its summary;
    a table of classes; the record, predictions and prompts as an artifact. A sweep is a group, and its comparison a run
    of that group.
    """

    project: str
    entity: str | None
    mode: Literal["online", "offline", "disabled"]
    folder: str

    def __call__(self, records: Sequence[Record], results_dir: Path, sweep: str | None) -> None:
        if self.mode == "disabled":
            return
        for record in records:
            self._attempt(f"run {record.run_key}", partial(self._track, record, results_dir, sweep))
        if sweep is not None and not records:
            self._attempt("the comparison", partial(self._track_comparison, results_dir, sweep))

    def _attempt(self, what: str, track: Callable[[], None]) -> None:
        try:
            track()
        except Exception as error:  # noqa: BLE001 - whatever wandb raises, the result lies on the disk already
            reason = " ".join(str(error).split())[:200]
            log.warning(
                "tracking  wandb did not take %s (%s: %s); the result is kept", what, type(error).__name__, reason
            )
            self._give_up()

    def _give_up(self) -> None:
        import wandb

        if wandb.run is not None:
            wandb.finish(exit_code=1)

    def _start(self, identity: str, name: str, sweep: str | None, config: Mapping[str, Any], job_type: str) -> Any:
        import wandb

        folder = absolute(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self.project,
            entity=self.entity,
            id=identity,
            name=name,
            group=sweep,
            job_type=job_type,
            config=dict(config),
            dir=folder,
            mode=self.mode,
            resume="allow",
            settings=wandb.Settings(
                init_timeout=SECONDS_TO_START,
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )

    def _track(self, record: Record, results_dir: Path, sweep: str | None) -> None:
        import wandb

        plain = json.loads(record.model_dump_json())
        metrics, timing = plain.pop("metrics") or {}, plain.pop("timing") or {}
        scorer = "" if record.scorer.name == "plain" else f" {record.scorer.name}"
        name = f"{record.dataset.name} {record.backbone.name} {record.prompts.name}{scorer}"
        run = self._start(record.run_key, name, sweep, plain, "eval")
        low, high = metrics.pop("top1_ci95", None) or (None, None)
        run.summary.update({**metrics, "top1_low": low, "top1_high": high, "timing": timing})
        artifact = wandb.Artifact(f"run-{record.run_key}", type="run")
        artifact.add_file(str(record_path(results_dir, record.run_key)), name="record.json")
        if record.artifacts is not None:
            predictions = results_dir / record.artifacts.predictions
            counts = per_class_counts(predictions, _class_names(results_dir, record))
            run.log({"per_class": wandb.Table(dataframe=counts)})
            artifact.add_file(str(predictions), name="predictions.parquet")
            if record.artifacts.prompts is not None:
                artifact.add_file(str(results_dir / record.artifacts.prompts), name="prompts.parquet")
        run.log_artifact(artifact)
        run.finish()

    def _track_comparison(self, results_dir: Path, sweep: str) -> None:
        import pandas as pd
        import wandb

        tables = sorted((results_dir / "tables").glob("comparison.*"))
        run = self._start(f"comparison-{sweep}", "comparison", sweep, {}, "comparison")
        artifact = wandb.Artifact(f"comparison-{sweep}", type="comparison")
        for path in tables:
            artifact.add_file(str(path), name=path.name)
            if path.suffix == ".csv":
                run.log({"comparison": wandb.Table(dataframe=pd.read_csv(path))})
        run.log_artifact(artifact)
        run.finish()


def per_class_counts(predictions: Path, class_names: Sequence[str] | None) -> "pd.DataFrame":
    """Return for each class that has images ``label``, ``class_name``, ``num_images``, ``num_correct``, ``top1``."""
    import pandas as pd

    frame = pd.read_parquet(predictions, columns=["label", "correct"])
    counts = frame.groupby("label")["correct"].agg(num_images="size", num_correct="sum").reset_index()
    counts["top1"] = counts["num_correct"] / counts["num_images"]
    names = [str(label) if class_names is None else class_names[label] for label in counts["label"]]
    counts.insert(1, "class_name", names)
    return counts


def _class_names(results_dir: Path, record: Record) -> list[str] | None:
    if record.artifacts is None or record.artifacts.prompts is None:
        return None
    import pandas as pd

    frame = pd.read_parquet(results_dir / record.artifacts.prompts, columns=["label", "class_name"])
    return list(frame.drop_duplicates("label").sort_values("label")["class_name"])
