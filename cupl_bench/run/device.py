"""The device on which features are encoded and images scored, found where one of the two is done.

PyTorch, which knows the devices, takes seconds to import; a question that is answered already needs none of it.
"""

import os
from typing import TYPE_CHECKING

from cupl_bench.errors import ConfigError, nearest
from cupl_bench.ranks import local_rank, world_size
from cupl_bench.run.asking import Machine

if TYPE_CHECKING:
    import torch

__all__ = ["batch_size_of", "device_named", "device_of", "num_workers_of"]


def device_of(machine: Machine) -> "torch.device":
    """Return the device of a machine.

    Raises:
        ConfigError: it cannot be used here.
    """
    return device_named(machine.device)


def device_named(name: str) -> "torch.device":
    """Return the device of a name: ``auto``, or one of PyTorch's.

    Raises:
        ConfigError: it cannot be used here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and world_size() > 1:  # each process its own
        if world_size() > torch.cuda.device_count():
            raise ConfigError(
                f"{world_size()} processes need a GPU each; this machine has {torch.cuda.device_count()}."
            )
        name = f"cuda:{local_rank()}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = ["auto", "cpu", "cuda"]
        reason = str(error).strip().split("\n")[0][:120]
        raise ConfigError(f"device={name} cannot be used here ({reason}).{nearest(name, known)}") from error
    return device


def batch_size_of(machine: Machine) -> int:
    """Return how many images, and padded prompts, are encoded together."""
    # On a CPU more are slower: they leave the caches.
    return machine.batch_size or (32 if device_of(machine).type == "cpu" else 256)


def num_workers_of(machine: Machine) -> int:
    """Return how many processes decode images."""
    if machine.num_workers is not None:
        return machine.num_workers
    # A GPU waits for decoding; on a CPU decoding is a few percent of encoding.
    return min(16, (os.cpu_count() or 1) // world_size()) if device_of(machine).type == "cuda" else 0
