"""The arithmetic of a sweep: what `cupl-bench plan` counts, times the operations of one image and one prompt.

    cupl-bench plan -m dataset=... backbone=... prompts=... scorer=... output=json > plan.json
    python scripts/scale.py plan.json --rate 100

Nothing is measured here. Operations are counted on tensors without values (a multiplication and an addition are two),
and ``--rate`` is what the reader states that a device does of them: 10^12 in a second, kept up from the first image to
the last. Prompts are counted padded to the whole context, as most programs encode them; the prefix tree needs less.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from cupl_bench.backbone.open_clip_tables import model_config
from cupl_bench.config.building import options_of


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one backbone encodes, and the operations of one image or view and of one padded prompt."""

    backbone: str
    images: int
    views: int
    texts: int
    of_image: int
    of_text: int

    def hours(self, rate: float) -> tuple[float, float, float]:
        """Return the hours of images, views and prompts at so many 10^12 operations in a second."""
        works = (self.images * self.of_image, self.views * self.of_image, self.texts * self.of_text)
        one, two, three = (work / (rate * 1e12) / 3600 for work in works)
        return one, two, three


@cache
def operations_of(architecture: str) -> tuple[int, int]:
    """Return the operations of one image and of one prompt of an architecture of open_clip.

    >>> operations_of("ViT-B-32")
    (8817623040, 5959540736)
    """
    from open_clip.model import CLIP, CustomTextCLIP

    config: dict[str, Any] = model_config(architecture) or {}
    settings = {name: value for name, value in config.items() if name != "custom_text"}
    size = config["vision_cfg"].get("image_size", 224)
    with torch.device("meta"):
        model = (CustomTextCLIP if config.get("custom_text") else CLIP)(**settings).eval().requires_grad_(False)
        pixels = torch.empty(1, 3, *((size, size) if isinstance(size, int) else size))
        ids = torch.zeros(1, config["text_cfg"].get("context_length", 77), dtype=torch.long)
    counts = []
    for encode, batch in ((model.encode_image, pixels), (model.encode_text, ids)):
        with FlopCounterMode(display=False) as counter:
            encode(batch)
        counts.append(int(counter.get_total_flops()))
    return counts[0], counts[1]


def rows_of(totals: Mapping[str, Any]) -> list[Row]:
    """Return a row for each backbone of the ``totals`` of a plan."""
    rows = []
    for one in totals["encoders"]:
        image, text = operations_of(str(options_of("backbone")[one["backbone"]]["architecture"]))
        counts = {name: int(one[name]) for name in ("images", "views", "texts")}
        rows.append(Row(backbone=one["backbone"], **counts, of_image=image, of_text=text))
    return rows


def table(rows: list[Row], rate: float) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| backbone | GFLOP an image | GFLOP a prompt | hours: images | views | prompts, padded |"
    yield "|---|---|---|---|---|---|"
    for one in rows:
        hours = " | ".join(f"{hours:,.2f}" for hours in one.hours(rate))
        yield f"| `{one.backbone}` | {one.of_image / 1e9:.1f} | {one.of_text / 1e9:.1f} | {hours} |"
    hours = " | ".join(f"{sum(hours):,.1f}" for hours in zip(*(one.hours(rate) for one in rows), strict=True))
    yield f"| all | | | {hours} |"


def main() -> None:
    """Print the table of a plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="what `cupl-bench plan ... output=json` has printed")
    parser.add_argument("--rate", type=float, required=True, help="10^12 operations in a second that a device does")
    given = parser.parse_args()
    totals = json.loads(given.plan.read_text(encoding="utf-8"))["totals"]
    print("\n".join(table(rows_of(totals), given.rate)))


if __name__ == "__main__":
    main()
