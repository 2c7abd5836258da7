"""CLIP_benchmark's own command line; its accuracy alone is mended, which numpy 2.4 refuses (1.6.2)."""

import sys
from collections.abc import Sequence

import torch
from clip_benchmark import cli
from clip_benchmark.metrics import zeroshot_classification


def accuracy(output: torch.Tensor, target: torch.Tensor, topk: Sequence[int] = (1,)) -> list[float]:
    """The same as the peer's, with numbers where it makes arrays of one number."""
    hits = output.topk(max(topk), 1).indices == target[:, None]
    return [float(hits[:, :k].sum()) / len(target) for k in topk]


if __name__ == "__main__":
    zeroshot_classification.accuracy = accuracy
    sys.exit(cli.main())
