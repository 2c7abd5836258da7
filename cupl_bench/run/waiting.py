"""Questions that wait for nothing but their scores."""

from collections.abc import Iterable
from dataclasses import dataclass

from cupl_bench.embeddings import ClassEmbeddings
from cupl_bench.interrupts import hurry
from cupl_bench.run.prepared import Prepared
from cupl_bench.stored_features import ImageFeatures, TextFeatures, Views

__all__ = ["Waiting", "is_time_to_score"]

WAITING_BYTES = 256_000_000
"""How much memory waiting questions may hold: 80 strategies of 1,000 classes, at width 768."""
BYTES_PER_PROMPT = 150
"""About how much memory a prompt takes: a sentence and its place in a list."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A question that waits for its scores.

    ``num_truncated``: prompts that were cut to fit the context. ``texts`` and ``views``: the features of the prompts
    and of the images' views, where the scorer asks for them.
    """

    prepared: Prepared
    images: ImageFeatures
    classes: ClassEmbeddings
    num_truncated: int
    texts: TextFeatures | None = None
    views: Views | None = None

    @property
    def num_bytes(self) -> int:
        """About how much memory a question holds while it waits; image features lie on the disk."""
        of_texts = 0 if self.texts is None else self.texts.rows.nbytes
        return self.classes.num_bytes + of_texts + BYTES_PER_PROMPT * self.prepared.prompts.num_prompts


def is_time_to_score(waiting: Iterable[Waiting]) -> bool:
    """Return whether to score now: the waiting questions hold much memory, or this process may soon be killed."""
    return hurry.is_set() or sum(one.num_bytes for one in waiting) > WAITING_BYTES
