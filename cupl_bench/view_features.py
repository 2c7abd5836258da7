"""Views of images -> unit features, through a store: an image is decoded once for all of its views that are new."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from cupl_bench.backbone import Backbone
from cupl_bench.claims import claimed
from cupl_bench.dataset import Images
from cupl_bench.dataset.decode import decode
from cupl_bench.errors import BackboneError, CuplBenchError
from cupl_bench.features import SHARD_ROWS, Shard, finite_units, workers_may_die
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.keys import Keys
from cupl_bench.memory import is_lack_of_memory, out_of_memory
from cupl_bench.parts import Parts
from cupl_bench.progress import progress
from cupl_bench.ranks import from_first, gathered, rank, world_size
from cupl_bench.store import RowStore
from cupl_bench.stored_features import ImageFeatures, Views, missing_views
from cupl_bench.views import Box, ViewFamily, boxes_of, view_keys, view_of

__all__ = ["CroppedImages", "encode_views"]


def encode_views(
    family: ViewFamily,
    dataset: Images,
    images: ImageFeatures,
    load: Callable[[], Backbone],
    store: RowStore,
    *,
    batch_size: int,
    num_workers: int,
) -> tuple[Views, int]:
    """Return the features of the views of all images that can be decoded, and how many were encoded.

    Args:
        family: how they are drawn.
        dataset: the images.
        images: their own features, which are those of view 0, and which of them can be decoded.
        load: gives the backbone; called only if a view is to be encoded.
        store: where the features of views by this backbone, transform and precision lie.
        batch_size: views encoded together; changes features by rounding only.
        num_workers: processes that decode; 0 decodes in this one.

    Raises:
        DatasetError: an image was changed or removed since its key was made.
        MachineError: memory is short, or a process that decodes was killed.
        BackboneError: features are not finite, or the model says no size of its images.
    """
    kept = np.flatnonzero(images.kept)
    keys = [dataset.image_keys[index] for index in kept.tolist()]

    def keys_of(missing: Mapping[int, Sequence[int]]) -> Keys:
        # An image is claimed by its first view, whichever of them it lacks.
        return Keys.of(view_keys(family, [keys[place] for place in missing])[:: family.count - 1])

    def encode_own() -> int:
        wanted = [(int(kept[place]), numbers) for place, numbers in missing.items()]
        first, last = (len(wanted) * place // world_size() for place in (rank(), rank() + 1))
        return _encode(family, dataset, wanted[first:last], load, store, batch_size, num_workers)

    with ExitStack() as claim:
        missing = from_first(
            lambda: claim.enter_context(
                claimed(store.folder, lambda: missing_views(family, keys, store), keys_of, "views")
            )
        )
        done = sum(gathered(encode_own))
    of_views = Keys.of(view_keys(family, keys))
    store.present(of_views)  # reads what other processes wrote
    return Views(whole=images.stored, others=store.find(of_views), count=family.count), done


def _encode(
    family: ViewFamily,
    dataset: Images,
    wanted: Sequence[tuple[int, list[int]]],
    load: Callable[[], Backbone],
    store: RowStore,
    batch_size: int,
    num_workers: int,
) -> int:
    """Encode these views of these images; return how many they are."""
    if not wanted:
        return 0
    backbone = load()
    size = backbone.facts.image_size
    if size is None:
        raise BackboneError("This backbone does not say which size of images it reads, which crops are brought to.")
    done, parts = 0, Parts(what="views", at_once=batch_size)
    cropped = CroppedImages(family, dataset, wanted, size, backbone.transform.exact)
    loader = DataLoader(
        cropped,
        batch_size=None,  # an image at a time: all of its views
        num_workers=num_workers,
        generator=torch.Generator(),
        pin_memory=backbone.device.type == "cuda",
    )
    with (
        workers_may_die(),
        Shard(store, max_rows=SHARD_ROWS) as shard,
        progress(sum(len(numbers) for _, numbers in wanted), "encoding views") as advance,
    ):
        for keys, pixels in _batches(loader, batch_size):
            raise_if_interrupted()
            shard.add(keys, finite_units(_features_of_views(backbone, pixels, parts), "views"))
            done += len(keys)
            advance(len(keys))
    return done


def _features_of_views(backbone: Backbone, pixels: torch.Tensor, parts: Parts) -> torch.Tensor:
    return parts(len(pixels), lambda first, last: backbone.encode_images(pixels[first:last]))


def _batches(
    loader: "DataLoader[tuple[list[bytes], torch.Tensor] | CuplBenchError]", batch_size: int
) -> Iterator[tuple[list[bytes], torch.Tensor]]:
    """Yield keys and pixels of so many views together, and the rest at the end."""
    keys: list[bytes] = []
    waiting: list[torch.Tensor] = []
    for one in loader:
        if isinstance(one, CuplBenchError):
            raise one
        keys += one[0]
        waiting.append(one[1])
        while len(keys) >= batch_size:
            pixels = torch.cat(waiting)
            yield keys[:batch_size], pixels[:batch_size]
            keys, waiting = keys[batch_size:], [pixels[batch_size:]]
    if keys:
        yield keys, torch.cat(waiting)


@dataclass(frozen=True)
class CroppedImages(TorchDataset["tuple[list[bytes], torch.Tensor] | CuplBenchError"]):
    """The new views of an image ready for the image tower, with their keys; for worker processes.

    An error is returned, not raised: PyTorch would replace its message by the worker's traceback.
    """

    family: ViewFamily
    dataset: Images
    wanted: Sequence[tuple[int, list[int]]]
    size: tuple[int, int]
    exact: Callable[..., torch.Tensor]

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, place: int) -> "tuple[list[bytes], torch.Tensor] | CuplBenchError":
        index, numbers = self.wanted[place]
        key = self.dataset.image_keys[index]
        try:
            image = decode(self.dataset.content(index))
            boxes = list(boxes_of(self.family, key, image.size))
            keys = view_keys(self.family, [key])
            return [keys[one - 1] for one in numbers], self._pixels(image, [boxes[one - 1] for one in numbers])
        except CuplBenchError as error:
            return error.with_traceback(None)
        except (MemoryError, RuntimeError, OSError) as error:
            if not is_lack_of_memory(error):
                raise
            return out_of_memory(f"decode {self.dataset.image_ids[index]}")

    def _pixels(self, image: Image.Image, boxes: Sequence[Box]) -> torch.Tensor:
        """Return the pixels of the crops, as the model's own transform makes them."""
        if self.family.shape == "square" or not self._keeps_size:
            return torch.stack([self.exact(view_of(image, box, self.family, self.size)) for box in boxes])
        pixels = np.empty((len(boxes), 3, *self.size), np.uint8)
        for place, box in zip(pixels, boxes, strict=True):
            crop = np.asarray(view_of(image, replace(box, flipped=False), self.family, self.size)).transpose(2, 0, 1)
            place[:] = crop[..., ::-1] if box.flipped else crop  # mirrored on the way, not by one more image
        return torch.from_numpy(pixels)

    @cached_property
    def _keeps_size(self) -> bool:
        """Whether the model's transform leaves an image of its own size as it is: then it need not be applied."""
        noise = np.random.default_rng(0).integers(0, 256, (*self.size, 3), dtype=np.uint8)
        return torch.equal(self.exact(Image.fromarray(noise)), torch.from_numpy(noise).permute(2, 0, 1))
