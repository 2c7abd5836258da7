"""The file of predictions: written part by part, read as one table, whole or not there."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.errors import ResultsError
from cupl_bench.run.writing import write_predictions
from cupl_bench.scores import Predictions, Tally, count, measure
from cupl_bench.store import RowStore
from cupl_bench.stored_features import ImageFeatures

IDS = [
    "plain.jpg",
    "line\nbreak.jpg",
    "caf\u00e9/\U0001f438.jpg",
    "\udcff.jpg",
    'comma,"quote".jpg',
    " ",
    "6",
    "7",
    "8",
]


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        split="all", class_names=tuple("abcdef"), labels=np.array([0, 1, 2, 3, 4, 5, 0, 1, 2]),
        image_ids=ImageNames.of(IDS), image_keys=[bytes([number]) * 16 for number in range(9)], read=lambda _: b"",
    )  # fmt: skip


def some(size: int, seed: int) -> Predictions:
    generator = np.random.default_rng(seed)
    top = np.argsort(generator.random((size, 6)), axis=1)[:, :5]
    score, margin, confidence = generator.random((3, size), dtype=np.float32)
    return Predictions(prediction=top[:, 0].copy(), top=top, score=score, margin=margin, confidence=confidence)


def kept(tmp_path: Path, *broken: int) -> ImageFeatures:
    kept = np.ones(9, dtype=bool)
    kept[list(broken)] = False
    return ImageFeatures(stored=RowStore(folder=tmp_path / "none", facts={}).find([]), kept=kept, num_encoded=0)


def written(
    path: Path, dataset: Dataset, images: ImageFeatures, parts: Iterable[Predictions]
) -> tuple[Tally, list[int]]:
    """What is right of all images, and of how many images each tally is."""
    tallies = []
    for one in write_predictions(path, dataset, images, parts):
        assert not path.exists(), "the file is there before it is whole"
        tallies.append(one)
    return sum(tallies[1:], start=tallies[0]), [int(one.images.sum()) for one in tallies]


def test_parts_are_one_table_with_the_columns_and_types_of_a_frame(dataset: Dataset, tmp_path: Path) -> None:
    parts = [some(4, 1), some(1, 2), some(3, 3)]
    path = tmp_path / "predictions" / "a.parquet"
    tally, steps = written(path, dataset, kept(tmp_path, 3), parts)
    assert steps == [4, 1, 3]
    whole = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0]) if name != "scores"
    }
    index = np.array([0, 1, 2, 4, 5, 6, 7, 8])
    labels = dataset.labels[index]
    expected = pd.DataFrame(
        {
            "index": index,
            "image_id": [dataset.image_ids[i] for i in index.tolist()],
            "label": labels,
            "prediction": whole["prediction"],
            "correct": whole["prediction"] == labels,
            "top5": list(whole["top"]),
            "score": whole["score"],
            "margin": whole["margin"],
            "confidence": whole["confidence"],
        }
    )
    expected.to_parquet(tmp_path / "frame.parquet", index=False)
    assert pq.read_schema(path).equals(pq.read_schema(tmp_path / "frame.parquet"), check_metadata=True)
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected)
    assert pq.ParquetFile(path).num_row_groups == 3
    assert pd.read_parquet(path)["image_id"].tolist() == [name for name in IDS if name != "\udcff.jpg"]
    assert measure(tally) == measure(count(Predictions(**whole), labels, 6))


def test_names_that_are_no_utf8_are_written_as_they_are_shown(dataset: Dataset, tmp_path: Path) -> None:
    written(tmp_path / "a.parquet", dataset, kept(tmp_path), [some(9, 1)])
    assert pd.read_parquet(tmp_path / "a.parquet")["image_id"][3] == "\\xff.jpg"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_breaks_between_two_parts_leaves_no_file(
    dataset: Dataset, tmp_path: Path, error: type[BaseException]
) -> None:
    def parts() -> Iterator[Predictions]:
        yield some(4, 1)
        raise error

    with pytest.raises(error):
        written(tmp_path / "out" / "a.parquet", dataset, kept(tmp_path), parts())
    assert not list((tmp_path / "out").iterdir())


def test_a_file_that_nobody_ends_is_not_there(dataset: Dataset, tmp_path: Path) -> None:
    writing = write_predictions(tmp_path / "out" / "a.parquet", dataset, kept(tmp_path), [some(4, 1), some(5, 2)])
    next(writing)
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".tmp"]
    writing.close()
    assert not list((tmp_path / "out").iterdir())


def test_a_disk_that_fills_is_said(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(ResultsError, match=r"a.parquet cannot be written \(No space left"):
        written(tmp_path / "a.parquet", dataset, kept(tmp_path), [some(9, 1)])
    assert not list(tmp_path.glob("*a.parquet*"))
