"""A measured row, and how rows are timed and written."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Row", "Table", "in_turn", "median", "write"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: the ``value`` in words, its ``bar`` where there is one, and whether it is met (None: no answer)."""

    what: str
    against: str
    value: str
    bar: str = ""
    met: bool | None = None
    seconds: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a heading, and what one should know to read them."""

    title: str
    note: str
    rows: Sequence[Row]


def in_turn(
    ways: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each way, one after the other, so that a slower minute of the machine falls on all of them.

    ``clock``: `time.process_time` for what one thread of this process does, which other work on the core does not
    lengthen; `time.perf_counter` for whole programs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = clock()
            way()
            seconds[name].append(clock() - began)
    return seconds


def median(seconds: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(seconds)


def write(folder: Path, facts: Mapping[str, object], tables: Sequence[Table]) -> None:
    """Write `benchmark.json` and `benchmark.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**facts, "tables": [asdict(table) for table in tables]}
    (folder / "benchmark.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [
        "# Benchmark",
        "",
        "Written by `scripts/benchmark`; the seconds of every repeat are in `benchmark.json`.",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    for table in tables:
        lines += ["", f"## {table.title}", "", table.note, ""]
        lines += ["| what | against | measured | bar | met |", "|---|---|---|---|---|"]
        for row in table.rows:
            met = "" if row.met is None else "yes" if row.met else "**no**"
            lines.append(f"| {row.what} | {row.against} | {row.value} | {row.bar} | {met} |")
    (folder / "benchmark.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
