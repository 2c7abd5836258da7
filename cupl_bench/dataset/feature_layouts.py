"""The layouts in which image features are shared: which files hold what, and how a folder tells its layout.

A layout finds sets below a path and reads one. Label order and split are in no file of most layouts, so who reads them
says which data set they are of. Sources of the layouts: docs/features.md.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cupl_bench.array_files import ENDINGS, ArrayFile, read_array_file
from cupl_bench.errors import DatasetError, first, nearest
from cupl_bench.truth import Groups

__all__ = ["FOLDER_FILE", "LAYOUTS", "FeatureSet", "Place", "find_set"]

FOLDER_FILE = "features.json"
"""The file of facts in a folder that `cupl-bench features` wrote."""

FEATURES = ("features", "image_features", "img_emb")
LABELS = ("labels", "targets", "label")
NAMES = ("class_names", "classnames", "classes")
IDS = ("image_ids", "paths", "image_paths", "filenames")


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """The features of one set of images as their files hold them.

    ``blocks``: arrays, one after another; of each the axis that counts images is the first, but where ``columns`` says
    that it is the second. ``labels``: class indices, one-hot rows, or names; None where the files have none.
    ``said_to_be_of``: the model whose features these are, as far as the files say it; ``weights_sha256``: its weights.
    ``sets`` and ``groups``: all classes and the group of each image, where the files tell them.
    """

    files: tuple[Path, ...]
    blocks: tuple[np.ndarray, ...]
    labels: np.ndarray | Sequence[str] | None
    columns: bool | None = None
    class_names: tuple[str, ...] | None = None
    image_ids: Sequence[str] | None = None
    split: str | None = None
    said_to_be_of: str | None = None
    weights_sha256: str | None = None
    notes: tuple[str, ...] = ()
    sets: np.ndarray | None = None
    groups: Groups | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A set of features that was found: the layout, the file to name it by, its split and model where names tell them.

    ``read``: reads it, given a file of labels of the user's own, or None, and the column of labels, or None.
    """

    layout: str
    path: Path
    split: str | None
    model: str | None
    read: Callable[[Path | None, str | None], FeatureSet]


# Folders that this program wrote -------------------------------------------------------------------------------------


def _folders(path: Path) -> Iterator[Place]:
    folder = path.parent if path.name == FOLDER_FILE else path
    if (folder / FOLDER_FILE).is_file():
        yield Place(layout="cupl_bench", path=folder, split=None, model=None, read=lambda *_: _read_folder(folder))


def _read_folder(folder: Path) -> FeatureSet:
    facts = json_of(folder / FOLDER_FILE)
    file = read_array_file(folder / "image_features.safetensors", DatasetError)
    names = facts.get("class_names")
    features, labels = file.one_of(FEATURES), file.one_of(LABELS)
    if features is None or labels is None or not isinstance(names, list):
        raise DatasetError(
            f"{folder} lacks features, labels or class names. Write it again with 'cupl-bench features'."
        )
    of, group_names = file.one_of(("groups",)), facts.get("group_names")
    groups = None
    if of is not None and isinstance(group_names, list):
        groups = Groups(names=tuple(str(name) for name in group_names), of=of.astype(np.int64))
    said: dict[str, Mapping[str, object]] = {}
    for part in ("dataset", "backbone"):
        value = facts.get(part)
        said[part] = value if isinstance(value, Mapping) else {}
    return FeatureSet(
        files=(file.path,),
        blocks=(features,),
        labels=labels,
        columns=False,
        class_names=tuple(str(name) for name in names),
        image_ids=_column(folder / "images.parquet", "image_id"),
        split=str(said["dataset"].get("split", "given")),
        said_to_be_of=str(said["backbone"].get("name", "not said")),
        weights_sha256=str(said["backbone"].get("weights_sha256", "")) or None,
        sets=file.one_of(("sets",)),
        groups=groups,
    )


def json_of(path: Path) -> Mapping[str, object]:
    """Return the map in a JSON file.

    Raises:
        DatasetError: it cannot be read, or holds no map.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} should hold a JSON map.")
    return content


def _column(path: Path, name: str) -> list[str]:
    try:
        return [str(one) for one in pq.read_table(path, columns=[name]).column(name).to_pylist()]
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise DatasetError(f"{path} cannot be read, or has no column {name!r} ({error}).") from error


# Files that hold features and labels ---------------------------------------------------------------------------------


def _arrays(path: Path) -> Iterator[Place]:
    if (path / FOLDER_FILE).is_file():
        return
    for file in [path] if path.is_file() else _files(path, (".npz", ".safetensors", ".pt", ".pth")):
        if path.is_file() or _holds_both(file):
            yield Place(
                layout="arrays", path=file, split=None, model=None, read=lambda *given, at=file: _read(at, *given)
            )


def _holds_both(path: Path) -> bool:
    """Return whether a file of a folder holds features and labels: class vectors may lie beside them."""
    if any(re.fullmatch(pattern, path.name) for pattern in _IN_PAIRS):
        return False
    names = set(read_array_file(path, DatasetError).names)
    return bool(names & set(FEATURES)) and bool(names & set(LABELS))


def _read(path: Path, labels_file: Path | None, _: str | None) -> FeatureSet:
    file = read_array_file(path, DatasetError)
    features = file.one_or_only(FEATURES)
    if features is None:
        raise DatasetError(
            f"{path} has no array 'features'; it holds {first(file.names)}. Save numpy.savez(FILE, features=...,"
            " labels=...), or name a file of another layout."
        )
    labels = _labels_of(file) if labels_file is None else _labels_file(labels_file)
    if labels is not None and features.ndim == 3 and np.ndim(labels) == 3:  # ECALP's few shots: classes x shots x d
        ones = np.asarray(labels)
        features, labels = features.reshape(-1, features.shape[2]), ones.reshape(-1, ones.shape[2])
    elif features.ndim == 3:  # ECALP: images x views x d
        features = features.astype(np.float32).mean(axis=1)
        notes: tuple[str, ...] = ("the mean over the views of each image",)
        return _set(file, features, labels, notes)
    return _set(file, features, labels, ())


def _set(file: ArrayFile, features: np.ndarray, labels: object, notes: tuple[str, ...]) -> FeatureSet:
    return FeatureSet(
        files=(file.path,),
        blocks=(features,),
        labels=labels,  # type: ignore[arg-type]
        class_names=file.text_of(NAMES),
        image_ids=file.text_of(IDS),
        notes=notes,
    )


def _labels_of(file: ArrayFile) -> np.ndarray | Sequence[str] | None:
    texts = file.text_of(LABELS)
    return file.one_of(LABELS) if texts is None else texts


def _labels_file(path: Path) -> np.ndarray | Sequence[str]:
    """Return the labels in a file of their own: any file of arrays, or a JSON or text file with one for each image."""
    if path.suffix in (".json", ".txt"):
        try:
            text = path.read_text(encoding="utf-8-sig")
            content = json.loads(text) if path.suffix == ".json" else text.splitlines()
        except (OSError, ValueError) as error:
            raise DatasetError(f"dataset.labels={path} cannot be read ({error}).") from error
        if isinstance(content, list) and content and all(isinstance(one, int) for one in content):
            return np.asarray(content)
        if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
            raise DatasetError(f"dataset.labels={path} should hold one class name or one class index for each image.")
        return np.asarray(content, dtype=np.int64) if all(one.strip().isdigit() for one in content) else content
    file = read_array_file(path, DatasetError)
    texts = file.text_of(LABELS)
    found = file.one_or_only(LABELS) if texts is None else texts
    if found is None:
        raise DatasetError(f"dataset.labels={path} has no array 'labels'; it holds {first(file.names)}.")
    return found


# Two files, one of features and one of labels ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """A layout of two files whose names differ in their ending or beginning.

    ``features``: matches the name of the file of features; ``labels``: the name of that of labels, made of the match.
    """

    layout: str
    features: str
    labels: str
    columns: bool | None = None

    def places(self, path: Path) -> Iterator[Place]:
        folder = path.parent if path.is_file() or not path.is_dir() else path
        for file in _files(folder, (".pt", ".npy")):
            match = re.fullmatch(self.features, file.name)
            if match is None:
                continue
            labels = folder / match.expand(self.labels)
            if self.layout == "otter":  # its labels have no name of a model
                labels = next((one for one in _files(folder, (".npy",)) if _is_otter(one, file)), labels)
            if path not in (folder, file, labels, folder / file.name.removesuffix("_f.pt")):
                continue
            named = match.groupdict()
            yield Place(
                layout=self.layout,
                path=file,
                split=named.get("split"),
                model=named.get("model"),
                read=partial(self._read, file, labels, named),
            )

    def _read(
        self, file: Path, beside: Path, named: Mapping[str, str | None], given: Path | None, _: str | None
    ) -> FeatureSet:
        labels = beside if given is None else given
        if not labels.is_file():
            raise DatasetError(
                f"{file} has no labels beside it: there is no {labels.name}. Name them: dataset.labels=FILE"
            )
        (features,) = read_array_file(file, DatasetError).arrays.values()
        return FeatureSet(
            files=(file, labels),
            blocks=(features,),
            labels=_labels_file(labels),
            columns=self.columns,
            split=named.get("split"),
            said_to_be_of=named.get("model"),
        )


_PAIRS = (
    _Pair("tip_adapter", r"(?P<set>(?:.*_)?(?P<split>train|val|test)|.+)_f\.pt", r"\g<set>_l.pt"),
    _Pair(
        "tip_adapter_shots", r"(?P<before>.*?)keys_(?P<shots>.*)\.pt", r"\g<before>values_\g<shots>.pt", columns=True
    ),
    _Pair(
        "zlap", r"(?P<model>.+)_(?P<split>train|val|test)_feats\.npy", r"\g<model>_\g<split>_targets.npy", columns=False
    ),
    _Pair("otter", r"(?P<set>[^_]+)_(?P<model>.+)_img_emb\.npy", r"\g<set>_y.npy", columns=False),
)
_IN_PAIRS = (*(pair.features for pair in _PAIRS), r".+_l\.pt", r".*values_.*\.pt")


def _is_otter(labels: Path, features: Path) -> bool:
    stem = labels.stem.removesuffix("_y")
    return stem != labels.stem and not stem.endswith("_emb") and features.name.startswith(f"{stem}_")


# clip-retrieval ------------------------------------------------------------------------------------------------------


def _clip_retrieval(path: Path) -> Iterator[Place]:
    if (path / "img_emb").is_dir():
        yield Place(
            layout="clip_retrieval",
            path=path,
            split=None,
            model=None,
            read=lambda labels, column: _read_clip_retrieval(path, labels, column),
        )


def _read_clip_retrieval(path: Path, labels_file: Path | None, column: str | None) -> FeatureSet:
    parts = sorted(_files(path / "img_emb", (".npy",)), key=_number)
    if not parts:
        raise DatasetError(f"{path / 'img_emb'} holds no img_emb_0.npy.")
    numbers = [_number(part) for part in parts]
    if numbers != list(range(len(numbers))):
        raise DatasetError(
            f"{path / 'img_emb'} holds the parts {first(numbers)}; they should run from 0 to {len(numbers) - 1} without"
            " a gap. Fetch what is missing."
        )
    blocks = tuple(next(iter(read_array_file(part, DatasetError).arrays.values())) for part in parts)
    tables = []
    for number, block in zip(numbers, blocks, strict=True):
        file = path / "metadata" / f"metadata_{number}.parquet"
        try:
            tables.append(pq.read_table(file))
        except (OSError, pa.ArrowInvalid) as error:
            raise DatasetError(f"{file} cannot be read ({error}); it says which image each row is.") from error
        if tables[-1].num_rows != len(block):
            raise DatasetError(
                f"{parts[number]} has {len(block):,} rows, and {file} speaks of {tables[-1].num_rows:,}."
            )
    columns = tables[0].column_names
    ids = next((name for name in ("image_path", "url", "key") if name in columns), None)
    labels: np.ndarray | Sequence[str] | None = None
    if labels_file is not None:
        labels = _labels_file(labels_file)
    else:
        own = next((name for name in (column, "label", "labels", "class_name", "cls") if name in columns), None)
        if own is None or (column is not None and column not in columns):
            raise DatasetError(
                f"{path / 'metadata'} has the columns {first(columns, 9)}, and none is"
                f" {column or 'a label by its name'}. Say which column holds the class: dataset.label_column=NAME; or"
                " give the labels in a file: dataset.labels=FILE"
            )
        values = [value for table in tables for value in table.column(own).to_pylist()]
        labels = np.asarray(values) if all(isinstance(one, int) for one in values) else [str(one) for one in values]
    return FeatureSet(
        files=tuple(parts),
        blocks=blocks,
        labels=labels,
        columns=False,
        image_ids=None if ids is None else [str(value) for table in tables for value in table.column(ids).to_pylist()],
    )


def _number(part: Path) -> int:
    match = re.search(r"_([0-9]+)$", part.stem)
    return int(match[1]) if match else 0


# Which set a path names ----------------------------------------------------------------------------------------------

LAYOUTS: Mapping[str, Callable[[Path], Iterator[Place]]] = {
    "cupl_bench": _folders,
    "clip_retrieval": _clip_retrieval,
    **{pair.layout: pair.places for pair in _PAIRS},
    "arrays": _arrays,
}
"""Layouts by name, in the order in which a file is tried."""


def find_set(path: Path, layout: str | None, split: str | None, model: str | None) -> Place:
    """Return the one set of features that a path names.

    Args:
        path: a file or a folder.
        layout: one of `LAYOUTS`; None: told by the files.
        split: of several sets, the one of this split; None: ``test`` where there is one.
        model: of several sets, the one of this model.

    Raises:
        DatasetError: there is none, or several.
    """
    if layout is not None and layout not in LAYOUTS:
        raise DatasetError(f"dataset.layout={layout} is none of {', '.join(LAYOUTS)}.{nearest(layout, LAYOUTS)}")
    if not path.exists() and not path.with_name(f"{path.name}_f.pt").is_file():
        siblings = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DatasetError(f"dataset.path={path} does not exist.{nearest(path.name, siblings)}")
    found = [place for name, places in LAYOUTS.items() if layout in (None, name) for place in places(path)]
    if path.is_file() and len(found) > 1 and layout is None:  # a file that a layout names is not one of any arrays
        found = [place for place in found if place.layout != "arrays"]
    if not found:
        here = [one.name for one in _files(path, None)] if path.is_dir() else [path.name]
        raise DatasetError(
            f"dataset.path={path} holds no features in {'a' if layout is None else 'the'} layout"
            f" {'that is known' if layout is None else layout}; here: {first(here) or 'nothing'}. Known are"
            f" {', '.join(LAYOUTS)} (docs/features.md)."
        )
    if len(layouts := list(dict.fromkeys(place.layout for place in found))) > 1:
        raise DatasetError(
            f"dataset.path={path} holds features in {len(layouts)} layouts, {' and '.join(layouts)}:"
            f" {first([place.path.name for place in found])}. Name one: dataset.layout={layouts[0]}"
        )
    for key, asked in (("model", model), ("split", split)):
        wanted = asked
        known = list(dict.fromkeys(one for place in found if (one := getattr(place, key)) is not None))
        if wanted is None and key == "split" and len(known) > 1 and "test" in known:
            wanted = "test"
        if wanted is not None and known:
            if wanted not in known:
                raise DatasetError(
                    f"dataset.{key}={wanted} is not here; there are {first(known)}.{nearest(wanted, known)}"
                )
            found = [place for place in found if getattr(place, key) == wanted]
        elif len(known) > 1:
            raise DatasetError(
                f"dataset.path={path} holds features of {len(known)} {key}s: {first(known)}. Name one:"
                f" dataset.{key}={known[0]}"
            )
    if len(found) > 1:
        raise DatasetError(
            f"dataset.path={path} holds {len(found)} sets of features: {first([place.path.name for place in found])}."
            " Name the file of one in dataset.path."
        )
    return found[0]


def _files(folder: Path, endings: Sequence[str] | None) -> list[Path]:
    wanted = ENDINGS if endings is None else endings
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_file() and (endings is None or one.suffix in wanted))
