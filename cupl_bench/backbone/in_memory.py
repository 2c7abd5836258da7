"""A model that the user holds in memory, as a backbone: during training, or built by code of the user's own."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor, nn

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TextEncoder, TokenIds, Tokens
from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.backbone.pixels import ImageTransform
from cupl_bench.backbone.products import linear_weights, quick_products
from cupl_bench.backbone.text import PaddedTextEncoder, choose_text_encoder
from cupl_bench.backbone.tokenization import PROBES
from cupl_bench.errors import BackboneError
from cupl_bench.identity import content_key

__all__ = ["Model"]

PRECISION_OF: dict[torch.dtype, Precision] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}
PROBE_SIZES = ((331, 509), (509, 331), (64, 64))
"""Width and height of the images that tell one image transform from another, in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A CLIP model in memory.

    Args:
        model: a module with ``encode_image`` (a batch of what ``preprocess`` gives -> n x D) and ``encode_text`` (rows
            of ids -> n x D), as those of open_clip and of OpenAI's clip. It stays on its device and in its precision;
            its mode (training or not, of each part), its gradients and its parameters are left as they are.
        preprocess: an RGB Pillow image -> a tensor, 3 x H x W: the transform for evaluation, which draws nothing.
        tokenizer: a list of texts -> rows of ids, all of one length.
        name: what records, tables and figures call it, such as "step 1000".
        logit_scale: the factor from similarities to logits; None takes ``model.logit_scale.exp()``.

    The digest of the parameters and buffers is part of every key: the same weights are never encoded twice, and
    weights that were trained on are never taken for the old ones.

    Example:
        >>> import open_clip, torch
        >>> from cupl_bench import Model
        >>> clip, _, preprocess = open_clip.create_model_and_transforms("ViT-S-32-alt")  # doctest: +SKIP
        >>> step = Model(clip, preprocess, open_clip.get_tokenizer("ViT-S-32-alt"), name="step 0")  # doctest: +SKIP
    """

    model: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]
    name: str
    logit_scale: float | None

    def __init__(
        self,
        model: nn.Module,
        preprocess: Callable[[Image.Image], Tensor],
        tokenizer: Callable[[list[str]], Tensor],
        name: str,
        logit_scale: float | None = None,
    ) -> None:
        object.__setattr__(self, "model", _unwrapped(model))
        object.__setattr__(self, "preprocess", preprocess)
        object.__setattr__(self, "tokenizer", tokenizer)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "logit_scale", logit_scale)
        for method in ("encode_image", "encode_text"):
            if not callable(getattr(self.model, method, None)):
                raise BackboneError(
                    f"The model {name!r} ({type(self.model).__name__}) has no {method}(). Give a module that has"
                    " encode_image(batch) and encode_text(ids); wrap another one in a small module with these two."
                )
        if not any(parameter.is_floating_point() for parameter in self.model.parameters()):
            raise BackboneError(
                f"The model {name!r} ({type(self.model).__name__}) has no parameters that are floating-point numbers,"
                " which tell its features from those of other weights. Give it the weights that it computes with, as"
                " torch.nn.Parameter."
            )

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters."""
        return next(self.model.parameters()).device

    @property
    def precision(self) -> Precision:
        """The number format of the parameters.

        Raises:
            BackboneError: it is none of float32, bfloat16 and float16.
        """
        dtype = next(parameter.dtype for parameter in self.model.parameters() if parameter.is_floating_point())
        if dtype not in PRECISION_OF:
            raise BackboneError(f"The model {self.name!r} holds {dtype}; features are encoded in fp32, bf16 or fp16.")
        return PRECISION_OF[dtype]

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:  # noqa: ARG002 - nothing is fetched
        """Return the facts that identify the features: digests of the weights, the transform and the tokenizer.

        Raises:
            BackboneError: the transform gives another result at each call, or model and transform do not fit.
        """
        pixels, transform = self._probe_transform()
        tokenization = self._tokenization()
        with evaluating(self.model):
            features = self._encode_image(pixels[None])
        return BackboneFacts(
            architecture=type(self.model).__name__,
            pretrained="in memory",
            weights_sha256=_digest_of_weights(self.model),
            activation="not known",
            image_size=(int(pixels.shape[-2]), int(pixels.shape[-1])),
            embed_dim=int(features.shape[-1]),
            transform=transform,
            model={"structure": re.sub(r" at 0x[0-9a-f]+", "", repr(self.model))},
            tokenizer=tokenization,
            tokenization=tokenization,
        )

    def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:  # noqa: ARG002
        """Return the model as a backbone, on its own device.

        Raises:
            BackboneError: another precision than the model's own is asked for, or it has no temperature.
        """
        if precision != self.precision:
            raise BackboneError(
                f"The model {self.name!r} is {self.precision}, and precision={precision} is asked for. A model in"
                f" memory is encoded as it is: leave precision out, or convert the model."
            )
        padded = PaddedTextEncoder(
            tokenizer=lambda texts: self.tokenizer(list(texts)),
            is_cut=self._is_cut,
            encode_text=self._encode_text,
            device=self.device,
        )
        bpe = FastBpe.from_tokenizer(self.tokenizer)
        context_length = int(self.tokenizer([PROBES[0]]).shape[1])
        with evaluating(self.model):
            text = choose_text_encoder(self.model, padded, bpe, context_length, pad_id=0)
        bias = getattr(self.model, "logit_bias", None)
        return Backbone(
            facts=facts,
            device=self.device,
            transform=ImageTransform(
                exact=self.preprocess, fast=None, table=None, affine=None, geometry=dict(facts.transform)
            ),
            encode_images=self._encode_images,
            text=_Undisturbed(model=self.model, encoder=text),
            logit_scale=self._logit_scale(),
            logit_bias=None if bias is None else float(bias.detach()),
        )

    def _logit_scale(self) -> float:
        if self.logit_scale is not None:
            return float(self.logit_scale)
        own = getattr(self.model, "logit_scale", None)
        if not isinstance(own, Tensor):
            raise BackboneError(
                f"The model {self.name!r} has no logit_scale. Say it: Model(..., logit_scale=100) for most CLIP models."
            )
        return float(own.detach().float().exp())

    def _encode_image(self, batch: Tensor) -> Tensor:
        dtype = next(parameter.dtype for parameter in self.model.parameters() if parameter.is_floating_point())
        with torch.no_grad(), quick_products(linear_weights(self.model)):
            features: Tensor = self.model.encode_image(batch.to(self.device, dtype))  # type: ignore[operator]
        return features

    def _encode_images(self, batch: Tensor) -> Tensor:
        with evaluating(self.model):
            return self._encode_image(batch)

    def _encode_text(self, rows: Tensor) -> Tensor:
        with torch.no_grad(), quick_products(linear_weights(self.model)):
            features: Tensor = self.model.encode_text(rows.to(self.device))  # type: ignore[operator]
        return features

    def _is_cut(self, texts: Sequence[str]) -> list[bool]:
        """Return whether each text fills its row: its last place is then no padding, and more words would be lost."""
        rows = self.tokenizer(list(texts))
        filler = self.tokenizer([""])[0, -1]
        return [bool(full) for full in (rows[:, -1] != filler).tolist()]

    def _probe_transform(self) -> tuple[Float32[Tensor, "3 h w"], dict[str, object]]:
        generator = np.random.default_rng(0)
        digest = hashlib.sha256()
        for width, height in PROBE_SIZES:
            image = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
            pixels, again = self.preprocess(image), self.preprocess(image)
            if not isinstance(pixels, Tensor) or pixels.ndim != 3:
                raise BackboneError(
                    f"preprocess of {self.name!r} gives {type(pixels).__name__}; it should give a tensor, 3 x H x W."
                )
            if not torch.equal(pixels, again):
                raise BackboneError(
                    f"preprocess of {self.name!r} gives another result at each call: it draws something at random."
                    " Give the transform for evaluation."
                )
            digest.update(str(tuple(pixels.shape)).encode())
            digest.update(np.ascontiguousarray(pixels.float().numpy()).tobytes())
        return pixels.float(), {"source": "in memory", "probe_sha256": digest.hexdigest()}

    def _tokenization(self) -> str:
        """Return the key of the tokenizer: of its vocabulary, where it shows one, and of the ids of the probe texts."""
        vocabulary = getattr(self.tokenizer, "encoder", None)
        return content_key(
            {
                "vocabulary": sorted(vocabulary.items()) if isinstance(vocabulary, dict) else None,
                "ids": [self.tokenizer([probe]).tolist() for probe in PROBES],
            }
        )


@dataclass(frozen=True, kw_only=True)
class _Undisturbed:
    """A text encoder of a model that may be in the middle of its training."""

    model: nn.Module
    encoder: TextEncoder

    @property
    def note(self) -> str:
        return self.encoder.note

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return self.encoder.tokenize(texts)

    def encode(self, sequences: Sequence[TokenIds], batch_size: int) -> Float32[Tensor, "p d"]:
        with evaluating(self.model):
            return self.encoder.encode(sequences, batch_size)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every part of ``model`` into evaluation mode inside, and back into its own mode afterwards."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside of what DataParallel, DistributedDataParallel and torch.compile put around it."""
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, nn.Module) else model


def _digest_of_weights(model: nn.Module) -> str:
    """Return the sha256 of all parameters and buffers by their names, 64 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)};".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data if values.numel() else b"")
    return digest.hexdigest()
