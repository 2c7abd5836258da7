"""Encoding in parts that the memory of the device holds."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cupl_bench.errors import BackboneError

__all__ = ["Parts"]

log = logging.getLogger(__name__)


@dataclass
class Parts:
    """Encodes ``at_once`` things together, and half as many from then on if they do not fit into memory.

    ``what``: the name of these things, for messages. Their number at once changes features by rounding only.
    """

    what: str
    at_once: int

    def __call__(self, count: int, encode: Callable[[int, int], Float[Tensor, "b d"]]) -> Float[Tensor, "n d"]:
        """Return the rows of things 0 to ``count``; ``encode`` gives those from its first argument up to its second.

        Raises:
            BackboneError: the memory does not hold a single one.
        """
        done: list[Tensor] = []
        start = 0
        while start < count:
            stop = min(count, start + self.at_once)
            part = _tried(encode, start, stop)
            if part is None:
                self._halve(stop - start)
            else:
                done.append(part)
                start = stop
        return done[0] if len(done) == 1 else torch.cat(done)

    def _halve(self, failed: int) -> None:
        if failed == 1:
            raise BackboneError(
                f"The memory of the device is too small for even one of the {self.what}. Free it (nvidia-smi shows who"
                " holds it), or take precision=bf16, a smaller backbone or device=cpu."
            )
        self.at_once = failed // 2
        log.warning(
            "out of memory with %s %s at once: continuing with %s; batch_size=%s starts with that",
            f"{failed:,}", self.what, f"{self.at_once:,}", self.at_once,
        )  # fmt: skip
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _tried(encode: Callable[[int, int], Tensor], start: int, stop: int) -> Tensor | None:
    """Return the result of ``encode``; None where the device's memory does not hold it.

    This is a function of its own so that the memory of the failed attempt is free when it returns.
    """
    try:
        return encode(start, stop)
    except torch.OutOfMemoryError:
        return None
