"""Layouts whose tables say more of an image than its class: its group, or all of its classes."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Files, Listing
from cupl_bench.dataset.source_files import Place, read_lines
from cupl_bench.errors import DatasetError, first

__all__ = ["Celeba", "Fmow", "JsonLines", "MetadataTable", "VocSets"]

Row = Mapping[str, str]


def _rows(path: Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV by its columns; ``wanted`` must be among them.

    Raises:
        DatasetError: it cannot be read, lacks a column, or a row is of another length.
    """
    lines = list(csv.reader(read_lines(path)))
    head = [column.strip() for column in lines[0]] if lines else []
    if lacking := [column for column in wanted if column not in head]:
        raise DatasetError(f"{path} lacks the columns {first(lacking)}; it has {first(head)}.")
    if odd := [number for number, row in enumerate(lines[1:], start=2) if len(row) != len(head)]:
        raise DatasetError(f"{path}: {len(odd)} rows have another length than its head, first: rows {first(odd, 3)}.")
    return [dict(zip(head, (value.strip() for value in row), strict=True)) for row in lines[1:]]


class MetadataTable(Place):
    """Images in a table with a column for the split, one row each.

    ``table``: the file. ``where``: the values of some columns that the images of the split have. ``images``: the folder
    of the images; ``image``: the name of an image below it, with ``{column}`` for the values of a row.
    ``class_column``: the column of the class. ``group``: the columns whose values, joined by a blank, are looked up in
    ``groups`` for the name of the group, in the order of the groups; without ``groups`` there are none.

    Source: the classes of WILDS of the same data sets.
    """

    kind: Literal["metadata_table"]
    table: str
    where: Mapping[str, tuple[str, ...]]
    images: str
    image: str
    class_column: str
    group: tuple[str, ...] = ()
    groups: Mapping[str, str] | None = None

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images of the split, their classes and groups; None where there is no such table.

        Raises:
            DatasetError: it lacks a column, or a row is in no group.
        """
        file = base / self.table
        if not file.is_file():
            return None
        named = re.findall(r"\{(\w+)\}", self.image)
        rows = [row for row in _rows(file, [*self.where, *named, self.class_column, *self.group]) if self._is_in(row)]
        keys = [" ".join(row[column] for column in self.group) for row in rows]
        if self.groups is not None and (odd := sorted(set(keys) - self.groups.keys())):
            raise DatasetError(
                f"{file}: {' '.join(self.group)} is {first(odd)} in some rows; it should be one of"
                f" {', '.join(self.groups)}."
            )
        return Listing(
            where=str(file),
            classes=[row[self.class_column] for row in rows],
            images=Files(
                folder=str(base / self.images) if self.images else str(base),
                names=ImageNames.of(self.image.format(**row) for row in rows),
                root=base,
            ),
            groups=None if self.groups is None else [self.groups[key] for key in keys],
            group_names=() if self.groups is None else tuple(dict.fromkeys(self.groups.values())),
        )

    def _is_in(self, row: Row) -> bool:
        return all(row[column] in values for column, values in self.where.items())


class Celeba(Place):
    """CelebA: the attributes of each face in one table, its part of the data in another; the images may lie nested.

    Tables are those of Kaggle (`.csv`, with a head) or of the authors (`.txt`, by blanks, 1 and -1 for an attribute).
    The class is the attribute ``attribute``, the group that and ``by``.

    Source: torchvision `CelebA`; Sagawa et al., arXiv 1911.08731, for the groups.
    """

    kind: Literal["celeba"]
    attribute: str
    by: str
    groups: Mapping[str, str]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images of the test part; None where there is no table of attributes.

        Raises:
            DatasetError: the other table is missing, or the two do not fit.
        """
        ending = next((end for end in ("csv", "txt") if (base / f"list_attr_celeba.{end}").is_file()), None)
        if ending is None:
            return None
        attributes, parts = base / f"list_attr_celeba.{ending}", base / f"list_eval_partition.{ending}"
        if ending == "csv":
            told = {row["image_id"]: row for row in _rows(attributes, ["image_id", self.attribute, self.by])}
            part_of = {row["image_id"]: row["partition"] for row in _rows(parts, ["image_id", "partition"])}
        else:
            told = dict(self._of_text(attributes))
            part_of = dict(line.split(maxsplit=1) for line in read_lines(parts) if " " in line)
        if different := sorted(told.keys() ^ part_of.keys()):
            raise DatasetError(
                f"{attributes.name} and {parts.name} differ in {len(different):,} images, first: {first(different, 3)}."
                f" Download both again into {base}."
            )
        names = [name for name, part in part_of.items() if part == "2"]
        keys = [f"{told[name][self.attribute]} {told[name][self.by]}" for name in names]
        if odd := sorted(set(keys) - self.groups.keys()):
            raise DatasetError(
                f"{attributes}: {self.attribute} and {self.by} are {first(odd)}; they should be 1 or -1."
            )
        nested = base / "img_align_celeba" / "img_align_celeba"
        folder = nested if nested.is_dir() else base / "img_align_celeba"
        return Listing(
            where=str(base),
            classes=[told[name][self.attribute] for name in names],
            images=Files(folder=str(folder), names=ImageNames.of(names), root=base),
            groups=[self.groups[key] for key in keys],
            group_names=tuple(self.groups.values()),
        )

    def _of_text(self, path: Path) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the attributes of each image of the authors' text file: a count, the names, a line for each image."""
        _, head, *lines = (line.split() for line in [*read_lines(path), "", ""])
        if self.attribute not in head or self.by not in head:
            raise DatasetError(f"{path} has the attributes {first(head)}, and {self.attribute} or {self.by} is none.")
        for name, *values in (line for line in lines if line):
            if len(values) != len(head):
                raise DatasetError(f"{path}: {name} has {len(values)} attributes, and {len(head)} are named.")
            yield name, dict(zip(head, values, strict=True))


class Fmow(Place):
    """FMoW of WILDS: the images of its test split since 2016; the group is the region of the world.

    An image is named by the number of its row, counted over all rows. A country that no region is known of, or none
    that is compared, is in no group.

    Source: WILDS `FMoWDataset`.
    """

    kind: Literal["fmow"]
    regions: tuple[str, ...]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images of the split, their classes and regions; None where there is no such table.

        Raises:
            DatasetError: a table lacks a column, or the year of an image is not told.
        """
        file = base / "rgb_metadata.csv"
        if not file.is_file():
            return None
        rows = _rows(file, ["split", "timestamp", "category", "country_code"])
        if odd := [row["timestamp"] for row in rows if not re.match(r"\d{4}-", row["timestamp"])]:
            raise DatasetError(f"{file}: {len(odd)} timestamps do not begin with a year, first: {first(odd, 3)}.")
        codes = _rows(base / "country_code_mapping.csv", ["alpha-3", "region"])
        region_of = {row["alpha-3"]: row["region"] for row in codes}
        taken = [
            number for number, row in enumerate(rows) if row["split"] == "test" and int(row["timestamp"][:4]) >= 2016
        ]
        found = [region_of.get(rows[number]["country_code"]) for number in taken]
        return Listing(
            where=str(file),
            classes=[rows[number]["category"] for number in taken],
            images=Files(
                folder=str(base / "images"),
                names=ImageNames.of(f"rgb_img_{number}.png" for number in taken),
                root=base,
            ),
            groups=[region if region in self.regions else None for region in found],
            group_names=self.regions,
        )


class JsonLines(Place):
    """Images in a file of JSON, an object a line. ``tables``: the file, by the first of these names that is there.

    ``images``: the folder that names start from. ``name_key``, ``class_key``: the keys of an image and of its class.
    """

    kind: Literal["json_lines"]
    tables: tuple[str, ...]
    images: str
    name_key: str
    class_key: str

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and classes; None where there is no such file.

        Raises:
            DatasetError: a line is no object with these keys.
        """
        file = next((path for name in self.tables if (path := base / name).is_file()), None)
        if file is None:
            return None
        names, found = [], []
        for number, line in enumerate(read_lines(file), start=1):
            try:
                row = json.loads(line)
                names.append(str(row[self.name_key]))
                found.append(str(row[self.class_key]))
            except (ValueError, KeyError, TypeError) as error:
                raise DatasetError(
                    f"{file}, line {number}: {line[:40]!r} should be a JSON object with {self.name_key} and"
                    f" {self.class_key}. A split without labels (often 'test') cannot be scored."
                ) from error
        images = Files(
            folder=str(base / self.images) if self.images else str(base), names=ImageNames.of(names), root=base
        )
        return Listing(where=str(file), classes=found, images=images)


class VocSets(Place):
    """Pascal VOC's images, each of several classes: a text file for each class, with 1, -1 or 0 for each image.

    0 stands for images that show the class in difficult objects alone. ``difficult``: whether these are ``left_out`` of
    the ranking of that class, as the devkit does, or ``counted`` as images of it.

    Source: the development kit of VOC 2007, section 3.
    """

    kind: Literal["voc_sets"]
    difficult: Literal["left_out", "counted"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images of the test split with all their classes; None where there is no list of them.

        Raises:
            DatasetError: the file of a class is missing, or is of other images.
        """
        folder = base / "ImageSets" / "Main"
        lists = {word: folder / f"{word}_test.txt" for word in classes.ids}
        if not any(path.is_file() for path in lists.values()):
            return None
        values = {word: self._read(path) for word, path in lists.items()}
        images = list(next(iter(values.values())))
        if unlike := [word for word, found in values.items() if found.keys() != set(images)]:
            raise DatasetError(
                f"{folder}: {len(unlike)} classes are told of other images than {classes.ids[0]}, first:"
                f" {first(unlike, 3)}. Unpack the archive again."
            )
        sets: list[dict[str | int, int]] = [
            {word: values[word][image] for word in values if values[word][image]} for image in images
        ]
        bare = [image for image, one in zip(images, sets, strict=True) if not one]
        if bare:
            raise DatasetError(f"{folder}: {len(bare)} images are of no class, first: {first(bare, 3)}.")
        return Listing(
            where=str(base),
            classes=[max(one, key=one.__getitem__) for one in sets],  # the first that it is of
            images=Files(
                folder=str(base / "JPEGImages"), names=ImageNames.of(f"{image}.jpg" for image in images), root=base
            ),
            sets=sets,
        )

    def _read(self, path: Path) -> dict[str, int]:
        """Return 1 for each image of a class, 0 for others, and -1 for those that count neither way."""
        if not path.is_file():
            raise DatasetError(f"{path} is not there; there is such a list for each class. Unpack the archive again.")
        of_difficult = -1 if self.difficult == "left_out" else 1
        meaning = {"1": 1, "-1": 0, "0": of_difficult}
        found: dict[str, int] = {}
        for number, line in enumerate(read_lines(path), start=1):
            image, _, value = line.partition(" ")
            if value.strip() not in meaning or image in found:
                raise DatasetError(
                    f"{path}, line {number}: {line!r} should be an image that stands once and 1, -1 or 0."
                )
            found[image] = meaning[value.strip()]
        return found
