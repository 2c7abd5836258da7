"""Layouts whose labels follow from annotations of the images: CLEVR's scenes, KITTI's boxes, categories in JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Files, Listing
from cupl_bench.dataset.source_files import Place, read_lines
from cupl_bench.errors import DatasetError, first

__all__ = ["Annotations", "Clevr", "Kitti"]

CLEVR_DISTANCES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
KITTI_METRES = (-100.0, 8.0, 20.0, 999.0)
"""The edges of VTAB's classes; an edge belongs to the class below it."""


def _interval(edges: tuple[float, ...], distance: float) -> int:
    """Return the place of the last edge below ``distance``, compared in float32 as VTAB does; -1 for none."""
    return int(np.searchsorted(np.array(edges, dtype=np.float32), np.float32(distance), side="left")) - 1


class Clevr(Place):
    """CLEVR's validation images.

    ``of``: the class is the ``count`` of the objects in the scene of an image, or the ``distance`` of the nearest: the
    smallest third number of `pixel_coords`, in VTAB's intervals.

    Source: `scenes/CLEVR_val_scenes.json` of CLEVR_v1.0; torchvision `CLEVRClassification`; google-research's
    task_adaptation `data/clevr.py`.
    """

    kind: Literal["clevr"]
    of: Literal["count", "distance"] = "count"

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and the classes of their scenes; None where there is no file of scenes.

        Raises:
            DatasetError: the file does not hold what it should.
        """
        file = base / "scenes" / "CLEVR_val_scenes.json"
        if not file.is_file():
            return None
        try:
            scenes = json.loads(file.read_bytes())["scenes"]
            class_of = {str(scene["image_filename"]): self._class(scene["objects"]) for scene in scenes}
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            within = "..." if self.of == "count" else '{"pixel_coords": [x, y, distance]}, ...'
            raise DatasetError(
                f'{file} should hold {{"scenes": [{{"image_filename": ..., "objects": [{within}]}}, ...]}} ({error}).'
            ) from error
        names = sorted(class_of)
        return Listing(
            where=str(base),
            classes=[class_of[name] for name in names],
            images=Files(folder=f"{base}/images/val", names=ImageNames.of(names), root=base),
        )

    def _class(self, objects: list[Any]) -> str | int:
        if self.of == "count":
            return str(len(objects))
        return _interval(CLEVR_DISTANCES, min(float(one["pixel_coords"][2]) for one in objects))


class Kitti(Place):
    """KITTI's training images that VTAB tests on; the class is the distance of the nearest car, van or truck.

    The images are those of a tenth of the videos, drawn as TFDS draws them: with numpy's generator of the seed 123 from
    the sorted names of the videos, which the devkit has in `mapping`. Of an image's vehicles the smallest z counts.

    Source: TFDS `kitti` 3.3.0; google-research's task_adaptation `data/kitti.py`; readme.txt of devkit_object.
    """

    kind: Literal["kitti"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images and labels; None where there is no `training/label_2`.

        Raises:
            DatasetError: the devkit or labels of an image are missing, or do not hold what they should.
        """
        if not (base / "training" / "label_2").is_dir():
            return None
        found = [base / inside / "mapping" for inside in ("", "devkit_object", "devkit", "object/devkit")]
        mapping = next((folder for folder in found if (folder / "train_rand.txt").is_file()), None)
        if mapping is None:
            raise DatasetError(
                f"{base} has no mapping/train_rand.txt: which images are tested follows from it. Unpack KITTI's"
                f" devkit_object.zip into {base}."
            )
        numbers = self._tested(mapping)
        labels: list[str | int] = [
            self._label(base / "training" / "label_2" / f"{number:06}.txt", len(classes.ids) - 1) for number in numbers
        ]
        names = ImageNames.of(f"{number:06}.png" for number in numbers)
        images = Files(folder=f"{base}/training/image_2", names=names, root=base)
        return Listing(where=str(base), classes=labels, images=images)

    def _tested(self, mapping: Path) -> list[int]:
        """Return the numbers of the images that are tested, sorted."""
        places = ",".join(read_lines(mapping / "train_rand.txt")).split(",")
        videos = [line.split() for line in read_lines(mapping / "train_mapping.txt")]
        try:
            video_of = [videos[int(place) - 1][1] for place in places if place.strip()]
        except (ValueError, IndexError) as error:
            raise DatasetError(
                f"{mapping}: train_rand.txt should hold numbers of lines of train_mapping.txt, whose second word is a"
                f" video ({error}). Unpack devkit_object.zip again."
            ) from error
        every = sorted(set(video_of))
        drawn = set(np.random.RandomState(123).choice(every, max(1, len(every) * 10 // 100), replace=False).tolist())
        return [number for number, video in enumerate(video_of) if video in drawn]

    def _label(self, file: Path, none: int) -> int:
        """Return the label of the nearest vehicle of an image, ``none`` where it has none."""
        rows = [line.split() for line in read_lines(file)]
        try:
            distances = [float(row[13]) for row in rows if row[0] in ("Car", "Van", "Truck")]
        except (ValueError, IndexError) as error:
            raise DatasetError(f"{file} holds a vehicle without a place ({error}). Unpack the labels again.") from error
        return _interval(KITTI_METRES, min(distances)) if distances else none


class Annotations(Place):
    """Images whose classes stand in a JSON file of images, annotations and categories, as COCO has them.

    ``file``: the JSON file; ``images``: the folder that its file names start from, without ``drop`` leading folders of
    theirs. ``names``: lists of class names that the file holds, and the keys of a category by which they are told: the
    first that has a text. Then the labels are the places of the categories by their numbers.

    Source: visipedia/inat_comp, 2017 and 2021.
    """

    kind: Literal["annotations"]
    file: str
    images: str
    drop: int
    names: Mapping[str, tuple[str, ...]] = {}

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images, and the names or places of their categories; None where there is no such file.

        Raises:
            DatasetError: it does not hold what it should, or an image has not one category.
        """
        file = base / self.file
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_bytes())
            sorts = sorted(content["categories"], key=lambda one: int(one["id"]))
            word_of: dict[Any, str | int] = {
                one["id"]: place if self.names else str(one["name"]) for place, one in enumerate(sorts)
            }
            told = {
                name: tuple(next((str(one[key]) for key in keys if one.get(key)), "") for one in sorts)
                for name, keys in self.names.items()
            }
            pairs = [(one["image_id"], word_of[one["category_id"]]) for one in content["annotations"]]
            path_of = {one["id"]: str(one["file_name"]) for one in content["images"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f'{file} should hold {{"images": [{{"id", "file_name"}}, ..], "annotations": [{{"image_id",'
                f' "category_id"}}, ..], "categories": [{{"id", "name"}}, ..]}} ({error}).'
            ) from error
        class_of = dict(pairs)
        if len(class_of) != len(pairs) or class_of.keys() != path_of.keys():
            odd = sorted(map(str, path_of.keys() ^ class_of.keys())) or ["one image with two"]
            raise DatasetError(f"{file} gives not one category to each of {len(path_of)} images, first: {first(odd)}.")
        names = ImageNames.of("/".join(path.split("/")[self.drop :]) for path in path_of.values())
        return Listing(
            where=str(base),
            classes=[class_of[one] for one in path_of],
            images=Files(folder=str(base / self.images), names=names, root=base),
            names=told,
        )
