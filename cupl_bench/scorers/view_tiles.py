"""The views of images tile by tile, for the scorers that look at views."""

from collections.abc import Iterator

import torch
from jaxtyping import Float32

from cupl_bench.scorers import Inputs
from cupl_bench.scores import tile_images

__all__ = ["view_tiles"]


def view_tiles(inputs: Inputs, num_columns: int) -> Iterator[Float32[torch.Tensor, "m v d"]]:
    """Yield the features of the views of images, in order, so that each view's similarities fit into memory.

    Args:
        inputs: what a scorer sees, with views.
        num_columns: how many values are held for each view.
    """
    assert inputs.views is not None  # noqa: S101 - asked for
    num_views = len(inputs.views[:1][0])
    step = max(1, tile_images(num_columns) // num_views)
    for start in range(0, len(inputs.views), step):
        yield torch.from_numpy(inputs.views[start : start + step]).to(inputs.device)
