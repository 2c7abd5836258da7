"""How far scores move between batch sizes, thread counts and devices: `python scripts/tolerance.py`.

Asks the demo's question again and again, everything computed anew each time, and compares each answer with the first,
image by image. `cupl_bench/reproduction.py` states what it calls rounding; this is where that comes from.
"""

import tempfile
from itertools import product
from pathlib import Path

import torch

from cupl_bench.__main__ import main
from cupl_bench.records import Record, read_record
from cupl_bench.reproduction import TOLERANCE, compare_runs


def answered(folder: Path, precision: str, device: str, batch_size: int, threads: int) -> tuple[Record, Path]:
    """The record of the demo's question, computed anew, and its results folder."""
    torch.set_num_threads(threads)
    results = folder / f"{precision}-{device}-{batch_size}-{threads}"
    arguments = ["prompts=cupl", f"precision={precision}", f"device={device}", f"batch_size={batch_size}"]
    if main(["eval", *arguments, f"results_dir={results}", f"cache_dir={results / 'cache'}"]):
        raise SystemExit("the demo failed")
    return read_record(next((results / "records").glob("*.json"))), results


def rows(folder: Path) -> list[str]:
    """A row of the table for each way to compute."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    lines = []
    for precision in ("fp32", "bf16"):
        reference = answered(folder, precision, "cpu", 128, 1)
        for device, batch_size, threads in product(devices, (1, 7, 128), (1, 2)):
            found = compare_runs(reference, answered(folder, precision, device, batch_size, threads))
            lines.append(
                f"| {precision} | {device} | {batch_size} | {threads} | {found.largest_difference:.1e} |"
                f" {TOLERANCE[precision]:.0e} | {found.num_other_predictions} | {found.num_other_beyond_rounding} |"
                f" {found.verdict} |"
            )
    return lines


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        table = rows(Path(temporary))
    columns = ["precision", "device", "batch size", "threads", "largest difference", "called rounding"]
    columns += ["other predictions", "beyond", "verdict"]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    print("\n".join(table))
