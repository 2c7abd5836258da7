"""Whether runs beside each other had the same images, labels and weights where they should."""

from collections.abc import Sequence

import numpy as np

from cupl_bench.checking.findings import SHOWN, Finding, Seen
from cupl_bench.checking.reading import Predictions, Run
from cupl_bench.question import TOLD
from cupl_bench.report.naming import dataset_facts, known_as, leaves, recorded

__all__ = ["same_images", "same_weights"]


def same_images(runs: Sequence[Run]) -> Finding:
    """Return whether runs on one data set had the same images, and the same label of each."""
    seen = Seen()
    versions: dict[str, Run] = {}
    fingerprints: dict[tuple[object, ...], Run] = {}
    labels: dict[tuple[object, ...], tuple[Run, Predictions]] = {}
    for run in runs:
        dataset = run.record.dataset
        origin = dataset.origin or {}
        of_version = versions.setdefault(known_as(run.record), run)
        if of_version.record.dataset.version != dataset.version:
            seen.faults.append(
                f"{run.name} is on version {dataset.version} of {known_as(run.record)}, and {of_version.name} on"
                f" version {of_version.record.dataset.version}: their numbers are not comparable"
            )
        if not dataset_facts(run.record):  # the folder of a user may hold other images another day
            key = (dataset.name, dataset.split, origin.get("protocol"), origin.get("names"))
            before = fingerprints.setdefault(key, run)
            if before.record.dataset.fingerprint != dataset.fingerprint:
                seen.faults.append(
                    f"{run.name} has other images, labels or class names of {dataset.name} ({dataset.split}) than"
                    f" {before.name}: fingerprints {dataset.fingerprint[:12]} and"
                    f" {before.record.dataset.fingerprint[:12]}"
                )
        if isinstance(run.predictions, str):
            continue
        own = run.predictions
        first_run, first = labels.setdefault((dataset.fingerprint, dataset.num_broken), (run, own))
        if not np.array_equal(first.index, own.index):
            seen.faults.append(f"{run.name} and {first_run.name} have one fingerprint and predictions of other images")
        elif (other := first.label != own.label).any():
            images = ", ".join(str(one) for one in own.index[other][:SHOWN].tolist())
            seen.faults.append(
                f"{run.name} and {first_run.name} have one fingerprint and other labels of {int(other.sum()):,} images,"
                f" first: {images}"
            )
    sets = len({run.record.dataset.fingerprint for run in runs})
    well = f"{sets:,} {'set' if sets == 1 else 'sets'} of images, each with the same labels in all its runs"
    return seen.finding("images", "the images and labels of runs on one data set", well)


def same_weights(runs: Sequence[Run]) -> Finding:
    """Return whether runs of one backbone had the same weights."""
    seen = Seen()
    models: dict[str, Run] = {}
    for run in runs:
        built = run.record.backbone
        words = {key: value for key, value in recorded(run.record, "backbone").items() if key not in TOLD["backbone"]}
        asked = {**leaves(words), "is": [built.name, built.architecture, built.pretrained]}
        before = models.setdefault(repr(sorted(asked.items())), run)
        for name in ("weights_sha256", "activation", "embed_dim"):
            told, other = getattr(built, name), getattr(before.record.backbone, name)
            if told != other:
                seen.faults.append(f"{run.name} has the {name} {str(told)[:12]}, and {before.name} {str(other)[:12]}")
    well = f"{len(models):,} of them, each with the same weights in all its runs"
    return seen.finding("weights", "the weights of runs of one backbone", well)
