"""Miniatures of data sets in their true layouts. Each maker gives back which class id every image of the split has.

Images are told apart by their bytes: no two are alike.
"""

import hashlib
import itertools
import json
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import scipy.io
from making import encoded
from PIL import Image

from cupl_bench.dataset.spec import read_spec

Expected = dict[bytes, str]
"""Content of an image of the split -> id of its class."""

_seeds = itertools.count(1000)


def put(path: Path, **options: object) -> bytes:
    content = encoded(next(_seeds), **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content


def ids(name: str) -> tuple[str, ...]:
    return read_spec(name).classes.ids


def folders(root: Path, names: Iterable[tuple[str, str]], count: int = 1) -> Expected:
    """``names``: folder -> id."""
    return {put(root / folder / f"image_{i:04}.jpg"): one for folder, one in names for i in range(count)}


def imagenet_folders(root: Path) -> Expected:
    """Four of the thousand classes; n02119022 is 277 among all, 2 among these."""
    return folders(root / "val", [(wnid, wnid) for wnid in ("n01440764", "n02119789", "n02119022", "n04356056")], 2)


def _devkit(root: Path, numbers: dict[str, int], truth: list[str]) -> None:
    """``numbers``: ILSVRC2012_ID of each wnid; inner nodes of the tree follow, as in the true file."""
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    fields = [
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    ]
    rows = [(number, wnid, "fox, animal", "a gloss", 0, 0, 0, 1300) for wnid, number in numbers.items()]
    rows.append((1001, "n00001740", "entity", "all there is", len(rows), 0, 19, 0))
    synsets = np.zeros((len(rows), 1), dtype=[(field, object) for field in fields])
    for place, row in enumerate(rows):
        synsets[place, 0] = row
    scipy.io.savemat(data / "meta.mat", {"synsets": synsets})
    lines = "".join(f"{numbers[wnid]}\n" for wnid in truth)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


FOXES = {"n02119789": 1, "n02100735": 2, "n02119022": 3, "n01440764": 449}
"""wnid -> ILSVRC2012_ID, which is not a label."""


def imagenet_flat(root: Path) -> Expected:
    """The third of five images is not there: the others keep their lines."""
    truth = ["n02119022", "n01440764", "n02119022", "n02119789", "n02100735"]
    _devkit(root, FOXES, truth)
    return {
        put(root / "val" / f"ILSVRC2012_val_{line:08}.JPEG"): wnid
        for line, wnid in enumerate(truth, start=1)
        if line != 3
    }


def imagenet_suffixed(root: Path) -> Expected:
    return {
        put(root / f"ILSVRC2012_val_{number:08}_{wnid}.JPEG"): wnid
        for number, wnid in enumerate(["n02119022", "n01751748", "n04008634"], start=1)
    }


def imagenet_v2(root: Path) -> Expected:
    base = root / "imagenetv2-matched-frequency-format-val"
    return folders(base, [(str(label), ids("imagenet_v2")[label]) for label in (0, 1, 2, 10, 999)])


def wnid_folders(name: str, folder: str) -> Callable[[Path], Expected]:
    return lambda root: folders(root / folder, [(wnid, wnid) for wnid in ids(name)[::67]])


def cub(root: Path, base: str = "CUB_200_2011") -> Expected:
    """Image ids that are not contiguous, lines in different orders, a training image in each class, one grey image."""
    tree = root / base
    names = {
        1: "001.Black_footed_Albatross",
        2: "002.Laysan_Albatross",
        22: "022.Chuck_will_Widow",
        141: "141.Artic_Tern",
    }
    rows, expected = [], {}
    for number, name in names.items():
        for place in range(3):
            image = 10 * number + 7 * place + 1
            path = f"{name}/{name[4:].title()}_{place:04}_18.jpg"
            content = put(tree / "images" / path, mode="L" if (number, place) == (2, 1) else "RGB")
            rows.append((image, path, number, int(place == 0)))
            if place != 0:
                expected[content] = name
    write = {
        "images.txt": [f"{image} {path}" for image, path, _, _ in rows],
        "image_class_labels.txt": [f"{image} {number}" for image, _, number, _ in reversed(rows)],
        "train_test_split.txt": [f"{image} {training}" for image, _, _, training in rows[5:] + rows[:5]],
        "bounding_boxes.txt": [f"{image} 60.0 27.0 325.0 304.0" for image, _, _, _ in rows],
        "classes.txt": [f"{number} {name}" for number, name in names.items()],
    }
    for file, lines in write.items():
        (tree / file).write_text("\n".join(lines) + "\n")
    return expected


def flowers(
    root: Path,
    labels: tuple[int, ...] = (77, 1, 5, 102, 102, 1, 5, 77, 1, 16, 16, 60),
    test: tuple[int, ...] = (12, 2, 4, 7, 1, 10),
) -> Expected:
    base = root / "flowers-102"
    contents = [put(base / "jpg" / f"image_{number:05}.jpg") for number in range(1, len(labels) + 1)]
    scipy.io.savemat(base / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    rest = [number for number in range(1, len(labels) + 1) if number not in test]
    split = {"tstid": test, "trnid": rest[:2], "valid": rest[2:]}
    scipy.io.savemat(base / "setid.mat", {name: np.array([row], dtype=np.uint16) for name, row in split.items()})
    return {contents[number - 1]: str(labels[number - 1]) for number in test}


def dtd(root: Path) -> Expected:
    base = root / "dtd" / "dtd"
    expected = {put(base / "images" / one / f"{one}_0002.jpg"): one for one in ids("dtd")}
    (base / "labels").mkdir()
    lines = [f"{one}/{one}_0002.jpg" for one in reversed(ids("dtd"))]
    (base / "labels" / "test1.txt").write_text("\n".join(lines) + "\n")
    put(base / "images" / "banded" / "banded_0001.jpg")  # a training image
    return expected


def food101(root: Path) -> Expected:
    base = root / "food-101"
    expected = {put(base / "images" / one / f"{10 + place}.jpg"): one for place, one in enumerate(ids("food101"))}
    (base / "meta").mkdir()
    lists = {one: [f"{one}/{10 + place}"] for place, one in reversed(list(enumerate(ids("food101"))))}
    (base / "meta" / "test.json").write_text(json.dumps(lists))
    (base / "meta" / "test.txt").write_text("\n".join(row[0] for row in lists.values()) + "\n")
    return expected


def aircraft(root: Path) -> Expected:
    base = root / "fgvc-aircraft-2013b" / "data"
    expected = {put(base / "images" / f"{1514522 + place}.jpg"): one for place, one in enumerate(ids("aircraft"))}
    lines = [f"{1514522 + place} {one}" for place, one in enumerate(ids("aircraft"))]
    (base / "images_variant_test.txt").write_text("\n".join(reversed(lines)) + "\n")
    (base / "variants.txt").write_text("\n".join(ids("aircraft")) + "\n")
    return expected


def pets(root: Path) -> Expected:
    base = root / "oxford-iiit-pet"
    expected = {put(base / "images" / f"{one}_201.jpg"): one for one in ids("pets")}
    (base / "annotations").mkdir()
    lines = [f"{one}_201 {label + 1} {1 + label % 2} 1" for label, one in enumerate(ids("pets"))]
    (base / "annotations" / "test.txt").write_text("\n".join(reversed(lines)) + "\n")
    (base / "trimaps").mkdir()
    (base / "annotations" / "trimaps").mkdir()
    return expected


def _sun_path(one: str) -> str:
    special = {"jail indoor": "jail/indoor", "apartment building outdoor": "apartment_building/outdoor"}
    return f"{one[0]}/{special.get(one, one.replace(' ', '_'))}"


def sun397(root: Path) -> Expected:
    base = root / "SUN397"
    expected, lines = {}, []
    for place, one in enumerate(ids("sun397")):
        path = f"{_sun_path(one)}/sun_{place:04}.jpg"
        expected[put(base / path)] = one
        lines.append(f"/{path}")
    (base / "Testing_01.txt").write_text("\n".join(reversed(lines)) + "\n")
    (base / "ClassName.txt").write_text("".join(f"/{_sun_path(one)}\n" for one in ids("sun397")))
    return expected


def cars(root: Path) -> Expected:
    base = root / "stanford_cars"
    names = ids("cars")
    expected = {put(base / "cars_test" / f"{place + 1:05}.jpg"): one for place, one in enumerate(names)}
    rows = np.zeros((1, len(names)), dtype=[("class", object), ("fname", object)])
    for place in range(len(names)):
        rows[0, place] = (np.uint8(place + 1), f"{place + 1:05}.jpg")
    scipy.io.savemat(base / "cars_test_annos_withlabels.mat", {"annotations": rows})
    (base / "devkit").mkdir()
    scipy.io.savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    return expected


def caltech101(root: Path) -> Expected:
    return folders(root / "caltech101" / "101_ObjectCategories", [(one, one) for one in ids("caltech101")])


def eurosat(root: Path) -> Expected:
    return folders(root / "eurosat" / "2750", [(one, one) for one in ids("eurosat")], 2)


def resisc45(root: Path) -> Expected:
    return folders(root / "NWPU-RESISC45", [(one, one) for one in ids("resisc45")])


def birdsnap(root: Path) -> Expected:
    """The folders of a copy that spells with hyphens and apostrophes."""
    named = {"Allens_Hummingbird": "Allen's Hummingbird", "Yellow_throated_Vireo": "Yellow-throated Vireo"}
    return folders(
        root / "test", [(named.get(one, one), one) for one in (*ids("birdsnap")[3:500:62], "Yellow_throated_Vireo")]
    )


def kinetics700(root: Path) -> Expected:
    return folders(root / "val", [(one, one) for one in ids("kinetics700")[::99]])


def ucf101(root: Path) -> Expected:
    """The list names videos in folders without, the frames lie in folders with underscores."""
    expected, lines = {}, []
    named = {
        "ApplyEyeMakeup": "Apply_Eye_Makeup",
        "HandstandPushups": "Handstand_Pushups",
        "YoYo": "Yo_Yo",
        "Archery": "Archery",
    }
    for one, folder in named.items():
        expected[put(root / "UCF-101-midframes" / folder / f"v_{one}_g01_c01.jpg")] = one
        lines.append(f"{one}/v_{one}_g01_c01.avi")
    (root / "testlist01.txt").write_text("\r\n".join(lines))
    return expected


def cifar(root: Path, hundred: bool) -> tuple[Expected, dict[str, str]]:
    """One image per class, told apart by its pixels; and the md5 of each file, which torchvision checks."""
    name = "cifar100" if hundred else "cifar10"
    base = root / ("cifar-100-python" if hundred else "cifar-10-batches-py")
    base.mkdir(parents=True)
    names = ids(name)
    pixels = np.random.default_rng(3).integers(0, 256, (len(names), 3, 32, 32), dtype=np.uint8)
    labels = list(reversed(range(len(names))))
    key = "fine_label" if hundred else "label"
    files = {
        ("test" if hundred else "test_batch"): {"data": pixels.reshape(len(names), -1), f"{key}s": labels},
        ("meta" if hundred else "batches.meta"): {f"{key}_names": list(names), "label_names": list(names)},
    }
    for file, content in files.items():
        (base / file).write_bytes(pickle.dumps(content))
    expected = {image.transpose(1, 2, 0).tobytes(): names[label] for image, label in zip(pixels, labels, strict=True)}
    return expected, {file: hashlib.md5((base / file).read_bytes()).hexdigest() for file in files}


def pixels_of(content: bytes) -> bytes:
    import io

    return np.array(Image.open(io.BytesIO(content)).convert("RGB")).tobytes()


MAKERS: dict[str, Callable[[Path], Expected]] = {
    "imagenet": imagenet_folders,
    "imagenet_v2": imagenet_v2,
    "imagenet_sketch": wnid_folders("imagenet_sketch", "sketch"),
    "imagenet_a": wnid_folders("imagenet_a", "imagenet-a"),
    "imagenet_r": wnid_folders("imagenet_r", "imagenet-r"),
    "cub": cub,
    "flowers": flowers,
    "dtd": dtd,
    "cars": cars,
    "sun397": sun397,
    "food101": food101,
    "aircraft": aircraft,
    "pets": pets,
    "caltech101": caltech101,
    "resisc45": resisc45,
    "eurosat": eurosat,
    "birdsnap": birdsnap,
    "ucf101": ucf101,
    "kinetics700": kinetics700,
}
"""Of each data set whose images are files."""
