"""One image and the prompts of its likeliest classes, as bars of their similarities.

As in figure 1 of "Visual Classification via Description from Large Language Models" (Menon and Vondrick, arXiv
2210.07183), which has the descriptors of two classes beside the image.
"""

import re
from collections.abc import Callable, Sequence
from os.path import commonprefix
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cupl_bench.report.figures.drawing import GAIN, LEVEL, as_pdf, as_png, as_svg, cut, style
from cupl_bench.report.figures.scene import ROW, SIZES
from cupl_bench.store import write_atomically

__all__ = ["write_descriptors"]

CLASSES = 2
PROMPTS = 12
"""Of a class that are drawn, those of the greatest similarity."""
PICTURE = 1.1
"""Inches of the height of the image."""

Similar = tuple[str, float, Sequence[tuple[float, str]]]
"""A class: its name, its probability, and its prompts with their similarities, the closest first."""


def write_descriptors(path: Path, image: Image.Image, classes: Sequence[Similar]) -> None:
    """Draw an image and the prompts of its likeliest classes into a file, whose ending says the format.

    Args:
        path: ends in .pdf, .svg or .png.
        image: what was classified.
        classes: the likeliest first; two are drawn.

    Raises:
        KeyError: the file has another ending.
        ResultsError: it cannot be written.
    """
    draw: dict[str, Callable[[Figure], bytes]] = {
        ".pdf": as_pdf,
        ".svg": as_svg,
        ".png": lambda figure: as_png(figure, SIZES["column"].dots_per_inch),
    }
    letters = set("".join(name + "".join(text for _, text in prompts) for name, _, prompts in classes))
    with mpl.rc_context(style(letters)):
        write_atomically(path, draw[path.suffix](_figure(image, classes)))


def _figure(image: Image.Image, classes: Sequence[Similar]) -> Figure:
    classes = classes[:CLASSES]
    heights = [ROW * (min(len(prompts), PROMPTS) + (len(prompts) > PROMPTS)) + 0.2 for _, _, prompts in classes]
    width = SIZES["column"].width
    figure = Figure(figsize=(width, PICTURE + sum(heights) + 0.45))
    above, *panels = figure.subplots(1 + len(classes), 1, height_ratios=[PICTURE, *heights])
    above.imshow(np.asarray(image.convert("RGB")))
    above.set_axis_off()
    values = [value for _, _, prompts in classes for value, _ in prompts[:PROMPTS]]
    for place, (axes, (name, probability, prompts)) in enumerate(zip(panels, classes, strict=True)):
        _bars(axes, prompts, GAIN if place == 0 else LEVEL)
        axes.set_xlim(min(0.0, *values), 1.15 * max(*values, 1e-6))
        axes.set_title(f"{cut(name, 40)}: {100 * probability:.1f}%", loc="left", fontweight="bold")
        axes.tick_params(labelbottom=place == len(panels) - 1)
    panels[-1].set_xlabel("cosine similarity of the image and each prompt")
    return figure


def _bars(axes: Axes, prompts: Sequence[tuple[float, str]], colour: str) -> None:
    """Draw a bar for each prompt, with its words on it."""
    drawn = prompts[:PROMPTS]
    axes.barh(range(len(drawn)), [value for value, _ in drawn], height=0.82, color=colour, alpha=0.28)
    for row, ((value, _), words) in enumerate(zip(drawn, _own_words([text for _, text in prompts]), strict=False)):
        axes.text(0, row, f" {cut(words, 44)}", va="center")
        axes.text(1.0, row, f"{value:.3f}", ha="right", va="center", transform=axes.get_yaxis_transform())
    rows = len(drawn)
    if len(prompts) > PROMPTS:
        axes.text(0, rows, f" and {len(prompts) - PROMPTS} prompts of lower similarity", va="center", color=LEVEL)
        rows += 1
    axes.set_yticks([])
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _own_words(texts: Sequence[str]) -> list[str]:
    """Return what each prompt has of its own: without the words that all begin with, and those that all end with.

    >>> _own_words(["a hen, which has two legs.", "a hen, which has feathers."])
    ['two legs', 'feathers']
    """
    if len(texts) < 2:
        return list(texts)
    start = commonprefix(list(texts))  # noqa: RUF071 - of letters, which is meant
    begin = len(start) - len(re.split(r"(?<=[\s:])", start)[-1])
    rests = [text[begin:] for text in texts]
    end = commonprefix([rest[::-1] for rest in rests])[::-1]  # noqa: RUF071 - as above
    end = end if re.match(r"\W", end) else re.sub(r"^\w+", "", end)
    return [rest[: len(rest) - len(end)].strip() or text for rest, text in zip(rests, texts, strict=True)]
