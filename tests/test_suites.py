"""The suites of papers: which of their data sets are here, and that each is asked for on the protocol of its paper."""

import math

import pytest
import yaml

from cupl_bench.conf_folder import conf_dir
from cupl_bench.dataset.spec import read_spec
from cupl_bench.dataset.texts import spec_names

SUITES = {
    "coop15": (
        15, 232_085,
        {"imagenet", "caltech101", "pets", "cars", "flowers", "food101", "aircraft", "sun397", "dtd", "eurosat",
         "ucf101", "imagenet_v2", "imagenet_sketch", "imagenet_a", "imagenet_r"},
    ),
    "waffle11": (
        11, 177_616,
        {"imagenet", "imagenet_v2", "cub", "eurosat", "places365", "food101", "pets", "dtd", "flowers",
         "aircraft", "cars"},
    ),
    "clip27": (
        27, 329_818,
        {"food101", "cifar10", "cifar100", "birdsnap", "sun397", "cars", "aircraft", "voc2007", "dtd", "pets",
         "caltech101", "flowers", "mnist", "fer2013", "stl10", "eurosat", "resisc45", "gtsrb", "kitti_distance",
         "country211", "pcam", "ucf101", "kinetics700", "clevr_counts", "hateful_memes", "rendered_sst2", "imagenet"},
    ),
    "elevater20": (
        20, 199_367,
        {"caltech101", "cifar10", "cifar100", "country211", "dtd", "eurosat", "fer2013", "aircraft", "food101",
         "gtsrb", "hateful_memes", "kitti_distance", "mnist", "flowers", "pets", "pcam", "rendered_sst2", "resisc45",
         "cars", "voc2007"},
    ),
    "vtab_plus": (
        36, 676_599,
        {"imagenet", "imagenet_v2", "imagenet_sketch", "imagenet_a", "imagenet_r", "objectnet", "fer2013",
         "voc2007_crops", "voc2007", "sun397", "cars", "aircraft", "mnist", "stl10", "gtsrb", "country211",
         "rendered_sst2", "caltech101", "cifar10", "cifar100", "clevr_counts", "clevr_distance",
         "diabetic_retinopathy", "dmlab", "dsprites_orientation", "dsprites_x_position", "dtd", "eurosat",
         "kitti_distance", "flowers", "pets", "pcam", "resisc45", "smallnorb_azimuth", "smallnorb_elevation", "svhn"},
    ),
    "datacomp38": (
        38, 630_502,
        {"imagenet", "imagenet_sketch", "imagenet_v2", "imagenet_a", "imagenet_o", "imagenet_r", "objectnet",
         "caltech101", "cifar10", "cifar100", "clevr_counts", "clevr_distance", "country211", "dtd", "eurosat",
         "aircraft", "food101", "gtsrb", "kitti_distance", "mnist", "flowers", "pets", "voc2007_crops", "pcam",
         "rendered_sst2", "resisc45", "cars", "stl10", "sun397", "svhn", "iwildcam", "fmow", "camelyon17",
         "dollar_street", "geode", "flickr30k", "mscoco", "winogavil"},
    ),
}  # fmt: skip
"""Name -> data sets of the paper, images of those that are here, and their names."""
CALLED = {
    "voc2007": "VOC2007", "hateful_memes": "Hateful Memes", "imagenet_o": "ImageNet-O", "iwildcam": "iWildCam",
    "fmow": "FMoW", "camelyon17": "Camelyon17", "dollar_street": "Dollar Street", "geode": "GeoDE",
    "flickr30k": "Flickr30k", "mscoco": "MSCOCO", "winogavil": "WinoGAViL",
}  # fmt: skip


@pytest.mark.parametrize("name", list(SUITES))
def test_a_suite_asks_for_all_that_is_here_and_names_what_is_not(name: str) -> None:
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    config = yaml.safe_load(text)
    num, num_images, theirs = SUITES[name]
    params = {key: value.replace(" ", "").split(",") for key, value in config["hydra"]["sweeper"]["params"].items()}
    asked = params["dataset"]
    missing = theirs - set(spec_names())
    assert len(theirs) == num
    assert len(asked) == len(set(asked))
    assert set(asked) == theirs - missing
    assert f"Missing, {len(missing)} of {num}: " in text if missing else "Missing: nothing of the " in text
    assert all(CALLED[one] in text for one in missing)
    protocol = config.get("dataset", {}).get("protocol", "standard")
    images = sum(read_spec(one).protocols[protocol].num_images for one in asked)
    assert images == num_images
    assert f"{round(images, -3):,} images" in text
    assert f"# Cost: {math.prod(map(len, params.values()))} runs;" in text


def test_vtab_plus_is_clip_benchmarks_list() -> None:
    from clip_benchmark.datasets.builder import dataset_collection

    ours = {
        "imagenet1k": "imagenet", "imagenetv2": "imagenet_v2", "imagenet-a": "imagenet_a", "imagenet-r": "imagenet_r",
        "voc2007": "voc2007_crops", "voc2007_multilabel": "voc2007", "fgvc_aircraft": "aircraft",
        "renderedsst2": "rendered_sst2", "clevr_count_all": "clevr_counts",
        "clevr_closest_object_distance": "clevr_distance", "kitti_closest_vehicle_distance": "kitti_distance",
    }  # fmt: skip
    theirs = [name.removeprefix("vtab/").replace("_label_", "_") for name in dataset_collection["vtab+"]]
    assert {ours.get(name, name) for name in theirs} == SUITES["vtab_plus"][2]
