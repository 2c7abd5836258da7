"""LLM-prompts in, image-prompts out: a language model is asked about every class, and what it says is kept.

    class names -> LLM-prompts -> answers in a journal -> sentences and their faults -> a CuPL JSON and its provenance

Nothing of this takes part in a run: `cupl-bench eval` reads the JSON as it reads any other.
"""

from cupl_bench.errors import CuplBenchError

__all__ = ["DescribeError"]


class DescribeError(CuplBenchError):
    """A language model cannot be asked, or what it said makes no image-prompts."""
