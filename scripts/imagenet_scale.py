"""How long the 50,000 images of ImageNet's layout take to be listed and fingerprinted, cold and warm.

    python scripts/imagenet_scale.py [FOLDER]

Makes 1,000 class folders of 50 tiny JPEGs, all different, in FOLDER (default: a temporary one, removed at the end).
Cold: nothing is known of the files; the disk's own cache holds them, as they were just written. Warm: the content keys
are known. Expected: under 30 s and under 3 s on one core.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cupl_bench.dataset.named import NamedSource
from cupl_bench.dataset.spec import read_spec


def make(root: Path) -> None:
    """50,000 JPEGs of a few hundred bytes that differ."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 128, dtype=np.uint8)).save(buffer, "JPEG")
    content = buffer.getvalue()
    for number, wnid in enumerate(read_spec("imagenet").classes.ids):
        folder = root / "val" / wnid
        folder.mkdir(parents=True, exist_ok=True)
        for place in range(50):
            # A comment makes the files differ; it is no pixel.
            comment = f"{number} {place}".encode()
            marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            name = f"ILSVRC2012_val_{number * 50 + place + 1:08}.JPEG"
            (folder / name).write_bytes(content[:2] + marker + content[2:])


def measure(root: Path, cache: Path) -> tuple[float, str]:
    """Seconds until the fingerprint is there, and the fingerprint."""
    source = NamedSource(
        spec="imagenet",
        path=str(root),
        root=str(root),
        source="local",
        protocol="standard",
        names="openai",
        limit=None,
        seed=0,
    )
    began = time.perf_counter()
    dataset = source(cache)
    fingerprint = dataset.fingerprint
    seconds = time.perf_counter() - began
    if len(dataset.labels) != 50_000 or dataset.labels[277 * 50] != 277:
        raise SystemExit("the labels are wrong")
    return seconds, fingerprint


def main() -> None:
    """Make the tree and print the three times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(given or temporary) / "imagenet"
        make(root)
        time.sleep(2.5)  # files younger than two seconds are not remembered
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm", "warm"):
                seconds, fingerprint = measure(root, Path(cache))
                print(f"{state}: {seconds:.2f} s, fingerprint {fingerprint[:12]}")


if __name__ == "__main__":
    main()
