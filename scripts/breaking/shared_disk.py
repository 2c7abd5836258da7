"""Leases and a sweep on a disk that two machines share: each path is the same folder as one of them sees it."""

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROCESSES, TURNS = 6, 8
TAKE = """
import sys, time
from pathlib import Path
from cupl_bench.lease import held

for _ in range(int(sys.argv[3])):
    with held(Path(sys.argv[1]), "turns"), open(sys.argv[2], "a") as log:
        for word in ("in", "out"):
            log.write(f"{time.monotonic_ns()} {word}\\n")
            log.flush()
            time.sleep(0.05)
"""
HOLD = """
import sys
from pathlib import Path
from cupl_bench.lease import held

with held(Path(sys.argv[1]), "a long work"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def main() -> int:
    """Try all three and print the table; exit code 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", type=Path)
    parser.add_argument("two", type=Path)
    given = parser.parse_args()
    print("| what | found | as it should be |\n|---|---|---|")
    well = True
    for trial in (taken_in_turn, swept_at_once, relieved):
        what, expected, found = trial(given.one, given.two)
        right = re.fullmatch(expected, found) is not None
        well &= right
        print(f"| {what} | {found} | {'yes' if right else '**no**'} |", flush=True)
    return 0 if well else 1


def taken_in_turn(one: Path, two: Path) -> tuple[str, str, str]:
    """Processes on both machines take one lease, many times."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        running = [
            subprocess.Popen([sys.executable, "-c", TAKE, str(place / "turns.lease"), str(log), str(TURNS)])
            for place in (one, two) * (PROCESSES // 2)
        ]
        codes = {process.wait(300) for process in running}
        words = [line.split()[1] for line in sorted(log.read_text().splitlines())]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    found = f"{pairs.count(('in', 'out'))} of {PROCESSES * TURNS} turns alone, exit codes {sorted(codes)}"
    return (
        f"{PROCESSES} processes take a lease",
        rf"{PROCESSES * TURNS} of {PROCESSES * TURNS} turns alone, .*\[0\]",
        found,
    )


def swept_at_once(one: Path, two: Path) -> tuple[str, str, str]:
    """The same sweep of the demo on both machines at once, on one cache and one results folder."""
    command = [sys.executable, "-m", "cupl_bench", "eval", "-m", "prompts=simple,cupl", "device=cpu"]
    running = [
        subprocess.Popen(
            [*command, f"results_dir={place / 'results'}", f"cache_dir={place / 'cache'}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for place in (one, two)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in running]
    encoded = sum(int(count.replace(",", "")) for text in said for count in re.findall(r"([\d,]+) encoded", text))
    codes = sorted({process.returncode for process in running})
    found = f"{encoded:,} images and prompts encoded, exit codes {codes}"
    return "the demo's sweep, twice at once", r"2,592 images and prompts encoded, exit codes \[0\]", found


def relieved(one: Path, two: Path) -> tuple[str, str, str]:
    """A holder on one machine is stopped; another machine takes over."""
    command = [sys.executable, "-c", HOLD]
    holder = subprocess.Popen(
        [*command, str(one / "long.lease")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None  # noqa: S101
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    taker = subprocess.Popen(
        [*command, str(two / "long.lease")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert taker.stdout is not None  # noqa: S101
    taker.stdout.readline()
    seconds = time.monotonic() - began
    taker.communicate("\n", timeout=60)
    holder.send_signal(signal.SIGCONT)
    holder.communicate("\n", timeout=60)
    return "a stopped holder is relieved", r"(?:[6-9]\d|1[01]\d) s", f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
