"""How a lack of memory is recognised, and told."""

import errno
import re
import sys

from cupl_bench.errors import MachineError

__all__ = ["is_lack_of_memory", "out_of_memory"]

LACK_OF_MEMORY = re.compile(r"(?:out of|insufficient) memory|can(?:not|'t) allocate memory|bad_alloc", re.IGNORECASE)
"""How PyTorch's allocators, libjpeg, libavif and C++ say it in errors that have no class of their own."""


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was short, in whatever class and words its library says so."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # its errors exist only where it is imported, which takes seconds
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | OSError) and LACK_OF_MEMORY.search(str(error)) is not None


def out_of_memory(what: str) -> MachineError:
    """Return the error that tells a user that memory was too short for ``what``, and what to do."""
    return MachineError(
        f"There is not enough memory to {what}. Nothing of that was recorded, and what was encoded is kept. Free"
        " memory, raise the limit (ulimit -v, Slurm's --mem), or take a smaller batch_size or num_workers; then start"
        " again."
    )
