"""Fuzzing guided by coverage: whatever the bytes, they are taken for what they say or refused in a documented way.

One process for each target, since libFuzzer ends the process that it has run in.
"""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

LONGEST_INPUT = 8192
SECONDS_OF_ONE_INPUT = 20
MEMORY_MB = 4096


@dataclass(frozen=True)
class Row:
    """What became of one target. ``found``: each undocumented answer once, with an input that gets it, in hex."""

    target: str
    executions: int
    seconds: float
    found: list[dict[str, str]]


def main() -> int:
    """Fuzz every target and print the table; exit code 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--to", type=Path, default=Path("results/fuzz.json"))
    parser.add_argument("--within", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.within:
        _fuzz(given.within[0], Path(given.within[1]), given.seconds)
    from breaking.fuzz_targets import make_seeds

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name, seeds in make_seeds(work / "material").items():
            if given.only and name not in given.only:
                continue
            rows.append(_row(name, seeds, work / name, given.seconds))
            print(f"{name:<16}{rows[-1].executions:>10,} executions, {len(rows[-1].found)} found", flush=True)
            for one in rows[-1].found:
                print(f"    {one['error']}\n    {one['where']}", flush=True)
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print("\n| target | executions | found |\n|---|--:|--:|")
    for row in rows:
        print(f"| {row.target} | {row.executions:,} | {len(row.found)} |")
    return 1 if any(row.found for row in rows) else 0


def _row(name: str, seeds: list[bytes], folder: Path, seconds: int) -> Row:
    """Fuzz one target in a process of its own."""
    (folder / "corpus").mkdir(parents=True)
    for number, seed in enumerate(seeds):
        (folder / "corpus" / f"seed{number}").write_bytes(seed)
    began = time.monotonic()
    command = [sys.executable, "-m", "breaking.fuzz", "--seconds", str(seconds), "--within", name, str(folder)]
    with (folder / "output.txt").open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    text = (folder / "output.txt").read_text(errors="replace")
    lines = (folder / "found.jsonl").read_text().splitlines() if (folder / "found.jsonl").exists() else []
    found = [json.loads(line) for line in lines]
    if code:  # libFuzzer's own: too slow, too much memory, or the process died
        inputs = [path.read_bytes().hex() for path in folder.glob("ended-*")]
        found.append({"error": text[-500:], "where": f"exit code {code}", "input": inputs[0] if inputs else ""})
    executions = re.search(r"number_of_executed_units: (\d+)", text)
    return Row(name, int(executions.group(1)) if executions else 0, round(time.monotonic() - began, 1), found)


def _fuzz(name: str, folder: Path, seconds: int) -> None:
    """Fuzz one target in this process, which this ends; what is found is written at once, and the fuzzing goes on."""
    import atheris

    with atheris.instrument_imports(include=["cupl_bench", "open_clip.tokenizer", "tarfile", "zipfile"]):
        from breaking.fuzz_targets import REFUSALS, TARGETS
    import cupl_bench

    logging.disable()
    package = Path(cupl_bench.__file__).parent
    place = folder / "place"
    place.mkdir()
    os.chdir(place)
    seen: set[tuple[str, str]] = set()

    def one_input(content: bytes) -> None:
        try:
            TARGETS[name](content, place)
        except REFUSALS:
            pass
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            every = traceback.extract_tb(error.__traceback__)
            frame = [one for one in every if one.filename.startswith(str(package)) or one.name == name][-1]
            where = f"{Path(frame.filename).name}, {frame.name}: {frame.line}"
            if (type(error).__name__, where) not in seen:
                seen.add((type(error).__name__, where))
                told = {"error": f"{type(error).__name__}: {error}"[:300], "where": where, "input": content.hex()}
                with (folder / "found.jsonl").open("a") as file:
                    file.write(json.dumps(told) + "\n")

    options = [
        f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", f"-timeout={SECONDS_OF_ONE_INPUT}",
        f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={folder}/ended-", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup(["fuzz", *options, str(folder / "corpus")], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
