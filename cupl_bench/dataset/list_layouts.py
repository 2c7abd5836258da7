"""The layouts in which one file lists the images, and the spec says how it is read."""

import csv
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Literal

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Files, Listing
from cupl_bench.dataset.names import normalised
from cupl_bench.dataset.source_files import Place, read_lines, read_pairs
from cupl_bench.errors import DatasetError, first

__all__ = ["CoopSplit", "SplitFile", "TableFile"]


class SplitFile(Place):
    """Images named by a text file, one a line.

    ``split_file``: the text file; ``images``: the folder its entries are below; ``ending``: what to put in the place of
    the entries' own ending, or after entries that have none.
    ``class_from``: where the class stands: the ``folder`` of the entry, the ``rest`` of the line after the first space,
    or the file ``stem`` up to its last underscore. ``drop``: leading folders that are no part of the class.
    ``numbers_of``: a file with a class and its number on each line, where the class of an entry is such a number.
    """

    kind: Literal["split_file"]
    split_file: str
    images: str
    ending: str
    class_from: Literal["folder", "rest", "stem"]
    drop: int
    numbers_of: str | None = None

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no such text file.

        Raises:
            DatasetError: a line names no image or no class.
        """
        if not (base / self.split_file).is_file():
            return None
        folder = base / self.images
        beside = (
            {normalised(entry.name): entry.name for entry in os.scandir(folder) if entry.is_dir()}
            if (folder.is_dir())
            else {}
        )
        class_of = None if self.numbers_of is None else self._class_of(base / self.numbers_of)
        names, source = [], []
        for line in read_lines(base / self.split_file):
            entry, _, rest = line.partition(" ")
            path = entry.strip("/")
            head, _, tail = path.rpartition("/")
            # UCF101's lists say ApplyLipstick where the folders of its frames say Apply_Lipstick.
            top, slash, deeper = head.partition("/")
            head = f"{beside.get(normalised(top), top)}{slash}{deeper}"
            if self.ending:
                tail = re.sub(r"\.\w{1,4}$", "", tail) + self.ending
            found = {
                "folder": "/".join(path.split("/")[self.drop : -1]),
                "rest": rest.strip(),
                "stem": tail.rpartition("_")[0],
            }[self.class_from]
            if not tail or not found:
                raise DatasetError(f"{base / self.split_file}: {line!r} names no image with a class.")
            if class_of is not None:
                if found not in class_of:
                    raise DatasetError(f"{base / self.split_file}: {line!r} has no number of {self.numbers_of}.")
                found = class_of[found]
            names.append(f"{head}/{tail}" if head else tail)
            source.append(found)
        return Listing(
            where=str(base),
            classes=source,
            images=Files(folder=str(folder), names=ImageNames.of(names), root=base),
        )

    def _class_of(self, path: Path) -> dict[str, str]:
        """Return the class of each number."""
        number_of = read_pairs(path)
        class_of = {number: one for one, number in number_of.items()}
        if len(class_of) != len(number_of) or not all(number.isdigit() for number in class_of):
            raise DatasetError(f"{path} should hold a class and its own number on each line. Download it again.")
        return class_of


class TableFile(Place):
    """Images and their classes in a table, one row each.

    ``table``: the file; ``separator``: what stands between its columns; ``images``: the folder of the images.
    ``name_column``, ``class_column``: the columns of the image and of its class. ``numbers``: its classes are our
    labels.
    """

    kind: Literal["table_file"]
    table: str
    separator: str
    images: str
    name_column: str
    class_column: str
    numbers: bool

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no such table.

        Raises:
            DatasetError: it lacks a column, or a row names no image or no class.
        """
        if not (base / self.table).is_file():
            return None
        rows = list(csv.reader(read_lines(base / self.table), delimiter=self.separator, skipinitialspace=True))
        head = [column.strip() for column in rows[0]] if rows else []
        if lacking := [column for column in (self.name_column, self.class_column) if column not in head]:
            raise DatasetError(f"{base / self.table} lacks the columns {first(lacking)}; it has {first(head)}.")
        names: list[str] = []
        found: list[str | int] = []
        for number, row in enumerate(rows[1:], start=2):
            entry = dict(zip(head, (value.strip() for value in row), strict=False))
            name, one = entry.get(self.name_column), entry.get(self.class_column)
            if not name or not one or (self.numbers and not one.isdigit()):
                raise DatasetError(f"{base / self.table}, row {number}: {row} names no image with a class.")
            names.append(name)
            found.append(int(one) if self.numbers else one)
        return Listing(
            where=str(base),
            classes=found,
            images=Files(folder=str(base / self.images), names=ImageNames.of(names), root=base),
        )


class CoopSplit(Place):
    """A split of CoOp: `split_zhou_*.json` with [path, label, class name] of each image.

    ``images``: the folder that its paths start from. ``class_from``: what leads to our class: the ``folder`` of the
    path (``drop`` leading ones left out), or the class ``name`` in the file; its labels are never taken.
    ``sha256``: how the digest of CoOp's own file begins, where it is known.

    Source: KaiyangZhou/CoOp `datasets/*.py`, DATASETS.md.
    """

    kind: Literal["coop_split"]
    split_file: str
    images: str
    class_from: Literal["folder", "name"]
    drop: int
    sha256: str | None = None

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no such split file.

        Raises:
            DatasetError: it does not hold what it should.
        """
        if not (base / self.split_file).is_file():
            return None
        try:
            content = (base / self.split_file).read_bytes()
            entries = [(str(path).lstrip("/"), str(name)) for path, _, name in json.loads(content)["test"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{base / self.split_file} should hold 'test': [[path, label, class name], ...] ({error})."
            ) from error
        found: list[str | int]
        if self.class_from == "folder":
            found = ["/".join(path.split("/")[self.drop : -1]) for path, _ in entries]
        else:
            found = [name for _, name in entries]
        names = ImageNames.of(path for path, _ in entries)
        images = Files(folder=str(base / self.images), names=names, root=base)
        return Listing(where=str(base), classes=found, images=images, notes=self._checked(content))

    def _checked(self, content: bytes) -> tuple[str, ...]:
        """Return what differs from CoOp's own files; the sizes are always compared, where the protocol is known."""
        if self.sha256 is None:
            return (f"{self.split_file}: the digest of CoOp's own file is not known here; only sizes are compared",)
        if (digest := hashlib.sha256(content).hexdigest()).startswith(self.sha256):
            return ()
        return (
            f"{self.split_file} is not CoOp's own file (sha256 {digest[:16]}, CoOp's {self.sha256}): only sizes are"
            " compared",
        )
