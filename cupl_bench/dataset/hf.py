"""Data sets of the Hugging Face hub, or in its layout on the disk, through the `datasets` library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveInt

from cupl_bench.dataset import Dataset, ReadTaken
from cupl_bench.dataset.digests import keys_inside, keys_of_files
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.limit import chosen, limited
from cupl_bench.dataset.names import read_class_names
from cupl_bench.errors import DataNotHereError, DatasetError, first, nearest
from cupl_bench.keys import Keys

__all__ = ["HfRows", "HfSource"]


@dataclass(frozen=True)
class ReadRow:
    """Reads image i from a table whose images are not decoded."""

    images: Any
    column: str

    def __call__(self, index: int) -> bytes:
        cell = self.images[index][self.column]
        if cell is None:
            raise DatasetError(f"row {index} has no image in column {self.column!r}")
        content = cell["bytes"]
        return content if content is not None else Path(cell["path"]).read_bytes()


@dataclass(frozen=True, kw_only=True)
class HfRows:
    """The rows of a split: images, the content keys of those at some places, and their labels as stored.

    ``names``: of the whole numbers in ``values``, where the table carries them.
    """

    read: Callable[[int], bytes]
    keys: Callable[[Int64[np.ndarray, " m"], Path], Keys]
    label_column: str
    values: Sequence[int | str]
    names: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class HfSource:
    """A split of a hub data set (``path`` is its id) or of a local folder of parquet, arrow, image or tar files.

    ``data_files``: pattern of the files of the split, below ``path``; without it the library guesses.
    ``image_column`` and ``label_column``: found by their types where there is only one candidate.
    ``class_names``: a JSON list in label order, for labels that are bare numbers.
    ``revision``: branch, tag or commit on the hub.
    ``config_name``: which configuration of a data set that has several.
    ``limit``: so many images of each class, drawn with ``seed``; for a quick look.

    Images are taken as stored bytes and decoded by `cupl_bench.dataset.decode`: the library's own decoder would
    apply the EXIF rotation that the reference codes do not.
    """

    path: str
    split: str
    data_files: str | list[str] | None
    image_column: str | None
    label_column: str | None
    class_names: str | None
    revision: str | None
    limit: PositiveInt | None = None
    seed: NonNegativeInt = 0
    config_name: str | None = None  # a default, for records that were made before it was there

    def __call__(self, cache_dir: Path) -> Dataset:
        return self.part(cache_dir, None)

    def part(self, cache_dir: Path, shard: tuple[int, int] | None) -> Dataset:
        """Return part i of n of the images; all of them if None."""
        rows = self.rows()
        names, labels = self._named(rows)
        own, num_whole = chosen(labels, self.limit, self.seed, shard)
        return Dataset(
            split=limited(self.split, self.limit, self.seed),
            class_names=tuple(names),
            labels=labels[own],
            image_ids=ImageNames.of(map(str, own.tolist())),
            image_keys=rows.keys(own, cache_dir),
            read=ReadTaken(rows.read, own),
            num_whole=num_whole,
        )

    def on_this_machine(self) -> "HfSource":
        """Return this source if it is a folder.

        Raises:
            DataNotHereError: it is a name on the hub, which would have to be asked.
        """
        if not Path(self.path).is_dir():
            raise DataNotHereError(f"{self.path} is a name on the hub.")
        return self

    def rows(self) -> HfRows:
        """Return the rows of the split, with their labels as they are stored.

        Raises:
            DatasetError: the split cannot be had, a column is missing, or a row has no label.
        """
        import datasets

        table = self._load()
        image_column = self.image_column or _only(
            table, "image", lambda feature: isinstance(feature, datasets.Image) or _is_image_struct(feature)
        )
        label_column = self.label_column or _label_column(table)
        for key, column in (("image_column", image_column), ("label_column", label_column)):
            if column not in table.column_names:
                raise DatasetError(
                    f"{self.path} has no column {column!r} (dataset.{key}); it has {table.column_names}."
                    f"{nearest(column, table.column_names)}"
                )
        feature = table.features[label_column]
        column = table.select_columns([label_column]).with_format("arrow")[:].column(0)
        if missing := column.null_count:
            raise DatasetError(f"{missing} of {len(column)} rows of {self.path} have no label in {label_column!r}.")
        # Equal labels are one object: ten million texts would be ten million objects.
        known: dict[object, Any] = {}
        values = [
            known.setdefault(value, value) if isinstance(value, str) else value
            for batch in column.chunks
            for value in batch.to_pylist()
        ]
        images = table.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))
        read = ReadRow(images, image_column)
        files = [Path(entry["filename"]) for entry in table.cache_files]
        what = [self.path, self.split, image_column, str(len(table))]
        paths = _paths(images, image_column)

        def keys(indices: Int64[np.ndarray, " m"], cache_dir: Path) -> Keys:
            if paths is not None:
                names = ImageNames.of(paths[index] for index in indices.tolist())
                return keys_of_files("", names, Path(self.path), cache_dir)
            return keys_inside(files, what, indices, read, cache_dir)

        names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
        return HfRows(read=read, keys=keys, label_column=label_column, values=values, names=names)

    def _split_of(self, splits: Any) -> Any:
        if self.split not in splits:
            raise DatasetError(
                f"{self.path} has no split {self.split!r}; it has {first(sorted(splits))}."
                f"{nearest(self.split, splits)} dataset.split names one."
            )
        return splits[self.split]

    def _load(self) -> Any:
        import datasets
        from datasets.exceptions import DatasetNotFoundError, DatasetsError
        from huggingface_hub.errors import HfHubHTTPError

        local = Path(self.path).is_dir()
        if not local and (self.path.startswith(("/", "./", "../", "~")) or self.path.count("/") > 1):
            raise DatasetError(
                f"dataset.path={self.path} does not exist; give a folder, or a hub id such as owner/name."
            )
        files = None if self.data_files is None else {self.split: self.data_files}
        try:
            with _quiet(datasets):
                if (Path(self.path) / "state.json").is_file():  # one split, as `Dataset.save_to_disk` writes it
                    return datasets.load_from_disk(self.path)
                if (Path(self.path) / "dataset_dict.json").is_file():
                    return self._split_of(datasets.load_from_disk(self.path))
                return datasets.load_dataset(
                    self.path, self.config_name, data_files=files, split=self.split, revision=self.revision
                )
        except DatasetNotFoundError as error:
            raise DatasetError(
                f"{self.path} is not on the hub, or it is gated: {error} If it is gated, accept its terms on its page"
                " and run 'hf auth login' (or set HF_TOKEN)."
            ) from error
        except (ConnectionError, HfHubHTTPError, TimeoutError) as error:
            raise DatasetError(
                f"{self.path} cannot be reached ({error}). Without a network, download it elsewhere with"
                f" 'hf download {self.path} --repo-type dataset' and give the folder in dataset.path."
            ) from error
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            raise DatasetError(
                f"{self.path} needs a loading script, which is never run here. Name its data files, such as"
                " dataset.path=parquet 'dataset.data_files=hf://datasets/OWNER/NAME/data/test-*.parquet'."
            ) from error
        except (DatasetsError, ValueError, OSError) as error:
            if files is None and len(configs := _configs(self.path, self.revision)) > 1:
                if self.config_name is None:
                    raise DatasetError(
                        f"{self.path} has {len(configs)} configurations, {first(configs)}. Choose one:"
                        f" dataset.config_name={configs[0]}"
                    ) from error
                if self.config_name not in configs:
                    raise DatasetError(
                        f"dataset.config_name={self.config_name} is not a configuration of {self.path}; it has"
                        f" {first(configs)}.{nearest(self.config_name, configs)}"
                    ) from error
            raise DatasetError(
                f"{self.path} cannot be loaded: {error} Look at dataset.split={self.split} and dataset.data_files."
            ) from error

    def _named(self, rows: HfRows) -> tuple[list[str], np.ndarray]:
        column, values = rows.label_column, rows.values
        given = None if self.class_names is None else read_class_names(Path(self.class_names))
        if isinstance(given, dict):
            raise DatasetError(f"{self.class_names} should be a JSON list of class names in label order.")
        if rows.names is not None:
            if given is not None and len(given) != len(rows.names):
                raise DatasetError(
                    f"{self.class_names} lists {len(given)} class names, but the labels of {self.path} have"
                    f" {len(rows.names)}."
                )
            return given or list(rows.names), np.array(values, dtype=np.int64)
        if all(isinstance(value, str) for value in values):
            names = sorted({str(value) for value in values})
            place = {name: label for label, name in enumerate(names)}
            if given is not None and set(given) != set(names):
                lost = sorted(set(names) - set(given))
                raise DatasetError(
                    f"{self.class_names} and the labels of {self.path} are different names, first:"
                    f" {first(lost or given)}."
                )
            return names, np.array([place[str(value)] for value in values], dtype=np.int64)
        if not all(isinstance(value, int) for value in values):
            raise DatasetError(f"column {column!r} of {self.path} holds neither whole numbers nor text.")
        if given is None:
            raise DatasetError(
                f"the labels of {self.path} are bare numbers (column {column!r}). Give their names in label order:"
                " dataset.class_names=FILE.json"
            )
        return given, np.array(values, dtype=np.int64)


def _quiet(datasets: Any) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def manager() -> Any:
        import sys

        shown = sys.stderr.isatty()
        if not shown:
            datasets.disable_progress_bars()
        try:
            yield
        finally:
            if not shown:
                datasets.enable_progress_bars()

    return manager()


def _is_image_struct(feature: Any) -> bool:
    """Return whether a column written without its metadata still looks like stored images."""
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}


def _paths(images: Any, column: str) -> list[str] | None:
    """Return the files of the images where the table holds paths and no bytes: they change without the table."""
    if not len(images) or (first_cell := images[0][column]) is None or first_cell["bytes"] is not None:
        return None
    cells = images.with_format("arrow")[:].column(0).combine_chunks()
    return None if cells.field("path").null_count else [str(path) for path in cells.field("path").to_pylist()]


def _only(table: Any, what: str, fits: Any) -> str:
    candidates = [name for name, feature in table.features.items() if fits(feature)]
    if len(candidates) != 1:
        raise DatasetError(
            f"{len(candidates)} columns could be the {what} column ({first(candidates or table.column_names)}); name"
            f" one with dataset.{what}_column=..."
        )
    return str(candidates[0])


def _label_column(table: Any) -> str:
    import datasets

    for usual in ("label", "labels", "cls"):
        if usual in table.column_names:
            return usual
    return _only(table, "label", lambda feature: isinstance(feature, datasets.ClassLabel))


def _configs(path: str, revision: str | None) -> list[str]:
    """Return the names of a data set's configurations; none where that cannot be known."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return [str(name) for name in datasets.get_dataset_config_names(path, revision=revision)]
    except (DatasetsError, ValueError, OSError):
        return []
