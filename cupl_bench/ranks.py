"""The processes of one run: `torchrun --nproc-per-node=N -m cupl_bench eval ...`.

Each process encodes its range of the images and writes it into the shared stores; rank 0 does everything else, and
alone prints and writes records. What the processes tell each other is small and goes over gloo, whatever the device.
Without torchrun there is one process, and all of this is nothing.
"""

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["from_first", "gathered", "in_turn", "joined", "local_rank", "rank", "world_size"]

T = TypeVar("T")

PATIENCE = datetime.timedelta(days=7)
"""The others wait while rank 0 encodes the texts."""


def world_size() -> int:
    """Return how many processes share the run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process among them."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Return the number of this process on this machine: its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def joined() -> Iterator[None]:
    """Connect the processes inside the block."""
    if world_size() == 1:
        yield
        return
    from torch import distributed

    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def from_first(compute: Callable[[], T]) -> T:
    """Return on every rank what ``compute`` gives rank 0; its error is raised on every rank."""
    if world_size() == 1:
        return compute()
    told: list[tuple[T | None, Exception | None]] = [(None, None)]
    if rank() == 0:
        told = [_outcome(compute)]
    from torch import distributed

    distributed.broadcast_object_list(told, src=0)
    value, error = told[0]
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def in_turn(compute: Callable[[], T]) -> T:
    """Return what ``compute`` gives this rank. Rank 0 goes first, so that it alone downloads what all need.

    The first error is raised on every rank.
    """
    own: list[T] = []
    from_first(lambda: own.append(compute()))
    gathered(lambda: None if own else own.append(compute()))
    return own[0]


def gathered(compute: Callable[[], T]) -> list[T]:
    """Return on every rank what ``compute`` gives each, in their order; the first error is raised on every rank."""
    if world_size() == 1:
        return [compute()]
    told: list[tuple[T | None, Exception | None]] = [(None, None)] * world_size()
    from torch import distributed

    distributed.all_gather_object(told, _outcome(compute))
    for _, error in told:
        if error is not None:
            raise error
    return [value for value, _ in told]  # type: ignore[misc]


def _outcome(compute: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return compute(), None
    except Exception as error:  # noqa: BLE001 - told to all ranks, which raise it: none may wait for one that is gone
        return None, error
