"""Images and prompts -> unit features, through the store: only what is new is encoded."""

import logging
import os
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from PIL import Image
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from cupl_bench.backbone import Backbone, TextEncoder, TextTower, TokenIds
from cupl_bench.claims import claimed
from cupl_bench.dataset import Images
from cupl_bench.dataset.decode import Decode, decode, decode_tensor
from cupl_bench.embeddings import unit_rows
from cupl_bench.errors import BackboneError, BrokenImageError, CuplBenchError, DatasetError, MachineError
from cupl_bench.identity import sequence_keys, text_keys
from cupl_bench.interrupts import hurry, raise_if_interrupted
from cupl_bench.keys import KeyIndex, Keys
from cupl_bench.memory import is_lack_of_memory, out_of_memory
from cupl_bench.parts import Parts
from cupl_bench.pixel_store import PixelStore
from cupl_bench.progress import progress
from cupl_bench.ranks import from_first, gathered, rank, world_size
from cupl_bench.store import RowStore
from cupl_bench.stored_features import ImageFeatures, TextFeatures, broken_before_whole, missing_images

__all__ = [
    "SHARD_ROWS",
    "Shard",
    "encode_images",
    "encode_texts",
    "finite_units",
    "pixels_of",
    "workers_may_die",
]

log = logging.getLogger(__name__)

SHARD_ROWS = 4096
SHARD_SECONDS = 20.0
"""A shard is written when it is full or this old: what a killed run has to do again."""
TEXTS_PER_BLOCK = 4096
PIXEL_SHARD_BYTES = 64_000_000
"""Pixels that are held in memory and written together."""


@dataclass
class Shard:
    """Rows that wait to be written, and are written even if the work ends by an error, Ctrl-C or a signal of Slurm."""

    store: RowStore | PixelStore
    max_rows: int
    # Keys and rows in one list: an interrupt comes between any two steps, and must not part them.
    waiting: list[tuple[Sequence[bytes], np.ndarray]] = field(default_factory=list)
    began: float = 0.0
    """When the first of the rows that wait came, in seconds of the monotonic clock."""

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        if not self.waiting:
            self.began = time.monotonic()
        self.waiting.append((keys, rows))
        full = sum(len(rows) for _, rows in self.waiting) >= self.max_rows
        if full or hurry.is_set() or time.monotonic() - self.began > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self.waiting:
            keys = [key for some, _ in self.waiting for key in some]
            self.store.write(keys, np.concatenate([rows for _, rows in self.waiting]))
        self.waiting = []


@dataclass(frozen=True)
class DecodedImages(TorchDataset[tuple[int, torch.Tensor | CuplBenchError]]):
    """Images ready for the image tower, or why one is not; for worker processes.

    An error is returned, not raised: PyTorch would replace its message by the worker's traceback.
    """

    dataset: Images
    indices: Int64[np.ndarray, " m"]
    pixels: Callable[[bytes], torch.Tensor]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, torch.Tensor | CuplBenchError]:
        index = int(self.indices[place])
        try:
            return index, self.pixels(self.dataset.content(index))
        except CuplBenchError as error:
            return index, error.with_traceback(None)
        except (MemoryError, RuntimeError, OSError) as error:
            if not is_lack_of_memory(error):
                raise
            return index, out_of_memory(f"decode {self.dataset.image_ids[index]}")


@dataclass(frozen=True)
class ExactPixels:
    """A file's pixels as the model's own transform makes them."""

    preprocess: Callable[[Image.Image], torch.Tensor]

    def __call__(self, content: bytes) -> torch.Tensor:
        return self.preprocess(decode(content))


@dataclass(frozen=True)
class FastPixels:
    """A file's pixels by way of tensors alone."""

    preprocess: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, content: bytes) -> torch.Tensor:
        return self.preprocess(decode_tensor(content))


def pixels_of(backbone: Backbone, decode_by: Decode) -> ExactPixels | FastPixels:
    """Return what turns a file into the pixels that a backbone reads; for worker processes.

    Raises:
        BackboneError: the backbone's transform has no fast form.
    """
    if decode_by == "exact":
        return ExactPixels(backbone.transform.exact)
    if backbone.transform.fast is None:
        raise BackboneError(
            f"The image transform of {backbone.facts.architecture} has no fast form. Take dataset.decode=exact."
        )
    return FastPixels(backbone.transform.fast)


def encode_images(
    dataset: Images,
    load: Callable[[], Backbone],
    store: RowStore,
    *,
    pixels: Callable[[Backbone], PixelStore | None] = lambda _: None,
    decode_by: Decode = "exact",
    batch_size: int,
    num_workers: int,
    skip_broken: bool,
) -> ImageFeatures:
    """Return the unit features of all images; images of equal content are encoded once.

    Args:
        dataset: the images.
        load: gives the backbone; called only if an image is to be encoded.
        store: where features of this backbone, transform and precision lie.
        pixels: where the pixels that a backbone reads are kept for the next one, if they are.
        decode_by: whether pixels are those of the model's own transform or nearly those.
        batch_size: images encoded together; changes features by rounding only.
        num_workers: processes that decode; 0 decodes in this one.
        skip_broken: whether images that cannot be decoded are left out.

    Raises:
        DatasetError: images cannot be decoded (all are tried first), or none can; or one was changed or removed
            since its key was made.
        MachineError: memory is short, or a process that decodes was killed.
        BackboneError: features are not finite.
    """
    keys = Keys.of(dataset.image_keys)

    def encode_own() -> tuple[Int64[np.ndarray, " m"], dict[bytes, str]]:
        first, last = (len(missing) * place // world_size() for place in (rank(), rank() + 1))
        return _encode(dataset, missing[first:last], load, store, pixels, decode_by, batch_size, num_workers)

    with ExitStack() as claim:
        # Found once: what is missing changes as soon as one of the processes has written.
        missing = from_first(
            lambda: claim.enter_context(
                claimed(store.folder, lambda: missing_images(dataset, store), lambda found: keys[found], "images")
            )
        )
        shares = gathered(encode_own)
    done = np.sort(np.concatenate([indices for indices, _ in shares]))
    if not np.array_equal(done, missing):
        raise RuntimeError(f"{len(missing)} images were to be encoded once each, but {len(done)} were")
    store.present(keys)  # reads what other processes wrote
    why_broken = {key: reason for _, broken in shares for key, reason in broken.items()}
    broken = KeyIndex()
    broken.add(Keys.of(why_broken))
    kept = broken.find(keys) < 0
    if not kept.all():
        lost = np.flatnonzero(~kept)
        cases = "; ".join(f"{dataset.image_ids[i]}: {why_broken[keys[i]]}" for i in lost[:3].tolist())
        message = f"{len(lost)} of {len(kept)} images cannot be decoded, first: {cases}."
        if not kept.any():
            raise DatasetError(f"{message} Are these images at all?")
        if not skip_broken:
            raise DatasetError(f"{message} Repair or remove them, or leave them out with dataset.skip_broken=true.")
        log.warning("%s They are left out.", message)
        keys = keys[kept]
    return ImageFeatures(stored=store.find(keys), kept=kept, num_encoded=len(missing) - len(why_broken))


def _encode(
    dataset: Images,
    missing: Int64[np.ndarray, " m"],
    load: Callable[[], Backbone],
    store: RowStore,
    pixels: Callable[[Backbone], PixelStore | None],
    decode_by: Decode,
    batch_size: int,
    num_workers: int,
) -> tuple[Int64[np.ndarray, " m"], dict[bytes, str]]:
    """Encode these images; gives those that were tried, and why some are broken."""
    tried = array("q")
    why_broken: dict[bytes, str] = {}
    parts = Parts(what="images", at_once=batch_size)
    with (
        workers_may_die(),
        Shard(store, max_rows=SHARD_ROWS) as shard,
        progress(len(missing), "encoding images") as advance,
    ):
        for indices, batch, broken in _batches(dataset, missing, load, pixels, decode_by, batch_size, num_workers):
            raise_if_interrupted()
            if machine := [error for _, error in broken if not isinstance(error, BrokenImageError)]:
                raise machine[0]
            why_broken.update({dataset.image_keys[index]: str(error) for index, error in broken})
            if indices:
                keys = [dataset.image_keys[index] for index in indices]
                shard.add(keys, finite_units(_features_of_images(load(), batch, parts), "images"))
            tried.extend([*indices, *(index for index, _ in broken)])
            advance(len(indices) + len(broken))
    return np.array(tried, dtype=np.int64), why_broken


def _features_of_images(backbone: Backbone, batch: torch.Tensor, parts: Parts) -> torch.Tensor:
    return parts(len(batch), lambda first, last: backbone.encode_images(batch[first:last]))


def _features_of_texts(encoder: TextEncoder, block: Sequence[TokenIds], batch_size: int, parts: Parts) -> torch.Tensor:
    return parts(len(block), lambda first, last: encoder.encode(block[first:last], min(batch_size, parts.at_once)))


def _batches(
    dataset: Images,
    missing: Int64[np.ndarray, " m"],
    load: Callable[[], Backbone],
    pixels: Callable[[Backbone], PixelStore | None],
    decode_by: Decode,
    batch_size: int,
    num_workers: int,
) -> Iterator[tuple[list[int], torch.Tensor, list[tuple[int, CuplBenchError]]]]:
    """Yield indices and pixels of each batch, and which of its images have none, and why."""
    # Broken images have no features and are met again by every run: they alone are no reason to load a model.
    start = 0
    for one in broken_before_whole(dataset, missing):
        yield [], torch.empty(0), [one]
        start += 1
    if start == len(missing):
        return
    backbone = load()
    missing = missing[start:]
    keep = None
    kept_pixels = pixels(backbone)
    if kept_pixels is not None:
        left = {dataset.image_keys[index]: index for index in missing.tolist()}
        for keys, rows in kept_pixels.stored(list(left)):
            for place in range(0, len(keys), batch_size):
                here = slice(place, place + batch_size)
                yield [left.pop(key) for key in keys[here]], torch.from_numpy(rows[here]), []
        assert backbone.facts.image_size is not None  # noqa: S101 - its transform has a table, so it reads images
        height, width = backbone.facts.image_size
        log.info("pixels    %s read, %s to decode", f"{len(missing) - len(left):,}", f"{len(left):,}")
        missing = np.array(list(left.values()), dtype=np.int64)
        if kept_pixels.has_room(len(missing) * 3 * height * width):
            keep = Shard(kept_pixels, max_rows=max(1, PIXEL_SHARD_BYTES // (3 * height * width)))
        else:
            log.info("pixels    not kept for the next backbone: more than cache_limit_gb")
    loader = DataLoader(
        DecodedImages(dataset, missing, pixels_of(backbone, decode_by)),
        batch_size=batch_size,
        num_workers=num_workers,
        generator=torch.Generator(),  # not torch's own, from which a training loop around this may draw
        pin_memory=backbone.device.type == "cuda",
        collate_fn=_collate,
        worker_init_fn=_end_where_nothing_arrives,
    )
    told = False
    for indices, found, broken in _started(loader):
        if isinstance(found, np.ndarray) and not told:
            told = True
            log.warning(
                "shared memory (/dev/shm) has no room for a batch: images go through pipes, which is slower. Give it"
                " more (docker run --shm-size=1g), or take a smaller batch_size or num_workers."
            )
        batch = torch.as_tensor(found)
        if keep is not None and indices:
            keep.add([dataset.image_keys[index] for index in indices], batch.numpy())
        yield indices, batch, broken
    if keep is not None:
        keep.flush()


@contextmanager
def workers_may_die() -> Iterator[None]:
    """Turn PyTorch's error for a killed decoding process, raised between any two steps of the block, into ours.

    Raises:
        MachineError: one was killed, or could not hand over what it had decoded.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise MachineError(
            f"A process that decodes images has ended unexpectedly ({str(error).splitlines()[0].strip()}). Most often"
            " the memory of the machine, or its shared memory (/dev/shm), is too small: take fewer num_workers (0"
            " decodes in the run itself) or a smaller batch_size. What was encoded is kept."
        ) from error


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """Return the batches of a loader, decoded in this process where no other can be started."""
    try:
        return iter(loader)
    except OSError as error:
        if not loader.num_workers:
            raise
        log.warning(
            "no process that decodes images can be started (%s): this process decodes them, as with num_workers=0",
            error.strerror or error,
        )
        return iter(
            DataLoader(
                loader.dataset,
                batch_size=loader.batch_size,
                pin_memory=loader.pin_memory,
                collate_fn=loader.collate_fn,
            )
        )


def _end_where_nothing_arrives(_: int) -> None:
    """End a worker that cannot hand over a batch; Python would drop the batch, and the run would wait for it."""

    def end(error: Exception, _: object) -> None:
        log.error("a process that decodes images cannot hand over its batch: %s", error)
        os._exit(1)

    Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]  # the hook that Python has for it


Failed = list[tuple[int, CuplBenchError]]


def _collate(
    items: Sequence[tuple[int, torch.Tensor | CuplBenchError]],
) -> tuple[list[int], torch.Tensor | np.ndarray, Failed]:
    """Return a batch; as an array, which goes through a pipe, where shared memory has no room for it."""
    parted = [(index, pixels) for index, pixels in items if isinstance(pixels, torch.Tensor)]
    failed = [(index, error) for index, error in items if isinstance(error, CuplBenchError)]
    indices, found = [index for index, _ in parted], [pixels for _, pixels in parted]
    batch = torch.stack(found) if found else torch.empty(0)
    if get_worker_info() is None or not found:
        return indices, batch, failed
    try:
        return indices, batch.share_memory_(), failed  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError):  # on handing it over PyTorch would fail in the same way, where nobody hears it
        return indices, batch.numpy(), failed


def encode_texts(
    texts: Sequence[str],
    load: Callable[[], TextTower],
    store: RowStore,
    *,
    tokenizer: str | None,
    batch_size: int,
) -> TextFeatures:
    """Return the unit features of ``texts``; each distinct token sequence is encoded only once, ever.

    Args:
        texts: the prompts.
        load: gives the text tower; called only if a text is new.
        store: where text features of this backbone and precision lie. What the tokens of each text were is kept
            beside them, so that known texts need no tokenizer.
        tokenizer: the key of the backbone's tokenizer; None where it has none, which tokenizes every time.
        batch_size: sequences encoded together by towers that read padded rows.

    Raises:
        BackboneError: features are not finite.
    """
    memo = _TokenMemo.beside(store, tokenizer)

    def find() -> _Tokenized:
        keys, truncated = memo.read(texts)
        known = {key for key in keys if key is not None}
        stored = {key for key, here in zip(known, store.present(list(known)), strict=True) if here}
        new = [place for place, key in enumerate(keys) if key not in stored]
        return _Tokenized(keys=keys, truncated=truncated, new=new)

    def keys_of(found: _Tokenized) -> Keys:
        return Keys.of(text_keys([texts[place] for place in found.new]))

    num_encoded, note = 0, None
    with claimed(store.folder, find, keys_of, "prompts") as of_texts:
        keys, truncated, new = of_texts.keys, of_texts.truncated, of_texts.new
        if new:
            text_encoder = load().text
            note = text_encoder.note
            tokens = text_encoder.tokenize([texts[place] for place in new])
            num_encoded = _encode_sequences(text_encoder, tokens.sequences, store, batch_size)
            keys_of_new = sequence_keys(tokens.sequences)
            for place, key, cut in zip(new, keys_of_new, tokens.truncated, strict=True):
                keys[place], truncated[place] = key, cut
            memo.write([texts[place] for place in new], keys_of_new, tokens.truncated)
    found = [key for key in keys if key is not None]
    row = {key: place for place, key in enumerate(dict.fromkeys(found))}
    return TextFeatures(
        rows=store.read(list(row)),
        row_of_text=[row[key] for key in found],
        truncated=truncated,
        num_encoded=num_encoded,
        note=note,
    )


@dataclass(frozen=True, kw_only=True)
class _Tokenized:
    """The key of the tokens of each text if it is known, and whether it was cut; ``new``: texts without a row."""

    keys: list[bytes | None]
    truncated: list[bool]
    new: Sequence[int]


def _encode_sequences(encoder: TextEncoder, sequences: Sequence[TokenIds], store: RowStore, batch_size: int) -> int:
    """Encode the distinct sequences that have no row; return how many they were."""
    distinct = list(dict.fromkeys(sequences))
    key_of = dict(zip(distinct, sequence_keys(distinct), strict=True))
    present = store.present(list(key_of.values()))
    # In sorted order neighbours share their beginnings, which the prefix tree computes once.
    missing = sorted(sequence for sequence, here in zip(distinct, present, strict=True) if not here)
    parts = Parts(what="prompts", at_once=TEXTS_PER_BLOCK)
    with Shard(store, max_rows=SHARD_ROWS) as shard, progress(len(missing), "encoding prompts") as advance:
        for start in range(0, len(missing), TEXTS_PER_BLOCK):
            block = missing[start : start + TEXTS_PER_BLOCK]
            raise_if_interrupted()
            features = _features_of_texts(encoder, block, batch_size, parts)
            shard.add([key_of[sequence] for sequence in block], finite_units(features, "prompts"))
            advance(len(block))
    return len(missing)


@dataclass(frozen=True)
class _TokenMemo:
    """The key of the tokens of each text that was tokenized, and whether the text was cut to fit.

    ``rows``: 16 bytes of the key, then 1 or 0; None where the tokenizer has no key.
    """

    rows: RowStore | None

    @classmethod
    def beside(cls, store: RowStore, tokenizer: str | None) -> "_TokenMemo":
        if tokenizer is None:
            return cls(None)
        facts = {"content": "keys of texts -> keys of their tokens, 1 if cut", "tokenizer": tokenizer}
        return cls(RowStore(folder=store.folder / "tokens" / tokenizer[:32], facts=facts, dtype=np.uint8))

    def read(self, texts: Sequence[str]) -> tuple[list[bytes | None], list[bool]]:
        """Return the key of each text's tokens, None where it is not known, and which texts were cut."""
        keys: list[bytes | None] = [None] * len(texts)
        truncated = [False] * len(texts)
        if self.rows is not None:
            of_texts = text_keys(texts)
            places = np.flatnonzero(self.rows.present(of_texts)).tolist()
            for place, row in zip(places, self.rows.read([of_texts[place] for place in places]), strict=True):
                keys[place], truncated[place] = row[:-1].tobytes(), bool(row[-1])
        return keys, truncated

    def write(self, texts: Sequence[str], keys: Sequence[bytes], truncated: Sequence[bool]) -> None:
        if self.rows is None:
            return
        of_tokens = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1)
        cut = np.array(truncated, dtype=np.uint8)[:, None]
        self.rows.write(text_keys(texts), np.concatenate([of_tokens, cut], axis=1))


def finite_units(features: torch.Tensor, what: str) -> Float32[np.ndarray, "b d"]:
    """Return what a tower gives as unit rows in float32.

    Raises:
        BackboneError: a row is zero or not finite; ``what`` names the rows.
    """
    try:
        return unit_rows(features.float().cpu().numpy(), f"features of {what}")
    except ValueError as error:
        raise BackboneError(
            f"{error}. Half precision overflows in some models: try precision=fp32. If that fails too, the weights are"
            " damaged."
        ) from error
