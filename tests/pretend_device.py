"""A GPU that is not there: its tensors say that they lie on one, and the CPU computes what they hold.

`torch`'s own FakeTensorMode knows shapes and devices alone, so that what reads a value (a scorer that counts, a row
that is written) cannot run under it. Here everything runs to its end and its numbers can be compared; a tensor that
was left on the CPU is an error as on a real GPU, and each step that makes the CPU wait for the GPU is counted, by the
line of the package that asks for it.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import cupl_bench

__all__ = ["Waits", "pretend_gpu"]

_setup_privateuseone_for_python_backend("pretended")
GPU = torch.device("pretended", 0)
aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default,
         aten.equal.default, aten.bincount.default}  # fmt: skip
"""What needs a value, or a size that depends on one: the CPU waits."""
PRODUCTS = {aten.mm.default, aten.addmm.default, aten.convolution.default}
"""Products with weights; those inside of attention the CPU computes in float32, whatever they are given."""
PACKAGE = Path(cupl_bench.__file__).parent


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

    @property
    def data(self) -> torch.Tensor:
        return OnGpu(self.held.data)

    @data.setter
    def data(self, new: "OnGpu") -> None:  # as open_clip gives a layer weights of another precision
        torch.Tensor.data.__set__(self, new)
        self.held = new.held

    def tolist(self) -> Any:  # torch's own refuses every tensor of another class
        _waits.one("tolist")
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
    """How often the CPU waited for the GPU, by the function and the line of the package and by the operation.

    ``modules``: those of the package that had something computed on the GPU, or copied there. ``products``: how many
    products of matrices, by the function that asked and the precision.
    """

    def __init__(self) -> None:
        super().__init__()
        self.modules: set[str] = set()
        self.products: Counter[tuple[str, torch.dtype]] = Counter()

    def one(self, operation: str) -> None:
        function, line = _asked_by()
        self[f"{function}:{line} {operation}"] += 1

    def often(self, more_than: int) -> dict[str, int]:
        """Return what waited more often than that."""
        return {place: count for place, count in self.items() if count > more_than}


class _Gpu(TorchDispatchMode):
    """Make what is asked for on the GPU, too: without this a factory function would look for a real one."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with self:
            return _computed(func, args, dict(kwargs or {}))


_waits = Waits()


def _asked_by() -> tuple[str, int]:
    """Return the function of the package that is running, as `scores.predict`, and the line."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(f"{PACKAGE}/"):
            module = name.removeprefix(f"{PACKAGE}/").removesuffix(".py")
            return f"{module}.{frame.f_code.co_qualname}", frame.f_lineno
        frame = frame.f_back
    return "outside", 0


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
        if func in READS or (func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None):
            _waits.one(str(func))
    if moves and on_gpu and (goes or tensors[0].device).type != GPU.type:
        _waits.one(str(func))
    if moves and _arrives(func, args, kwargs, goes):
        _waits.one(f"{func} to the GPU")
    if on_gpu or (goes is not None and goes.type == GPU.type):
        function = _asked_by()[0]
        _waits.modules.add(function.partition(".")[0])
        if func in PRODUCTS:
            _waits.products[function, tensors[-1].dtype] += 1
    with _disable_current_modes():
        found = func(*tree_map(_plain, tuple(args)), **tree_map(_plain, kwargs))
    if func._schema.is_mutable:  # in place, or into what `out` names: what was given is what is given back
        changed = {id(_plain(one)): one for one in tensors}
        return tree_map(lambda one: changed.get(id(one), one), found)
    stays = goes.type == GPU.type if goes is not None else bool(on_gpu)
    if func is aten._to_copy.default and goes is None:
        stays = isinstance(tensors[0], OnGpu)
    return tree_map(lambda one: OnGpu(one) if stays and isinstance(one, torch.Tensor) else one, found)


def _arrives(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], goes: torch.device | None) -> bool:
    """Return whether a copy goes from the CPU to the GPU and is waited for: all do whose memory is not pinned."""
    if kwargs.get("non_blocking"):
        return False
    if func is aten.copy_.default:
        return isinstance(args[0], OnGpu) and not isinstance(args[1], OnGpu) and not (len(args) > 2 and args[2])
    return not isinstance(args[0], OnGpu) and goes is not None and goes.type == GPU.type


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
    if any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices):
        _waits.one(f"{func} with a mask")  # how many it picks is counted first
    for one in tensors:
        if not isinstance(one, OnGpu) and one.dim() > 0:
            if any(one is index for index in indices):
                _waits.one(f"{func} with an index on the CPU")
                continue
            raise RuntimeError(f"Expected all tensors to be on the same device, but one of {func} is on the CPU")


_mm = torch.sparse.mm


def _sparse_product(sparse: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
    """Multiply as torch's own, which asks in C++ for a layout that a tensor of another class cannot say it has."""
    on_gpu = [one for one in (sparse, dense) if isinstance(one, OnGpu)]
    if not on_gpu:
        return _mm(sparse, dense)
    _refuse_mixed(aten._sparse_mm.default, (sparse, dense), (sparse, dense))
    _waits.modules.add(_asked_by()[0].partition(".")[0])
    with _disable_current_modes():
        return OnGpu(_mm(_plain(sparse), _plain(dense)))


@contextmanager
def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """Give this machine a GPU; yields how often the CPU waited for it."""
    _waits.clear()
    _waits.modules.clear()
    _waits.products.clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "inference_mode", torch.no_grad)  # in it, torch hands over whole functions
        patch.setattr(torch.sparse, "mm", _sparse_product)
        patch.setattr("torch.__future__.get_overwrite_module_params_on_conversion", lambda: True)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(numbers, device=...) asks this mode, too
        try:
            with _Gpu():
                yield _waits
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
