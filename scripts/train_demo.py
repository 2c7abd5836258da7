"""Trains the demo's CLIP from nothing and writes it where the package ships it.

    python scripts/train_demo.py                 # seed 0, the shipped weights
    python scripts/train_demo.py --seed 1 --output build/demo_training/seed_1/weights

Draws the training pictures (two minutes), trains on one core (seven to twelve minutes) and writes three
files: `open_clip_config.json`, `model.safetensors` (float16) and `bpe.txt.gz`. Killed, it continues when it
is run again. Evaluate with `scripts/evaluate_demo.py`.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from demo_training.captions import write_caption
from demo_training.corpus import CORPUS_SEED, build_corpus, traits_of
from demo_training.tokenizer import write_bpe
from demo_training.training import Plan, export, train

from cupl_bench.dataset.demo.drawing import Dice, generator_for

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "cupl_bench" / "backbone" / "assets" / "demo"


def vocabulary_captions(named: int, nameless: int, count: int = 60_000) -> list[str]:
    """Captions whose words decide the tokenizer, the same for every seed."""
    step = max(1, (named + nameless) // count)
    return [
        write_caption(traits_of(index, named)[0], Dice(generator_for(CORPUS_SEED, 2, index))).text
        for index in range(0, named + nameless, step)
    ]


def arguments(line: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="first weights, order, captions and crops (default 0)")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--named", type=int, default=40_000, help="training pictures of species with a name")
    parser.add_argument("--nameless", type=int, default=56_000, help="training pictures of made-up plants")
    parser.add_argument("--processes", type=int, default=2, help="for drawing; does not change the weights")
    parser.add_argument("--checkpoint-every", type=int, default=100, help="steps")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "demo_training", help="pictures and checkpoints")
    parser.add_argument("--output", type=Path, default=SHIPPED)
    return parser.parse_args(line)


def main(line: Sequence[str] | None = None) -> None:
    """Draws, trains, writes; `line` stands for the command line."""
    args = arguments(line)
    # One thread whatever the machine has: sums in another order would be other weights.
    torch.set_num_threads(1)
    started = time.perf_counter()

    def log(line: str) -> None:
        print(f"[{time.perf_counter() - started:6.0f} s] {line}", flush=True)

    args.output.mkdir(parents=True, exist_ok=True)
    tokenizer = write_bpe(vocabulary_captions(args.named, args.nameless), args.output / "bpe.txt.gz")
    log(f"vocabulary of {tokenizer.vocab_size} tokens")
    corpus = build_corpus(args.work, args.named, args.nameless, args.processes)
    log(f"{len(corpus.traits)} training pictures")
    plan = Plan(
        seed=args.seed,
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=1e-3,
        warm_up=100,
        weight_decay=0.1,
        named=args.named,
        nameless=args.nameless,
    )
    model = train(plan, corpus, tokenizer, args.work / f"seed_{args.seed}", log, args.checkpoint_every)
    export(model, tokenizer, args.output)
    log(f"written to {args.output}")


if __name__ == "__main__":
    main()
