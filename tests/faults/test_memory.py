"""A device whose memory does not hold a batch: half of it, and so on, with the same features in the end."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.errors import BackboneError
from cupl_bench.parts import Parts


def hold(monkeypatch: pytest.MonkeyPatch, images: int, texts: int) -> list[int]:
    """Backbones run out of memory above so many images or texts; gives the sizes that they encoded."""
    sizes: list[int] = []
    load = OpenClipSource.load

    def loaded(self: OpenClipSource, *arguments: Any) -> Any:
        backbone = load(self, *arguments)

        class Text:
            note = backbone.text.note
            tokenize = staticmethod(backbone.text.tokenize)

            def encode(self, sequences: Sequence[tuple[int, ...]], batch_size: int) -> Tensor:
                if len(sequences) > texts:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
                sizes.append(len(sequences))
                return backbone.text.encode(sequences, batch_size)

        def encode_images(batch: Tensor) -> Tensor:
            if len(batch) > images:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            sizes.append(len(batch))
            return backbone.encode_images(batch)

        return replace(backbone, encode_images=encode_images, text=Text())

    monkeypatch.setattr(OpenClipSource, "load", loaded)
    return sizes


def scores(cli: Any) -> np.ndarray:
    return pd.read_parquet(cli.results / cli.record().artifacts.predictions)["score"].to_numpy()


@pytest.mark.slow
def test_batches_are_halved_and_give_the_same_answers(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_photos() == 0, cli.err
    undisturbed, key = scores(cli), cli.record().run_key
    sizes = hold(monkeypatch, images=3, texts=2)
    cli.results, cli.cache = cli.results.with_name("r"), cli.cache.with_name("c")
    assert on_photos("batch_size=12") == 0, cli.err
    np.testing.assert_allclose(scores(cli), undisturbed, atol=1e-5)
    assert cli.record().run_key == key
    assert sizes == [3, 3, 3, 3, 3, 2, 2, 1]
    assert "out of memory with 12 images at once: continuing with 6; batch_size=6 starts with that" in cli.err
    assert cli.err.count("images at once") == 2  # told once for each halving, not for each batch


@pytest.mark.slow
def test_a_memory_that_holds_not_even_one_is_a_clear_refusal(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, images=0, texts=100)
    assert on_photos("batch_size=2") == 2
    assert "too small for even one of the images" in cli.err
    assert "Traceback" not in cli.err


def test_other_errors_of_a_device_are_no_lack_of_memory() -> None:
    def broken(first: int, last: int) -> Tensor:
        raise RuntimeError("device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side"):
        Parts(what="images", at_once=4)(4, broken)
    with pytest.raises(BackboneError, match="one of the prompts"):
        Parts(what="prompts", at_once=1)(3, lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))


def test_parts_keep_their_order() -> None:
    def encode(first: int, last: int) -> Tensor:
        if last - first > 3:
            raise torch.OutOfMemoryError("no")
        return torch.arange(first, last, dtype=torch.float32)[:, None]

    parts = Parts(what="images", at_once=64)
    assert parts(10, encode).ravel().tolist() == list(range(10))
    assert parts.at_once == 2
    assert parts(1, encode).ravel().tolist() == [0]
