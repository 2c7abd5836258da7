"""Each data set in its true layout, in miniature: the right label, the right name, and what torchvision says."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import trees
from making import encoded
from trees import ARRAYS, MAKERS, Expected, ids_of, load, pixels_of

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.named import NamedSource
from cupl_bench.dataset.spec import read_spec
from cupl_bench.dataset.texts import spec_names
from cupl_bench.errors import DataNotHereError, DatasetError


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MAKERS))
def test_every_image_has_its_label_and_every_label_its_name(name: str, tmp_path: Path) -> None:
    expected = MAKERS[name](tmp_path / "set")
    found = load(name, tmp_path / "set", tmp_path / "cache")
    assert len(found.labels) == len(expected)
    assert ids_of(found, name) == expected
    classes = read_spec(name).classes
    if not classes.carried:
        assert found.class_names == next(iter(classes.names.values()))
    assert found.split.startswith(f"custom: {len(expected)} of ")


@pytest.mark.parametrize("make", [trees.imagenet_folders, trees.imagenet_flat, trees.imagenet_suffixed])
def test_imagenet_in_three_layouts(make: Callable[[Path], Expected], tmp_path: Path) -> None:
    expected = make(tmp_path / "set")
    found = load("imagenet", tmp_path / "set", tmp_path / "cache")
    assert ids_of(found, "imagenet") == expected
    label_of = {trees.ids("imagenet")[label]: label for label in found.labels.tolist()}
    assert label_of["n02119022"] == 277
    assert found.class_names[277] == "red fox"


def test_imagenets_folder_is_found_from_inside_and_outside(tmp_path: Path) -> None:
    expected = trees.imagenet_folders(tmp_path / "datasets" / "imagenet")
    for path in (tmp_path / "datasets" / "imagenet", tmp_path / "datasets" / "imagenet" / "val", None):
        assert ids_of(load("imagenet", path, tmp_path), "imagenet") == expected


def test_torchvision_numbers_the_folders_that_are_there_we_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import ImageNet, imagenet

    trees.imagenet_folders(tmp_path)
    wnids = dict.fromkeys(trees.ids("imagenet"), ("name",))
    (tmp_path / "meta.bin").write_bytes(b"")
    monkeypatch.setattr(imagenet, "load_meta_file", lambda root: (wnids, []))
    theirs = {Path(path).read_bytes(): label for path, label in ImageNet(str(tmp_path), split="val").samples}
    ours = load("imagenet", tmp_path, tmp_path / "cache")
    ids = sorted({path.parent.name for path in (tmp_path / "val").glob("*/*")})
    for i, label in enumerate(ours.labels):
        assert ids[theirs[ours.read(i)]] == trees.ids("imagenet")[label]
    assert ids.index("n02119022") == 1
    assert 277 in ours.labels


def test_imagenet_whole_equals_torchvisions(tmp_path: Path) -> None:
    """With all thousand folders both count alike."""
    from torchvision.datasets import ImageFolder

    content = encoded(1)
    for wnid in trees.ids("imagenet"):
        (tmp_path / "val" / wnid).mkdir(parents=True)
        (tmp_path / "val" / wnid / "a.JPEG").write_bytes(content)
    ours = load("imagenet", tmp_path, tmp_path / "cache")
    theirs = ImageFolder(str(tmp_path / "val"))
    assert ours.labels.tolist() == theirs.targets == list(range(1000))
    assert list(ours.image_ids) == [str(Path(path).relative_to(tmp_path / "val")) for path, _ in theirs.samples]


def test_the_devkits_numbers_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    from torchvision.datasets.imagenet import parse_devkit_archive  # noqa: F401 - its steps are those below

    trees.imagenet_flat(tmp_path)
    data = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    meta = scipy.io.loadmat(str(data / "meta.mat"), squeeze_me=True)["synsets"]
    leaves = [row for row in meta if row[4] == 0]
    wnid_of = {int(row[0]): str(row[1]) for row in leaves}
    truth = [int(line) for line in (data / "ILSVRC2012_validation_ground_truth.txt").read_text().split()]
    ours = load("imagenet", tmp_path, tmp_path / "cache")
    theirs = [trees.ids("imagenet").index(wnid_of[number]) for place, number in enumerate(truth) if place != 2]
    assert ours.labels.tolist() == theirs
    assert {277, 278} <= set(theirs)


def test_a_flat_folder_without_devkit_says_what_to_fetch(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(encoded(1))
    with pytest.raises(
        DatasetError,
        match=r"their labels are in the devkit. Download https://image-net.org/.*t12.tar.gz and unpack it into",
    ):
        load("imagenet", tmp_path, tmp_path / "cache")


def test_imagenets_duplicate_names_stay_unless_asked(tmp_path: Path) -> None:
    """Rule 3: 998 distinct names; each of the thousand labels is its own."""
    trees.imagenet_suffixed(tmp_path / "set")
    found = load("imagenet", tmp_path / "set", tmp_path / "cache")
    assert len(found.class_names) == 1000
    assert len(set(found.class_names)) == 998
    assert found.class_names[657] == found.class_names[744] == "missile"
    told = load("imagenet", tmp_path / "set", tmp_path / "cache", names="disambiguated")
    assert len(set(told.class_names)) == 1000
    assert [place for place in range(1000) if told.class_names[place] != found.class_names[place]] == [744, 836]
    assert told.fingerprint != found.fingerprint
    with pytest.raises(DatasetError, match="dataset.names=disambigated is not a list.*Did you mean 'disambiguated'"):
        load("imagenet", tmp_path / "set", tmp_path / "cache", names="disambigated")


def test_cubs_names_in_three_spellings(tmp_path: Path) -> None:
    trees.cub(tmp_path / "set")
    spelled = {
        names: load("cub", tmp_path / "set", tmp_path / "cache", names=names).class_names
        for names in ("archive", "hyphen", "lower")
    }
    at = [0, 21, 140]
    assert [spelled["archive"][i] for i in at] == ["Black footed Albatross", "Chuck will Widow", "Artic Tern"]
    assert [spelled["hyphen"][i] for i in at] == ["Black-footed Albatross", "Chuck-will Widow", "Artic Tern"]
    assert [spelled["lower"][i] for i in at] == ["black footed albatross", "chuck will widow", "artic tern"]
    assert "Gray-crowned-Rosy Finch" in spelled["hyphen"]


@pytest.mark.parametrize("base", ["CUB_200_2011", "", "CUB_200_2011/CUB_200_2011"])
def test_cub_nested_as_copies_have_it(base: str, tmp_path: Path) -> None:
    expected = trees.cub(tmp_path / "set", base)
    found = load("cub", tmp_path / "set", tmp_path / "cache")
    assert ids_of(found, "cub") == expected
    assert sorted(set(found.labels.tolist())) == [0, 1, 21, 140]


def test_cubs_files_must_name_the_same_images(tmp_path: Path) -> None:
    trees.cub(tmp_path)
    split = tmp_path / "CUB_200_2011" / "train_test_split.txt"
    split.write_text("".join(f"{line}\n" for line in split.read_text().splitlines() if line != "11 1"))
    with pytest.raises(DatasetError, match="images.txt and train_test_split.txt differ in 1 image ids, first: '11'"):
        load("cub", tmp_path, tmp_path / "cache")


def by_content(samples: Any) -> dict[bytes, int]:
    return {Path(path).read_bytes(): int(label) for path, label in samples}


def ours_by_content(found: Dataset) -> dict[bytes, int]:
    return {found.read(i): int(label) for i, label in enumerate(found.labels)}


def torchvisions(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[bytes, int]:
    from torchvision import datasets as theirs

    if name == "flowers":
        monkeypatch.setattr(
            theirs.Flowers102,
            "_file_dict",
            {key: (file, None) for key, (file, _) in theirs.Flowers102._file_dict.items()},
        )
        opened = theirs.Flowers102(str(root), split="test")
    elif name == "dtd":
        opened = theirs.DTD(str(root / "dtd").removesuffix("/dtd"), split="test", partition=1)
    elif name == "food101":
        opened = theirs.Food101(str(root), split="test")
    elif name == "aircraft":
        opened = theirs.FGVCAircraft(str(root), split="test", annotation_level="variant")
    elif name == "pets":
        opened = theirs.OxfordIIITPet(str(root), split="test", target_types="category")
        return by_content(zip(opened._images, opened._labels, strict=True))
    elif name == "sun397":
        opened = theirs.SUN397(str(root))
    elif name == "cars":
        return by_content(theirs.StanfordCars(str(root), split="test")._samples)
    elif name == "eurosat":
        return by_content(theirs.EuroSAT(str(root)).samples)
    elif name == "country211":
        opened = theirs.Country211(str(root), split="test")
        label_of = {one: label for label, one in enumerate(trees.ids(name))}  # some of the folders, numbered from 0
        return {content: label_of[opened.classes[label]] for content, label in by_content(opened.samples).items()}
    elif name == "gtsrb":
        return by_content(theirs.GTSRB(str(root), split="test")._samples)
    elif name == "clevr_counts":
        opened = theirs.CLEVRClassification(str(root), split="val")
        return by_content(zip(opened._image_files, (count - 3 for count in opened._labels), strict=True))
    elif name == "rendered_sst2":
        return by_content(theirs.RenderedSST2(str(root), split="test")._samples)
    elif name == "places365":
        monkeypatch.setattr(theirs.Places365, "_check_integrity", lambda *_: True)
        opened = theirs.Places365(str(root), split="val", small=True)
        return by_content(opened.imgs)
    else:
        opened = theirs.Caltech101(str(root))
        base = root / "caltech101" / "101_ObjectCategories"
        files = [
            base / opened.categories[label] / f"image_{number:04}.jpg"
            for label, number in zip(opened.y, [0] * len(opened.y), strict=True)
        ]
        return {path.read_bytes(): label + 1 for path, label in zip(files, opened.y, strict=True)}  # no background
    files = opened._image_files
    return by_content(zip(files, opened._labels, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "flowers", "dtd", "food101", "aircraft", "pets", "sun397", "cars", "eurosat", "caltech101", "country211",
        "gtsrb", "rendered_sst2", "places365", "clevr_counts",
    ],
)  # fmt: skip
def test_labels_equal_torchvisions_on_the_same_tree(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS[name](tmp_path / "set")
    ours = ours_by_content(load(name, tmp_path / "set", tmp_path / "cache"))
    if name == "caltech101":
        for number in (tmp_path / "set").glob("caltech101/101_ObjectCategories/*/image_0000.jpg"):
            number.with_name("image_0001.jpg").write_bytes(number.read_bytes())  # torchvision counts from one
        ours = {content: label for content, label in ours.items() if label != 0}
    theirs = torchvisions(name, tmp_path / "set", monkeypatch)
    assert ours == theirs
    assert len(set(ours.values())) > 4 or len(trees.ids(name)) == 2


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar_is_torchvisions(hundred: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets as theirs

    name = "cifar100" if hundred else "cifar10"
    expected, md5 = trees.cifar(tmp_path / "set", hundred)
    known = theirs.CIFAR100 if hundred else theirs.CIFAR10
    with pytest.raises(DatasetError, match="is not whole .*download it again: https://"):
        load(name, tmp_path / "set", tmp_path / "cache")
    monkeypatch.setattr(known, "train_list", [])
    monkeypatch.setattr(
        known, "test_list", [["test" if hundred else "test_batch", md5["test" if hundred else "test_batch"]]]
    )
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": md5[known.meta["filename"]]})
    found = load(name, tmp_path / "set", tmp_path / "cache")
    assert {pixels_of(content): one for content, one in ids_of(found, name).items()} == expected
    opened = known(str(tmp_path / "set"), train=False)
    assert found.labels.tolist() == opened.targets
    assert pixels_of(found.read(2)) == opened.data[2].tobytes()
    again = load(name, tmp_path / "set", tmp_path / "other")
    assert again.fingerprint == found.fingerprint


def test_a_flower_split_of_one_image(tmp_path: Path) -> None:
    """torchvision fails on it: MATLAB stores a scalar."""
    expected = trees.flowers(tmp_path / "set", test=(4,))
    assert ids_of(load("flowers", tmp_path / "set", tmp_path / "cache"), "flowers") == expected


def test_flower_labels_do_not_overflow(tmp_path: Path) -> None:
    """Labels are stored in 8 bits; 102 - 1 must stay 101 and 1 - 1 must be 0."""
    trees.flowers(tmp_path / "set", labels=(1, 102, 102), test=(1, 2))
    assert load("flowers", tmp_path / "set", tmp_path / "cache").labels.tolist() == [0, 101]


def test_a_training_image_is_never_in_the_split(tmp_path: Path) -> None:
    trees.cub(tmp_path / "set")
    found = load("cub", tmp_path / "set", tmp_path / "cache")
    assert not [name for name in found.image_ids if "_0000_" in name]
    assert len(found.labels) == 8


@pytest.mark.parametrize("name", ["caltech101", "resisc45", "sun397", "eurosat"])
def test_a_whole_archive_is_a_protocol_of_its_own(name: str, tmp_path: Path) -> None:
    """SUN397 has three test sets, Caltech-101 and RESISC45 a drawn one: all images are none of them."""
    MAKERS[name](tmp_path / "set")
    if name == "sun397":
        (tmp_path / "set" / "SUN397" / "Testing_01.txt").unlink()
    if name == "eurosat":
        with pytest.raises(DatasetError, match="holds 20 images of 10 classes; EuroSAT .* has 27,000 of 10"):
            load(name, tmp_path / "set", tmp_path / "cache", protocol="standard")
        return
    with pytest.raises(DatasetError, match="belong to dataset.protocol='all', not to standard"):
        load(name, tmp_path / "set", tmp_path / "cache", protocol="standard")


def test_coops_split_is_a_protocol_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "set"
    base = root / "caltech101"
    expected = trees.folders(base / "101_ObjectCategories", [(one, one) for one in ("Faces", "accordion", "yin_yang")])
    rows = [
        [f"{one}/image_0000.jpg", label, one.lower()] for label, one in enumerate(["Faces", "accordion", "yin_yang"])
    ]
    (base / "split_zhou_Caltech101.json").write_text(json.dumps({"train": [], "val": [], "test": rows}))
    with pytest.raises(
        DatasetError, match="holds 3 images of 3 classes; Caltech-101, split coop test, has 2,465 of 100"
    ):
        load("caltech101", root, tmp_path / "cache", protocol="coop")
    spec = mended(
        "caltech101",
        tmp_path,
        "coop",
        3,
        [one for one in trees.ids("caltech101") if one not in ("Faces", "accordion", "yin_yang")],
    )
    found = load("caltech101", root, tmp_path / "cache", protocol="coop", spec=spec)
    assert found.class_names == ("off-center face", "accordion", "yin and yang symbol")
    assert {
        found.read(i): ("Faces", "accordion", "yin_yang")[label] for i, label in enumerate(found.labels)
    } == expected
    assert found.split == "coop test"


def mended(
    name: str, folder: Path, protocol: str, size: int, without: list[str] | None = None, **changes: object
) -> Path:
    """The spec of ``name`` with another size, so that a miniature is whole."""
    from cupl_bench.dataset.texts import spec_content

    content: Any = spec_content(name)
    if "of" in content["classes"]:
        content["classes"] = json.loads(read_spec(name).classes.model_dump_json())
    content["protocols"][protocol] |= {"num_images": size} | ({} if without is None else {"without": without})
    content["protocols"][protocol] |= changes
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_the_whole_data_set_is_its_standard_protocol(tmp_path: Path) -> None:
    trees.dtd(tmp_path / "set")
    found = load(
        "dtd", tmp_path / "set", tmp_path / "cache", protocol="standard", spec=mended("dtd", tmp_path, "standard", 47)
    )
    assert found.split == "test1"
    assert len(found.labels) == 47


@pytest.mark.slow
@pytest.mark.parametrize("name", spec_names())
def test_anything_but_the_expected_size_is_refused(name: str, tmp_path: Path) -> None:
    """Rule 9."""
    if name.startswith("cifar"):
        pytest.skip("CIFAR's files are checked by their md5")
    (MAKERS | ARRAYS)[name](tmp_path / "set")
    with pytest.raises(DatasetError, match="dataset.protocol=") as caught:
        load(name, tmp_path / "set", tmp_path / "cache", protocol="standard")
    assert "dataset.protocol=custom" in str(caught.value)


def test_a_class_without_images_is_refused_even_if_the_size_fits(tmp_path: Path) -> None:
    trees.dtd(tmp_path / "set")
    labels = tmp_path / "set" / "dtd" / "dtd" / "labels" / "test1.txt"
    labels.write_text(labels.read_text().replace("woven/woven_0002.jpg", "banded/banded_0001.jpg"))
    with pytest.raises(DatasetError, match="holds 47 images of 46 classes"):
        load(
            "dtd",
            tmp_path / "set",
            tmp_path / "cache",
            protocol="standard",
            spec=mended("dtd", tmp_path, "standard", 47),
        )


def test_a_missing_image_is_refused_or_left_out_and_told(tmp_path: Path) -> None:
    trees.dtd(tmp_path / "set")
    (tmp_path / "set" / "dtd" / "dtd" / "images" / "woven" / "woven_0002.jpg").unlink()
    with pytest.raises(DatasetError, match="1 of 47 images .* are listed but missing, first: 'woven/woven_0002.jpg'"):
        load("dtd", tmp_path / "set", tmp_path / "cache", protocol="standard")
    found = load("dtd", tmp_path / "set", tmp_path / "cache")
    assert found.split == "custom: 46 of 1880 images of test1"
    assert any("1 of 47 listed images are not there" in note for note in found.notes)
    assert any("1 of 47 classes have no image here" in note for note in found.notes)


def test_an_unknown_class_is_another_data_set(tmp_path: Path) -> None:
    trees.folders(tmp_path / "set" / "val", [("n02119022", ""), ("n99999999", "")])
    with pytest.raises(DatasetError, match="1 of 2 classes in .* are none of ImageNet-1k .*, first: 'n99999999'"):
        load("imagenet", tmp_path / "set", tmp_path / "cache")


def test_two_folders_that_mean_one_class_are_refused(tmp_path: Path) -> None:
    trees.folders(tmp_path / "set" / "test", [("Acadian_Flycatcher", ""), ("Acadian flycatcher", "")])
    with pytest.raises(DatasetError, match="are both .Acadian_Flycatcher. of Birdsnap"):
        load("birdsnap", tmp_path / "set", tmp_path / "cache")


def test_v2_by_the_number_of_its_folder_never_its_place(tmp_path: Path) -> None:
    trees.imagenet_v2(tmp_path)
    found = load("imagenet_v2", tmp_path, tmp_path / "cache")
    assert sorted(found.labels.tolist()) == [0, 1, 2, 10, 999]
    trees.folders(tmp_path / "imagenetv2-matched-frequency-format-val", [("1000", "")])
    with pytest.raises(DatasetError, match="1 labels are outside 0 to 999"):
        load("imagenet_v2", tmp_path, tmp_path / "cache")


def test_a_and_r_have_their_own_two_hundred(tmp_path: Path) -> None:
    whole = trees.ids("imagenet")
    assert [whole.index(one) for one in trees.ids("imagenet_a")[:6]] == [6, 11, 13, 15, 17, 22]
    assert [whole.index(one) for one in trees.ids("imagenet_r")[:6]] == [1, 2, 4, 6, 8, 9]
    for name in ("imagenet_a", "imagenet_r"):
        assert list(trees.ids(name)) == sorted(trees.ids(name))
        assert len(trees.ids(name)) == 200


def test_a_limit_takes_so_many_of_each_class_and_is_in_the_split(tmp_path: Path) -> None:
    trees.eurosat(tmp_path / "set")
    trees.folders(tmp_path / "set" / "eurosat" / "2750", [("River", "")], 9)
    whole = load("eurosat", tmp_path / "set", tmp_path / "cache")
    few = load("eurosat", tmp_path / "set", tmp_path / "cache", limit=2, seed=3)
    assert np.bincount(few.labels).tolist() == [2] * 10
    assert few.split == "custom: 27 of 27000 images of all images, 2 per class (seed 3)"
    assert set(few.image_ids) < set(whole.image_ids)
    assert list(few.image_ids) == [one for one in whole.image_ids if one in set(few.image_ids)]
    assert [few.read(i) for i in range(3)] == [
        whole.read(list(whole.image_ids).index(few.image_ids[i])) for i in range(3)
    ]
    again = load("eurosat", tmp_path / "set", tmp_path / "other", limit=2, seed=3)
    other = load("eurosat", tmp_path / "set", tmp_path / "cache", limit=2, seed=4)
    assert again.fingerprint == few.fingerprint != other.fingerprint


def test_the_fingerprint_is_of_content_not_of_places(tmp_path: Path) -> None:
    trees.cub(tmp_path / "one")
    shutil.copytree(tmp_path / "one" / "CUB_200_2011", tmp_path / "two")
    one, two = load("cub", tmp_path / "one", tmp_path / "c1"), load("cub", tmp_path / "two", tmp_path / "c2")
    assert one.fingerprint == two.fingerprint
    lower = load("cub", tmp_path / "one", tmp_path / "c1", names="lower")
    assert lower.fingerprint != one.fingerprint


def test_a_protocol_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"dataset.protocol=cop is not a protocol of flowers; it has 'standard', 'coop', 'custom'.*'coop'",
    ):
        load("flowers", tmp_path, tmp_path / "cache", protocol="cop")
    with pytest.raises(DatasetError, match="There is no data set 'flower'. Did you mean 'flowers'"):
        load("flowers", tmp_path, tmp_path / "cache", spec="flower")


COOP = {
    # name: folder, where the paths of the json start, split file, path of an image of a class
    "caltech101": ("caltech-101", "101_ObjectCategories", "Caltech101", "{}/image_0001.jpg"),
    "pets": ("oxford_pets", "images", "OxfordPets", "{}_201.jpg"),
    "cars": ("stanford_cars", "", "StanfordCars", "cars_test/{:05}.jpg"),
    "flowers": ("oxford_flowers", "jpg", "OxfordFlowers", "image_{:05}.jpg"),
    "food101": ("food-101", "images", "Food101", "{}/1005649.jpg"),
    "sun397": ("sun397", "SUN397", "SUN397", "{}/sun_aa.jpg"),
    "dtd": ("dtd", "images", "DescribableTextures", "{}/banded_0002.jpg"),
    "eurosat": ("eurosat", "2750", "EuroSAT", "{}/image_1.jpg"),
    "ucf101": ("ucf101", "UCF-101-midframes", "UCF101", "{}/v_g01_c01.jpg"),
}


def coop_tree(name: str, data: Path) -> dict[bytes, str]:
    """Some of the classes, in an order of its own, with labels that mean nothing."""
    folder, images, title, pattern = COOP[name]
    classes = read_spec(name).classes
    kept = [one for one in classes.ids if one not in ("BACKGROUND_Google", "Faces_easy")][
        :: -3 if name == "eurosat" else -11
    ]
    expected, rows = {}, []
    for place, one in enumerate(kept):
        word = trees._sun_path(one) if name == "sun397" else one
        path = pattern.format(place + 1 if ":05" in pattern else word)
        expected[trees.put(data / folder / images / path)] = one
        said = classes.names["torchvision" if name == "flowers" else "openai"][classes.ids.index(one)]
        if name == "cars":
            said = f"{said[-4:]} {said[:-5]}"
        rows.append([path, place, said.lower() if name == "pets" else said])
    split = data / folder / f"split_zhou_{title}.json"
    split.write_text(json.dumps({"train": [], "val": [], "test": rows}))
    return expected


@pytest.mark.parametrize("name", list(COOP))
@pytest.mark.parametrize("inside", [True, False])
def test_coops_trees(name: str, inside: bool, tmp_path: Path) -> None:
    """From DATA and from the data set's folder; labels by class, whatever the order and the numbers of the file."""
    expected = coop_tree(name, tmp_path / "data")
    path = tmp_path / "data" / COOP[name][0] if inside else tmp_path / "data"
    without = [one for one in read_spec(name).classes.ids if one not in expected.values()]
    spec = mended(name, tmp_path, "coop", len(expected), without)
    found = load(name, path, tmp_path / "cache", protocol="coop", spec=spec)
    kept = read_spec(str(spec)).classes.without(without).ids
    assert {found.read(i): kept[label] for i, label in enumerate(found.labels)} == expected
    assert any("only sizes are compared" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("imagenet", "imagenet/images/val"),
        ("imagenet_sketch", "imagenet-sketch/images"),
        ("imagenet_a", "imagenet-adversarial/imagenet-a"),
        ("imagenet_r", "imagenet-rendition/imagenet-r"),
    ],
)
def test_coops_trees_of_imagenet(name: str, inside: str, tmp_path: Path) -> None:
    expected = trees.wnid_folders(name, inside)(tmp_path)
    (tmp_path / inside / "README.txt").write_text("which is not an image")
    for path in (tmp_path, tmp_path / inside.partition("/")[0], tmp_path / inside):
        found = load(name, path, tmp_path / "cache")
        assert ids_of(found, name) == expected
        assert any(note.startswith("1 files are not images of a class folder") for note in found.notes)


def test_the_layout_whose_images_are_there_is_taken(tmp_path: Path) -> None:
    """A split file that lies at two places, of which only one has the images."""
    expected = coop_tree("dtd", tmp_path / "data")
    shutil.copy(tmp_path / "data" / "dtd" / "split_zhou_DescribableTextures.json", tmp_path / "data")
    (tmp_path / "data" / "dtd" / "dtd").mkdir()
    shutil.copy(tmp_path / "data" / "split_zhou_DescribableTextures.json", tmp_path / "data" / "dtd" / "dtd")
    found = load("dtd", tmp_path / "data", tmp_path / "cache")
    assert ids_of(found, "dtd") == expected


@pytest.mark.parametrize("protocol", ["coop", "custom"])
def test_a_folder_of_images_one_word_off(protocol: str, tmp_path: Path) -> None:
    coop_tree("ucf101", tmp_path / "data")
    base = tmp_path / "data" / "ucf101"
    (base / "UCF-101-midframes").rename(base / "UCF-101-frames")
    with pytest.raises(
        DatasetError,
        match=r"None of the 10 images.*no folder 'UCF-101-midframes'.*Did you mean 'UCF-101-frames'\?.*[Rr]ename",
    ):
        load("ucf101", tmp_path / "data", tmp_path / "cache", protocol=protocol)


def kaggle(root: Path, labels: dict[str, str], boxes: int = 1) -> None:
    for name in labels:
        trees.put(root / "ILSVRC" / "Data" / "CLS-LOC" / "val" / f"{name}.JPEG")
    rows = [f"{name},{' '.join([f'{wnid} 1 2 30 20'] * boxes)} " for name, wnid in labels.items()]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *reversed(rows)]) + "\n")


VAL = {f"ILSVRC2012_val_{number:08}": wnid for number, wnid in ((3, "n02119022"), (7, "n01440764"), (40, "n02119022"))}


@pytest.mark.parametrize("inside", ["", "ILSVRC", "ILSVRC/Data/CLS-LOC", "ILSVRC/Data/CLS-LOC/val"])
def test_kaggles_imagenet_from_each_of_its_folders(inside: str, tmp_path: Path) -> None:
    kaggle(tmp_path / "k", VAL, boxes=3)
    trees.put(tmp_path / "k" / "ILSVRC" / "Data" / "CLS-LOC" / "val" / "other.JPEG")
    found = load("imagenet", tmp_path / "k" / inside, tmp_path / "cache")
    ids = trees.ids("imagenet")
    assert [ids[label] for label in found.labels] == list(VAL.values())
    assert found.split == "custom: 3 of 50000 images of val"
    assert any("1 images have other names" in note and "other.JPEG" in note for note in found.notes)


def test_kaggles_file_must_label_every_image_once(tmp_path: Path) -> None:
    kaggle(tmp_path, VAL)
    trees.put(tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "val" / "ILSVRC2012_val_00000041.JPEG")
    with pytest.raises(DatasetError, match=r"1 of 4 images .* have no label in .*LOC_val_solution.csv, first: .*0041"):
        load("imagenet", tmp_path, tmp_path / "cache")
    with (tmp_path / "LOC_val_solution.csv").open("a") as file:
        file.write("ILSVRC2012_val_00000041,n01440764 1 2 3 4 n02119022 1 2 3 4\n")
    with pytest.raises(DatasetError, match="1 rows of .*LOC_val_solution.csv do not give one class to one image"):
        load("imagenet", tmp_path, tmp_path / "cache")


def test_cub_needs_only_what_a_score_needs(tmp_path: Path) -> None:
    expected = trees.cub(tmp_path)
    for name in ("bounding_boxes.txt", "image_class_labels.txt", "classes.txt"):
        (tmp_path / "CUB_200_2011" / name).unlink()
    assert ids_of(load("cub", tmp_path, tmp_path / "cache"), "cub") == expected


def test_kaggles_cars_lie_one_folder_deeper(tmp_path: Path) -> None:
    expected = trees.cars(tmp_path)
    base = tmp_path / "stanford_cars"
    (base / "cars_test").rename(base / "inner")
    (base / "cars_test").mkdir()
    (base / "inner").rename(base / "cars_test" / "cars_test")
    assert ids_of(load("cars", tmp_path, tmp_path / "cache"), "cars") == expected


def test_food_nested_as_kaggles_copy_has_it(tmp_path: Path) -> None:
    expected = trees.food101(tmp_path / "food-101")
    assert ids_of(load("food101", tmp_path, tmp_path / "cache"), "food101") == expected


@pytest.mark.parametrize("devkit", [None, "car_devkit/devkit", "devkit/devkit", "car_devkit"])
def test_the_devkit_of_cars_lies_elsewhere_or_nowhere(devkit: str | None, tmp_path: Path) -> None:
    """Its order of classes is that of the ids; where there is one it is read: a turned one turns the labels."""
    expected = trees.cars(tmp_path)
    base = tmp_path / "stanford_cars"
    (base / "devkit").rename(base / "aside")
    if devkit is not None:
        (base / devkit).parent.mkdir(parents=True, exist_ok=True)
        (base / "aside").rename(base / devkit)
    assert ids_of(load("cars", tmp_path, tmp_path / "cache"), "cars") == expected
    if devkit is not None:
        names = trees.ids("cars")
        turned = {"class_names": np.array([names[::-1]], dtype=object)}
        scipy.io.savemat(base / devkit / "cars_meta.mat", turned)
        found = ids_of(load("cars", tmp_path, tmp_path / "cache"), "cars")
        assert found == {content: names[len(names) - 1 - names.index(one)] for content, one in expected.items()}


def test_the_cars_of_all_images_in_one_folder(tmp_path: Path) -> None:
    """The release of 16,185 images: which are of the test, their classes and six digits."""
    base = tmp_path / "stanford_cars"
    fields = ["relative_im_path", "class", "test"]
    names, expected = trees.ids("cars"), {}
    rows = np.zeros((1, 12), dtype=[(field, object) for field in fields])
    for place in range(12):
        path = f"car_ims/{place + 1:06}.jpg"
        content = trees.put(base / path)
        rows[0, place] = (path, np.uint8(1 + place * 17), np.uint8(place % 3 == 0))
        if place % 3 == 0:
            expected[content] = names[place * 17]
    scipy.io.savemat(base / "cars_annos.mat", {"annotations": rows})
    assert ids_of(load("cars", tmp_path, tmp_path / "cache"), "cars") == expected
    (base / "car_ims").rename(base / "cars_test")
    with pytest.raises(DatasetError, match=r"'car_ims' under other names.*put it into .*stanford_cars"):
        load("cars", tmp_path, tmp_path / "cache")


@pytest.mark.parametrize(("name", "file"), [("flowers", "imagelabels.mat")])
def test_a_missing_matlab_file_is_not_called_damaged(name: str, file: str, tmp_path: Path) -> None:
    trees.MAKERS[name](tmp_path)
    path = next(tmp_path.rglob(file))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match="is not a whole MATLAB file"):
        load(name, tmp_path, tmp_path / "cache")
    path.unlink()
    with pytest.raises(DatasetError, match=f"{path} is not there") as caught:
        load(name, tmp_path, tmp_path / "cache")
    assert "whole" not in str(caught.value)


def test_a_matlab_file_of_another_kind(tmp_path: Path) -> None:
    trees.flowers(tmp_path)
    base = tmp_path / "flowers-102"
    shutil.copy(base / "imagelabels.mat", base / "setid.mat")
    with pytest.raises(DatasetError, match="holds no 'tstid' but 'labels'"):
        load("flowers", tmp_path, tmp_path / "cache")


def test_more_images_than_the_split_has_are_not_called_images_of_it(tmp_path: Path) -> None:
    trees.dtd(tmp_path)
    spec: Any = mended("dtd", tmp_path, "standard", 40)
    found = load("dtd", tmp_path, tmp_path / "cache", spec=spec)
    assert found.split == "custom: 47 images, more than the 40 of test1"
    assert any("was not checked" in note for note in found.notes)


def test_an_image_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    trees.dtd(tmp_path)
    with (tmp_path / "dtd" / "dtd" / "labels" / "test1.txt").open("a") as file:
        file.write("woven/woven_0002.jpg\n")
    with pytest.raises(
        DatasetError, match="1 of 48 images .* are listed more than once, first: 'woven/woven_0002.jpg'"
    ):
        load("dtd", tmp_path, tmp_path / "cache")


def test_classes_without_images_are_named(tmp_path: Path) -> None:
    trees.dtd(tmp_path)
    shutil.rmtree(tmp_path / "dtd" / "dtd" / "images" / "woven")
    found = load("dtd", tmp_path, tmp_path / "cache")
    assert any("1 of 47 classes have no image here, first: 'woven'" in note for note in found.notes)
    empty = tmp_path / "eurosat"
    trees.folders(empty / "2750", [(one, one) for one in trees.ids("eurosat")[1:]], 3)
    (empty / "2750" / "AnnualCrop").mkdir()
    with pytest.raises(DatasetError, match="27 images of 9 classes.* Without an image: 'annual crop land'"):
        load("eurosat", empty, tmp_path / "cache", protocol="standard")


@pytest.mark.parametrize("base", ["val", "places365standard_easyformat/val"])
@pytest.mark.parametrize("sign", ["-", "_"])
def test_places_in_folders_whatever_joins_their_words(base: str, sign: str, tmp_path: Path) -> None:
    """With "_" the sorted folders have another order than the labels: desert_road stands before desert_sand."""
    named = {one: one[3:].replace("/", sign) for one in trees.ids("places365")}
    expected = {
        put: one
        for one, folder in named.items()
        if "desert" in one or "field" in one or "/" in one[3:] or sign == "-"
        for put in trees.folders(tmp_path / base, [(folder, one)])
    }
    found = load("places365", tmp_path, tmp_path / "cache")
    assert ids_of(found, "places365") == expected
    if sign == "_":
        words = [named[one] for one in trees.ids("places365")]
        assert words != sorted(words)


def test_the_large_images_of_places_are_a_protocol_of_their_own(tmp_path: Path) -> None:
    trees.places365(tmp_path, "val_large")
    with pytest.raises(DatasetError, match="belong to dataset.protocol='large', not to standard"):
        load("places365", tmp_path, tmp_path / "cache", protocol="standard")
    with pytest.raises(DatasetError, match="has 36,500 of 365"):
        load("places365", tmp_path, tmp_path / "cache", protocol="large")


def test_the_numbers_of_places_are_those_of_its_file(tmp_path: Path) -> None:
    """Categories in another order of numbers: classes follow the file, never the place of a line."""
    expected = trees.places365(tmp_path)
    file = tmp_path / "categories_places365.txt"
    one, other = sorted(set(expected.values()))[:2]
    lines = dict(line.split() for line in file.read_text().splitlines())
    lines[one], lines[other] = lines[other], lines[one]
    file.write_text("".join(f"{word} {number}\n" for word, number in lines.items()))
    swapped = {content: {one: other, other: one}.get(word, word) for content, word in expected.items()}
    assert ids_of(load("places365", tmp_path, tmp_path / "cache"), "places365") == swapped
    file.write_text(file.read_text() + "/z/zoo 3\n")
    with pytest.raises(DatasetError, match="should hold a class and its own number on each line"):
        load("places365", tmp_path, tmp_path / "cache")
    file.write_text("/a/airfield 0\n")
    with pytest.raises(DatasetError, match="has no number of categories_places365.txt"):
        load("places365", tmp_path, tmp_path / "cache")


def test_objectnets_other_folders_are_left_out_by_name_and_no_others(tmp_path: Path) -> None:
    expected = trees.objectnet(tmp_path)
    found = load("objectnet", tmp_path, tmp_path / "cache")
    assert ids_of(found, "objectnet") == expected
    trees.folders(tmp_path / "objectnet-1.0" / "images", [("squegee", "")])
    with pytest.raises(DatasetError, match="1 of 14 classes in .* are none of ObjectNet, first: 'squegee'"):
        load("objectnet", tmp_path, tmp_path / "cache")


def test_strays_of_caltech256_are_no_images_and_its_clutter_is_a_class(tmp_path: Path) -> None:
    trees.caltech256(tmp_path)
    found = load("caltech256", tmp_path, tmp_path / "cache")
    assert any("198.spider/RENAME2" in note for note in found.notes)
    assert {197, 256} <= set(found.labels.tolist())
    trees.folders(tmp_path / "caltech256" / "256_ObjectCategories" / "056.dog", [("greg", "")])
    with pytest.raises(DatasetError, match="1 of 12 classes in .* are none of Caltech-256, first: '056.dog/greg'"):
        load("caltech256", tmp_path, tmp_path / "cache")


def test_a_dog_is_found_by_its_wnid_and_its_name_keeps_its_hyphens(tmp_path: Path) -> None:
    expected = trees.stanford_dogs(tmp_path / "set")
    (tmp_path / "set" / "lists").mkdir()
    (tmp_path / "set" / "test_list.mat").rename(tmp_path / "set" / "lists" / "test_list.mat")
    found = load("stanford_dogs", tmp_path / "set", tmp_path / "cache")
    assert ids_of(found, "stanford_dogs") == expected
    classes = read_spec("stanford_dogs").classes
    assert [classes.find(word) for word in ("n02086240", "Shih-Tzu", "black-and-tan coonhound")] == [4, 4, 14]
    assert found.class_names[4] == "Shih-Tzu"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Filename;ClassId\n00000.ppm\n", "row 2: .* names no image with a class"),
        ("Filename;ClassId\n00000.ppm;stop\n", "row 2: .* names no image with a class"),
        ("Filename;Width\n00000.ppm;3\n", "lacks the columns 'ClassId'; it has 'Filename', 'Width'"),
        ("Filename;ClassId\n00000.ppm;43\n", "1 labels are outside 0 to 42"),
    ],
)
def test_a_table_that_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    trees.gtsrb(tmp_path)
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        load("gtsrb", tmp_path, tmp_path / "cache")


def test_nothing_is_downloaded_that_does_not_answer_the_protocol(tmp_path: Path) -> None:
    small, large = (
        NamedSource(
            spec="places365", path=None, root=str(tmp_path), source="auto", protocol=protocol, names="dclip",
            limit=None, seed=0,
        )
        for protocol in ("standard", "large")
    )  # fmt: skip
    assert small.not_here().startswith("not here, to download: torchvision")
    assert large.not_here().startswith("not here, by hand: docs/datasets/places365.md")
    with pytest.raises(DatasetError, match="Places365 is not in"):
        large(tmp_path / "cache")


def test_clevrs_shards_count_from_nought_and_its_scenes_from_three(tmp_path: Path) -> None:
    expected = trees.clevr_shards(tmp_path / "shards")
    assert ids_of(load("clevr_counts", tmp_path / "shards", tmp_path / "cache"), "clevr_counts") == expected
    trees.clevr_counts(tmp_path / "set")
    file = tmp_path / "set" / "clevr" / "CLEVR_v1.0" / "scenes" / "CLEVR_val_scenes.json"
    for text, message in (
        (file.read_text()[:-9], "should hold"),
        ('{"scenes": [{"image_filename": "a.png"}]}', "should hold .*'objects'"),
        (json.dumps({"scenes": [{"image_filename": "CLEVR_val_000000.png", "objects": [1, 2]}]}), "none of CLEVR.*'2'"),
    ):
        file.write_text(text)
        with pytest.raises(DatasetError, match=message):
            load("clevr_counts", tmp_path / "set", tmp_path / "cache")


def test_clevrs_distances_are_named_by_words_of_which_one_is_empty(tmp_path: Path) -> None:
    expected = trees.clevr_distance_shards(tmp_path / "shards")
    assert ids_of(load("clevr_distance", tmp_path / "shards", tmp_path / "cache"), "clevr_distance") == expected
    trees.clevr_distance(tmp_path / "set")
    file = tmp_path / "set" / "clevr" / "CLEVR_v1.0" / "scenes" / "CLEVR_val_scenes.json"
    for objects, message in (
        ([], "should hold .*pixel_coords"),
        ([{"pixel_coords": [1, 2]}], "should hold .*pixel_coords"),
        ([{"pixel_coords": [1, 2, 100.5]}], "1 labels are outside 0 to 5, first: 6"),
        ([{"pixel_coords": [1, 2, 0.0]}], "1 labels are outside 0 to 5, first: -1"),
    ):
        scenes = {"scenes": [{"image_filename": "CLEVR_val_000000.png", "objects": objects}]}
        file.write_text(json.dumps(scenes))
        with pytest.raises(DatasetError, match=message):
            load("clevr_distance", tmp_path / "set", tmp_path / "cache")


def test_kittis_sentences_are_joined_by_their_words(tmp_path: Path) -> None:
    """SLIP has them in another order."""
    expected = trees.kitti_shards(tmp_path)
    assert ids_of(load("kitti_distance", tmp_path, tmp_path / "cache"), "kitti_distance") == expected


@pytest.mark.parametrize("inside", ["devkit_object", "devkit", "object/devkit"])
def test_kittis_devkit_lies_at_several_places(inside: str, tmp_path: Path) -> None:
    expected = trees.kitti_distance(tmp_path)
    base = tmp_path / "Kitti" / "raw"
    (base / inside).mkdir(parents=True)
    (base / "mapping").rename(base / inside / "mapping")
    found = load("kitti_distance", base, tmp_path / "cache")
    assert ids_of(found, "kitti_distance") == expected
    assert len(expected) == 8
    assert set(expected.values()) == set(trees.ids("kitti_distance"))
    assert list(found.image_ids) == sorted(found.image_ids)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("mapping/train_rand.txt", None, "no mapping/train_rand.txt: which images are tested.*devkit_object.zip"),
        ("mapping/train_rand.txt", "1,2,900", "should hold numbers of lines of train_mapping.txt"),
        ("mapping/train_rand.txt", "one", "should hold numbers of lines"),
        ("mapping/train_mapping.txt", "a\n" * 90, "whose second word is a video"),
        ("training/label_2/%06d.txt", "Car 1 2 3\n", "holds a vehicle without a place"),
        ("training/label_2/%06d.txt", None, "cannot be read"),
    ],
)
def test_kittis_files_that_are_wrong(file: str, text: str | None, message: str, tmp_path: Path) -> None:
    expected = trees.kitti_distance(tmp_path)
    base = tmp_path / "Kitti" / "raw"
    tested = next(place for place in range(80) if (base / f"training/image_2/{place:06}.png").read_bytes() in expected)
    path = base / (file % tested if "%" in file else file)
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        load("kitti_distance", tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("inside", ["2017", "", "2017/train_val_images"])
def test_inaturalist_under_torchvisions_folder_too(inside: str, tmp_path: Path) -> None:
    expected = trees.inaturalist2017(tmp_path, inside)
    if inside.startswith("2017/"):
        (tmp_path / "val2017.json").rename(tmp_path / "2017" / "val2017.json")
    found = load("inaturalist2017", tmp_path, tmp_path / "cache")
    assert ids_of(found, "inaturalist2017") == expected
    assert len(expected) == 5


def test_an_image_of_inaturalist_has_one_category(tmp_path: Path) -> None:
    trees.inaturalist2017(tmp_path)
    content = json.loads((tmp_path / "val2017.json").read_text())
    for change, message in (
        ({"annotations": content["annotations"][1:]}, "not one category to each of 5 images, first: '95'"),
        ({"annotations": [*content["annotations"], content["annotations"][0]]}, "first: 'one image with two'"),
        ({"categories": content["categories"][1:]}, "should hold"),
        (
            {"categories": [{**one, "name": "Homo sapiens"} for one in content["categories"]]},
            "none of iNaturalist 2017",
        ),
    ):
        (tmp_path / "val2017.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(DatasetError, match=message):
            load("inaturalist2017", tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("images", ["val", "2021_valid"])
def test_inaturalists_own_file_names_its_classes(images: str, tmp_path: Path) -> None:
    expected = trees.inaturalist2021(tmp_path, images)
    found = load("inaturalist2021", tmp_path, tmp_path / "cache")
    assert ids_of(found, "inaturalist2021") == expected
    assert [found.class_names[label] for label in (0, 8, 9_999)] == ["Genus species0", "Genus species8", "great auk"]
    assert found.origin == {"source": "a local folder", "protocol": "custom", "names": "common"}
    named = load("inaturalist2021", tmp_path, tmp_path / "cache", names="scientific")
    assert named.class_names == tuple(f"Genus species{number}" for number in range(10_000))
    file = tmp_path / "val.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "categories": content["categories"][:1] + content["categories"][2:]}))
    message = r"holds 9,999 class names \(val.json\), and iNaturalist 2021 has 10,000 classes"
    with pytest.raises(DatasetError, match=message):
        load("inaturalist2021", tmp_path, tmp_path / "cache")


def test_names_that_a_tree_holds_are_known_once_it_is_here(tmp_path: Path) -> None:
    trees.dollar_street(tmp_path / "set")
    found = load("dollar_street", tmp_path / "set", tmp_path / "cache")
    assert found.class_names == tuple(trees.DOLLAR_STREET)
    assert found.groups is not None
    assert [found.groups.names[place] for place in found.groups.of] == ["group 0", "group 3", "group 3", "group 1"]
    inside = load("dollar_street", tmp_path / "set" / "test", tmp_path / "cache")
    assert inside.fingerprint == found.fingerprint
    source = NamedSource(
        **trees.DEFAULTS, spec="dollar_street", names="own", path=str(tmp_path / "set"), root=str(tmp_path)
    )
    assert source.class_names() == found.class_names
    with pytest.raises(DataNotHereError, match="Dollar Street is not in"):
        replace(source, path=str(tmp_path / "nowhere")).class_names()
    (tmp_path / "set" / "classnames.txt").unlink()
    with pytest.raises(DatasetError, match=r"holds 0 class names \(classnames.txt\), and Dollar Street has 58 classes"):
        source(tmp_path / "cache")
    with pytest.raises(DatasetError, match="dataset.names=openai is not a list of names here; there are 'own'"):
        load("dollar_street", tmp_path / "set", tmp_path / "cache", names="openai")


EXPORTS = {
    "dtd": None, "food101": None, "gtsrb": "gtsrb", "imagenet": "imagenet1k", "mnist": "mnist", "stl10": None,
    "fer2013": "fer2013",
}  # fmt: skip
"""Sets of which CLIP_benchmark's export is read from a disk, and its own list of names where it has one."""


@pytest.mark.parametrize("name", list(EXPORTS))
def test_shards_that_clip_benchmark_exported(name: str, tmp_path: Path) -> None:
    """Its shards and classnames.txt, in its order: FER2013's is not ours, and two of ImageNet's names repeat."""
    import clip_benchmark.datasets as theirs

    lists = json.loads((Path(theirs.__path__[0]) / "en_classnames.json").read_text())
    ids = list(trees.ids(name))
    if name == "fer2013":
        ids = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    names = lists[EXPORTS[name]] if EXPORTS[name] else list(read_spec(name).classes.names["openai"])
    labels = [len(ids) - 1, 0, 4, 5, 6] + ([744, 657] if name == "imagenet" else [])
    expected = trees.shards(tmp_path, names, labels, ids)
    assert ids_of(load(name, tmp_path, tmp_path / "cache"), name) == expected
    assert ids_of(load(name, tmp_path / "test", tmp_path / "cache"), name) == expected


@pytest.mark.parametrize("factor", ["pose", "style"])
@pytest.mark.parametrize("inside", ["", "annotations"])
def test_a_factor_of_imagenet_x_is_a_protocol(factor: str, inside: str, tmp_path: Path) -> None:
    expected = trees.imagenet_x(tmp_path, factor)
    (tmp_path / inside).mkdir(exist_ok=True)
    for file in ("imagenet_x_val_top_factor.jsonl", "prototypical_paths.csv"):
        (tmp_path / file).rename(tmp_path / inside / file)
    spec = mended("imagenet_x", tmp_path, factor, len(expected))
    found = load("imagenet_x", tmp_path, tmp_path / "cache", protocol=factor, spec=spec)
    assert ids_of(found, "imagenet_x") == expected
    assert found.split == f"val, of which the top factor is {factor}"
    assert len(found.class_names) == 1000
    assert any("998 of 1000 classes have no image here" in note for note in found.notes)
    with pytest.raises(DatasetError, match=f"images of .*split val, of which the top factor is {factor}, has"):
        load("imagenet_x", tmp_path, tmp_path / "cache", protocol=factor)


def test_the_factors_of_imagenet_x_take_apart_all_but_two_of_its_images() -> None:
    protocols = read_spec("imagenet_x").protocols
    of_factors = {name: one for name, one in protocols.items() if name not in ("standard", "factors")}
    assert set(of_factors) == set(trees.FACTORS)
    assert protocols["factors"].num_images == protocols["standard"].num_images
    assert sum(one.num_images for one in of_factors.values()) == protocols["standard"].num_images - 2
    assert all(one.some_classes for one in of_factors.values())
    layouts = {layout.protocols[0]: layout for layout in read_spec("imagenet_x").layouts}
    assert set(layouts) == set(protocols)
    assert layouts["factors"].kind == "imagenet_x"
    assert set(layouts["factors"].groups) == set(trees.FACTORS)


def test_the_factors_of_imagenet_x_are_groups_of_its_images(tmp_path: Path) -> None:
    expected = trees.imagenet_x(tmp_path)
    settings = {
        "protocol": "factors",
        "spec": mended("imagenet_x", tmp_path, "factors", len(expected), some_classes=True),
    }
    found = load("imagenet_x", tmp_path, tmp_path / "cache", **settings)
    assert ids_of(found, "imagenet_x") == expected
    assert found.groups is not None
    names = [found.groups.names[place] if place >= 0 else None for place in found.groups.of.tolist()]
    numbers = [int(one.partition("_val_")[2][:8]) for one in found.image_ids]
    assert dict(zip(numbers, names, strict=True)) == {
        1: "pose", 2: "pose", 3: "style", 5: "pose", 6: "style", 8: "pose", 9: None, 10: "pose"
    }  # fmt: skip
    plain = load("imagenet_x", tmp_path, tmp_path / "cache")
    assert plain.groups is None
    assert plain.fingerprint != found.fingerprint


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("imagenet_x_val_top_factor.jsonl", None, "is not in .* package imagenet-x.*put it and prototypical_paths.csv"),
        ("prototypical_paths.csv", None, "prototypical_paths.csv cannot be read"),
        ("imagenet_x_val_top_factor.jsonl", "{}", "line 1: it should hold file_name, class and factors"),
        ("imagenet_x_val_top_factor.jsonl", '{"file_name": "a.JPEG", "class": 1}', "line 1: it should hold"),
        ("imagenet_x_val_top_factor.jsonl", '{"file_name": "ILSVRC2012_val_00000002.JPEG", "class": 5}',
         "1 of 1 images of .* have another class in .*, first: .*00000002.JPEG.*were they renamed"),
    ],
)  # fmt: skip
def test_annotations_of_imagenet_x_that_are_wrong(file: str, text: str | None, message: str, tmp_path: Path) -> None:
    trees.imagenet_x(tmp_path)
    (tmp_path / file).unlink() if text is None else (tmp_path / file).write_text(text)
    with pytest.raises(DatasetError, match=message):
        load("imagenet_x", tmp_path, tmp_path / "cache")
