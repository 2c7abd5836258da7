"""The weights among all that a file holds.

Training scripts keep weights under a key of their own, beside those of an optimizer or of a moving average, and
wrappers (`DataParallel`, `torch.compile`, FSDP) put their names into the names of the parameters.
"""

import argparse
import logging
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cupl_bench.errors import BackboneError, first

__all__ = ["choose_weights", "read_weights"]

log = logging.getLogger(__name__)

HARMLESS: list[Any] = [
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")),
    *(
        (getattr(import_module("numpy._core.multiarray"), name), f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    argparse.Namespace,
]
"""Types that trainers store beside weights (numbers of numpy, their own arguments); none runs code of the file."""
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of parameter names that wrappers leave: DataParallel, `torch.compile`, FSDP, activation checkpointing."""
DEPTH = 3
"""How many keys below each other are looked through for weights."""
OPENAI_NUMBERS = {"input_resolution", "context_length", "vocab_size"}
"""The entries of OpenAI's archives beside the parameters."""


def read_weights(path: Path) -> Mapping[Any, Any]:
    """Return what a file of weights holds; a file that would run code is refused.

    Tensors are mapped into memory where the file allows it: what nobody looks at is not read.

    Raises:
        BackboneError: it is a TorchScript archive, needs code to be read, or holds no map.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if _is_torchscript(path):
        raise BackboneError(
            f"{path} is a TorchScript archive, a program, and programs from files are never run here. OpenAI's models:"
            " give the tag, backbone.pretrained=openai, which has the same weights. For other models: if you trust the"
            f' file, run python -c "import torch; torch.save(torch.jit.load({str(path)!r},'
            " map_location='cpu').state_dict(), 'weights.pt')\" and give weights.pt."
        )
    try:
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(  # noqa: TID251 - this is the one place
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except Exception as error:
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise BackboneError(
                f"{path} holds objects of {refused[1]}, which can only be read by running code, and that is never done"
                " here. If you trust the file, save its weights alone: torch.save(model.state_dict(), 'weights.pt')."
            ) from error
        raise
    if not isinstance(content, Mapping):
        raise BackboneError(
            f"{path} holds no weights but an object of type {type(content).__name__}. Save those of the model:"
            " torch.save(model.state_dict(), 'weights.pt')."
        )
    return content


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def choose_weights(
    content: Mapping[Any, Any],
    key: str | None,
    wanted: Collection[str],
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    path: Path,
    architecture: str,
) -> dict[str, Tensor]:
    """Return the weights of a model from what a file holds, by the names of the model's parameters.

    Args:
        content: what the file holds.
        key: which of its entries to take, with dots between the keys of several levels; None where one alone fits.
        wanted: the names that the model needs.
        convert: weights in another form to those of the model.
        path: of the file, for messages.
        architecture: of the model, for messages.

    Raises:
        BackboneError: none fits, several do, or there is nothing below ``key``.
    """
    found = dict(_state_dicts(content))
    if key is not None:
        if key not in found:
            raise BackboneError(
                f"{path} holds no weights under backbone.state_dict_key={key}. It holds"
                f" {first([name for name in found if name]) if any(found) else 'weights alone, without a key'}."
            )
        found = {key: found[key]}
    if not found:
        raise BackboneError(f"{path} holds no weights. Its keys: {first([*content])}.")
    fitting, lacking = {}, {}
    for name, weights in found.items():
        fitted = convert(_unwrapped(weights, wanted))
        lost = [parameter for parameter in wanted if parameter not in fitted]
        if lost:
            lacking[name] = (fitted, lost)
        else:
            fitting[name] = fitted
    if len(fitting) > 1:
        raise BackboneError(
            f"{path} holds {len(fitting)} sets of weights that fit {architecture}: {first([*fitting])}. Say which one"
            f" is meant: backbone.state_dict_key={next(iter(fitting))}."
        )
    for name, fitted in fitting.items():
        if more := [parameter for parameter in fitted if parameter not in wanted]:
            raise BackboneError(
                f"{path} does not hold the weights of {architecture}: {len(more)} of {len(fitted)} have no place in it,"
                f" first: {first(more, 3)}. {_advice(fitted)}"
            )
        if name:
            log.info("weights   of %s: its entry %r", path.name, name)
        return fitted
    name, (fitted, lost) = min(lacking.items(), key=lambda item: len(item[1][1]))
    more = [parameter for parameter in fitted if parameter not in wanted]
    under = f" under {name!r}" if name else ""
    others = [*content] if any(found) else []
    raise BackboneError(
        f"{path} does not hold the weights of {architecture}: {len(lost)} of {len(wanted)} are missing{under}, first:"
        f" {first(lost, 3)}"
        + (f"; {len(more)} have other names, first: {first(more, 3)}" if more else "")
        + (f". Keys of the file: {first(others)}" if others else "")
        + ". "
        + _advice(fitted)
    )


def _advice(weights: Mapping[str, Tensor]) -> str:
    if any("lora_" in name for name in weights):
        return "There are LoRA layers among them: merge them (peft: model.merge_and_unload()) and save the whole."
    if "logit_bias" in weights:
        return 'A model with a logit_bias was trained by SigLIP\'s loss: set "init_logit_bias": -10 in its config.'
    return "Take the architecture that the weights were trained with."


def _state_dicts(
    content: Mapping[Any, Any], at: str = "", depth: int = DEPTH
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield all maps from names to tensors, each with the keys that lead to it."""
    if not all(isinstance(key, str) for key in content):
        return
    tensors = {
        key: torch.as_tensor(value)
        for key, value in content.items()
        if isinstance(value, Tensor | np.generic | np.ndarray) and key not in OPENAI_NUMBERS
    }
    if any(value.ndim for value in tensors.values()):
        yield at, tensors
    if depth:
        for key, value in content.items():
            if isinstance(value, Mapping):
                yield from _state_dicts(value, f"{at}.{key}" if at else key, depth - 1)


def _unwrapped(weights: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the weights by the model's own names: without what wrappers put before or into all of them."""
    own = {part for name in wanted for part in name.split(".")}
    names = [[part for part in name.split(".") if part not in WRAPPERS - own] for name in weights]
    if len({".".join(parts) for parts in names}) < len(names):  # two would become one
        return dict(weights)
    while all(len(parts) > 1 for parts in names) and len({parts[0] for parts in names}) == 1:
        names = [parts[1:] for parts in names]
    return {".".join(parts): value for parts, value in zip(names, weights.values(), strict=True)}
