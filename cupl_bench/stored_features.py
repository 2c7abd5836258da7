"""The features of images, of their views and of prompts, and which of these have none in the store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from cupl_bench.dataset import Images
from cupl_bench.dataset.decode import decode
from cupl_bench.embeddings import Features
from cupl_bench.errors import BrokenImageError
from cupl_bench.keys import KeyIndex, Keys
from cupl_bench.memory import out_of_memory
from cupl_bench.store import RowStore
from cupl_bench.views import ViewFamily, view_keys

__all__ = ["ImageFeatures", "TextFeatures", "Views", "broken_before_whole", "missing_images", "missing_views"]


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """Unit features of the images that can be decoded, on the disk or given, and which these are."""

    stored: Features
    kept: Bool[np.ndarray, " n"]
    num_encoded: int

    def of_kept(self, values: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " k"]:
        """Return the values of these images among ``values`` of all; a copy only where some are left out."""
        return values if self.kept.all() else values[self.kept]


@dataclass(frozen=True, kw_only=True)
class TextFeatures:
    """Unit features of distinct token sequences; ``row_of_text[i]`` is the row of text i."""

    rows: Float32[np.ndarray, "u d"]
    row_of_text: Sequence[int]
    truncated: Sequence[bool]
    num_encoded: int
    note: str | None
    """How new texts were encoded, in a few words; None where all were known and no model was asked."""


def missing_images(dataset: Images, store: RowStore) -> Int64[np.ndarray, " m"]:
    """Return the first image of each content that has no row, in order."""
    keys = Keys.of(dataset.image_keys)
    missing = np.flatnonzero(~store.present(keys))
    contents = KeyIndex()
    contents.add(keys[missing])
    first: Int64[np.ndarray, " m"] = missing[contents.find(keys[missing]) == np.arange(len(missing))]
    return first


def broken_before_whole(dataset: Images, indices: Int64[np.ndarray, " m"]) -> Iterator[tuple[int, BrokenImageError]]:
    """Yield the broken ones of these images with the reason, up to the first image that is whole."""
    for index in indices.tolist():
        try:
            decode(dataset.content(index))
        except BrokenImageError as error:
            yield index, error
        except MemoryError as error:
            raise out_of_memory(f"decode {dataset.image_ids[index]}") from error
        else:
            return


@dataclass(frozen=True, kw_only=True)
class Views:
    """Unit features of the views of images, n x V x D; view 0 is the whole image. A part is read when it is taken.

    ``others``: of views 1 and following, one image after another.
    """

    whole: Features
    others: Features
    count: int

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, which: slice | Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m v d"]:
        whole = self.whole[which]
        numbers = np.arange(len(self))[which]
        places = (numbers[:, None] * (self.count - 1) + np.arange(self.count - 1)).ravel()
        others = self.others[places].reshape(len(whole), self.count - 1, whole.shape[1])
        return np.concatenate([whole[:, None], others], axis=1)


def missing_views(family: ViewFamily, keys: Sequence[bytes], store: RowStore) -> dict[int, list[int]]:
    """Return the numbers of the views that have no row, by the first image of each content.

    Args:
        family: how they are drawn.
        keys: of the images' contents.
        store: where their features lie.
    """
    contents = KeyIndex()
    packed = Keys.of(keys)
    contents.add(packed)
    firsts = np.flatnonzero(contents.find(packed) == np.arange(len(packed)))
    here = store.present(view_keys(family, [packed[place] for place in firsts.tolist()]))
    lacking = ~here.reshape(len(firsts), family.count - 1)
    return {
        int(place): (np.flatnonzero(row) + 1).tolist() for place, row in zip(firsts, lacking, strict=True) if row.any()
    }
