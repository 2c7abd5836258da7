"""Whether finished runs are what they say they are: all that can be seen of it without data and without a model.

Every number of a record is computed anew from its predictions, here and in NumPy alone, not by the code that wrote it.
What only a model can tell (whether the predictions are those of these weights) is for `cupl-bench reproduce`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cupl_bench.checking.answers import answers_in, files_of
from cupl_bench.checking.asked import AskedQuestion, answered, answers_of, as_asked, complete
from cupl_bench.checking.beside import same_images, same_weights
from cupl_bench.checking.findings import Finding, Verdict, exit_code
from cupl_bench.checking.numbers import numbers_of
from cupl_bench.checking.prompts import embeddings_of, prompts_of
from cupl_bench.checking.protocols import as_protocol, as_published
from cupl_bench.checking.reading import Run, of_each, read_all
from cupl_bench.errors import ResultsError

__all__ = ["AskedQuestion", "Checked", "Finding", "Verdict", "check_runs", "damaged_archive", "exit_code"]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """All findings, the keys of the runs that they are about, and a row for each published number that is near."""

    findings: tuple[Finding, ...]
    run_keys: tuple[str, ...]
    published: pd.DataFrame


def damaged_archive(path: Path, error: ResultsError) -> Checked:
    """Return the one finding of an archive that is refused."""
    finding = Finding(check="archive", subject=path.name, verdict="differs", reason=str(error), count=1)
    return Checked(findings=(finding,), run_keys=(), published=pd.DataFrame())


def check_runs(results_dir: Path, asked: Sequence[AskedQuestion] | None = None) -> Checked:
    """Check the runs below a results folder; nothing is written.

    Args:
        results_dir: where the records lie.
        asked: the questions that should be answered, whose runs alone are looked at; None: all that lie there.

    Raises:
        ResultsError: there is no record.
    """
    records, of_records = read_all(results_dir)
    if asked is None:
        finished = [one for one in records if one.status == "ok"]
        findings = [complete(results_dir, records), of_records]
    else:
        answers = answers_of(asked, records)
        finished = list({one.run_key: one for one in answers.values() if one.status == "ok"}.values())
        findings = [answered(asked, answers, len(records)), of_records]
        if finished:
            findings.insert(1, as_asked(asked, answers))
    if not finished:
        return Checked(findings=tuple(findings), run_keys=(), published=pd.DataFrame())
    runs = [Run.of(record, results_dir) for record in finished]
    published, table = as_published(runs)
    findings += [
        of_each("files", "the files of a run, and their sha256", runs, files_of),
        of_each("answers", "the predictions in themselves", runs, answers_in),
        of_each("numbers", "the numbers of a record, computed anew from its predictions", runs, numbers_of),
        same_images(runs),
        same_weights(runs),
        of_each("prompts", "the prompts, their counts and their digest", runs, prompts_of),
        of_each("class embeddings", "their form, their length and whose they are", runs, embeddings_of),
        as_protocol(runs),
        published,
    ]
    return Checked(
        findings=tuple(findings), run_keys=tuple(sorted(one.record.run_key for one in runs)), published=table
    )
