"""The layouts in which many images lie in one file: parquet and tar."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.hf import HfSource
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Listing, Rows
from cupl_bench.dataset.source_files import Place
from cupl_bench.dataset.webdataset import WebdatasetSource, read_npy_column
from cupl_bench.errors import DatasetError, first

__all__ = ["Parquet", "Webdataset", "WebdatasetGroups"]


class Parquet(Place):
    """Parquet files as the hub has them; their files are named here, never guessed, and no script is run.

    ``label_column`` holds class names (or numbers with names), or, where ``numbers``, our own labels: for tables whose
    numbers are in a known order and whose names are other words.
    """

    kind: Literal["parquet"]
    files: str
    image_column: str
    label_column: str
    numbers: bool

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images and labels; None where there is no such file.

        Raises:
            DatasetError: as `HfSource`; or numbers in another count than the classes.
        """
        files = sorted(str(path) for path in base.glob(self.files)) if base.is_dir() else []
        if not files:
            return None
        source = HfSource(
            path="parquet",
            split="test",
            data_files=files,
            image_column=self.image_column,
            label_column=self.label_column,
            class_names=None,
            revision=None,
            limit=None,
            seed=0,
        )
        rows = source.rows()
        found: list[str | int] = list(rows.values)
        if rows.names is not None and not self.numbers:
            names = rows.names
            if outside := sum(not 0 <= int(value) < len(names) for value in rows.values):
                raise DatasetError(
                    f"{outside} of {len(found)} rows of {base} have a label outside 0 to {len(names) - 1}. A split"
                    " without labels cannot be scored."
                )
            found = [names[int(value)] for value in rows.values]
        elif rows.names is not None and len(rows.names) != len(classes.ids):
            raise DatasetError(f"{base} has {len(rows.names)} classes; {len(classes.ids)} are expected.")
        return Listing(
            where=str(base),
            classes=found,
            images=Rows(
                names=ImageNames.of(str(index) for index in range(len(found))),
                read_row=rows.read,
                row_keys=rows.keys,
                indices=np.arange(len(found)),
            ),
        )


class Webdataset(Place):
    """Tar shards with `.cls` labels and `classnames.txt`.

    ``numbers``: the labels are ours, and `classnames.txt` is not read; but with ``names`` it is the list of class names
    of that name.
    """

    kind: Literal["webdataset"]
    folder: str
    numbers: bool
    names: str | None = None

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no shard.

        Raises:
            DatasetError: as `WebdatasetSource`; or labels are numbers and there is no `classnames.txt`.
        """
        if base.name != self.folder or not any(base.glob("*.tar")):  # else the user named the folder of shards itself
            base = base / self.folder
        if not any(base.glob("*.tar")):
            return None
        source = WebdatasetSource(path=str(base), split="test", class_names=None, limit=None, seed=0)
        samples = source.samples()
        found: list[str | int] = samples.labels.tolist()
        names = None if self.numbers and self.names is None else source.names()
        if not self.numbers:
            if names is None:
                raise DatasetError(f"{base} has no classnames.txt beside its shards: its labels cannot be named.")
            if outside := int(((samples.labels < 0) | (samples.labels >= len(names))).sum()):
                raise DatasetError(f"{outside} of {len(found)} labels of {base} are outside 0 to {len(names) - 1}.")
            found = [names[label] for label in samples.labels.tolist()]
        return Listing(
            where=str(base),
            classes=found,
            images=Rows(
                names=samples.names,
                read_row=samples.read,
                row_keys=samples.keys,
                indices=np.arange(len(found)),
            ),
            notes=samples.notes,
            names={} if self.names is None else {self.names: tuple(names or ())},
        )


class WebdatasetGroups(Place):
    """Tar shards as `Webdataset`, with an array in `.npy` beside each image, one of whose numbers is its group.

    ``column``: the place of that number. ``classnames.txt`` names the labels; with ``names`` it is the list of class
    names of that name, in the order of the labels.
    """

    kind: Literal["webdataset_groups"]
    folder: str
    column: int
    names: str | None = None

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images, classes and groups; None where there is no shard.

        Raises:
            DatasetError: as `Webdataset`; or an image has no such number.
        """
        shards = Webdataset(
            kind="webdataset",
            protocols=self.protocols,
            roots=self.roots,
            folder=self.folder,
            numbers=self.names is not None,
            names=self.names,
        )
        found = shards.listing(base, classes)
        if found is None:
            return None
        numbers = read_npy_column(sorted(Path(found.where).glob("*.tar")), self.column)
        names = list(found.images.names)
        if lost := [name for name in names if name not in numbers]:
            raise DatasetError(
                f"{len(lost):,} of {len(names):,} images of {found.where} have no .npy with a group beside them, first:"
                f" {first(lost, 3)}."
            )
        groups = [numbers[name] for name in names]
        return replace(
            found,
            groups=[f"group {number}" for number in groups],
            group_names=tuple(f"group {number}" for number in sorted(set(groups))),
        )
