"""Count how often tests find what is not there, by simulation: the long form of what the test suite does in short.

    python scripts/levels.py ranking [--draws 5000]
    python scripts/levels.py selection [--draws 1000]

``ranking``: strategies that are equally good on each of several data sets, but for noise. ``selection``: prompts that
add nothing, so that any choice of them is as good as all; the choice is judged on the images that it was made on, and
on the other half. The tables are those of docs/evidence.md.
"""

import argparse
from collections.abc import Callable

import numpy as np

from cupl_bench.effects import right_images
from cupl_bench.embeddings import Aggregation, unit_rows
from cupl_bench.report.ranking import (
    FEWEST,
    average_ranks,
    critical_difference,
    friedman_p,
    noise,
    resampled_datasets,
    signed_rank_p,
)
from cupl_bench.report.significance import ALPHA, holm, mcnemar_exact
from cupl_bench.smallest_set import halves, smallest_set


def ranking(draws: int) -> None:
    """Print the share of false alarms of the tests over data sets, by their number and that of the strategies."""
    print("| strategies | data sets | Friedman | Nemenyi | Wilcoxon, Holm | pairs that change places |")
    print("|---|---|---|---|---|---|")
    for strategies in (3, 5, 10):
        for datasets in (FEWEST, 10, 20):
            generator = np.random.default_rng([strategies, datasets])
            limit = critical_difference(strategies, datasets)
            alarms = np.zeros(3)
            moved = []
            for draw in range(draws):
                values = generator.normal(0.6, 0.1, (datasets, 1)) + generator.normal(0, 0.01, (datasets, strategies))
                ranks = average_ranks(values)
                p = holm(np.array([signed_rank_p(values[:, place] - values[:, 0]) for place in range(1, strategies)]))
                alarms += np.array([friedman_p(values) < 0.05, np.ptp(ranks) >= limit, (p < 0.05).any()])
                if draw < 500:
                    moved.append(noise(resampled_datasets(values), ranks))
            shares = " | ".join(f"{100 * share:.1f}%" for share in (*alarms / draws, np.mean(moved)))
            print(f"| {strategies} | {datasets} | {shares} |", flush=True)


def selection(draws: int) -> None:
    """Print how often a set that is as good as all prompts is taken for another, judged on either half."""
    print("| images | prompts of each class | judged on the other half | judged on the choosing half |")
    print("|---|---|---|---|")
    for images in (200, 1000):
        for prompts in (4, 12):
            alarms = np.array([false_alarms(seed, images, prompts) for seed in range(draws)])
            # Where no smaller set was found there is nothing to judge.
            shares = " | ".join(f"{100 * share:.1f}%" for share in np.nanmean(alarms, axis=0))
            print(f"| {images:,} | {prompts} | {shares} |", flush=True)


def false_alarms(seed: int, images: int, prompts: int, classes: int = 5, width: int = 10) -> tuple[float, float]:
    """Return whether a choice among prompts that point anywhere is taken for better or worse than all of them.

    The first is judged on the half of the images that did not choose, the second on the half that did. Labels have
    nothing to do with images, so every set of prompts is right on a fifth of all images. NaN where nothing is chosen.
    """
    generator = np.random.default_rng([seed, images, prompts])
    labels = generator.integers(0, classes, images)
    features = unit_rows(generator.normal(size=(images, width)).astype(np.float32), "images")
    texts = unit_rows(generator.normal(size=(classes * prompts, width)).astype(np.float32), "texts")
    rows = np.arange(classes * prompts).reshape(classes, prompts).tolist()
    found = smallest_set(features, labels, texts, rows, Aggregation.MEAN, parallel=False, seed=seed)
    if found.rows is None or found.judged is None:
        return np.nan, np.nan
    chosen, _ = halves(labels, seed)
    given = (features[chosen], labels[chosen], texts)
    here, right = (right_images(*given, one, Aggregation.MEAN) for one in (found.rows, rows))
    gained, lost = int((here & ~right).sum()), int((right & ~here).sum())
    return found.judged.p < ALPHA, float(mcnemar_exact([gained], [lost])[0]) < ALPHA


SIMULATIONS: dict[str, tuple[Callable[[int], None], int]] = {
    "ranking": (ranking, 5000),
    "selection": (selection, 1000),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SIMULATIONS)
    parser.add_argument("--draws", type=int)
    arguments = parser.parse_args()
    simulate, usual = SIMULATIONS[arguments.what]
    simulate(arguments.draws or usual)
