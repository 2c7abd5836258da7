"""Wall time of one question, even if other questions of the sweep are worked on in between."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.records import StageRecord, TimingRecord

__all__ = ["Stages"]


@dataclass
class Stages:
    """Seconds of each stage of a question, and of all the work on it.

    The backbone is loaded inside other stages; that time is subtracted from them.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, bool] = field(default_factory=dict)
    _loading: float = 0.0
    _worked: float = 0.0
    _began: float | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time inside as work on this question."""
        self._began = time.perf_counter()
        try:
            yield
        finally:
            self._worked, self._began = self._total(), None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as that of stage ``name``; a stage may be entered many times."""
        began, loading = time.perf_counter(), self._loading
        try:
            yield
            raise_if_interrupted()
        finally:
            spent = time.perf_counter() - began
            if name == "load_backbone":
                self._loading += spent
            else:
                spent -= self._loading - loading
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def _total(self) -> float:
        return self._worked + (0.0 if self._began is None else time.perf_counter() - self._began)

    def timing(self) -> TimingRecord:
        """Return what a record keeps of these times."""

        def stage(name: str) -> StageRecord:
            return StageRecord(seconds=round(self.seconds.get(name, 0.0), 4), cached=self.cached.get(name, True))

        return TimingRecord(
            load_backbone=stage("load_backbone"),
            image_features=stage("image_features"),
            text_features=stage("text_features"),
            class_embeddings=stage("class_embeddings"),
            scores=stage("scores"),
            total_seconds=round(self._total(), 4),
        )
