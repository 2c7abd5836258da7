"""Prints the demo's table: every prompt strategy and control, overall and by tier, with paired intervals.

python scripts/evaluate_demo.py                                # the shipped weights on the test pictures
python scripts/evaluate_demo.py --split validation --per-class-table
python scripts/evaluate_demo.py --weights build/demo_training/seed_1/weights
"""

import argparse
from pathlib import Path

import torch
from demo_training.evaluation import evaluate, per_class_lines

from cupl_bench.dataset.demo.drawing import TEST_PER_CLASS, TEST_SEED, VALIDATION_SEED

ROOT = Path(__file__).resolve().parents[1]
SEEDS = {"validation": VALIDATION_SEED, "test": TEST_SEED}


def main() -> None:
    """Draws, encodes, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=sorted(SEEDS), default="test")
    parser.add_argument("--per-class", type=int, default=TEST_PER_CLASS, help="pictures of each class")
    parser.add_argument("--weights", type=Path, default=ROOT / "cupl_bench" / "backbone" / "assets" / "demo")
    parser.add_argument(
        "--descriptions", type=Path, default=ROOT / "cupl_bench" / "prompts" / "assets" / "cupl" / "demo.json"
    )
    parser.add_argument("--per-class-table", action="store_true", help="also the recall of every class")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = evaluate(args.weights, args.descriptions, SEEDS[args.split], args.per_class)
    if args.per_class_table:
        lines += ["", *per_class_lines(args.weights, args.descriptions, SEEDS[args.split], args.per_class)]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
