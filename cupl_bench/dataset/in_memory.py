"""Images that the user hands over in memory, as a data set."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.feature_layouts import FeatureSet
from cupl_bench.dataset.given import dataset_of_features
from cupl_bench.errors import DatasetError, first
from cupl_bench.identity import bytes_key

__all__ = ["Features", "GivenImage", "ImageList", "ListedImages", "listed"]

GivenImage = str | Path | bytes | Image.Image
"""A path to an image file, the bytes of one, or an image of Pillow."""


@dataclass(frozen=True, eq=False)
class ListedImages:
    """Images whose content is in memory: what features are computed from.

    ``contents``: the bytes of each image file. ``image_ids``: the path of each, or its place in the list.
    ``image_keys``: 16 bytes for each content.
    """

    contents: tuple[bytes, ...]
    image_ids: tuple[str, ...]
    image_keys: tuple[bytes, ...]

    def content(self, index: int) -> bytes:
        """Return the bytes of image i."""
        return self.contents[index]


def listed(images: Iterable[GivenImage]) -> ListedImages:
    """Read the images of a list.

    An image of Pillow is kept as a PNG of its RGB pixels, which loses nothing.

    Raises:
        DatasetError: the list is empty, a file cannot be read, or an item is not an image.
    """
    contents: list[bytes] = []
    ids: list[str] = []
    for place, image in enumerate(images):
        if isinstance(image, str | Path):
            try:
                contents.append(Path(image).expanduser().read_bytes())
            except OSError as error:
                raise DatasetError(f"{image} cannot be read ({error.strerror}).") from error
            ids.append(str(image))
        elif isinstance(image, bytes):
            contents.append(image)
            ids.append(str(place))
        elif isinstance(image, Image.Image):
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, format="PNG")
            contents.append(buffer.getvalue())
            ids.append(str(place))
        else:
            raise DatasetError(
                f"Image {place} is {type(image).__name__}; give a path, the bytes of a file, or an image of Pillow."
            )
    if not contents:
        raise DatasetError("There is no image: the list is empty.")
    return ListedImages(tuple(contents), tuple(ids), tuple(bytes_key(content) for content in contents))


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageList:
    """A data set from a list of (image, label).

    ``pairs``: each an image (`GivenImage`) and its label, which is a class index, or the name of a class.
    ``class_names``: in label order. None takes the names among the labels, sorted.
    ``split``: how the record calls these images.
    """

    pairs: Sequence[tuple[GivenImage, int | str]]
    class_names: Sequence[str] | None = None
    split: str = "given"

    def __call__(self, cache_dir: Path) -> Dataset:  # noqa: ARG002 - nothing is worth keeping
        """Return the data set.

        Raises:
            DatasetError: a label is not a class, names are missing, or an image cannot be read.
        """
        images = listed(image for image, _ in self.pairs)
        labels = [label for _, label in self.pairs]
        named = [label for label in labels if isinstance(label, str)]
        if named and len(named) < len(labels):
            raise DatasetError(f"{len(named)} of {len(labels)} labels are names and the others numbers; take one form.")
        if self.class_names is None and not named:
            raise DatasetError("The labels are numbers, and nothing says what they mean: give class_names.")
        names = tuple(self.class_names) if self.class_names is not None else tuple(sorted(set(named)))
        if named:
            if len(set(names)) < len(names):
                raise DatasetError("Some class names stand twice: give labels as numbers, which tell them apart.")
            if unknown := sorted(set(named) - set(names)):
                raise DatasetError(f"{len(unknown)} labels are not class names, first: {first(unknown)}.")
            number = {name: label for label, name in enumerate(names)}
            labels = [number[label] for label in named]
        return Dataset(
            split=self.split,
            class_names=names,
            labels=np.array(labels, dtype=np.int64),
            image_ids=images.image_ids,
            image_keys=images.image_keys,
            read=images.content,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Image features that were computed elsewhere, as a data set: no image and no image tower is needed.

    ``features``: n x D, float16 or float32, unit or not. ``labels``: a class index, or a class name, for each.
    ``class_names``: in label order; None: the names among the labels, sorted, or those of ``names_of``.
    ``names_of``: a named data set, such as ``imagenet``, whose names and label order these are.
    ``said_to_be_of``: the model, for the record. ``name``: what records call the data set.

    Example:
        >>> import numpy as np
        >>> from cupl_bench import Features
        >>> ten = Features(features=np.eye(10, 512, dtype="f4"), labels=np.arange(10), names_of="cifar10")
    """

    features: np.ndarray
    labels: np.ndarray | Sequence[int] | Sequence[str]
    class_names: Sequence[str] | None = None
    names_of: str | None = None
    image_ids: Sequence[str] | None = None
    said_to_be_of: str | None = None
    name: str = "features"

    def __call__(self, cache_dir: Path) -> Dataset:  # noqa: ARG002 - nothing is worth keeping
        """Return the data set.

        Raises:
            DatasetError: features, labels and names do not fit each other.
        """
        labels = self.labels
        if not isinstance(labels, np.ndarray) and all(isinstance(label, int) for label in labels):
            labels = np.asarray(labels)
        found = FeatureSet(
            files=(),
            blocks=(np.asarray(self.features),),
            labels=labels.tolist() if isinstance(labels, np.ndarray) and labels.dtype.kind == "U" else labels,  # type: ignore[arg-type]
            columns=False,
            image_ids=self.image_ids,
        )
        return dataset_of_features(
            found,
            where="the given array",
            class_names=None if self.class_names is None else list(self.class_names),
            names_of=self.names_of,
            said_to_be_of=self.said_to_be_of,
        )
