"""The suites of papers: which of their data sets are here, and that each is asked for on the protocol of its paper."""

import pytest
import yaml

from cupl_bench.config import conf_dir
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
        27, 329_107,
        {"food101", "cifar10", "cifar100", "birdsnap", "sun397", "cars", "aircraft", "voc2007", "dtd", "pets",
         "caltech101", "flowers", "mnist", "fer2013", "stl10", "eurosat", "resisc45", "gtsrb", "kitti", "country211",
         "pcam", "ucf101", "kinetics700", "clevr_counts", "hateful_memes", "rendered_sst2", "imagenet"},
    ),
}  # fmt: skip
"""Name -> data sets of the paper, images of those that are here, and their names."""
CALLED = {"voc2007": "VOC2007", "kitti": "KITTI", "hateful_memes": "Hateful Memes"}


@pytest.mark.parametrize("name", list(SUITES))
def test_a_suite_asks_for_all_that_is_here_and_names_what_is_not(name: str) -> None:
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    config = yaml.safe_load(text)
    num, num_images, theirs = SUITES[name]
    asked = config["hydra"]["sweeper"]["params"]["dataset"].split(",")
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
