"""Measures peers and this package side by side on one core and writes `results/benchmark.md` and `.json`.

./scripts/benchmark --photos imagenet/val --prompts imagenet_prompts_base.json
./scripts/benchmark --quick        # one repeat of everything, to see that it runs
"""

import argparse
import logging
import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import torch

from benchmarking import gpu, growth, images, loading, scorers, sweep, text, views
from benchmarking.rows import Table, write
from cupl_bench.environment import describe_environment

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measures, and writes after every part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEG photographs; else coloured noise is made")
    parser.add_argument("--prompts", type=Path, nargs="*", default=[], help="CuPL files: class name -> sentences")
    parser.add_argument("--quick", action="store_true", help="everything once, and small")
    arguments = parser.parse_args()
    cores = os.sched_getaffinity(0)
    core = max(cores)
    os.sched_setaffinity(0, {core})
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    repeats = 1 if arguments.quick else 3
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        photos = images.photographs(arguments.photos)

        def setting() -> sweep.Setting:
            return sweep.Setting.laid_out(work, photos, arguments.prompts, 2 if arguments.quick else 32)

        parts: list[Callable[[], Sequence[Table]]] = [
            lambda: [sweep.measure_as_started(setting(), repeats)],
            lambda: [images.measure(photos, max(repeats, 5) if not arguments.quick else 1)],
            lambda: [views.measure(photos[:30], repeats)],
            lambda: [loading.measure(work, repeats)],
            lambda: [scorers.measure(repeats, quick=arguments.quick)],
            lambda: growth.measure(work, arguments.prompts, repeats, quick=arguments.quick),
            lambda: text.measure(arguments.prompts, repeats, num_classes=2 if arguments.quick else 16),
            lambda: [sweep.measure(setting(), repeats)],
            lambda: [_gpu(photos, arguments.prompts, cores)],
        ]
        tables: list[Table] = []
        for part in parts:
            tables += part()
            write(ROOT / "results", _facts(arguments, core), tables)
            print(f"{datetime.now(UTC):%H:%M:%S} {tables[-1].title}", flush=True)


def _facts(arguments: argparse.Namespace, core: int) -> dict[str, object]:
    found = describe_environment(torch.device("cpu"), [ROOT / "results"], "scripts/benchmark")
    packages = cast(dict[str, str | None], found["packages"])
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = cpu[0].partition(": ")[2] if cpu else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "pinned to": f"core {core}, one thread",
        "commit": f"{found['commit']}{' with local changes' if found['dirty'] else ''}",
        "python": found["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items())
        + f", clip-benchmark {text.peer_version()}",
        "photographs": "coloured noise" if arguments.photos is None else "photographs given with --photos",
        "prompt files": ", ".join(path.name for path in arguments.prompts) or "none",
        "repeats": "one of each, small (--quick)" if arguments.quick else "three or more, taken in turn; medians",
    }


def _gpu(photos: Sequence[bytes], files: Sequence[Path], cores: set[int]) -> Table:
    """On a CUDA device, with all cores; empty rows without one."""
    if not torch.cuda.is_available():
        return gpu.without()
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(len(cores))
    return gpu.measure(photos, sweep.sentences(files, 1000), torch.device("cuda"))


if __name__ == "__main__":
    main()
