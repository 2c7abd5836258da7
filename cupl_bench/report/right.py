"""Which images each run has right, kept for all runs of a comparison: a bit each."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from jaxtyping import Bool

from cupl_bench.report.answers import Answers, is_by_image

__all__ = ["RightImages", "right_images"]


@dataclass(frozen=True, kw_only=True)
class RightImages:
    """Which images a run has right, one bit each, and a digest of which images these are."""

    bits: bytes
    count: int
    images: str

    def hits(self) -> Bool[np.ndarray, " n"]:
        """Return which images are right, in the order of the run."""
        return np.unpackbits(np.frombuffer(self.bits, dtype=np.uint8), count=self.count).astype(np.bool_)


def right_images(answers: Answers) -> RightImages | None:
    """Return which images a run has right; None where their scores depend on each other: nobody may resample those."""
    if not is_by_image(answers):
        return None
    images = sha256(answers.index.tobytes() + answers.labels.tobytes()).hexdigest()
    return RightImages(bits=np.packbits(answers.hits).tobytes(), count=len(answers.labels), images=images)
