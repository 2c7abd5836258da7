"""What is known of images beyond one label each: all classes that an image is of, and its group (pure)."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int, Int8, Int64

__all__ = ["ClassSets", "Groups", "Truth"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassSets:
    """All classes of each image.

    ``matrix``: 1 where the image is of the class, 0 where it is not, -1 where it is of it and a ranking of the class
    leaves it out, as the difficult objects of Pascal VOC.
    """

    matrix: Int8[np.ndarray, "n c"]

    def hold(self, columns: Int64[np.ndarray, "n k"]) -> Bool[np.ndarray, "n k"]:
        """Tell whether each image is of each of its ``columns``; never of what is no class, such as -1.

        >>> ClassSets(matrix=np.array([[1, -1, 0]], dtype=np.int8)).hold(np.array([[0, 1, 2, -1]])).tolist()
        [[True, True, False, False]]
        """
        is_class = (columns >= 0) & (columns < self.matrix.shape[1])
        held: Bool[np.ndarray, "n k"] = is_class & (
            np.take_along_axis(self.matrix, np.where(is_class, columns, 0), axis=1) != 0
        )
        return held

    def taken(self, places: slice | Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "ClassSets":
        """Return those of some images.

        >>> ClassSets(matrix=np.eye(3, dtype=np.int8)).taken(slice(0, 2)).matrix.shape
        (2, 3)
        """
        return ClassSets(matrix=self.matrix[places])


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """The group of each image: ``of`` is its place in ``names``, -1 for none. A group may have no image."""

    names: tuple[str, ...]
    of: Int64[np.ndarray, " n"]

    def taken(self, places: slice | Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Groups":
        """Return those of some images.

        >>> Groups(names=("land", "water"), of=np.array([1, 0, 1])).taken(slice(0, 1)).of.tolist()
        [1]
        """
        return replace(self, of=self.of[places])


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What is true of images. ``labels``: the class that tables of classes count each image under, one of its sets.

    Where there are ``sets``, a prediction is right if the image is of that class; where there are none, if it is the
    label.
    """

    labels: Int64[np.ndarray, " n"]
    num_classes: int
    sets: ClassSets | None = None
    groups: Groups | None = None

    def holds(self, predictions: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Tell whether each prediction is right.

        >>> Truth(labels=np.array([0, 1]), num_classes=2).holds(np.array([0, 0])).tolist()
        [True, False]
        """
        if self.sets is None:
            right: Bool[np.ndarray, " n"] = np.asarray(predictions == self.labels)
            return right
        return self.sets.hold(predictions[:, None])[:, 0]

    def holds_any(self, top: Int64[np.ndarray, "n k"]) -> Bool[np.ndarray, " n"]:
        """Tell whether one of the best labels of each image is right.

        >>> Truth(labels=np.array([0, 1]), num_classes=3).holds_any(np.array([[2, 0], [2, 0]])).tolist()
        [True, False]
        """
        if self.sets is None:
            equal: Bool[np.ndarray, " n"] = np.asarray((top == self.labels[:, None]).any(axis=1))
            return equal
        held: Bool[np.ndarray, " n"] = np.asarray(self.sets.hold(top).any(axis=1))
        return held

    def taken(self, places: slice | Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Truth":
        """Return what is true of some images.

        >>> Truth(labels=np.array([0, 1]), num_classes=2).taken(slice(1, 2)).labels.tolist()
        [1]
        """
        return replace(
            self,
            labels=self.labels[places],
            sets=None if self.sets is None else self.sets.taken(places),
            groups=None if self.groups is None else self.groups.taken(places),
        )
