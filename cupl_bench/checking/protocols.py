"""Whether runs are over the images of published protocols, and agree with the numbers published of them."""

from collections.abc import Iterable, Sequence

import pandas as pd

from cupl_bench.checking.findings import SHOWN, Finding, Seen, count_runs
from cupl_bench.checking.numbers import counts
from cupl_bench.checking.reading import Run
from cupl_bench.dataset.spec import CUSTOM, read_spec
from cupl_bench.dataset.texts import spec_names
from cupl_bench.errors import DatasetError
from cupl_bench.records import MetricsRecord
from cupl_bench.report.naming import recorded
from cupl_bench.report.published import match_published
from cupl_bench.report.significance import mean_per_class_interval
from cupl_bench.report.texts import percent, points
from cupl_bench.scorers import INDEPENDENT

__all__ = ["as_protocol", "as_published"]


def as_protocol(runs: Sequence[Run]) -> Finding:
    """Return whether runs on named data sets are over the images and classes of a published protocol."""
    seen = Seen()
    others: dict[str, int] = {}
    past = {run.name: one for run in runs if (one := _of_another_version(run)) is not None}
    seen.unknown += [f"{name} {one}" for name, one in past.items()]
    runs = [run for run in runs if run.name not in past]
    for run in runs:
        own = list(_unlike_protocol(run))
        seen.faults += [f"{run.name}: {one}" for one in own if one is not None]
        if own == [None]:
            others[run.record.dataset.name] = others.get(run.record.dataset.name, 0) + 1
    judged = len(runs) - sum(others.values())
    told = [f"{name} has no published protocol here ({count_runs(number)})" for name, number in others.items()]
    if judged or past:
        seen.notes += told
    else:
        seen.unknown += told
    well = f"{count_runs(judged)} over all images and classes of their protocol"
    return seen.finding("protocol", "the images and classes of each published protocol", well, decides=False)


def _of_another_version(run: Run) -> str | None:
    """Return that a run is on a version of its data set that this program does not know; None where it is not."""
    name, version = recorded(run.record, "dataset").get("spec"), run.record.dataset.version
    if name not in spec_names() or version == (known := read_spec(str(name)).version):
        return None
    return f"is on version {version} of {name}, and this program knows {known} alone"


def _unlike_protocol(run: Run) -> Iterable[str | None]:
    """Yield in what a run differs from its protocol; None alone where no protocol of it is known."""
    record = run.record
    dataset, settings = record.dataset, recorded(record, "dataset")
    if (limit := settings.get("limit")) is not None:
        yield f"only {limit} images of each class: the split is {dataset.split!r}"
        return
    origin, name = dataset.origin or {}, settings.get("spec")
    if name not in spec_names() or dataset.features or origin.get("protocol") in (None, CUSTOM):
        yield None
        return
    try:
        spec = read_spec(str(name))
        protocol = spec.protocol(origin["protocol"])
        classes = spec.classes.without(protocol.without)
        listed = origin.get("names", "")
        not_here = {*classes.fetched, *classes.carried}
        names = None if listed in not_here else classes.named(listed)
    except DatasetError:
        yield None
        return
    if dataset.split != protocol.split:
        yield f"the split is {dataset.split!r}, and protocol {origin['protocol']} is over {protocol.split!r}"
    if dataset.num_images != protocol.num_images:
        yield f"{dataset.num_images:,} images, and protocol {origin['protocol']} has {protocol.num_images:,}"
    if dataset.num_classes != len(classes.ids):
        yield f"{dataset.num_classes:,} classes, and protocol {origin['protocol']} has {len(classes.ids):,}"
    elif names is not None and not isinstance(run.prompts, str):
        told = run.prompts.drop_duplicates("label").set_index("label")["class_name"].reindex(range(len(names)))
        if other := [
            f"{ours!r} is {mine!r} in the list {origin['names']}"
            for ours, mine in zip(told, names, strict=True)
            if ours != mine
        ]:
            yield f"{len(other):,} class names are other ones, first: {'; '.join(other[:SHOWN])}"


def as_published(runs: Sequence[Run]) -> tuple[Finding, pd.DataFrame]:
    """Return whether published numbers of exactly these questions agree, and a row for each that is near or exact."""
    rows = [row for run in runs if (row := _row_of(run)) is not None]
    table = match_published(pd.DataFrame(rows), [run.record for run in runs]) if rows else pd.DataFrame()
    seen = Seen()
    if table.empty:
        exact = table
    else:
        exact = table[(table["match"] == "exact") & (table["verified"] == "verified")]
        remembered = int(((table["match"] == "exact") & (table["verified"] != "verified")).sum())
        if remembered:
            seen.notes.append(f"{remembered:,} more are unverified and only told")
        if near := int((table["match"] == "near").sum()):
            seen.notes.append(f"{near:,} of nearly the same question are only told")
        for row in exact[~exact["agrees"].astype(bool)].to_dict("records"):
            seen.faults.append(
                f"{row['run_key']} ({row['dataset']} x {row['backbone']} x {row['prompts']}): {row['metric']} is"
                f" {percent(row['ours'])}, and {percent(row['published'])} is published, {points(row['difference'])}"
                f" ({row['source']})"
            )
    if exact.empty:
        seen.unknown.append("no published number is of exactly these questions")
    well = f"{len(exact):,} published numbers of the same question agree"
    return seen.finding("published", "published numbers of the same question", well, decides=False), table


def _row_of(run: Run) -> dict[str, object] | None:
    """Return a run as `match_published` takes it; each seed stands for itself."""
    record, found = run.record, run.predictions
    if record.metrics is None or isinstance(found, str):
        return None
    images, hits = counts(found, record.dataset.num_classes)
    if not images.sum():
        return None
    metrics, nothing = record.metrics, (float("nan"), float("nan"))
    low, high = metrics.top1_ci95 or nothing
    of_classes = mean_per_class_interval(hits, images) if record.kind in INDEPENDENT else nothing
    return {
        "run_key": record.run_key,
        "of_seeds": False,
        "dataset": record.dataset.name,
        "split": record.dataset.split,
        "backbone": record.backbone.name,
        "prompts": record.prompts.name,
        "scorer": record.scorer.name,
        "top1": metrics.top1,
        "top1_low": low,
        "top1_high": high,
        "top5": float("nan") if metrics.top5 is None else metrics.top5,
        "mean_per_class": metrics.mean_per_class,
        "mean_per_class_low": of_classes[0],
        "mean_per_class_high": of_classes[1],
        **_headline_of(metrics),
    }


def _headline_of(metrics: MetricsRecord) -> dict[str, object]:
    """Return the headline metric of a run, where it is one beyond accuracy."""
    if metrics.primary_more is None:
        return {}
    low, high = metrics.primary_more.ci95 or (float("nan"), float("nan"))
    return {
        "primary": metrics.primary_name,
        "primary_value": metrics.primary,
        "primary_low": low,
        "primary_high": high,
    }
