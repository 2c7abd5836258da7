"""Features of a question as a folder that other programs read, and this one reads back."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Int64
from safetensors.numpy import save_file

from cupl_bench.dataset.feature_layouts import FOLDER_FILE
from cupl_bench.embeddings import Aggregation, ClassEmbeddings
from cupl_bench.errors import ConfigError, ResultsError, first, nearest
from cupl_bench.truth import ClassSets, Groups

__all__ = ["FORMS", "Features", "check_target", "write_features"]

ABOUT = "about.json"
"""What a folder of another program's layout says about itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What a question is answered from.

    ``images``: n x d, unit rows. ``labels``: of each. ``image_ids``: of each. ``classes``: C x d. ``prompts``: a row
    for each prompt, ``label``, ``class_name``, ``text``, ``row`` (its place in ``texts``) and maybe ``weight``.
    ``texts``: unit rows. ``facts``: what they are, as plain data; its parts are dataset, backbone and prompts.
    ``sets`` and ``groups``: all classes and the group of each image, where the data set tells them.
    """

    images: Float32[np.ndarray, "n d"]
    labels: Int64[np.ndarray, " n"]
    image_ids: Sequence[str]
    class_names: Sequence[str]
    classes: ClassEmbeddings
    prompts: pd.DataFrame
    texts: Float32[np.ndarray, "u d"]
    facts: Mapping[str, Mapping[str, object]]
    sets: ClassSets | None = None
    groups: Groups | None = None


def check_target(folder: Path, layout: str) -> None:
    """Check that features can be written to a folder, before anything is encoded for it.

    Raises:
        ConfigError: there is no such layout.
        ResultsError: the folder is there already, and holds something.
    """
    if layout not in FORMS:
        raise ConfigError(f"layout={layout} is none of {', '.join(FORMS)}.{nearest(layout, FORMS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        here = first(sorted(one.name for one in folder.iterdir()), 3) if folder.is_dir() else "a file"
        raise ResultsError(f"to={folder} is there already ({here}). Name a new folder, or remove it.")


def write_features(folder: Path, features: Features, layout: str) -> list[str]:
    """Write features to a new folder; return the names of its files. It is there whole, or not at all.

    Args:
        folder: where; it must not be there yet, or be empty.
        features: what.
        layout: one of `FORMS`.

    Raises:
        ConfigError: there is no such layout, or it cannot hold these class embeddings.
        ResultsError: the folder is there, or cannot be written.
    """
    check_target(folder, layout)
    if layout != "cupl_bench" and features.classes.aggregation != Aggregation.MEAN:
        raise ConfigError(
            f"layout={layout} holds one unit vector for each class, and {features.classes.aggregation} needs more."
            " Take layout=cupl_bench, or aggregation mean."
        )
    if layout != "cupl_bench" and features.sets is not None:
        raise ConfigError(
            f"layout={layout} holds one label for each image, and an image of this data set may be of several classes."
            " Take layout=cupl_bench."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
            whole = Path(place, "whole")
            whole.mkdir()
            FORMS[layout](whole, features)
            names = sorted(str(one.relative_to(whole)) for one in whole.rglob("*") if one.is_file())
            if folder.exists():
                folder.rmdir()
            shutil.move(whole, folder)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be written ({error.strerror or error}).") from error
    return names


def _own(folder: Path, features: Features) -> None:
    of_images = {"features": features.images, "labels": features.labels}
    facts = {**features.facts, "class_names": list(features.class_names)}
    if features.sets is not None:
        of_images["sets"] = np.ascontiguousarray(features.sets.matrix)
    if features.groups is not None:
        of_images["groups"] = np.ascontiguousarray(features.groups.of)
        facts["group_names"] = list(features.groups.names)
    save_file(of_images, folder / "image_features.safetensors")
    images = pd.DataFrame({"image_id": list(features.image_ids), "label": features.labels})
    images["class_name"] = [features.class_names[label] for label in features.labels.tolist()]
    images.to_parquet(folder / "images.parquet", index=False)
    arrays = {"class_embeddings": features.classes.matrix}
    if features.classes.prompts is not None and features.classes.owner is not None:
        arrays |= {"prompt_embeddings": features.classes.prompts, "prompt_class": features.classes.owner}
    save_file(arrays, folder / "class_embeddings.safetensors")
    save_file({"features": np.ascontiguousarray(features.texts)}, folder / "prompt_features.safetensors")
    features.prompts.to_parquet(folder / "prompts.parquet", index=False)
    _write_json(folder / FOLDER_FILE, facts)


def _tip_adapter(folder: Path, features: Features) -> None:
    torch.save(torch.from_numpy(features.images), folder / "test_f.pt")
    torch.save(torch.from_numpy(features.labels), folder / "test_l.pt")
    torch.save(torch.from_numpy(np.ascontiguousarray(features.classes.matrix.T)), folder / "clip_weights.pt")
    _about(folder, features)


def _zlap(folder: Path, features: Features) -> None:
    model = _file_name(str(features.facts["backbone"]["name"]))
    prompts = _file_name(str(features.facts["prompts"]["name"]))
    np.save(folder / f"{model}_test_feats.npy", features.images)
    np.save(folder / f"{model}_test_targets.npy", features.labels)
    (folder / "classifiers").mkdir()
    called = "text_classifier" if prompts in ("simple", "ensemble") else f"{prompts}_text_classifier"
    np.save(folder / "classifiers" / f"{model}_{called}.npy", np.ascontiguousarray(features.classes.matrix.T))
    _about(folder, features)


def _clip_retrieval(folder: Path, features: Features) -> None:
    for part in ("img_emb", "text_emb", "metadata"):
        (folder / part).mkdir()
    np.save(folder / "img_emb" / "img_emb_0.npy", features.images)
    np.save(folder / "text_emb" / "text_emb_0.npy", features.classes.matrix)
    table = pd.DataFrame({"image_path": list(features.image_ids), "label": features.labels})
    table["caption"] = [features.class_names[label] for label in features.labels.tolist()]
    table.to_parquet(folder / "metadata" / "metadata_0.parquet", index=False)
    _about(folder, features)


def _about(folder: Path, features: Features) -> None:
    _write_json(folder / "class_names.json", list(features.class_names))
    _write_json(folder / ABOUT, features.facts)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _file_name(name: str) -> str:
    """Return a name without what means something in a path or in the names of these layouts."""
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in name) or "model"


FORMS: Mapping[str, Callable[[Path, Features], None]] = {
    "cupl_bench": _own,
    "tip_adapter": _tip_adapter,
    "zlap": _zlap,
    "clip_retrieval": _clip_retrieval,
}
"""The layouts that can be written, by name."""
