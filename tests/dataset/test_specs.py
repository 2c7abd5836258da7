"""What the specs say, against sources that do not know of each other; and that YAML, spec and pages agree."""

import importlib.util
import json
import random
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from cupl_bench.conf_folder import conf_dir
from cupl_bench.dataset.names import normalised
from cupl_bench.dataset.spec import Spec, read_spec
from cupl_bench.dataset.texts import CUPL_COMMIT, spec_names
from cupl_bench.errors import DatasetError
from cupl_bench.metrics import ACCURACIES
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.prompts.sources import read_templates

NAMES = spec_names()
SPECS: dict[str, Spec] = {name: read_spec(name) for name in NAMES}
SIZES = {
    "imagenet": (50_000, 1000), "cub": (5_794, 200), "flowers": (6_149, 102), "dtd": (1_880, 47), "cars": (8_041, 196),
    "sun397": (19_850, 397), "food101": (25_250, 101), "aircraft": (3_333, 100), "pets": (3_669, 37),
    "caltech101": (6_085, 102), "ucf101": (3_783, 101), "kinetics700": (31_669, 700), "resisc45": (6_300, 45),
    "cifar10": (10_000, 10), "cifar100": (10_000, 100), "birdsnap": (2_149, 500), "imagenet_v2": (10_000, 1000),
    "imagenet_sketch": (50_889, 1000), "imagenet_a": (7_500, 200), "imagenet_r": (30_000, 200), "eurosat": (27_000, 10),
    "places365": (36_500, 365), "caltech256": (30_607, 257), "country211": (21_100, 211), "objectnet": (18_574, 113),
    "stanford_dogs": (8_580, 120), "stl10": (8_000, 10), "mnist": (10_000, 10), "svhn": (26_032, 10),
    "gtsrb": (12_630, 43), "fer2013": (7_178, 7), "rendered_sst2": (1_821, 2), "pcam": (32_768, 2),
    "clevr_counts": (15_000, 8), "voc2007_crops": (14_976, 20),
    "voc2007": (4_952, 20), "imagenet_real": (46_837, 1000), "imagenet_o": (12_000, 200), "hateful_memes": (500, 2),
    "waterbirds": (5_794, 2), "celeba_hair": (19_962, 2), "iwildcam": (42_791, 182), "fmow": (22_108, 62),
    "camelyon17": (85_054, 2), "geode": (12_488, 40),
    "clevr_distance": (15_000, 6), "kitti_distance": (711, 4), "dmlab": (22_735, 6),
    "diabetic_retinopathy": (42_670, 5), "smallnorb_azimuth": (12_150, 18), "smallnorb_elevation": (12_150, 9),
    "dsprites_orientation": (73_728, 40), "dsprites_x_position": (73_728, 32), "inaturalist2017": (95_986, 5_089),
    "kinetics400": (19_761, 400), "imagenet_x": (46_110, 1000),
    "dollar_street": (3_503, 58), "inaturalist2021": (100_000, 10_000),
}  # fmt: skip


def clip_benchmark(file: str) -> dict[str, Any]:
    package = importlib.util.find_spec("clip_benchmark")
    assert package is not None
    assert package.origin is not None
    return json.loads((Path(package.origin).parent / "datasets" / file).read_text())


def test_sizes_and_metrics_are_those_of_the_papers() -> None:
    found = {name: (spec.protocols["standard"].num_images, len(spec.classes.ids)) for name, spec in SPECS.items()}
    assert found == SIZES
    means = {name for name, spec in SPECS.items() if spec.primary == "mean_per_class"}
    assert means == {"flowers", "aircraft", "pets", "caltech101"}
    assert {name: spec.primary for name, spec in SPECS.items() if spec.primary not in ACCURACIES} == {
        "voc2007": "map_11", "imagenet_real": "real_accuracy", "imagenet_o": "outlier_aupr",
        "hateful_memes": "roc_auc", "waterbirds": "worst_group", "celeba_hair": "worst_group",
        "iwildcam": "f1_macro", "fmow": "worst_group", "geode": "worst_group",
        "dollar_street": "worst_group_top5",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_a_class_lead_to_it_alone(name: str) -> None:
    """Rule 2: a bijection between ids and labels; ids, and names that do not repeat, lead to their label."""
    classes = SPECS[name].classes
    for label, one in enumerate(classes.ids):
        assert classes.find(one) == label
    for names in classes.names.values():
        keys = [normalised(one) for one in names]
        for label, one in enumerate(names):
            if keys.count(normalised(one)) == 1 and one not in ("missile", "sunglasses"):
                assert classes.find(one) == label
    for word, one in classes.also.items():
        assert classes.find(word) == classes.ids.index(one)


def test_the_imagenet_names_are_open_clips_and_clip_benchmarks() -> None:
    import open_clip

    names = list(SPECS["imagenet"].classes.names["openai"])
    assert names == list(open_clip.IMAGENET_CLASSNAMES) == clip_benchmark("en_classnames.json")["imagenet1k"]
    for name in ("imagenet_v2", "imagenet_sketch"):
        assert list(SPECS[name].classes.names["openai"]) == names


def test_the_wnids_are_sorted_and_in_the_order_of_torchvisions_words() -> None:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    classes = SPECS["imagenet"].classes
    assert list(classes.ids) == sorted(classes.ids)
    told = classes.names["disambiguated"]
    repeated = (657, 744, 836, 837)
    assert [told[place] for place in repeated] == ["missile", "projectile", "sunglass", "sunglasses"]
    assert [_IMAGENET_CATEGORIES[place] for place in repeated] == [told[place] for place in repeated]
    alike = sum(normalised(a) == normalised(b) for a, b in zip(told, _IMAGENET_CATEGORIES, strict=True))
    assert alike > 600  # OpenAI chose other synonyms for the rest; an order shifted by one leaves two


def test_wnids_and_masks_are_clip_benchmarks() -> None:
    package = importlib.util.find_spec("clip_benchmark")
    assert package is not None
    assert package.origin is not None
    text = (Path(package.origin).parent / "datasets" / "builder.py").read_text()

    def listed(variable: str) -> set[str]:
        start = text.index(f"{variable} = ")
        end = min(place for sign in "]}" if (place := text.find(sign, start)) > 0)
        return set(re.findall(r"n\d{8}", text[start:end]))

    assert set(SPECS["imagenet"].classes.ids) == listed("all_imagenet_wordnet_ids")
    assert set(SPECS["imagenet_a"].classes.ids) == listed("imagenet_a_wnids")
    assert set(SPECS["imagenet_r"].classes.ids) == listed("imagenet_r_wnids")


def test_flowers_against_torchvision_and_clip_benchmark() -> None:
    from torchvision.datasets import Flowers102

    names = SPECS["flowers"].classes.names
    assert list(names["openai"]) == clip_benchmark("en_classnames.json")["flowers"]
    if hasattr(Flowers102, "classes"):  # from torchvision 0.22 on
        assert list(names["torchvision"]) == list(Flowers102.classes)
    differ = [place for place in range(102) if names["openai"][place] != names["torchvision"][place]]
    assert differ == [15, 59, 92]


def test_pets_against_clip_benchmark() -> None:
    """Rule 1: OpenAI's list has the cats first; labels are alphabetical without case."""
    names = list(SPECS["pets"].classes.names["openai"])
    assert [name.lower() for name in names] == [name.lower() for name in clip_benchmark("en_classnames.json")["pets"]]
    assert sorted(names) != names == sorted(names, key=str.lower)


def test_caltech_against_clip_benchmark_in_both_orders() -> None:
    classes, theirs = SPECS["caltech101"].classes, clip_benchmark("en_classnames.json")
    assert list(classes.names["openai"]) == theirs["caltech101"]
    vtab = [classes.find(name) for name in theirs["caltech101_vtab"]]
    assert sorted(label for label in vtab if label is not None) == list(range(102))
    assert [classes.ids[label] for label in vtab if label is not None] == sorted(classes.ids, key=str.lower)


def test_eurosat_against_clip_benchmark() -> None:
    theirs = [normalised(name) for name in clip_benchmark("en_classnames.json")["eurosat"]]
    assert [normalised(name) for name in SPECS["eurosat"].classes.names["openai"]] == theirs


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifars_order_is_alphabetical_as_its_authors_have_it(name: str) -> None:
    assert list(SPECS[name].classes.ids) == sorted(SPECS[name].classes.ids)


@pytest.mark.parametrize(
    "name",
    ["dtd", "food101", "resisc45", "kinetics400", "kinetics700", "birdsnap", "imagenet", "objectnet", "rendered_sst2"],
)
def test_ids_are_sorted_where_labels_are_sorted_folders(name: str) -> None:
    assert list(SPECS[name].classes.ids) == sorted(SPECS[name].classes.ids)


def test_sun_swaps_one_pair_of_openais_list() -> None:
    assert SPECS["sun397"].classes.ids[206:208] == ("jail indoor", "jail cell")


def test_cubs_names_come_from_its_folders() -> None:
    classes = SPECS["cub"].classes
    assert [int(one[:3]) for one in classes.ids] == list(range(1, 201))
    assert [one[4:].replace("_", " ") for one in classes.ids] == list(classes.names["archive"])


def test_the_small_sets_have_clip_benchmarks_names_in_its_order_but_for_the_faces() -> None:
    theirs = clip_benchmark("en_classnames.json")
    for name, variant in (
        ("country211", "openai"),
        ("mnist", "openai"),
        ("gtsrb", "openai"),
        ("pcam", "openai"),
        ("svhn", "clip_benchmark"),
    ):
        assert list(SPECS[name].classes.names[variant]) == theirs[name], name
    faces = SPECS["fer2013"].classes
    assert [faces.find(name) for name in theirs["fer2013"]] == [0, 1, 2, 3, 6, 4, 5]


def test_crops_of_voc_have_the_order_of_clip_benchmarks_devkit() -> None:
    from clip_benchmark.datasets.voc2007 import object_categories

    classes = SPECS["voc2007_crops"].classes
    assert list(classes.ids) == list(object_categories)
    counts = SPECS["clevr_counts"].classes
    assert [counts.find(name) for name in clip_benchmark("en_classnames.json")["clevr_count_all"]] == list(range(8))
    assert counts.ids == ("3", "4", "5", "6", "7", "8", "9", "10")


VTAB = [
    ("clevr_distance", "clevr_closest_object_distance"), ("kitti_distance", "kitti_closest_vehicle_distance"),
    ("dmlab", "dmlab"), ("diabetic_retinopathy", "diabetic_retinopathy"),
    ("smallnorb_azimuth", "smallnorb_label_azimuth"), ("smallnorb_elevation", "smallnorb_label_elevation"),
    ("dsprites_orientation", "dsprites_label_orientation"), ("dsprites_x_position", "dsprites_label_x_position"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "benchmark"), VTAB)
def test_prompts_of_vtabs_sets_are_clip_benchmarks_in_its_order(name: str, benchmark: str) -> None:
    """Its own names put into its own templates; where it has no names, TFDS counts the classes."""
    spec = SPECS[name]
    theirs = clip_benchmark("en_classnames.json").get(benchmark, [str(label) for label in range(len(spec.classes.ids))])
    templates = clip_benchmark("en_zeroshot_classification_templates.json")[benchmark]
    names, ours = next(iter(spec.classes.names.values())), next(iter(spec.texts.templates.values()))
    for name_of_ours, name_of_theirs in zip(names, theirs, strict=True):
        expected = [template.replace("{c}", name_of_theirs).strip() for template in templates]
        assert [template.replace("{}", name_of_ours) for template in ours] == expected
    assert [spec.classes.find(one) for one in theirs] == list(range(len(theirs)))


def test_kinetics_400_is_no_part_of_kinetics_700() -> None:
    small, large = set(SPECS["kinetics400"].classes.ids), set(SPECS["kinetics700"].classes.ids)
    assert (len(small & large), len(small - large)) == (378, 22)
    assert SPECS["kinetics400"].texts.templates == SPECS["kinetics700"].texts.templates


def test_the_countries_are_in_the_order_of_their_codes() -> None:
    """OpenAI's names against the codes of ISO 3166-1 as the time zone database has them."""
    classes = SPECS["country211"].classes
    assert list(classes.ids) == sorted(classes.ids)
    table = resources.files(pytest.importorskip("tzdata")).joinpath("zoneinfo/iso3166.tab").read_text("utf-8")
    code_of = {
        normalised(name): code
        for code, name in (line.split("\t") for line in table.splitlines() if not line.startswith("#"))
    }
    names = classes.names["openai"]
    same = [(code_of[normalised(name)], one) for name, one in zip(names, classes.ids, strict=True)
            if normalised(name) in code_of]  # fmt: skip
    assert len(same) == 184
    assert all(code == one for code, one in same)
    assert set(classes.ids) - set(code_of.values()) == {"XK"}
    assert names[classes.ids.index("XK")] == "Kosovo"


def test_objectnet_against_imagenet_and_its_own_folders() -> None:
    spec = SPECS["objectnet"]
    layout = spec.layouts[0]
    assert layout.kind == "class_folders"
    assert len(set(layout.left_out) | set(spec.classes.ids)) == 313
    # Names are the words of their folders, but for three.
    differ = [one for one, name in zip(spec.classes.ids, spec.classes.names["objectnet"], strict=True)
              if normalised(one) != normalised(name)]  # fmt: skip
    assert differ == ["drying_rack_for_dishes", "full_sized_towel", "hand_towel_or_rag"]


def test_the_dogs_are_imagenets() -> None:
    dogs, imagenet = SPECS["stanford_dogs"].classes, SPECS["imagenet"].classes
    wnids = [one.partition("-")[0] for one in dogs.ids]
    assert wnids == sorted(wnids)
    labels = [imagenet.ids.index(wnid) for wnid in wnids]
    assert [imagenet.names["openai"][label] for label in labels] == list(dogs.names["openai_imagenet"])
    assert set(range(151, 269)) - set(labels) == {251}  # all of ImageNet's dogs but the Dalmatian
    assert set(labels) - set(range(151, 269)) == {273, 274, 275}  # dingo, dhole, African hunting dog


def test_places_in_three_spellings() -> None:
    classes = SPECS["places365"].classes
    assert list(classes.ids) == sorted(classes.ids)
    for variant in ("dclip", "csail"):
        alike = sum(
            normalised(one[3:]) == normalised(name)
            for one, name in zip(classes.ids, classes.names[variant], strict=True)
        )
        assert alike == {"dclip": 363, "csail": 365}[variant]


def test_coops_names_follow_its_code() -> None:
    """The rules of KaiyangZhou/CoOp@ff61507 datasets/*.py, applied to the ids and OpenAI's names."""

    def coop(name: str) -> list[str]:
        return list(SPECS[name].classes.names["coop"])

    ids = {name: SPECS[name].classes.ids for name in SPECS}
    for name in ("food101", "dtd", "aircraft"):
        assert coop(name) == [one.replace("_", " ") for one in ids[name]]
    assert coop("pets") == [one.lower().replace("_", " ") for one in ids["pets"]]
    assert coop("cars") == [f"{one[-4:]} {one[:-5]}" for one in ids["cars"]]
    assert coop("ucf101") == [re.sub(r"(?<!^)(?=[A-Z])", " ", one) for one in ids["ucf101"]]
    assert coop("eurosat") == [
        "Annual Crop Land", "Forest", "Herbaceous Vegetation Land", "Highway or Road", "Industrial Buildings",
        "Pasture Land", "Permanent Crop Land", "Residential Buildings", "River", "Sea or Lake",
    ]  # fmt: skip
    for name in ("imagenet", "imagenet_v2", "imagenet_a", "imagenet_r", "imagenet_sketch"):
        assert coop(name) == list(SPECS[name].classes.names["openai"])
    flowers = SPECS["flowers"].classes.names
    assert [normalised(one) for one in coop("flowers")] == [normalised(one) for one in flowers["torchvision"]]
    scenes = list(zip(coop("sun397"), SPECS["sun397"].classes.names["openai"], strict=True))
    assert all(sorted(one.split()) == sorted(other.split()) for one, other in scenes)
    assert sum(one != other for one, other in scenes) == 126
    assert dict(zip(ids["caltech101"], coop("caltech101"), strict=True)) == {
        **{one: one.replace("_", " ") for one in ids["caltech101"]},
        "airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike",
    }  # fmt: skip


def test_caltech256_is_numbered() -> None:
    classes = SPECS["caltech256"].classes
    assert [int(one[:3]) for one in classes.ids] == list(range(1, 258))
    assert [one[4:].removesuffix("-101") for one in classes.ids] == list(classes.names["susx"])


BENCHMARKS = ["food101", "sun397", "cars", "dtd", "pets", "caltech101", "flowers", "cifar10", "cifar100", "eurosat"]
BENCHMARKS += ["country211", "mnist", "stl10", "gtsrb", "fer2013"]
OF_ANOTHER_NAME = [("aircraft", "fgvc_aircraft"), ("rendered_sst2", "renderedsst2"), ("voc2007_crops", "voc2007")]
OF_ANOTHER_NAME += [("voc2007", "voc2007_multilabel")]


@pytest.mark.parametrize(("name", "benchmark"), [*((name, name) for name in BENCHMARKS), *OF_ANOTHER_NAME])
def test_the_templates_are_clip_benchmarks(name: str, benchmark: str) -> None:
    theirs = [
        one.replace("{c}", "{}") for one in clip_benchmark("en_zeroshot_classification_templates.json")[benchmark]
    ]
    assert list(SPECS[name].texts.templates["openai"]) == theirs
    assert read_templates(f"{name}/openai") == theirs


def test_the_counts_of_templates_are_those_of_openai() -> None:
    lists = {name: spec.texts.templates.get("openai") for name, spec in SPECS.items()}
    assert {name: len(listed) for name, listed in lists.items() if listed is not None} == {
        "aircraft": 2, "birdsnap": 1, "caltech101": 34, "cars": 8, "cifar10": 18, "cifar100": 18, "dtd": 8,
        "eurosat": 3, "flowers": 1, "food101": 1, "kinetics700": 28, "pets": 1, "resisc45": 18, "sun397": 2,
        "ucf101": 48, "country211": 5, "fer2013": 6, "gtsrb": 3, "mnist": 1, "pcam": 1, "rendered_sst2": 1, "stl10": 2,
        "clevr_counts": 1, "voc2007_crops": 1, "voc2007": 1, "hateful_memes": 1, "kitti_distance": 1, "kinetics400": 28,
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_option_says_what_the_spec_says(name: str) -> None:
    option = yaml.safe_load((conf_dir() / "dataset" / f"{name}.yaml").read_text())
    spec = SPECS[name]
    assert (option["spec"], option["primary"], option["protocol"]) == (name, spec.primary, "standard")
    assert option["names"] == next(iter((*spec.classes.names, *spec.classes.carried)))
    assert option["texts"]["cupl"] == f"cupl:{name}"
    default = option["texts"]["templates"]
    expected = f"{name}/{next(iter(spec.texts.templates))}" if spec.texts.templates else "openai_imagenet_80"
    assert default == expected
    assert all("{}" in template for template in read_templates(default))
    assert set(spec.texts.templates) == set(spec.texts.templates_source)
    assert {*spec.classes.names, *spec.classes.carried} <= set(spec.classes.source)


@pytest.mark.parametrize("name", NAMES)
def test_no_source_runs_a_script_or_guesses_its_files(name: str) -> None:
    """Rules 4 to 6."""
    for remote in SPECS[name].remotes:
        if remote.kind == "hub":
            assert remote.files
            assert not [pattern for pattern in remote.files if pattern.endswith(".py") or pattern in ("*", "**")]
            assert remote.repo not in ("nelorth/oxford-flowers", "pkuHaowei/cub-200-2011-birds", "randall-lab/cub200")
            assert "standard" in remote.layout.protocols or remote.layout.protocols[0] in SPECS[name].protocols


def cupl_keys(name: str) -> list[str]:
    """The keys of CuPL's file, as its own spelling differs from OpenAI's in known places; in another order."""
    names = SPECS[name].classes.names["openai"]
    indoors = "indoor|outdoor|exterior|interior|public|platform|door|shop|vegetable"
    spelled = {
        "cars": lambda one: one.replace("C/V", "CV"),
        "caltech101": lambda one: " ".join(one.split()),
        "sun397": lambda one: re.sub(rf" ({indoors})$", r" (\1)", one),
    }.get(name, lambda one: one)
    keys = list(dict.fromkeys(spelled(one) for one in names))
    random.Random(5).shuffle(keys)
    return keys


@pytest.mark.parametrize("name", [name for name in NAMES if SPECS[name].texts.cupl is not None])
def test_every_class_finds_its_image_prompts_and_none_is_left_over(name: str) -> None:
    spec = SPECS[name]
    assert spec.texts.cupl is not None
    parent = name if not name.startswith("imagenet") else "imagenet"
    keys = cupl_keys(parent)
    for names in spec.classes.names.values():
        aliases = {one: key for one, key in spec.texts.cupl.aliases.items() if one in names}
        join = join_by_name(names, keys, "file", aliases, ignore_extra=spec.texts.cupl.subset)
        expected = [normalised(aliases.get(one, one)) for one in names]
        assert [normalised(key) for key in join.keys] == expected
        assert bool(join.counts["ignored"]) == spec.texts.cupl.subset


def test_the_files_are_pinned_by_commit_and_digest() -> None:
    assert len(CUPL_COMMIT) == 40
    pairs = [spec.texts.cupl for spec in SPECS.values() if spec.texts.cupl is not None]
    files = {file.path: file for pair in pairs for file in (pair.base, pair.full)}
    assert len(files) == 30
    for path, file in files.items():
        assert len(file.git_blob) == 40
        assert file.sha256 is None if path.endswith("imagenet_prompts_full.json") else len(file.sha256 or "") == 64
        assert file.url == f"https://raw.githubusercontent.com/sarahpratt/CuPL/{CUPL_COMMIT}/{path}"
    assert SPECS["pets"].texts.cupl is not None
    assert SPECS["pets"].texts.cupl.base.path.endswith("/pet_prompts_base.json")
    assert SPECS["pets"].texts.cupl.full.path.endswith("/pets_prompts_full.json")
    assert {name for name, spec in SPECS.items() if spec.texts.cupl is None} == {
        "cub", "eurosat", "places365", "caltech256", "country211", "objectnet", "stanford_dogs", "stl10", "mnist",
        "svhn", "gtsrb", "fer2013", "rendered_sst2", "pcam", "clevr_counts", "voc2007_crops", "voc2007",
        "hateful_memes", "waterbirds", "celeba_hair", "iwildcam", "fmow", "camelyon17", "geode",
        "clevr_distance", "dollar_street", "inaturalist2021",
        "kitti_distance", "dmlab", "diabetic_retinopathy", "smallnorb_azimuth", "smallnorb_elevation",
        "dsprites_orientation", "dsprites_x_position", "inaturalist2017", "kinetics400",
    }  # fmt: skip


def test_two_swapped_classes_or_a_shifted_list_do_not_pass(tmp_path: Path) -> None:
    """The checks above see what they are for: a list moved by one, and a list of another length."""
    content = json.loads(SPECS["flowers"].model_dump_json())
    content["classes"]["names"]["openai"] = content["classes"]["names"]["openai"][1:]
    (tmp_path / "flowers.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="lists of names of another length than the ids"):
        read_spec(str(tmp_path / "flowers.json"))
    content = json.loads(SPECS["dtd"].model_dump_json())
    content["classes"]["ids"][1] = content["classes"]["ids"][0]
    (tmp_path / "dtd.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="class ids repeat"):
        read_spec(str(tmp_path / "dtd.json"))
    content["clases"] = {}
    (tmp_path / "dtd.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="is not valid"):
        read_spec(str(tmp_path / "dtd.json"))
