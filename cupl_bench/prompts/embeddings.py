"""Class vectors that somebody computed, or several vectors of each class, as a prompt strategy."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cupl_bench.array_files import ArrayFile, read_array_file
from cupl_bench.dataset.names import read_class_names
from cupl_bench.embeddings import ALMOST_ONE, unit_rows
from cupl_bench.errors import DatasetError, PromptsError, first, nearest
from cupl_bench.json_files import read_json
from cupl_bench.prompts import Aggregation, GivenEmbeddings, Prompts
from cupl_bench.prompts.joining import join_by_name

__all__ = ["EmbeddingsStrategy", "GivenVectors", "prompts_of_vectors"]

VECTORS = ("class_embeddings", "embeddings", "text_features", "features", "classifier", "weights", "zeroshot_weights")
OWNERS = ("classes", "prompt_class")
NAMES = ("class_names", "classnames", "names")
PROMPTS_FILE = "prompts.parquet"
"""The table of prompts in a folder of 'cupl-bench features'."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingsStrategy:
    """Class vectors in a file, or those of prompts in a folder that `cupl-bench features` wrote.

    ``path``: the file or folder. ``key``: the name of the array; None: the usual ones.
    ``orientation``: ``rows`` or ``columns`` are classes; None: told by the shape.
    ``class_names``: a JSON list, the names of the vectors in the file's order; None: they are in label order.
    ``aliases``: class name -> name of its vector: a map, or a JSON file of one.
    ``extra``: ``ignore`` leaves out vectors that belong to no class.
    ``aggregation``: of several vectors of a class.
    """

    path: str
    key: str | None
    orientation: str | None
    class_names: str | None
    aliases: str | Mapping[str, str] | None
    extra: str
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        """Return the vectors of each class.

        Raises:
            PromptsError: they cannot be read, or do not fit the classes.
        """
        path = Path(self.path)
        for key, known in (("orientation", (None, "rows", "columns")), ("extra", ("error", "ignore"))):
            if getattr(self, key) not in known:
                raise PromptsError(f"prompts.{key}={getattr(self, key)} is none of {known[-2:]}.")
        if path.is_dir():
            return _of_folder(path, class_names, self.aggregation)
        file = read_array_file(path, PromptsError)
        vectors = self._vectors(file)
        names = file.text_of(NAMES)
        if self.class_names is not None:
            try:
                names = tuple(read_class_names(Path(self.class_names)))
            except DatasetError as error:
                raise PromptsError(str(error)) from error
        columns = None if self.orientation is None else self.orientation == "columns"
        aliases = self.aliases
        if isinstance(aliases, str):
            found = read_json(Path(aliases), "a map from class name to the name of its vector", PromptsError)
            if not isinstance(found, dict):
                raise PromptsError(f"prompts.aliases={aliases} should hold a map.")
            aliases = found
        owners = None if self.key is not None else file.one_of(OWNERS)
        return prompts_of_vectors(
            GivenVectors(vectors=vectors, classes=owners, names=names),
            class_names,
            str(path),
            columns=columns,
            aliases=aliases,
            ignore_extra=self.extra == "ignore",
            aggregation=self.aggregation,
        )

    def _vectors(self, file: ArrayFile) -> np.ndarray:
        if self.key is not None:
            if self.key not in file.arrays:
                raise PromptsError(
                    f"{file.path} has no array {self.key!r}; it holds {first(file.names)}."
                    f"{nearest(self.key, file.names)}"
                )
            return file.arrays[self.key]
        # A run's own file holds the prompts of its classes beside these, where the nearest prompt decides.
        several = file.arrays.get("prompt_embeddings") if "prompt_class" in file.arrays else None
        found = file.one_or_only(VECTORS) if several is None else several
        if found is None:
            raise PromptsError(
                f"{file.path} has no array of class vectors by its name; it holds {first(file.names)}. Say which:"
                " prompts.key=NAME"
            )
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenVectors:
    """Vectors as somebody has them.

    ``vectors``: C x D or D x C, or one for each prompt. ``classes``: for each vector its class index, where a class has
    several. ``names``: of the classes, in the order of the vectors; None: the label order.
    """

    vectors: np.ndarray
    classes: np.ndarray | None = None
    names: Sequence[str] | None = None


def prompts_of_vectors(
    given: GivenVectors,
    class_names: Sequence[str],
    where: str,
    *,
    columns: bool | None = None,
    aliases: Mapping[str, str] | None = None,
    ignore_extra: bool = False,
    aggregation: Aggregation = Aggregation.MEAN,
) -> Prompts:
    """Return vectors as the prompts of classes, everything about them checked.

    Args:
        given: the vectors.
        class_names: of the data set, in label order.
        where: where the vectors come from, for messages.
        columns: whether a column is a vector; None: told by the number of classes.
        aliases: class name -> name of its vector.
        ignore_extra: whether vectors of no class are left out.
        aggregation: of several vectors of a class.

    Raises:
        PromptsError: they do not fit the classes, or a value is none that a vector has.
    """
    number = len(class_names) if given.names is None else len(given.names)
    rows = _oriented(given.vectors, number if given.classes is None else len(given.classes), columns, where)
    wide = rows.astype(np.float32)
    lengths = np.linalg.norm(wide.astype(np.float64), axis=1)
    for what, bad in (("are not finite", ~np.isfinite(lengths)), ("are all zero", lengths == 0)):
        if bad.any():
            raise PromptsError(
                f"{where}: {int(bad.sum())} of {len(bad)} vectors {what}, first: {first(np.flatnonzero(bad).tolist())}."
            )
    is_unit = rows.dtype == np.float32 and bool((abs(lengths - 1) < ALMOST_ONE).all())
    units = wide if is_unit else unit_rows(wide, "vectors")
    label_of = np.arange(len(units)) if given.classes is None else _classes(given.classes, number, where)
    place, counts = _joined(given.names, class_names, where, aliases, ignore_extra)
    members = [np.flatnonzero(label_of == own).tolist() for own in place]
    if empty := [class_names[label] for label, own in enumerate(members) if not own]:
        raise PromptsError(
            f"{where} has no vector of {len(empty)} of {len(class_names)} classes, first: {first(empty)}."
        )
    called = Path(where).name
    texts = tuple(f"vector {row} of {called}" for row in range(len(units)))
    return Prompts(
        texts=tuple(tuple(texts[row] for row in own) for own in members),
        aggregation=aggregation,
        join=counts,
        source=called,
        given=GivenEmbeddings(
            rows=units, row_of={text: row for row, text in enumerate(texts)}, is_of_classes=given.classes is None
        ),
    )


def _oriented(vectors: np.ndarray, number: int, columns: bool | None, where: str) -> np.ndarray:
    """Return vectors as rows."""
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise PromptsError(
            f"{where} holds vectors of the shape {vectors.shape} and type {vectors.dtype}; they should be numbers"
            " with a point, classes x width or width x classes."
        )
    if columns is None:
        fits = [length == number for length in vectors.shape]
        if fits == [True, True]:
            raise PromptsError(
                f"{where} holds {vectors.shape[0]} x {vectors.shape[1]} numbers for {number} classes: classes may be"
                " rows or columns. Say which: prompts.orientation=rows or columns."
            )
        columns = fits == [False, True]
    rows = vectors.T if columns else vectors
    if len(rows) != number:
        raise PromptsError(
            f"{where} holds {vectors.shape[0]} x {vectors.shape[1]} numbers, and there are {number} classes;"
            " there should be a vector for each. If these are vectors of other classes too, name them:"
            " prompts.class_names=FILE prompts.extra=ignore."
        )
    return rows


def _classes(classes: np.ndarray, number: int, where: str) -> np.ndarray:
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        raise PromptsError(
            f"{where} holds classes of the shape {classes.shape} and type {classes.dtype}; they should be one whole"
            " number for each vector."
        )
    if len(classes) and (int(classes.min()) < 0 or int(classes.max()) >= number):
        raise PromptsError(
            f"{where} holds vectors of the classes {int(classes.min())} to {int(classes.max())}, and there are {number}"
            " classes, counted from 0."
        )
    return classes


def _joined(
    names: Sequence[str] | None,
    class_names: Sequence[str],
    where: str,
    aliases: Mapping[str, str] | None,
    ignore_extra: bool,
) -> tuple[list[int], Mapping[str, int] | None]:
    """Return for each class the place of its name among those of the vectors, and how names were found."""
    if names is None or list(names) == list(class_names):
        return list(range(len(class_names))), None
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise PromptsError(
            f"{where}: {len(twice)} names of vectors stand twice, first: {first(twice)}; which is meant?"
        )
    join = join_by_name(class_names, list(names), where, aliases, ignore_extra)
    number = {name: place for place, name in enumerate(names)}
    return [number[key] for key in join.keys], join.counts


def _of_folder(folder: Path, class_names: Sequence[str], aggregation: Aggregation) -> Prompts:
    """Return the prompts that lie in a folder of 'cupl-bench features', with their features."""
    path = folder / PROMPTS_FILE
    try:
        table = pq.read_table(path).to_pydict()
        facts = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        rows = read_array_file(folder / "prompt_features.safetensors", PromptsError).arrays["features"]
        labels, texts, places, names = (table[name] for name in ("label", "text", "row", "class_name"))
        asked = Aggregation(facts["prompts"]["aggregation"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise PromptsError(
            f"{folder} holds no class vectors that can be read ({error}). 'cupl-bench features ... to={folder}' writes"
            " such a folder; else give the file of the vectors."
        ) from error
    of_class: dict[int, str] = dict(zip(labels, names, strict=True))
    if [of_class.get(label) for label in range(len(of_class))] != list(class_names):
        raise PromptsError(
            f"{folder} holds prompts of {len(of_class)} classes, and these are not the {len(class_names)} classes of"
            " the data set, in their order. Were they written for other images?"
        )
    row_of = dict(zip(texts, places, strict=True))
    by_class: list[list[str]] = [[] for _ in class_names]
    weights: list[list[float]] = [[] for _ in class_names]
    for place, (label, text) in enumerate(zip(labels, texts, strict=True)):
        by_class[label].append(text)
        weights[label].append(table["weight"][place] if "weight" in table else 1.0)
    return Prompts(
        texts=tuple(map(tuple, by_class)),
        aggregation=asked if aggregation == Aggregation.MEAN else aggregation,
        weights=tuple(map(tuple, weights)) if "weight" in table else None,
        source=folder.name,
        given=GivenEmbeddings(rows=rows, row_of=row_of),
    )
