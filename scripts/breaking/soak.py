"""Many jobs of the demo's size in one sweep: seconds, memory, and what all of it left."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

BUDGETS = (1, 2, 3, 5)
STRATEGIES = ("cupl", "ensemble")
GROWTH_ALLOWED = 1.10
"""Memory after the last job against memory after the first tenth."""


def main() -> int:
    """Run the sweep, sample its memory, and say whether all jobs left a record; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="a folder for results and cache that is not removed")
    parser.add_argument("--to", type=Path, default=Path("results/soak.json"))
    given = parser.parse_args()
    seeds = max(1, given.jobs // (len(BUDGETS) * len(STRATEGIES)))
    jobs = seeds * len(BUDGETS) * len(STRATEGIES)
    with tempfile.TemporaryDirectory() as temporary:
        work = given.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        measured = _sweep(work, seeds, jobs)
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text(json.dumps(measured, indent=2) + "\n")
    for name, value in measured.items():
        if name != "samples":
            print(f"{name:<28}{value}")
    print(f"written   {given.to}")
    return 0 if measured["exit_code"] == 0 and measured["records"] == jobs and measured["memory_flat"] else 1


def _sweep(work: Path, seeds: int, jobs: int) -> dict[str, object]:
    command = [
        sys.executable, "-m", "cupl_bench", "eval", "-m", f"prompts={','.join(STRATEGIES)}",
        f"budget={','.join(map(str, BUDGETS))}", f"seed=range({seeds})",
        f"results_dir={work / 'results'}", f"cache_dir={work / 'cache'}", "device=cpu",
    ]  # fmt: skip
    records = work / "results" / "records"
    before, began = _count(records), time.monotonic()
    samples: list[tuple[float, int, int]] = []
    with (work / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        watched = psutil.Process(process.pid)
        used = 0.0
        while process.poll() is None:
            try:
                samples.append((time.monotonic() - began, _count(records) - before, watched.memory_info().rss))
                times = watched.cpu_times()
                used = times.user + times.system
            except psutil.Error:
                break
            time.sleep(0.5)
    seconds, code = time.monotonic() - began, process.wait()
    answering = [one for one in samples if 0 < one[1] < jobs]
    tenth = [rss for _, done, rss in answering if done >= jobs // 10] or [0]
    last_job = max((spent for spent, done, _ in samples if done < jobs), default=0.0)
    return {
        "jobs": jobs,
        "records": _count(records) - before,
        "exit_code": code,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[1],
        "seconds": round(seconds, 1),
        "seconds_of_processor": round(used, 1),
        "seconds_per_job": round(last_job / jobs, 3),
        "seconds_of_comparison": round(seconds - last_job, 1),
        "rss_mb_first_job": round(answering[0][2] / 1e6) if answering else None,
        "rss_mb_after_a_tenth": round(tenth[0] / 1e6),
        "rss_mb_middle": round(tenth[len(tenth) // 2] / 1e6),
        "rss_mb_last_job": round(tenth[-1] / 1e6),
        "rss_mb_peak": round(max((rss for _, _, rss in samples), default=0) / 1e6),
        "memory_flat": bool(tenth[0] and tenth[-1] <= GROWTH_ALLOWED * tenth[0]),
        "samples": [[round(spent, 1), done, rss] for spent, done, rss in samples],
    }


def _count(folder: Path) -> int:
    """How many records lie in ``folder``."""
    return sum(1 for _ in folder.glob("*.json"))


if __name__ == "__main__":
    sys.exit(main())
