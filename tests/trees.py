"""Miniatures of data sets in their true layouts. Each maker gives back which class id every image of the split has.

Images are told apart by their bytes: no two are alike.
"""

import gzip
import hashlib
import io
import itertools
import json
import pickle
import struct
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from making import encoded
from PIL import Image

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.named import NamedSource
from cupl_bench.dataset.spec import read_spec

Expected = dict[bytes, str]
"""Content of an image of the split -> id of its class."""

_seeds = itertools.count(1000)


def put(path: Path, kind: str = "JPEG", **options: object) -> bytes:
    content = encoded(next(_seeds), kind, **options)
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


def places365(root: Path, images: str = "val_256") -> Expected:
    """The list in an order of its own; the numbers are those of the file of categories, which need not be sorted."""
    (root / images).mkdir(parents=True)
    rows = list(enumerate(ids("places365")))
    (root / "categories_places365.txt").write_text("".join(f"{one} {number}\n" for number, one in reversed(rows)))
    expected, lines = {}, []
    for place, (number, one) in enumerate(reversed(rows[::13]), start=1):
        name = f"Places365_val_{place:08}.jpg"
        expected[put(root / images / name)] = one
        lines.append(f"{name} {number}")
    (root / "places365_val.txt").write_text("\n".join(lines) + "\n")
    return expected


def caltech256(root: Path) -> Expected:
    """With the stray file of the archive."""
    base = root / "caltech256" / "256_ObjectCategories"
    expected = folders(base, [(one, one) for one in (*ids("caltech256")[::29], "198.spider", "257.clutter")])
    (base / "198.spider" / "RENAME2").write_text("which is not an image")
    return expected


def country211(root: Path) -> Expected:
    folders(root / "country211" / "train", [(one, one) for one in ids("country211")[::20]])
    return folders(root / "country211" / "test", [(one, one) for one in (*ids("country211")[::20], "WS", "XK", "YE")])


def objectnet(root: Path) -> Expected:
    """Some of its 113 classes, and two of the 200 folders that are none."""
    base = root / "objectnet-1.0" / "images"
    folders(base, [("squeegee", ""), ("coin_money", "")])
    return folders(base, [(one, one) for one in ids("objectnet")[::9]])


def stanford_dogs(root: Path) -> Expected:
    """The list of test images; each class has an image of the training set beside it."""
    expected, names = {}, []
    for one in reversed(ids("stanford_dogs")[::7]):
        wnid = one.partition("-")[0]
        expected[put(root / "Images" / one / f"{wnid}_20.jpg")] = one
        put(root / "Images" / one / f"{wnid}_10.jpg")
        names.append(f"{one}/{wnid}_20.jpg")
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    labels = np.array([[ids("stanford_dogs").index(name.partition("/")[0]) + 1] for name in names], dtype=np.uint8)
    scipy.io.savemat(root / "test_list.mat", {"file_list": cells, "labels": labels})
    return expected


def gtsrb(root: Path) -> Expected:
    base = root / "gtsrb"
    expected, rows = {}, ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for place, one in enumerate(reversed(ids("gtsrb")[::4])):
        expected[put(base / "GTSRB" / "Final_Test" / "Images" / f"{place:05}.ppm", "PPM")] = one
        rows.append(f"{place:05}.ppm;40;36;5;5;34;30;{one}")
    (base / "GT-final_test.csv").write_text("\r\n".join(rows) + "\r\n")
    return expected


def rendered_sst2(root: Path) -> Expected:
    base = root / "rendered-sst2"
    put(base / "train" / "positive" / "1.png", "PNG")
    return {
        put(base / "test" / one / f"{number}.png", "PNG"): one for one in ("positive", "negative") for number in (7, 12)
    }


def shards(
    root: Path, names: list[str], labels: list[int], of: list[str], arrays: list[list[int]] | None = None
) -> Expected:
    """Shards as the hub has them. ``names``: of classes; ``of``: the id of each label; ``arrays``: in `.npy`."""
    images = [encoded(next(_seeds), "WEBP", lossless=True) for _ in labels]
    (root / "test").mkdir(parents=True)
    with tarfile.open(root / "test" / "0.tar", "w") as archive:
        for number, (content, label) in enumerate(zip(images, labels, strict=True)):
            parts = {"cls": str(label).encode(), "webp": content}
            if arrays is not None:
                buffer = io.BytesIO()
                np.save(buffer, np.array(arrays[number]))
                parts["npy"] = buffer.getvalue()
            for ending, part in parts.items():
                info = tarfile.TarInfo(f"s{number:07}.{ending}")
                info.size = len(part)
                archive.addfile(info, io.BytesIO(part))
    (root / "classnames.txt").write_text("\n".join(names) + "\n")
    return {content: of[label] for content, label in zip(images, labels, strict=True)}


def pcam(root: Path) -> Expected:
    """No other layout of it is read."""
    return shards(root, ["lymph node", "lymph node containing metastatic tumor tissue"], [1, 0, 1], ["0", "1"])


def geode(root: Path) -> Expected:
    """Labels in another order than ours; the region is the first number of each array."""
    names = ["tree", "bag", "bicycle"]
    return shards(root, names, [0, 1, 1, 2], names, arrays=[[2, 7], [0, 1], [5, 1], [2, 3]])


DOLLAR_STREET = [f"thing {number}" for number in range(58)]
"""Stand for the names of its classes, which no source but its own file has."""


def dollar_street(root: Path) -> Expected:
    """The class of the income is the first number of each array."""
    arrays = [[0, 900, 1], [3, 40, 2], [3, 41, 0], [1, 7, 0]]
    return shards(root, DOLLAR_STREET, [0, 57, 8, 9], list(ids("dollar_street")), arrays=arrays)


def voc2007_crops(root: Path) -> Expected:
    names = list(ids("voc2007_crops"))
    return shards(root, names, [19, 0, 3, 10, 0], names)


def clevr_shards(root: Path) -> Expected:
    """Labels from nought, named in words."""
    words = ["three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    return shards(root, words, [7, 0, 3, 0], list(ids("clevr_counts")))


def clevr_counts(root: Path) -> Expected:
    base = root / "clevr" / "CLEVR_v1.0"
    expected, scenes = {}, []
    for place, one in enumerate(reversed(ids("clevr_counts"))):
        name = f"CLEVR_val_{place:06}.png"
        expected[put(base / "images" / "val" / name, "PNG")] = one
        scenes.append({"image_filename": name, "objects": [{"pixel_coords": [1, 2, 9.5]}] * int(one)})
    (base / "scenes").mkdir()
    (base / "scenes" / "CLEVR_val_scenes.json").write_text(json.dumps({"info": {}, "scenes": scenes[::-1]}))
    return expected


def voc2007(root: Path) -> Expected:
    """Four images: a person with a dog; a cat; a difficult chair beside a table; a difficult boat alone."""
    base = root / "VOCdevkit" / "VOC2007"
    told: dict[str, dict[str, int]] = {
        "000001": {"person": 1, "dog": 1},
        "000002": {"cat": 1},
        "000004": {"chair": 0, "diningtable": 1},
        "000006": {"boat": 0},
    }
    lists = base / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for word in ids("voc2007"):
        lines = [f"{image} {of.get(word, -1):2}" for image, of in told.items()]
        (lists / f"{word}_test.txt").write_text("\n".join(lines) + "\n")
    first = {"000001": "dog", "000002": "cat", "000004": "diningtable", "000006": "boat"}
    return {put(base / "JPEGImages" / f"{image}.jpg"): first[image] for image in told}


def real_labels(path: Path, told: dict[int, list[int]]) -> None:
    """`real.json`, all empty but for the images ``told``, counted from 1."""
    path.write_text(json.dumps([told.get(number, []) for number in range(1, 50_001)]))


def imagenet_real(root: Path) -> Expected:
    """Flat validation images; the second has no label of ReaL, the third is not there."""
    imagenet_flat(root)
    real_labels(root / "real.json", {1: [0, 277], 3: [5], 4: [278, 5], 5: [1, 0]})
    wnids = {1: "n02119022", 4: "n02119789", 5: "n01443537"}  # the last has lost its own
    return {(root / "val" / f"ILSVRC2012_val_{number:08}.JPEG").read_bytes(): wnids[number] for number in wnids}


def imagenet_o(root: Path) -> Expected:
    """An outlier of each of three classes, and ImageNet's images of two of them and of a class of its other 800."""
    outliers = folders(root / "imagenet-o", [(one, one) for one in ids("imagenet_o")[:3]])
    normal = {
        put(root / "imagenet" / "val" / wnid / f"ILSVRC2012_val_{number:08}.JPEG"): wnid
        for number, wnid in enumerate([*ids("imagenet_o")[:2], "n01440764"], start=1)
    }
    return {**outliers, **{content: one for content, one in normal.items() if one != "n01440764"}}


def hateful_memes(root: Path) -> Expected:
    rows, expected = [], {}
    for number, label in enumerate([0, 1, 1, 0, 1]):
        expected[put(root / "img" / f"{number:05}.png", "PNG")] = str(label)
        rows.append(json.dumps({"id": number, "img": f"img/{number:05}.png", "label": label, "text": "a joke, or not"}))
    (root / "dev.jsonl").write_text("\n".join(rows) + "\n")
    return expected


def _table(path: Path, head: str, rows: Iterable[Iterable[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *(",".join(str(value) for value in row) for row in rows)]) + "\n")


def waterbirds(root: Path) -> Expected:
    """No waterbird on land is in the test split."""
    rows, expected = [], {}
    for number, (y, split, place) in enumerate([(0, 2, 0), (1, 2, 1), (0, 2, 1), (1, 0, 0), (1, 2, 1), (0, 1, 0)]):
        name = f"{number:03}.Some_Bird/Some_Bird_{number:04}.jpg"
        content = put(root / "waterbird_complete95_forest2water2" / name)
        if split == 2:
            expected[content] = str(y)
        rows.append((number, name, y, split, place, f"/b/bamboo_forest/{number:08}.jpg"))
    table = root / "waterbird_complete95_forest2water2" / "metadata.csv"
    _table(table, "img_id,img_filename,y,split,place,place_filename", rows)
    return expected


def celeba_hair(root: Path) -> Expected:
    told = [(-1, -1, 2), (1, -1, 2), (1, 1, 2), (1, 1, 0), (-1, 1, 2), (-1, 1, 1)]
    expected = {}
    for number, (blond, _, part) in enumerate(told, start=1):
        content = put(root / "img_align_celeba" / "img_align_celeba" / f"{number:06}.jpg")
        if part == 2:
            expected[content] = str(blond)
    names = [f"{number:06}.jpg" for number in range(1, len(told) + 1)]
    _table(root / "list_attr_celeba.csv", "image_id,Bangs,Blond_Hair,Male",
           ((name, 1, blond, male) for name, (blond, male, _) in zip(names, told, strict=True)))  # fmt: skip
    _table(root / "list_eval_partition.csv", "image_id,partition",
           ((name, part) for name, (_, _, part) in zip(names, told, strict=True)))  # fmt: skip
    return expected


def iwildcam(root: Path) -> Expected:
    rows, expected = [], {}
    for number, (split, y) in enumerate([("train", 4), ("test", 4), ("test", 0), ("id_test", 0), ("test", 181)]):
        name = f"8{number}a-21bc.jpg"
        content = put(root / "iwildcam_v2.0" / "train" / name)
        if split == "test":
            expected[content] = str(y)
        rows.append((number, split, name, y, "2013-06-05 05:44:19.000"))
    _table(root / "iwildcam_v2.0" / "metadata.csv", "image_id,split,filename,y,datetime", rows)
    return expected


def fmow(root: Path) -> Expected:
    """The second row is of the sequestered split, which is counted; the region of the last country is not known."""
    told = [
        ("test", "2016-03-01T09:00:00Z", "zoo", "FRA"), ("seq", "2016-03-01T09:00:00Z", "zoo", "FRA"),
        ("test", "2015-12-31T23:00:00Z", "port", "FRA"), ("train", "2016-05-01T09:00:00Z", "port", "KEN"),
        ("test", "2017-05-01T09:00:00Z", "port", "KEN"), ("test", "2017-05-01T09:00:00Z", "zoo", "XKX"),
    ]  # fmt: skip
    base, expected = root / "fmow_v1.1", {}
    for number in (0, 2, 4, 5):
        content = put(base / "images" / f"rgb_img_{number}.png", "PNG")
        if number != 2:
            expected[content] = told[number][2]
    _table(base / "rgb_metadata.csv", "split,timestamp,category,country_code", told)
    codes = [("France", "FRA", "Europe"), ("Kenya", "KEN", "Africa"), ("Peru", "PER", "Americas")]
    _table(base / "country_code_mapping.csv", "name,alpha-3,region", codes)
    return expected


def camelyon17(root: Path) -> Expected:
    base, rows, expected = root / "camelyon17_v1.0", [], {}
    for number, (center, tumor) in enumerate([(2, 1), (1, 0), (2, 0), (0, 1)]):
        name = f"patient_{number:03}_node_{number}"
        content = put(base / "patches" / name / f"patch_{name}_x_{3328 + number}_y_21792.png", "PNG")
        if center == 2:
            expected[content] = str(tumor)
        rows.append((number, f"{number:03}", number, 3328 + number, 21792, tumor, 7, center, 0))
    _table(base / "metadata.csv", ",patient,node,x_coord,y_coord,tumor,slide,center,split", rows)
    return expected


def clevr_distance(root: Path) -> Expected:
    """The nearest object of a scene is not its first; a distance on an edge belongs to the class below it."""
    base = root / "clevr" / "CLEVR_v1.0"
    nearest = {"0 to 8": 8.0, "8 to 8.5": 8.25, "8.5 to 9": 9.0, "9 to 9.5": 9.1, "9.5 to 10": 10.0, "10 to 100": 10.5}
    expected, scenes = {}, []
    for place, (one, distance) in enumerate(reversed(nearest.items())):
        name = f"CLEVR_val_{place:06}.png"
        expected[put(base / "images" / "val" / name, "PNG")] = one
        objects = [{"pixel_coords": [1, 2, far]} for far in (distance + 3, distance, 40.5)]
        scenes.append({"image_filename": name, "objects": objects})
    (base / "scenes").mkdir()
    (base / "scenes" / "CLEVR_val_scenes.json").write_text(json.dumps({"info": {}, "scenes": scenes}))
    return expected


def clevr_distance_shards(root: Path) -> Expected:
    """The fourth of its names is empty, as the hub has it."""
    words = ["very nearby", "nearby", "near", "", "distant", "very distant"]
    return shards(root, words, [5, 3, 0, 2], list(ids("clevr_distance")))


KITTI_VIDEOS = [f"2011_09_26_drive_{number:04}_sync" for number in range(1, 41)]
"""Of forty videos four are tested: those at the places 6, 10, 12 and 38 of the sorted names."""


def kitti_distance(root: Path) -> Expected:
    """Two images a video; the devkit's lines are in another order than the images."""
    base = root / "Kitti" / "raw"
    lines = [(video, frame) for video in KITTI_VIDEOS for frame in range(2)]
    order = sorted(range(len(lines)), key=lambda line: (line * 37) % len(lines))
    (base / "mapping").mkdir(parents=True)
    rows = "".join(f"2011_09_26 {video} {frame:010}\n" for video, frame in lines)
    (base / "mapping" / "train_mapping.txt").write_text(rows)
    (base / "mapping" / "train_rand.txt").write_text(",".join(str(line + 1) for line in order))
    (base / "training" / "label_2").mkdir(parents=True)
    tested = {KITTI_VIDEOS[place] for place in (6, 10, 12, 38)}
    distances = {"up to 8 m": 8.0, "8 to 20 m": 8.01, "20 to 999 m": 20.5, "none": None}
    expected = {}
    for number, line in enumerate(order):
        one = ids("kitti_distance")[(line // 2 + line) % 4]
        content = put(base / "training" / "image_2" / f"{number:06}.png", "PNG")
        if lines[line][0] in tested:
            expected[content] = one
        size = "0.00 0 -0.20 712.40 143.00 810.73 307.92 1.89 0.48 1.20 1.84 1.47"
        objects = [f"Pedestrian {size} 3.2 0.01"]
        if (near := distances[one]) is not None:
            objects += [f"Truck {size} {near + 30} 0.01", f"Van {size} {near} 0.01", f"DontCare {size} -1000 -10"]
        (base / "training" / "label_2" / f"{number:06}.txt").write_text("\n".join(objects) + "\n")
    return expected


def kitti_shards(root: Path) -> Expected:
    """Named by the sentences, in an order that is not that of the labels."""
    sentences = read_spec("kitti_distance").classes.names["openai"]
    return shards(root, list(sentences[::-1]), [3, 0, 2], list(ids("kitti_distance")[::-1]))


def named_shards(name: str, labels: list[int]) -> Callable[[Path], Expected]:
    """Shards of a data set of which no other layout is read, with CLIP_benchmark's names."""
    return lambda root: shards(root, list(read_spec(name).classes.names["clip_benchmark"]), labels, list(ids(name)))


FACTORS = (
    "multiple_objects", "background", "color", "brighter", "darker", "style", "larger", "smaller", "object_blocking",
    "person_blocking", "partial_view", "pattern", "pose", "shape", "subcategory", "texture",
)  # fmt: skip
"""Those of ImageNet-X, in the order of its files."""


def imagenet_x(root: Path, factor: str | None = None) -> Expected:
    """Ten images in class folders: one is a prototype, one not annotated, one has no factor; two factors take turns."""
    wnids = ("n01440764", "n02119022")
    expected, rows = {}, []
    for number in range(1, 11):
        wnid = wnids[number % 2]
        name = f"ILSVRC2012_val_{number:08}.JPEG"
        content = put(root / "val" / wnid / name)
        if number == 4:
            continue  # no annotation
        top = "pose" if number % 3 else "style"
        row = {"file_name": name, "class": ids("imagenet").index(wnid), **dict.fromkeys(FACTORS, 0), "one_word": "é"}
        rows.append(json.dumps({**row, **({top: 1} if number != 9 else {})}, ensure_ascii=False))
        if number != 7 and factor in (None, top if number != 9 else ""):
            expected[content] = wnid
    (root / "imagenet_x_val_top_factor.jsonl").write_text("\n".join(rows[::-1]) + "\n")
    (root / "prototypical_paths.csv").write_text("file_name\nILSVRC2012_val_00000007.JPEG\n")
    return expected


def inaturalist2017(root: Path, inside: str = "train_val_images") -> Expected:
    """Training images lie beside those that the JSON file names; its categories are in another order than labels."""
    species = [("Insecta", ids("inaturalist2017")[0]), ("Aves", "Ardea herodias"), ("Aves", "Accipiter cooperii")]
    expected, images, annotations = {}, [], []
    for place, (above, one) in enumerate(species * 2):
        path = f"{above}/{one}/{place:032x}.jpg"
        content = put(root / inside / path)
        if place == 0:
            continue  # a training image
        expected[content] = one
        images.append({"id": 100 - place, "file_name": f"train_val_images/{path}", "width": 8})
        annotations.append({"id": place, "image_id": 100 - place, "category_id": 7 - place % 3})
    categories = [{"id": 7 - place, "name": one, "supercategory": above} for place, (above, one) in enumerate(species)]
    content = {"images": images, "annotations": annotations[::-1], "categories": categories}
    (root / "val2017.json").write_text(json.dumps(content))
    return expected


def inaturalist2021(root: Path, images: str = "val") -> Expected:
    """The categories stand in another order than their numbers; the last alone has a common name."""
    folder = {
        number: f"{number:05}_Animalia_Chordata_Aves_Order_Family_Genus_species{number}" for number in (0, 8, 9_999)
    }
    expected, told, annotations = {}, [], []
    for place, number in enumerate((9_999, 8, 0, 8)):
        path = f"{folder[number]}/{place:036}.jpg"
        expected[put(root / images / path)] = str(number)
        told.append({"id": 50 - place, "file_name": f"val/{path}"})
        annotations.append({"id": place, "image_id": 50 - place, "category_id": number})
    categories = [
        {"id": number, "name": f"Genus species{number}", "common_name": "great auk" if number == 9_999 else None}
        for number in range(9_999, -1, -1)
    ]
    content = {"images": told, "annotations": annotations, "categories": categories}
    (root / "val.json").write_text(json.dumps(content))
    return expected


def kinetics400(root: Path) -> Expected:
    return folders(root / "val", [(one, one) for one in ids("kinetics400")[::57]])


def fer2013_folders(root: Path) -> Expected:
    """A copy of FER2013 with a folder per class."""
    return folders(root / "test", [(one, one) for one in ids("fer2013")], 2)


def _random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(next(_seeds)).integers(0, 256, shape, dtype=np.uint8)


def _by_pixels(pixels: Iterable[np.ndarray], names: Iterable[str]) -> Expected:
    """Pixels of an image in RGB -> id of its class."""
    return {
        np.array(Image.fromarray(image).convert("RGB")).tobytes(): one for image, one in zip(pixels, names, strict=True)
    }


def mnist(root: Path, packed: bool = False, signs: str = "--") -> Expected:
    """Images of other sides than 28, to see that they are taken from the file and not turned."""
    base = root / "MNIST" / "raw"
    base.mkdir(parents=True)
    digits = [int(one) for one in reversed(ids("mnist"))] + [3]
    pixels = _random_pixels(len(digits), 28, 24)
    files = {
        f"t10k-images{signs[0]}idx3-ubyte": struct.pack(">IIII", 2051, *pixels.shape) + pixels.tobytes(),
        f"t10k-labels{signs[1]}idx1-ubyte": struct.pack(">II", 2049, len(digits)) + bytes(digits),
    }
    for name, content in files.items():
        (base / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return _by_pixels(pixels, map(str, digits))


def stl10(root: Path) -> Expected:
    base = root / "stl10_binary"
    base.mkdir(parents=True)
    names = ids("stl10")
    pixels = _random_pixels(len(names), 96, 96, 3)
    (base / "test_X.bin").write_bytes(pixels.transpose(0, 3, 2, 1).tobytes())
    (base / "test_y.bin").write_bytes(bytes(reversed(range(1, len(names) + 1))))
    (base / "class_names.txt").write_text("\n".join(names) + "\n")
    return _by_pixels(pixels, reversed(names))


def svhn(root: Path) -> Expected:
    root.mkdir(parents=True, exist_ok=True)
    labels = [10, 1, 9, 5, 10, 2]
    pixels = _random_pixels(len(labels), 32, 32, 3)
    content = {"X": pixels.transpose(1, 2, 3, 0), "y": np.array([labels], dtype=np.uint8).T}
    scipy.io.savemat(root / "test_32x32.mat", content)
    return _by_pixels(pixels, (str(label % 10) for label in labels))


FER2013_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def fer2013(root: Path, file: str = "fer2013.csv") -> Expected:
    """Rows of all three parts; the columns of the two files have another order."""
    base = root / "fer2013"
    base.mkdir(parents=True)
    pixels = _random_pixels(9, 48, 48)
    head = "emotion,pixels,Usage" if file == "fer2013.csv" else "emotion, Usage, pixels"
    rows, kept = [head], []
    for place, image in enumerate(pixels):
        usage = ("PrivateTest", "Training", "PublicTest")[place % 3]
        values = " ".join(map(str, image.ravel().tolist()))
        emotion = (place * 5) % 7
        rows.append(f"{emotion},{values},{usage}" if file == "fer2013.csv" else f"{emotion},{usage},{values}")
        if usage != "Training":
            kept.append((image, FER2013_EMOTIONS[emotion]))
    (base / file).write_text("\n".join(rows) + "\n")
    return _by_pixels(*zip(*kept, strict=True))


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
    return np.array(Image.open(io.BytesIO(content)).convert("RGB")).tobytes()


def default_names(spec: str) -> str:
    """The list of class names that is taken where none is named."""
    classes = read_spec(spec).classes
    return next(iter((*classes.names, *classes.carried)))


DEFAULTS: dict[str, Any] = {"source": "local", "protocol": "custom", "limit": None, "seed": 0}


def load(name: str, path: Path | None, cache: Path, **changes: Any) -> Dataset:
    spec = str(changes.pop("spec", name))
    names = default_names(spec)
    given = None if path is None else str(path)
    settings = {**DEFAULTS, "names": names, "spec": spec, "path": given, "root": str(cache / "datasets"), **changes}
    return NamedSource(**settings)(cache)


def ids_of(found: Dataset, name: str) -> Expected:
    ids = read_spec(name).classes.ids
    return {found.read(i): ids[label] for i, label in enumerate(found.labels)}


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
    "places365": places365,
    "caltech256": caltech256,
    "country211": country211,
    "objectnet": objectnet,
    "stanford_dogs": stanford_dogs,
    "gtsrb": gtsrb,
    "rendered_sst2": rendered_sst2,
    "pcam": pcam,
    "clevr_counts": clevr_counts,
    "voc2007_crops": voc2007_crops,
    "voc2007": voc2007,
    "imagenet_real": imagenet_real,
    "imagenet_o": imagenet_o,
    "hateful_memes": hateful_memes,
    "waterbirds": waterbirds,
    "celeba_hair": celeba_hair,
    "iwildcam": iwildcam,
    "fmow": fmow,
    "camelyon17": camelyon17,
    "geode": geode,
    "dollar_street": dollar_street,
    "clevr_distance": clevr_distance,
    "kitti_distance": kitti_distance,
    "dmlab": named_shards("dmlab", [5, 0, 3, 1]),
    "diabetic_retinopathy": named_shards("diabetic_retinopathy", [4, 0, 0, 2]),
    "smallnorb_azimuth": named_shards("smallnorb_azimuth", [17, 0, 10, 1]),
    "smallnorb_elevation": named_shards("smallnorb_elevation", [8, 0, 3]),
    "dsprites_orientation": named_shards("dsprites_orientation", [39, 10, 1]),
    "dsprites_x_position": named_shards("dsprites_x_position", [31, 10, 1]),
    "inaturalist2017": inaturalist2017,
    "inaturalist2021": inaturalist2021,
    "kinetics400": kinetics400,
    "imagenet_x": imagenet_x,
}
"""Of each data set whose images are files."""

ARRAYS: dict[str, Callable[[Path], Expected]] = {"mnist": mnist, "stl10": stl10, "svhn": svhn, "fer2013": fer2013}
"""Of each data set whose images are arrays, but for CIFAR; an image is told by its pixels."""
