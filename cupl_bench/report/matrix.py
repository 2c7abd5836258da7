"""Strategies by data sets, with mean and rank at the end: the shape of a paper's table of results.

A matrix holds what may be ranked together: one backbone, one precision, one kind of scorer. Its marks come from the
comparison: the best of a column, and what is not significantly worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cupl_bench.errors import ResultsError, first, nearest
from cupl_bench.report.comparison import Comparison
from cupl_bench.report.headline import beyond_accuracy, headline_title, ranked_values
from cupl_bench.report.shown import scored_names
from cupl_bench.report.texts import percent
from cupl_bench.scorers import INDEPENDENT

__all__ = ["Matrix", "as_rows", "chosen", "matrices", "shown_matrix"]

LEVEL = "\N{DAGGER}"
"""Behind what is not significantly worse than the best."""
LEAGUE = ["backbone_shown", "precision", "kind"]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Strategies (rows) by data sets (columns).

    ``values``: fractions, NaN where there is no run: top-1, or of ``own``, whose heads name it, the headline metric.
    ``best``: whether it is the greatest of its column. ``level``: whether it is the best or not significantly worse.
    ``rank``: over ``ranked``, the data sets that all strategies have answered, and ``mean`` over those of them that
    stand here with top-1; NaN for strategies that were run on fewer than half of the data sets, which do not count.
    ``is_tested``: whether a test over images holds for this kind of scorer.
    """

    backbone: str
    precision: str | None
    kind: str
    values: pd.DataFrame
    best: pd.DataFrame
    level: pd.DataFrame
    mean: "pd.Series[float]"
    rank: "pd.Series[float]"
    ranked: Sequence[str]
    is_tested: bool
    own: Sequence[str]

    @property
    def title(self) -> str:
        """What the rows share: backbone, precision where there are several, and the kind of scorer."""
        kind = "" if self.kind == "zero_shot" else self.kind.replace("_", " ")
        return ", ".join(part for part in (self.backbone, self.precision, kind) if part)

    @property
    def caption(self) -> str:
        """What the numbers and marks mean, in sentences."""
        parts = [f"Top-1 accuracy in percent, {self.title}."]
        if self.own:
            parts.append("Where a head names another metric, it is that one in percent.")
        if len(self.values) > 1:
            parts.append("Bold: the best of its data set.")
            if self.is_tested:
                parts.append(
                    f"{LEVEL}: not significantly worse than the best (McNemar's exact test on the same images,"
                    f"{' of another metric a paired bootstrap over images,' if self.own else ''} Holm's correction for"
                    " all strategies, 5%)."
                )
            else:
                parts.append("No test is made: the scores of images depend on each other.")
        if len(self.ranked) > 1:
            every = len(self.ranked) == self.values.shape[1]
            of = "the data sets" if every else f"the {len(self.ranked)} data sets that all ranked strategies answered"
            if self.mean.isna().all():
                parts.append(f"The average rank (1: best) is over {of}.")
            elif set(self.own) & set(self.ranked):
                parts.append(f"The average rank (1: best) is over {of}, the mean over those of them with top-1.")
            else:
                parts.append(f"Mean and average rank (1: best) are over {of}.")
        return " ".join(parts)


def matrices(comparison: Comparison, columns: Sequence[str] = ()) -> list[Matrix]:
    """Return a matrix of each backbone, precision and kind of scorer.

    Args:
        comparison: of the runs.
        columns: the data sets to take, in this order, by their names in the tables; none for all.

    Raises:
        ResultsError: one of ``columns`` is no data set of the records.
    """
    runs = comparison.runs
    known = list(dict.fromkeys(runs["dataset_shown"]))
    if unknown := [name for name in columns if name not in known]:
        raise ResultsError(
            f"columns: {len(unknown)} of {len(columns)} are no data set of the records, first: {unknown[0]!r}. They"
            f" hold {first(known)}.{nearest(unknown[0], known)}"
        )
    taken = list(columns) or known
    collection = {run.dataset: run.collection for members in comparison.groups.values() for run in members}
    once = {name for name in taken if sum(collection.get(one) == collection.get(name) for one in taken) == 1}
    read = runs[~runs["of_seeds"].astype(bool) & runs["dataset_shown"].isin(taken)]
    beyond = beyond_accuracy(read)
    titles = read["primary"].map(headline_title)
    level = read["level_with_best"]
    read = read.assign(
        strategy=scored_names(read),
        column=read["dataset_shown"].where(~beyond, read["dataset_shown"] + ", " + titles),
        value=ranked_values(read),
        level=level.where(~beyond, read["primary_level_with_best"]) if beyond.any() else level,
        own=beyond,
    )
    found = []
    for key, members in read.groupby(LEAGUE, sort=False):
        cells = members.drop_duplicates(["strategy", "column"])
        heads = cells.drop_duplicates("column").set_index("column")["dataset_shown"]
        order = [head for name in taken for head in heads.index[heads == name]]
        single = [head for head in order if heads[head] in once and (heads == heads[head]).sum() == 1]
        league = dict(zip(LEAGUE, key, strict=True))
        found.append(_matrix(league, cells, order, single, runs["precision"].nunique()))
    return found


def _matrix(
    league: Mapping[str, str], cells: pd.DataFrame, taken: Sequence[str], once: Sequence[str], precisions: int
) -> Matrix:
    """Return the matrix of some rows of a comparison.

    ``taken``: its columns, in order. ``once``: those whose data set stands here in one version and metric.
    """
    strategies = list(dict.fromkeys(cells["strategy"]))

    def wide(column: str) -> pd.DataFrame:
        table = cells.set_index(["strategy", "column"])[column].unstack()  # noqa: PD010 - nothing to aggregate
        return table.reindex(index=strategies, columns=list(taken))

    values = wide("value").astype(float)
    counted = values[values.notna().mean(axis=1) >= 0.5]
    ranked = [name for name in counted if name in once and counted[name].notna().all()]
    own = list(dict.fromkeys(cells["column"][cells["own"]]))
    several = len(ranked) > 1
    averaged = [name for name in ranked if name not in own]  # points of two metrics are not the same points
    mean = counted[averaged].mean(axis=1) if len(averaged) > 1 else pd.Series(dtype=float)
    rounded = counted[ranked].round(9)  # equal but for rounding
    rank = rounded.rank(ascending=False).mean(axis=1) if several and len(counted) > 1 else pd.Series(dtype=float)
    return Matrix(
        backbone=league["backbone_shown"],
        precision=league["precision"] if precisions > 1 else None,
        kind=league["kind"],
        values=values,
        best=values.eq(values.max()) & (len(values) > 1),
        level=wide("level").fillna(value=False).astype(bool),
        mean=mean.reindex(strategies),
        rank=rank.reindex(strategies),
        ranked=ranked,
        is_tested=league["kind"] in INDEPENDENT,
        own=own,
    )


def as_rows(found: Sequence[Matrix]) -> pd.DataFrame:
    """Return matrices as one table of numbers, a row per strategy of each."""
    parts = [
        pd.concat([one.values, one.mean.rename("mean"), one.rank.rename("rank")], axis=1)
        .rename_axis("strategy")
        .reset_index()
        .assign(backbone=one.backbone, precision=one.precision, kind=one.kind)
        for one in found
    ]
    table = pd.concat(parts, ignore_index=True)
    ahead = ["backbone", "precision", "kind", "strategy"]
    last = ["mean", "rank"]
    return table[[*ahead, *(name for name in table if name not in (*ahead, *last)), *last]]


def shown_matrix(matrix: Matrix, *, transposed: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a matrix as texts, and which of its cells are the best.

    Its first column, ``strategy`` (or ``data set`` where it is ``transposed``), names the rows.
    """
    texts = pd.DataFrame(
        {
            name: [
                f"{percent(value)}{LEVEL if level and not best else ''}"
                for value, level, best in zip(
                    matrix.values[name], matrix.level[name], matrix.best[name], strict=True
                )
            ]
            for name in matrix.values
        },
        index=matrix.values.index,
    )  # fmt: skip
    bold = matrix.best.copy()
    if matrix.mean.notna().any():
        texts["mean"] = [percent(value) for value in matrix.mean]
        bold["mean"] = matrix.mean.eq(matrix.mean.max()) & (len(texts) > 1)
    if matrix.rank.notna().any():
        texts["rank"] = ["" if pd.isna(value) else f"{value:.1f}" for value in matrix.rank]
        bold["rank"] = matrix.rank.eq(matrix.rank.min())
    if transposed:
        texts, bold = texts.T, bold.T
    name = "data set" if transposed else "strategy"
    texts = texts.rename_axis(index=name, columns=None).reset_index()
    bold = bold.reset_index(drop=True).assign(**{name: False})
    return texts, bold[list(texts)]


def chosen(texts: pd.DataFrame, bold: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a transposed matrix with some of its strategies alone; none for all.

    Raises:
        ResultsError: one of ``columns`` is no strategy.
    """
    if not columns:
        return texts, bold
    known = list(texts)[1:]
    taken = [texts.columns[0], *(name for name in columns if name in known)]
    if len(taken) == 1:
        raise ResultsError(
            f"columns: none of {first(list(columns))} is a strategy of the records, which hold {first(known)}."
            f"{nearest(columns[0], known)}"
        )
    return texts[taken], bold[taken]
