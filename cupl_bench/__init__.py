"""cupl_bench: a reproducible benchmark of prompt strategies for zero-shot CLIP classification.

A run asks one question: this data set, this backbone, these prompts: how many images are classified right?
The modules read in the order of the question::

    dataset -> image features \
                               scores -> record -> report
    prompts -> class embeddings /

The functions below are the program from Python; they are imported when they are first used, and torch with them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cupl_bench.api import (
        class_embeddings,
        compare,
        encode_images,
        evaluate,
        load_predictions,
        load_results,
        paper,
        published,
        sweep,
    )
    from cupl_bench.backbone.in_memory import Model
    from cupl_bench.dataset.in_memory import Features
    from cupl_bench.errors import CuplBenchError

__version__ = "0.7.0"

__all__ = [
    "CuplBenchError",
    "Features",
    "Model",
    "__version__",
    "class_embeddings",
    "compare",
    "encode_images",
    "evaluate",
    "load_predictions",
    "load_results",
    "paper",
    "published",
    "sweep",
]

_ELSEWHERE = {
    "CuplBenchError": "cupl_bench.errors",
    "Features": "cupl_bench.dataset.in_memory",
    "Model": "cupl_bench.backbone.in_memory",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'cupl_bench' has no attribute {name!r}")
    value = getattr(import_module(_ELSEWHERE.get(name, "cupl_bench.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
