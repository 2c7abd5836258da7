"""A GPU that is not there: its tensors say that they lie on one, and the CPU computes what they hold.

`torch`'s own FakeTensorMode knows shapes and devices alone, so that what reads a value (a scorer that counts, a row
that is written) cannot run under it. Here everything runs to its end and its numbers can be compared; a tensor that
was left on the CPU is an error as on a real GPU, and each step that makes the CPU wait for the GPU is counted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["Waits", "pretend_gpu"]

_setup_privateuseone_for_python_backend("pretended")
GPU = torch.device("pretended", 0)
aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default}
"""What needs a value, or a size that depends on one: the CPU waits."""


class OnGpu(torch.Tensor):
    """A tensor that says it lies on the GPU; ``held`` holds its numbers on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnGpu":
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=GPU
        )
        made.held = held
        return made

    def tolist(self) -> Any:  # torch's own refuses every tensor of another class
        _waits["tolist"] += 1
        return self.held.tolist()

    def __repr__(self, **_: object) -> str:
        return f"OnGpu({self.held!r})"

    def __deepcopy__(self, memo: dict[int, object]) -> torch.Tensor:
        return OnGpu(self.held.clone())

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with _Gpu():
            return _computed(func, args, dict(kwargs or {}))


class Waits(Counter[str]):
    """How often the CPU waited for the GPU, by the operation."""


class _Gpu(TorchDispatchMode):
    """Make what is asked for on the GPU, too: without this a factory function would look for a real one."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with self:
            return _computed(func, args, dict(kwargs or {}))


_waits = Waits()


def _computed(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in _leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    on_gpu = [one for one in tensors if isinstance(one, OnGpu)]
    asked = kwargs.get("device")
    goes = torch.device(asked) if asked is not None else None
    if goes is not None and goes.type == GPU.type:
        kwargs["device"] = torch.device("cpu")
    if func is aten._fused_sdp_choice.default and on_gpu:
        return 0  # the plain formula: the CPU has none of the GPU's fused kernels
    moves = func in (aten._to_copy.default, aten.copy_.default)
    if on_gpu and not moves:
        _refuse_mixed(func, args, tensors)
        if func in READS:
            _waits[str(func)] += 1
    if moves and on_gpu and (goes or tensors[0].device).type != GPU.type:
        _waits[str(func)] += 1
    with _disable_current_modes():
        found = func(*tree_map(_plain, tuple(args)), **tree_map(_plain, kwargs))
    if func._schema.is_mutable:  # in place, or into what `out` names: what was given is what is given back
        changed = {id(_plain(one)): one for one in tensors}
        return tree_map(lambda one: changed.get(id(one), one), found)
    stays = goes.type == GPU.type if goes is not None else bool(on_gpu)
    if func is aten._to_copy.default and goes is None:
        stays = isinstance(tensors[0], OnGpu)
    return tree_map(lambda one: OnGpu(one) if stays and isinstance(one, torch.Tensor) else one, found)


def _plain(one: Any) -> Any:
    return one.held if isinstance(one, OnGpu) else one


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for one in tree:
            yield from _leaves(one)
    else:
        yield tree


def _refuse_mixed(func: Any, args: Sequence[Any], tensors: Sequence[torch.Tensor]) -> None:
    """Refuse what a GPU refuses: tensors of two devices in one operation, but for a number and for an index."""
    indices = list(_leaves(args[1])) if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) else []
    for one in tensors:
        if not isinstance(one, OnGpu) and one.dim() > 0:
            if any(one is index for index in indices):
                _waits[f"{func} with an index on the CPU"] += 1
                continue
            raise RuntimeError(f"Expected all tensors to be on the same device, but one of {func} is on the CPU")


@contextmanager
def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """Give this machine a GPU; yields how often the CPU waited for it."""
    _waits.clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "inference_mode", torch.no_grad)  # in it, torch hands over whole functions
        patch.setattr("torch.__future__.get_overwrite_module_params_on_conversion", lambda: True)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(numbers, device=...) asks this mode, too
        try:
            with _Gpu():
                yield _waits
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
