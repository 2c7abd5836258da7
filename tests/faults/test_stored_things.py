"""Whatever lies on the disk may rot, be cut short, be emptied, be of an older form, or be moved.

What can be made again is made again, with the undisturbed answers; what cannot is refused with a clear message. Every
kind of file is damaged in the same ways: the first of its bytes, one in the middle, its end, all of it.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faulty import Left, left_by
from safetensors.numpy import load_file, save_file

from cupl_bench.__main__ import main
from cupl_bench.errors import ResultsError
from cupl_bench.records import read_records
from cupl_bench.report.comparison import compare
from cupl_bench.report.tables import write_tables
from cupl_bench.store import read_arrays, write_arrays

pytestmark = pytest.mark.slow

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda content: (
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    ),
    "cut": lambda content: content[:-7],
    "empty": lambda content: b"",
}

MADE_AGAIN = {
    "image features": "cache/image_features/*/*.safetensors",
    "text features": "cache/text_features/*/*.safetensors",
    "tokens": "cache/text_features/*/tokens/*/*.safetensors",
    "pixels": "cache/pixels/*/*.safetensors",
    "class embeddings": "cache/class_embeddings/*.safetensors",
    "keys": "cache/keys/*/*.safetensors",
}
EVIDENCE = {
    "records": "results/records/*.json",
    "predictions": "results/predictions/*.parquet",
    "class embeddings of a run": "results/class_embeddings/*.safetensors",
    "prompts of a run": "results/prompts/*.parquet",
}


def one_question(undisturbed, folder: Path, *more: str) -> list[str]:
    """The undisturbed sweep's first question alone; a sweep of one composes its configuration twice."""
    arguments = undisturbed.arguments(folder / "results", folder / "cache", *more)
    return ["prompts=simple" if one.startswith("prompts=") else one for one in arguments if one != "-m"]


@pytest.fixture(scope="module")
def whole(undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache and the results of one question, pixels among them."""
    from cupl_bench.pixel_store import PixelStore

    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(undisturbed.cache, folder / "cache")
    assert main(one_question(undisturbed, folder)) == 0
    (shard,) = (folder / "cache" / "image_features").glob("*/*.safetensors")
    keys = [key.tobytes() for key in read_arrays(shard)[0]["keys"]]
    pixels = np.zeros((len(keys), 3, 32, 32), dtype=np.uint8)
    PixelStore(folder=folder / "cache" / "pixels" / "a", facts={}, limit_bytes=1e9).write(keys, pixels)
    return folder


@pytest.fixture(scope="module")
def left(whole: Path) -> Left:
    return left_by(whole / "results")


@pytest.fixture
def again(cli, undisturbed, whole: Path, tmp_path: Path) -> Callable[..., int]:
    """The question on a copy of its cache and results."""
    shutil.copytree(whole / "cache", tmp_path / "cache")
    shutil.copytree(whole / "results", tmp_path / "results")

    def run(*arguments: str) -> int:
        return cli.raw(*one_question(undisturbed, tmp_path, *arguments))

    return run


def tables_of(results: Path) -> None:
    write_tables(compare(read_records(results), results), results)


def damage_all(folder: Path, pattern: str, damage: Callable[[bytes], bytes]) -> list[Path]:
    victims = list(folder.glob(pattern))
    assert victims, pattern
    for victim in victims:
        victim.write_bytes(damage(victim.read_bytes()))
    return victims


@pytest.mark.parametrize(
    ("kind", "how"),
    [(kind, how) for kind in MADE_AGAIN for how in DAMAGE if kind != "pixels"],
)
def test_what_can_be_made_again_is(cli, again, left: Left, tmp_path: Path, kind: str, how: str) -> None:
    victims = damage_all(tmp_path, MADE_AGAIN[kind], DAMAGE[how])
    if kind in ("text features", "tokens"):  # else nobody would read them
        shutil.rmtree(tmp_path / "cache" / "class_embeddings")
    assert again("rerun=always") == 0, cli.err
    assert "is set aside under" in cli.err
    seen = [victim for victim in victims if (victim.parent / "damaged" / victim.name).is_file()]
    assert len(seen) == (1 if kind == "class embeddings" else len(victims))  # those of the other question stay unread
    assert all(victim.name in cli.err for victim in seen)
    assert left_by(tmp_path / "results").difference(left) is None


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_pixels_are_never_read(whole: Path, tmp_path: Path, how: str) -> None:
    from cupl_bench.pixel_store import PixelStore

    shutil.copytree(whole / "cache" / "pixels", tmp_path / "pixels")
    (shard,) = (tmp_path / "pixels").glob("*/*.safetensors")
    keys = [key.tobytes() for key in read_arrays(shard)[0]["keys"]]
    store = PixelStore(folder=shard.parent, facts={}, limit_bytes=1e9)
    assert len(list(store.stored(keys))) == 1
    shard.write_bytes(DAMAGE[how](shard.read_bytes()))
    assert not list(store.stored(keys))
    assert (shard.parent / "damaged" / shard.name).is_file()


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("kind", EVIDENCE)
def test_damaged_evidence_is_refused_by_the_report_and_made_again_by_the_run(
    cli, again, left: Left, tmp_path: Path, kind: str, how: str
) -> None:
    damage_all(tmp_path, EVIDENCE[kind], DAMAGE[how])
    # No report reads class embeddings. A record has no digest of itself: its form and its top-1 are checked alone.
    if kind != "class embeddings of a run" and (kind, how) != ("records", "flipped"):
        with pytest.raises(ResultsError, match=r"[Rr]un its question again"):
            tables_of(tmp_path / "results")
    assert again(*(["rerun=always"] if kind == "records" else [])) == 0, cli.err
    assert left_by(tmp_path / "results").difference(left) is None


def test_a_flipped_bit_in_a_number_of_a_record_is_seen(again, tmp_path: Path) -> None:
    """A record that was altered and is still well-formed does not speak for its predictions any more."""
    for path in (tmp_path / "results" / "records").glob("*.json"):
        content = json.loads(path.read_text())
        content["metrics"]["top1"] = 0.9875
        path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="another top1 than its predictions"):
        tables_of(tmp_path / "results")


@pytest.mark.parametrize("kind", [*MADE_AGAIN, *EVIDENCE])
def test_files_of_an_older_form_are_made_again(cli, again, left: Left, tmp_path: Path, kind: str) -> None:
    """Other names of arrays, columns and keys, as a version before this one may have written them; checksums hold."""
    import pandas as pd

    for path in tmp_path.glob({**MADE_AGAIN, **EVIDENCE}[kind]):
        if path.suffix == ".safetensors":
            arrays, facts = read_arrays(path)
            write_arrays(path, {f"old_{name}": array for name, array in arrays.items()}, {"old": facts})
        elif path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            frame.rename(columns={name: f"old_{name}" for name in frame}).to_parquet(path)
        else:
            content = json.loads(path.read_text())
            path.write_text(json.dumps({**content, "schema_version": 0}))
    if kind in ("text features", "tokens"):
        shutil.rmtree(tmp_path / "cache" / "class_embeddings")
    if kind in EVIDENCE and kind != "class embeddings of a run":
        with pytest.raises(ResultsError):
            tables_of(tmp_path / "results")
    assert again(*([] if kind in EVIDENCE else ["rerun=always"])) == 0, cli.err
    assert left_by(tmp_path / "results").difference(left) is None


def test_files_of_other_programs_in_the_cache_are_no_features(cli, again, left: Left, tmp_path: Path) -> None:
    """safetensors without our checksum, or with rows of another width."""
    for path in (tmp_path / "cache" / "image_features").glob("*/*.safetensors"):
        save_file(load_file(path), path)
        arrays = {"keys": np.zeros((2, 16), np.uint8), "rows": np.ones((2, 5), np.float32)}
        write_arrays(path.with_name("other.safetensors"), arrays, {})
    assert again("rerun=always") == 0, cli.err
    assert left_by(tmp_path / "results").difference(left) is None


def test_a_cache_and_results_that_were_moved(cli, again, left: Left, tmp_path: Path) -> None:
    (tmp_path / "cache").rename(tmp_path / "cache elsewhere")
    (tmp_path / "results").rename(tmp_path / "results elsewhere")
    moved = [f"results_dir={tmp_path / 'results elsewhere'}", f"cache_dir={tmp_path / 'cache elsewhere'}"]
    assert again(*moved) == 0, cli.err
    assert "finished before" in cli.out
    assert again(*moved, "rerun=always") == 0, cli.err
    assert "40 reused, 0 encoded" in cli.out
    assert left_by(tmp_path / "results elsewhere").difference(left) is None


def test_half_written_files_of_killed_runs_are_never_read(cli, again, left: Left, tmp_path: Path) -> None:
    for path in [*tmp_path.rglob("*.safetensors"), *tmp_path.rglob("*.parquet"), *tmp_path.rglob("*.json")]:
        half = path.with_name(f".{path.name}.abcdefgh.tmp")
        half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert again() == 0, cli.err
    assert "finished before" in cli.out
    assert again("rerun=always") == 0, cli.err
    assert "40 reused, 0 encoded" in cli.out
    assert "damaged" not in cli.err
    tables_of(tmp_path / "results")
    assert left_by(tmp_path / "results").difference(left) is None
    assert all(path.exists() for path in before)


def test_the_comparison_of_these_tests_sees_a_wrong_answer(left: Left) -> None:
    key = next(iter(left.answers))
    wrong = left.answers[key].copy()
    wrong[0, 2] += 1
    assert left.difference(Left(left.records, {**left.answers, key: wrong}, left.scores)) == f"{key}: other predictions"
    assert "scores differ" in str(left.difference(Left(left.records, left.answers, {**left.scores, key: np.zeros(40)})))
