"""Faults in great numbers: each sweep is broken on purpose, run again, and compared with one that nothing disturbed."""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from faulty import Left, Running, left_by, start, stored_rows, sweep_of
from making import TinyModel, make_folder, make_tiny

NUM_IMAGES = 120


@dataclass(frozen=True)
class Row:
    """One kind of fault. ``lost``: finished results or stored features that were gone; ``wrong``: other answers."""

    fault: str
    tried: int
    survived: int
    lost: int
    wrong: int
    seconds: float
    note: str = ""


@dataclass
class Bench:
    """A small sweep, its answers when nothing disturbs it, and folders to break it in."""

    work: Path
    photos: Path
    tiny: TinyModel
    random: random.Random
    undisturbed: Left
    seconds: float
    count: int = 0

    def folder(self) -> Path:
        self.count += 1
        folder = self.work / f"case{self.count:04}"
        folder.mkdir()
        return folder

    def arguments(self, folder: Path) -> list[str]:
        return arguments_of(self.photos, self.tiny, folder)

    def run(self, folder: Path, *faults: tuple[str, tuple[object, ...]], name: str = "output") -> Running:
        return start(self.arguments(folder), folder / f"{name}.txt", *faults)

    def resume(self, folder: Path) -> tuple[bool, int, int]:
        """Run again: whether that ended well, how much finished work was lost, and how many answers are wrong."""
        finished = {path: path.read_bytes() for path in (folder / "results" / "records").glob("*.json")}
        stored = stored_rows(folder / "cache", "image_features")
        running = self.run(folder, name="resumed")
        code = running.wait()
        lost = sum(not path.exists() or path.read_bytes() != content for path, content in finished.items())
        reused = re.search(r"(\d+) reused, (\d+) encoded", running.text())
        if reused is not None and int(reused.group(1)) < stored:
            lost += stored - int(reused.group(1))
        wrong = 0 if code else int(left_by(folder / "results").difference(self.undisturbed) is not None)
        return code == 0, lost, wrong


def arguments_of(photos: Path, tiny: TinyModel, folder: Path) -> list[str]:
    """The sweep, with its results and cache in ``folder``."""
    return sweep_of(photos, tiny, folder / "results", folder / "cache")


def repeated(bench: Bench, fault: str, times: int, break_it: Callable[[Path, int], str | None]) -> Row:
    """Break a sweep so many times, and each time run it again."""
    began = time.monotonic()
    survived = lost = wrong = 0
    notes: list[str] = []
    for number in range(times):
        folder = bench.folder()
        trouble = break_it(folder, number)
        well, gone, other = bench.resume(folder)
        survived += well and trouble is None
        lost, wrong = lost + gone, wrong + other
        if trouble or not well:
            notes.append(trouble or (folder / "resumed.txt").read_text()[-200:])
        else:
            shutil.rmtree(folder)
    return Row(fault, times, survived, lost, wrong, round(time.monotonic() - began, 1), "; ".join(notes[:2]))


def killed(bench: Bench, number: int, times: int) -> Row:
    """A signal at random moments of a sweep, from its first to its last second; encoding is slowed."""

    def break_it(folder: Path, _: int) -> str | None:
        running = bench.run(folder, ("slow_batches", (0.02,)))
        time.sleep(bench.random.uniform(0.0, bench.seconds))
        running.kill(number)
        code = running.wait()
        expected = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}[signal.Signals(number)]
        # Before main() began, or after it ended, a signal has its plain meaning.
        return None if code in (0, expected, -number, 1) else f"exit code {code}: {running.text()[-300:]}"

    return repeated(bench, f"{signal.Signals(number).name} at random moments, then run again", times, break_it)


def full_disks(bench: Bench, times: int) -> Row:
    """No space left on the device, from the first step of writing to the last."""

    def break_it(folder: Path, number: int) -> str | None:
        running = bench.run(folder, ("slow_batches", (0.0,)), ("full_at", (1 + 4 * number + number % 4,)))
        code = running.wait()
        if code not in (0, 2) or "Traceback" in running.text():
            return f"exit code {code}: {running.text()[-200:]}"
        return None

    return repeated(bench, "full disk at each stage of writing, then run again", times, break_it)


def rotten(bench: Bench, times: int) -> Row:
    """One bit of one stored file flips, or its end is cut, after a finished sweep."""

    def break_it(folder: Path, number: int) -> str | None:
        shutil.copytree(bench.work / "whole" / "cache", folder / "cache")
        shutil.copytree(bench.work / "whole" / "results", folder / "results")
        files = sorted(
            path for path in folder.rglob("*")
            if path.suffix in (".safetensors", ".parquet", ".json") and "logs" not in path.parts and path.stat().st_size
        )  # fmt: skip
        victim = bench.random.choice(files)
        content = bytearray(victim.read_bytes())
        if number % 3 == 2:
            content = content[: bench.random.randrange(len(content))]
        else:
            content[bench.random.randrange(len(content))] ^= 1 << bench.random.randrange(8)
        victim.write_bytes(content)
        if victim.parent.name == "records":  # a record that is altered is no finished result: the report says so
            victim.unlink()
        if number % 2:  # features are read only where class embeddings and records do not answer already
            shutil.rmtree(folder / "results" / "records")
            shutil.rmtree(folder / "cache" / "class_embeddings", ignore_errors=True)
        return None

    began = repeated(bench, "a flipped bit or a cut in a stored file, then run again", times, break_it)
    return Row(**{**asdict(began), "lost": 0})  # what rotted is made again; a rotten file is not a lost result


def many_processes(bench: Bench, count: int) -> Row:
    """So many processes on one cache and one results folder, against one alone."""
    began = time.monotonic()
    folder = bench.folder()
    alone = bench.run(folder, ("slow_batches", (0.02,)), name="alone")
    alone.wait()
    seconds_alone = time.monotonic() - began
    shutil.rmtree(folder)
    folder = bench.folder()
    began = time.monotonic()
    runs = [bench.run(folder, ("slow_batches", (0.02,)), name=str(number)) for number in range(count)]
    codes = [run.wait() for run in runs]
    seconds = time.monotonic() - began
    told = [re.findall(r"(\d+) reused, (\d+) encoded \(", run.text()) for run in runs]
    encoded = sum(int(pair[1]) for pairs in told for pair in pairs)
    images = sum(int(pair[0]) + int(pair[1]) for pairs in told for pair in pairs)
    other = left_by(folder / "results").difference(bench.undisturbed)
    damaged = len(list(folder.rglob("damaged")))
    note = (
        f"{seconds:.1f} s against {seconds_alone:.1f} s alone; {encoded} images encoded for {images} asked for"
        f" ({100 * (1 - encoded / max(1, images)):.1f}% hits)"
    )
    fault = f"{count} processes on one cache and one results folder"
    return Row(fault, count, codes.count(0), damaged, int(other is not None), round(seconds, 1), note)


def many_names(bench: Bench, count: int) -> Row:
    """A folder with so many names, most of them files that are no image, listed twice."""
    from cupl_bench.dataset.folder import FolderSource

    root = bench.folder() / "set"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(count // 2):
            (root / name / f"{number}.jpg").write_bytes(b"%d" % number)
    began = time.monotonic()
    source = FolderSource(path=str(root), split="all", class_names=None, limit=None, seed=0)
    first = source(bench.work / "names")
    middle = time.monotonic()
    time.sleep(2.1)  # files that changed less than two seconds ago are not remembered
    source(bench.work / "names")
    again = time.monotonic()
    same = source(bench.work / "names").fingerprint == first.fingerprint
    note = f"{middle - began:.1f} s for the first listing, {time.monotonic() - again:.1f} s for one that is remembered"
    shutil.rmtree(root)
    return Row(f"{count:,} names in a folder", 1, int(same), 0, int(not same), round(time.monotonic() - began, 1), note)


def main() -> int:
    """Try every fault and print the table; exit code 1 if anything was lost, wrong or did not survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--to", type=Path, default=Path("results/faults.json"))
    given = parser.parse_args()
    target = given.to.absolute()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        os.chdir(work)
        tiny = make_tiny(work / "tiny")
        photos = make_folder(work / "photos", dict.fromkeys(["ant", "bee", "cat", "dog", "eel"], NUM_IMAGES // 5))
        whole = work / "whole"
        whole.mkdir()
        for name in ("warm", "timed"):  # the first starts the server that all others are forked from
            shutil.rmtree(whole)
            whole.mkdir()
            began = time.monotonic()
            running = start(arguments_of(photos, tiny, whole), whole / f"{name}.txt", ("slow_batches", (0.02,)))
            if running.wait():
                print(running.text())
                return 1
        seconds = time.monotonic() - began
        moments = random.Random(given.seed)  # noqa: S311 - moments, not secrets
        bench = Bench(work, photos, tiny, moments, left_by(whole / "results"), seconds)
        kills = given.kills
        kinds: dict[str, Callable[[], Row]] = {
            "kill": lambda: killed(bench, signal.SIGKILL, kills),
            "interrupt": lambda: killed(bench, signal.SIGINT, kills // 2),
            "terminate": lambda: killed(bench, signal.SIGTERM, kills // 2),
            "full": lambda: full_disks(bench, kills // 2),
            "rot": lambda: rotten(bench, kills),
            "two": lambda: many_processes(bench, 2),
            "eight": lambda: many_processes(bench, 8),
            "names": lambda: many_names(bench, 100_000),
        }
        rows = []
        for name, tried in kinds.items():
            if given.only and name not in given.only:
                continue
            rows.append(tried())
            print(f"{name:<10}{rows[-1]}", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print("\n| fault | tried | survived | results lost | wrong results | |\n|---|--:|--:|--:|--:|---|")
    for row in rows:
        print(f"| {row.fault} | {row.tried} | {row.survived} | {row.lost} | {row.wrong} | {row.note} |")
    whole_well = all(row.survived == row.tried and not row.lost and not row.wrong for row in rows)
    return 0 if whole_well else 1


if __name__ == "__main__":
    sys.exit(main())
