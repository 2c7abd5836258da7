"""Who is near whom, for scorers that look at many images at once.

Rows that are equal count as one row with copies. So equal images get equal scores, and equal classes too, where a list
of nearest neighbours alone would prefer whichever comes first. Distinct rows have an order of their own, by their
values, so ties between them are cut in the same way whatever the order of the data set.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
import torch

from cupl_bench.embeddings import Features
from cupl_bench.scores import best_columns, tile_images

__all__ = ["Distinct", "both_ways", "distinct", "links", "spread"]


@dataclass(frozen=True, kw_only=True)
class Distinct:
    """Rows that are all different.

    ``rows``: m x d, sorted by their values. ``copies``: how often each of them stands, m, in float64. ``place``: for
    each row that was given the place of its equal among ``rows``, n.
    """

    rows: np.ndarray
    copies: np.ndarray
    place: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def single(self) -> "Distinct":
        """Return the same rows, of which each counts once."""
        return replace(self, copies=np.ones(len(self.rows)))


def distinct(features: Features) -> Distinct:
    """Return the distinct rows of ``features``, all of which are read into memory.

    >>> found = distinct(np.array([[2.0], [1.0], [2.0]], dtype=np.float32))
    >>> found.rows.ravel().tolist(), found.copies.tolist(), found.place.tolist()
    ([1.0, 2.0], [1.0, 2.0], [1, 0, 1])
    """
    rows, place, copies = np.unique(features[: len(features)], axis=0, return_inverse=True, return_counts=True)
    return Distinct(rows=rows, copies=copies.astype(np.float64), place=place.reshape(-1))


def links(
    queries: Distinct, keys: Distinct, count: int, device: torch.device, *, power: float = 1.0, within: bool = False
) -> scipy.sparse.csr_array:
    """Return the similarities of each query to its ``count`` nearest keys, m x k in float64; zero elsewhere.

    A key with copies fills as many places of the list, and the value is the sum over these. Where the list ends amid
    the copies of a key, they share what is left. ``power``: of the similarities, of which negative ones are zero.
    ``within``: queries and keys are the same rows; then each copy of a row fills one place of its own list, the first,
    and that place is left out.
    """
    to = torch.from_numpy(keys.rows).to(device)
    copies = torch.from_numpy(keys.copies).to(device)
    # Written into place: small arrays that are kept between large ones that are not would tear the memory to pieces.
    length = min(count, len(keys))
    value = np.empty((len(queries), length))
    column = np.empty((len(queries), length), dtype=np.int64)
    step = tile_images(len(keys))
    for start in range(0, len(queries), step):
        tile = torch.from_numpy(queries.rows[start : start + step]).to(device) @ to.T
        if within:
            own = torch.arange(len(tile), device=device)
            tile[own, own + start] = torch.inf
        nearest, similarity = best_columns(tile, length)
        of_each = copies[nearest]
        places = (count - (of_each.cumsum(dim=1) - of_each)).clamp(min=0.0).minimum(of_each)
        if within:
            similarity[:, 0] = 1.0
            places[:, 0] -= 1.0
        value[start : start + step] = (places * similarity.double().clamp(min=0.0) ** power).cpu().numpy()
        column[start : start + step] = nearest.cpu().numpy()
    starts = np.arange(len(queries) + 1) * length
    found = scipy.sparse.csr_array((value.ravel(), column.ravel(), starts), shape=(len(queries), len(keys)))
    found.eliminate_zeros()
    return found


def both_ways(links: scipy.sparse.csr_array, copies: np.ndarray) -> scipy.sparse.csr_array:
    """Return links followed in both directions, m x m: those of a row, and those of others to it.

    Row i, column j: what one copy of i has in common with all copies of j together. Without copies it is the sum of
    the matrix and its transpose, so two that are in each other's lists count twice.
    """
    mass = scipy.sparse.diags_array(copies)
    share = scipy.sparse.diags_array(1.0 / copies)
    return scipy.sparse.csr_array(links + share @ links.T @ mass)


def spread(scores: np.ndarray, images: Distinct, classes: Distinct, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield the scores of all images and classes, tile by tile in their own order, from those of the distinct ones."""
    step = tile_images(len(classes.place))
    for start in range(0, len(images.place), step):
        tile = scores[images.place[start : start + step]][:, classes.place]
        yield torch.from_numpy(tile.astype(np.float32)).to(device)
