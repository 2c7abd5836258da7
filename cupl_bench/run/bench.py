"""What the questions of a sweep share, so that it is loaded, listed and read once."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cupl_bench.backbone import Backbone, BackboneFacts, BackboneSource, Precision, TextTower, loaded_by, text_loaded_by
from cupl_bench.dataset import Dataset, DatasetSource, listed_by
from cupl_bench.dataset.names import without_words
from cupl_bench.store import RowStore
from cupl_bench.stored_features import ImageFeatures

if TYPE_CHECKING:  # heavy: only what must be encoded or scored needs a device
    import torch

__all__ = ["Workbench"]

log = logging.getLogger(__name__)


@dataclass
class Workbench:
    """The last data set, the last backbone (or its text tower, where none asked for more) and the open stores.

    Sources are equal when their settings are, so a question reuses what the question before it has loaded.
    ``several_backbones``: whether pixels are worth keeping for the next backbone.
    """

    several_backbones: bool = False

    _dataset: tuple[tuple[DatasetSource, Path, tuple[int, int] | None], Dataset] | None = None
    _backbone: "tuple[tuple[BackboneFacts, torch.device, Precision], TextTower] | None" = None
    _stores: dict[Path, RowStore] = field(default_factory=dict)
    _images: tuple[Dataset, RowStore, bool, ImageFeatures] | None = None
    _warned_of: set[tuple[str, ...]] = field(default_factory=set)

    def dataset(self, source: DatasetSource, cache_dir: Path, shard: tuple[int, int] | None = None) -> Dataset:
        """Return the data set of ``source``, or part i of n of it, listed once."""
        wanted = (source, cache_dir, shard)
        if self._dataset is None or self._dataset[0] != wanted:
            self._dataset = self._images = None  # frees the last list before the next one takes memory
            self._dataset = (wanted, listed_by(*wanted))
            self._say_names(self._dataset[1])
        return self._dataset[1]

    def _say_names(self, dataset: Dataset) -> None:
        """Warn once of a list of class names that are not words; the names in a spec are always intended."""
        if (dataset.origin or {}).get("names") or dataset.class_names in self._warned_of:
            return
        if warning := without_words(dataset.class_names):
            self._warned_of.add(dataset.class_names)
            log.warning("dataset   %s", warning)

    def backbone(
        self, source: BackboneSource, facts: BackboneFacts, device: "torch.device", precision: Precision
    ) -> Backbone:
        """Return the model that ``facts`` identify, loaded once."""
        wanted = (facts, device, precision)
        if self._backbone is not None and self._backbone[0] == wanted and isinstance(self._backbone[1], Backbone):
            return self._backbone[1]
        self._backbone = None  # lets go of the last model before the next one takes memory
        backbone = loaded_by(source, facts, device, precision)
        self._backbone = (wanted, backbone)
        return backbone

    def text_tower(
        self, source: BackboneSource, facts: BackboneFacts, device: "torch.device", precision: Precision
    ) -> TextTower:
        """Return the text tower of the model that ``facts`` identify: of the whole model where that is loaded."""
        wanted = (facts, device, precision)
        if self._backbone is None or self._backbone[0] != wanted:
            self._backbone = None
            self._backbone = (wanted, text_loaded_by(source, facts, device, precision))
        return self._backbone[1]

    def store(self, folder: Path, facts: Mapping[str, object]) -> RowStore:
        """Return the store in ``folder``, whose index is read once."""
        return self._stores.setdefault(folder, RowStore(folder=folder, facts=facts))

    def images(
        self, dataset: Dataset, store: RowStore, skip_broken: bool, encode: Callable[[], ImageFeatures]
    ) -> ImageFeatures:
        """Return the features of all images, looked up once for all prompt strategies."""
        if (last := self._images) is not None and last[0] is dataset and last[1] is store and last[2] == skip_broken:
            return replace(last[3], num_encoded=0)
        self._images = None  # frees the last list before the next one takes memory
        images = encode()
        self._images = (dataset, store, skip_broken, images)
        return images
