"""Probabilities of classes with copies, and of those whose sums over all images are given (Sinkhorn's algorithm)."""

import torch

__all__ = ["balanced", "blocks", "shares_of"]


BLOCK_VALUES = 4_000_000
"""Values worked through at once, 32 MB in float64; never fewer, because the order of a sum changes its last digits."""


def blocks(num_images: int, num_classes: int) -> list[slice]:
    """Return the blocks of images in which a matrix of so many classes is worked through.

    >>> blocks(3, 2_000_000)
    [slice(0, 2, None), slice(2, 4, None)]
    """
    step = max(1, BLOCK_VALUES // num_classes)
    return [slice(start, start + step) for start in range(0, num_images, step)]


def balanced(
    logits: torch.Tensor,
    shares: torch.Tensor,
    images: torch.Tensor,
    classes: torch.Tensor,
    rounds: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is added to the logits of each class and image, so that they become logarithms of shares; float64.

    Each round scales the columns to ``shares`` of all images, and then the rows to one. So the rows are exact, and the
    columns come nearer with each round. No round is the softmax.

    >>> logits = torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    >>> ones = torch.ones(2, dtype=torch.float64)
    >>> of_classes, of_images = balanced(logits, ones / 2, ones, ones, rounds=50)
    >>> (logits + of_images[:, None] + of_classes).exp().sum(dim=0).tolist()
    [1.0, 1.0]

    Args:
        logits: m x c.
        shares: what all copies of each class get of all images, c; zero for a class that gets none.
        images: the copies of each image, m.
        classes: the copies of each class, c.
        rounds: of scaling.
    """
    parts = blocks(*logits.shape)
    of_images = torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
    of_classes = torch.zeros(logits.shape[1], dtype=torch.float64, device=logits.device)
    wanted = (shares / classes * images.sum()).log()  # of one copy

    def scale_rows() -> None:
        for block in parts:
            of_images[block] = -torch.logsumexp(logits[block].double() + of_classes + classes.log(), dim=1)

    scale_rows()
    for _ in range(rounds):
        sums = torch.full_like(of_classes, -torch.inf)
        for block in parts:
            weighted = logits[block].double() + (of_images[block] + images[block].log())[:, None]
            sums = torch.logaddexp(sums, torch.logsumexp(weighted, dim=0))
        of_classes = wanted - sums
        scale_rows()
    return of_classes, of_images


def shares_of(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return the softmax of logits over classes with copies: the probability of one copy of each class, m x c.

    >>> shares_of(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([1.0, 1.0])).tolist()
    [[0.5, 0.5]]
    """
    of_class = classes.to(logits.dtype)
    shares: torch.Tensor = torch.softmax(logits + of_class.log(), dim=1) / of_class
    return shares
