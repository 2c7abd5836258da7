"""cupl_bench: a reproducible benchmark of prompt strategies for zero-shot CLIP classification.

A run asks one question: this data set, this backbone, these prompts: how many images are classified right?
The modules read in the order of the question::

    dataset -> image features \
                               scores -> record -> report
    prompts -> class embeddings /
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
