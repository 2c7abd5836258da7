"""Products of float32 matrices on a CPU by oneDNN, where MKL does them at half the processor's speed.

PyTorch multiplies float32 matrices with MKL, which on processors of AMD leaves AVX-512 unused: 80 to 110 GFLOP/s on a
core where oneDNN, a part of PyTorch too, does 190 to 250. Of a cold sweep in fp32 four fifths are such products.
"""

import inspect
import platform
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["linear_weights", "quick_products"]

SMALLEST = 2**18
"""Values of a weight from which a model is worth it. Below, in the demo's backbone for one, nothing is changed."""

SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def quick_products(weights: Iterable[Tensor]) -> AbstractContextManager[object]:
    """Return a context in which linear layers and attention in float32 on a CPU are computed by oneDNN.

    It changes nothing where that is no quicker: other processors, devices and dtypes, and small models. What it
    computes differs in the last bits, as it does between two processors. `torch.backends.mkldnn` turns it off.

    Args:
        weights: those of the model's linear layers.

    Example:
        >>> layer = torch.nn.Linear(512, 512)
        >>> with torch.no_grad(), quick_products([layer.weight]):
        ...     layer(torch.ones(2, 512)).shape
        torch.Size([2, 512])
    """
    if not (torch.backends.mkldnn.enabled and _mkl_falls_short()):
        return nullcontext()
    return _OneDnn() if any(one.numel() >= SMALLEST and _is_suited(one) for one in weights) else nullcontext()


def linear_weights(model: nn.Module, without: Collection[str] = ()) -> Iterator[Tensor]:
    """Return the weights of the linear layers of a model, those of attention included.

    Its embeddings may be larger and of another dtype, and say nothing of how it computes. ``without``: names of its
    parts that are left out, so that a tower is judged alike with the other one and without.

    Example:
        >>> [tuple(weight.shape) for weight in linear_weights(torch.nn.MultiheadAttention(8, 2))]
        [(24, 8), (8, 8)]
    """
    kept = (part for name, part in model.named_children() if name not in without)
    for module in chain([model], *(part.modules() for part in kept)):
        if isinstance(module, nn.Linear):
            yield module.weight
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            yield module.in_proj_weight


@cache
def _mkl_falls_short() -> bool:
    """Return whether this is a processor of AMD with AVX-512, and PyTorch has both MKL and oneDNN."""
    has_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_both and torch.backends.cpu.get_cpu_capability() == "AVX512" and "AuthenticAMD" in _processor()


def _processor() -> str:
    """Return what the system says of its first processor."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor()
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline() + file.readline()


class _OneDnn(TorchFunctionMode):
    """Computes linear layers, and those of attention, by oneDNN."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        # What is compiled is PyTorch's own to make quick, and inside autocast products are not in float32.
        if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return func(*args, **given)
        if func is F.linear:
            return _linear(*args, **given)
        if func is F.multi_head_attention_forward:
            asked = SIGNATURE.bind(*args, **given)
            asked.apply_defaults()
            if _is_plain(**asked.arguments):
                return _attention(**asked.arguments), None
        return func(*args, **given)


def _linear(
    input: Float[Tensor, "*n i"], weight: Float[Tensor, "*o i"], bias: Float[Tensor, "..."] | None = None
) -> Float[Tensor, "..."]:
    given = [one for one in (input, weight, bias) if one is not None]
    # A tensor of oneDNN has five axes at most, and as a bias one number for each output.
    fits = input.ndim <= 5 and weight.ndim == 2 and (bias is None or bias.shape == weight.shape[:1])
    if not fits or not all(one.numel() and _is_suited(one) for one in given):
        return F.linear(input, weight, bias)
    result: Tensor = F.linear(*(one.to_mkldnn() for one in given)).to_dense()
    return result


def _is_suited(tensor: Tensor) -> bool:
    """Return whether oneDNN takes a tensor as it is: quantised weights are of a class of their own, or sparse."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
    )


def _is_plain(*, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, **more: Any) -> bool:
    """Return whether this is self-attention without dropout, of which only the result is wanted: as in CLIP."""
    return (
        query is key
        and key is value
        and _is_suited(query)
        and query.ndim == 3
        and more["in_proj_bias"] is not None
        and (attn_mask is None or (attn_mask.ndim == 2 and attn_mask.is_floating_point()))
        and not (more["training"] and more["dropout_p"])
        and all(more[name] is None for name in ("bias_k", "bias_v", "key_padding_mask", "static_k", "static_v"))
        and not any(more[name] for name in ("add_zero_attn", "need_weights", "use_separate_proj_weight", "is_causal"))
    )


def _attention(
    *,
    query: Float[Tensor, "t n w"],
    num_heads: int,
    in_proj_weight: Float[Tensor, "three_w w"],
    in_proj_bias: Float[Tensor, " three_w"],
    out_proj_weight: Float[Tensor, "w w"],
    out_proj_bias: Float[Tensor, " w"] | None,
    attn_mask: Float[Tensor, "t t"] | None,
    **_: object,
) -> Float[Tensor, "t n w"]:
    places, batch, width = query.shape
    projected = _linear(query, in_proj_weight, in_proj_bias)
    q, k, v = projected.view(places, batch, 3, num_heads, width // num_heads).permute(2, 1, 3, 0, 4)
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
    return _linear(seen.permute(2, 0, 1, 3).reshape(places, batch, width), out_proj_weight, out_proj_bias)
