"""The paragraph that a reproducibility checklist asks for, written from records alone, with its citations.

Each sentence says what the records say. What they do not say is said to be not known, here and in ``Paper.unknown``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cupl_bench.paragraph.citations import bibtex
from cupl_bench.paragraph.markup import CITED, as_latex, as_markdown
from cupl_bench.paragraph.subjects import datasets, models, prompts, scorers, seeds
from cupl_bench.paragraph.work import compute, identity, software, statistics
from cupl_bench.records import Record
from cupl_bench.report.comparison import compare
from cupl_bench.store import write_atomically

__all__ = ["Paper", "paper_of", "write_paper"]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The paragraph as Markdown (of Pandoc) and LaTeX, the entries that it cites, and what is not known."""

    markdown: str
    latex: str
    bibtex: str
    unknown: tuple[str, ...]


def paper_of(records: Sequence[Record], results_dir: Path, *, baseline: str | None = None) -> Paper:
    """Return the paragraph about the finished runs that a report shows.

    Args:
        records: of all runs.
        results_dir: where they lie.
        baseline: as `report.comparison.compare`.

    Raises:
        ResultsError: as `report.comparison.compare`.
    """
    comparison = compare(records, results_dir, baseline=baseline)
    runs = [run for members in comparison.groups.values() for run in members]
    unknown: list[str] = []
    about = (datasets, models, prompts, scorers, seeds, compute, software)
    sentences = [*(one(runs, unknown) for one in about), statistics(runs, comparison.runs), identity(runs)]
    cited = [key for sentence in sentences for keys in CITED.findall(sentence) for key in keys.split(",")]
    return Paper(
        markdown="**Reproducibility.** " + "\n".join(map(as_markdown, sentences)) + "\n",
        latex="\\paragraph{Reproducibility.}\n" + "\n".join(map(as_latex, sentences)) + "\n",
        bibtex=bibtex(cited),
        unknown=tuple(dict.fromkeys(unknown)),
    )


def write_paper(paper: Paper, results_dir: Path) -> list[Path]:
    """Write the paragraph in both forms, and its entries, below ``tables``; return the files.

    Raises:
        ResultsError: they cannot be written.
    """
    contents = {"paper.md": paper.markdown, "paper.tex": paper.latex, "paper.bib": paper.bibtex}
    paths = [results_dir / "tables" / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content.encode())
    return paths
