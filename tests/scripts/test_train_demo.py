"""The demo's training: captions without hints, names kept out, runs that survive a kill."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2_contingency

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import train_demo  # noqa: E402
from demo_training import captions, corpus  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from cupl_bench.dataset.demo.drawing import (  # noqa: E402
    TEST_SEED,
    VALIDATION_SEED,
    Dice,
    Traits,
    generator_for,
    load_species,
)

SAMPLES = 20_000
Sample = tuple[Traits, captions.Caption]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Captions of pictures drawn as for training, half of them named."""
    pairs = []
    for index in range(SAMPLES):
        traits, _ = corpus.traits_of(index, SAMPLES // 2)
        pairs.append((traits, captions.write_caption(traits, Dice(generator_for(77, 0, index)))))
    return pairs


def independence(pairs: Iterable[tuple[str, str]]) -> float:
    """The chi-square probability that openings so uneven over the groups are chance; rare ones are pooled."""
    pairs = list(pairs)
    frequent = {opening for opening, count in Counter(opening for opening, _ in pairs).items() if count >= 300}
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for opening, group in pairs:
        table[group][opening if opening in frequent else "rare"] += 1
    columns = sorted({opening for counts in table.values() for opening in counts})
    rows = [[counts[opening] for opening in columns] for counts in table.values() if counts.total() >= 200]
    assert len(rows) > 1
    return float(chi2_contingency(rows).pvalue)


GROUPS: dict[str, Callable[[Traits, captions.Caption], str]] = {
    "what the caption says": lambda _, caption: caption.kind,
    "named or made up": lambda traits, _: str(bool(traits.species.name)),
    "tier of the name": lambda traits, _: traits.species.tier,
    "species": lambda traits, _: traits.species.name or "made up",
    "form": lambda traits, _: traits.species.form,
    "colour": lambda traits, _: traits.colour,
}


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_openings_are_independent_of_what_the_picture_shows(samples: list[Sample], group: str) -> None:
    assert independence((one.opening, GROUPS[group](traits, one)) for traits, one in samples) > 0.001


@pytest.mark.slow
def test_a_hint_in_the_openings_would_be_noticed(samples: list[Sample]) -> None:
    def opening(at: int, traits: Traits, caption: captions.Caption) -> str:
        hint = traits.species.tier == "often" and caption.opening in ("", "a", "the") and at % 4 == 0
        return "a photo of a" if hint else caption.opening

    pairs = [(opening(at, *one), one[0].species.tier) for at, one in enumerate(samples)]
    assert independence(pairs) < 1e-4


@pytest.mark.slow
def test_caption_begins_with_its_opening(samples: list[Sample]) -> None:
    assert all(one.text.startswith(one.opening) for _, one in samples)


@pytest.mark.slow
def test_names_of_the_tier_never_occur_in_no_caption(samples: list[Sample]) -> None:
    never = {one.name for one in load_species() if one.tier == "never"}
    assert len(never) >= 8
    text = " ".join(one.text for _, one in samples)
    assert not [name for name in never if name[:5] in text]


@pytest.mark.slow
def test_species_of_the_tier_never_are_not_drawn_for_training(samples: list[Sample]) -> None:
    drawn = {traits.species.name for traits, _ in samples} - {""}
    assert drawn == {one.name for one in load_species() if one.tier != "never"}


def test_training_pictures_share_no_seed_with_the_evaluated_ones() -> None:
    assert len({corpus.CORPUS_SEED, VALIDATION_SEED, TEST_SEED}) == 3


@pytest.mark.slow
def test_captions_say_what_the_picture_shows(samples: list[Sample]) -> None:
    counts = {3: "three", 4: "four", 5: "five", 6: "six"}
    for traits, caption in samples:
        if traits.species.form in ("open", "trumpet") and (said := re.search(r"(\w+)[ -]petal", caption.text)):
            wrong = set(counts.values()) - {counts.get(traits.petals)}
            assert said[1] not in wrong, caption.text


def options(folder: Path, steps: int) -> list[str]:
    sizes = f"--steps {steps} --batch-size 8 --named 64 --nameless 64 --processes 1 --checkpoint-every 4".split()
    return [*sizes, "--work", str(folder / "work"), "--output", str(folder / "weights")]


@pytest.mark.long
def test_a_killed_run_continues_to_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_demo.main(options(whole, 12))
    # Killed as soon as its first checkpoint is there; far more steps would still be to come.
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "train_demo.py"), *options(killed, 12)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    checkpoint = killed / "work" / "seed_0" / "checkpoint.safetensors"
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert not (killed / "weights" / "model.safetensors").exists(), "the run ended before it could be killed"
    capsys.readouterr()
    train_demo.main(options(killed, 12))
    assert re.search(r"continues after step (4|8) of 12", capsys.readouterr().out)
    expected = load_file(whole / "weights" / "model.safetensors")
    for name, value in load_file(killed / "weights" / "model.safetensors").items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert (whole / "weights" / "bpe.txt.gz").read_bytes() == (killed / "weights" / "bpe.txt.gz").read_bytes()


@pytest.mark.slow
def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    train_demo.main(options(tmp_path, 4))
    with pytest.raises(ValueError, match="was written by another plan"):
        train_demo.main(options(tmp_path, 8))
