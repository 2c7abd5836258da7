"""The backbone of a question: where its features are stored, and what loads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cupl_bench.backbone import Backbone, BackboneFacts, TextTower
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.device import device_of
from cupl_bench.run.timing import Stages
from cupl_bench.store import RowStore

__all__ = ["Towers"]


@dataclass(frozen=True, kw_only=True)
class Towers:
    """The backbone of a question: where its features are stored, and what loads it once one must be encoded."""

    question: Question
    machine: Machine
    bench: Workbench
    facts: BackboneFacts
    stages: Stages = field(default_factory=Stages)

    @property
    def images(self) -> RowStore:
        """The store of this backbone's image features."""
        return self._store("image_features", self.facts.image_key(self.question.precision, self.question.decode))

    @property
    def views(self) -> RowStore:
        """The store of the features of views, whose images are always decoded exactly."""
        return self._store("view_features", self.facts.image_key(self.question.precision))

    @property
    def texts(self) -> RowStore:
        """The store of this backbone's text features."""
        return self._store("text_features", self.facts.text_key(self.question.precision))

    def _store(self, kind: str, key: str) -> RowStore:
        facts = {"precision": self.question.precision, **self.facts.as_record()}
        return self.bench.store(self.machine.cache_dir / kind / key[:32], facts)

    def load(self) -> Backbone:
        """Return the backbone; only images that must be encoded ask for it."""
        with self._loading():
            return self.bench.backbone(
                self.question.backbone, self.facts, device_of(self.machine), self.question.precision
            )

    def load_text(self) -> TextTower:
        """Return the text tower; only what must be encoded asks for it."""
        with self._loading():
            return self.bench.text_tower(
                self.question.backbone, self.facts, device_of(self.machine), self.question.precision
            )

    @contextmanager
    def _loading(self) -> Iterator[None]:
        with self.stages.stage("load_backbone"):
            yield
        self.stages.cached["load_backbone"] = False
