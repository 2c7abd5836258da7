"""Published numbers: the rows of DMN's log, CoOp's sizes against them, and how rows are found."""

import json

import pytest
from conftest import Cli

import cupl_bench
from cupl_bench.dataset.spec import read_spec
from cupl_bench.errors import ResultsError
from cupl_bench.report.published import FILTERS, read_published, search_published

COOP = {
    "imagenet": 69.932, "flowers": 73.041, "dtd": 53.191, "pets": 90.324, "cars": 66.173, "ucf101": 70.473,
    "caltech101": 94.077, "food101": 84.436, "sun397": 68.111, "aircraft": 27.213, "eurosat": 55.728,
}  # fmt: skip
"""CuPL's sentences and seven templates with ViT-B/16 on CoOp's data sets: YBZh/DMN@9e49e22, as its log has them."""
MORE = {
    "flowers": (2463, 6149, [74.706, 74.787, 75.842, 71.782, 84.531, 77.629, 84.978, 91.108]),
    "dtd": (1692, 1880, [54.610, 55.615, 34.161, 57.092, 56.206, 49.054, 59.929]),
    "pets": (3669, None, [90.624, 91.878, 90.951, 44.208]),
    "cars": (8041, None, [67.392, 67.765, 68.126, 35.244]),
    "ucf101": (3783, None, [72.191, 72.429, 72.667, 50.859]),
    "caltech101": (2465, 6085, [94.320, 95.091, 94.564, 79.959]),
    "food101": (30300, 25250, [81.591, 85.059, 81.729, 48.218, 81.795, 61.772, 85.099, 81.941, 72.736, 85.201, 82.198]),
    "sun397": (19850, 21750, [69.884, 69.995, 69.940, 38.902, 70.257, 70.076, 51.874, 70.882, 70.453, 61.234, 71.738]),
    "aircraft": (3333, None, [29.493, 29.853, 29.883, 19.412]),
    "eurosat": (8100, 27000, [56.086, 57.370, 57.432, 49.025]),
}
"""CoOp's size, another size of the data set, and further accuracies of the same log."""


def are_whole_images(accuracies: list[float], size: int) -> bool:
    """Whether each accuracy, in percent with three digits, is a share of whole images."""
    return all(abs(100 * round(one * size / 100) / size - one) < 6e-4 for one in accuracies)


@pytest.mark.parametrize("name", MORE)
def test_coops_sizes_are_those_of_which_published_accuracies_are_shares(name: str) -> None:
    size, other, accuracies = MORE[name]
    assert read_spec(name).protocols["coop"].num_images == size
    assert are_whole_images([COOP[name], *accuracies], size)
    assert other is None or not are_whole_images([COOP[name], *accuracies], other)


def test_the_rows_of_the_log_are_there() -> None:
    rows = search_published(["DMN"], {"prompts": "cupl_ensemble", "scorer": "plain", "dataset": ",".join(COOP)})
    assert {row["dataset"]: row["value"] for row in rows.to_dict("records")} == {
        name: round(value, 2) for name, value in COOP.items()
    }
    assert set(rows["backbone"]) == {"vit_b16_openai"}
    assert set(rows["verified"]) == {"yes"}
    protocols = dict(zip(rows["dataset"], rows["protocol"], strict=True))
    # Of these two CoOp's images are the standard ones.
    assert {name for name, one in protocols.items() if one != "coop"} == {"imagenet", "aircraft"}


def test_every_key_finds_what_stands_in_its_column() -> None:
    table = read_published()
    assert len(search_published()) == len(table)
    for key, column in FILTERS.items():
        value = table[column].iloc[-1]
        found = search_published(filters={key: value.upper().replace("[", "[[]")})
        assert 0 < len(found) <= len(table)
        assert set(found[column]) == {value}
    both = search_published(filters={"dataset": "cub,pets", "backbone": "vit_b32_*"})
    assert set(both["dataset"]) == {"cub", "pets"}
    assert set(both["backbone"].str[:8]) == {"vit_b32_"}
    assert len(search_published(["waffle"])) == len(search_published(["WAFFLE"])) > 0
    assert len(search_published(filters={"dataset": "imagenet", "protocol": "vtab"})) == 0  # each is there, not both


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dataset=pest"], "dataset=pest is in no row of 1,628 published numbers. Did you mean 'pets'?"),
        (["dataset=pets,pest"], "dataset=pest is in no row"),
        (["nonsense"], "No row of 1,628 published numbers holds 'nonsense'."),
        (["datset=pets"], "datset is not a key of 'published'. Did you mean 'dataset'?"),
    ],
)
def test_what_is_nowhere(cli: Cli, arguments: list[str], message: str) -> None:
    assert cli.raw("published", *arguments) == 2
    assert message in cli.err.replace(f"{len(read_published()):,}", "1,628")


@pytest.mark.slow
def test_the_command_shows_them_and_a_program_gets_all(cli: Cli) -> None:
    assert cli.raw("published", "DMN", "dataset=pets", "scorer=plain") == 0
    assert "90.32" in cli.out
    assert "1 row of 1 source, 0 unverified" in cli.out
    assert cli.raw("published") == 0
    assert "more rows are not shown; narrow the search" in cli.out
    assert len(cli.out.splitlines()) < 60
    assert cli.raw("published", "DMN", "output=json") == 0
    rows = json.loads(cli.out)
    assert rows == json.loads(cupl_bench.published("DMN").to_json(orient="records", double_precision=15))
    assert len(rows) > 11


def test_python_refuses_another_key() -> None:
    with pytest.raises(ResultsError, match="are searched by dataset, protocol, .* not by datset. Did you mean"):
        cupl_bench.published(datset="pets")
