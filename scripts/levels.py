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

from cupl_bench.report.ranking import (
    FEWEST,
    average_ranks,
    critical_difference,
    friedman_p,
    noise,
    resampled_datasets,
    signed_rank_p,
)
from cupl_bench.report.significance import holm


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
                alarms += (friedman_p(values) < 0.05, np.ptp(ranks) >= limit, (p < 0.05).any())
                if draw < 500:
                    moved.append(noise(resampled_datasets(values), ranks))
            shares = " | ".join(f"{100 * share:.1f}%" for share in (*alarms / draws, np.mean(moved)))
            print(f"| {strategies} | {datasets} | {shares} |", flush=True)


SIMULATIONS: dict[str, tuple[Callable[[int], None], int]] = {"ranking": (ranking, 5000)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SIMULATIONS)
    parser.add_argument("--draws", type=int)
    arguments = parser.parse_args()
    simulate, usual = SIMULATIONS[arguments.what]
    simulate(arguments.draws or usual)
