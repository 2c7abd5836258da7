"""The bars of one image's prompts: what they show, and that the command draws them."""

from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from cupl_bench.__main__ import main
from cupl_bench.commands.classify import _figure_of
from cupl_bench.errors import ConfigError
from cupl_bench.report.figures.descriptors import _figure, _own_words, write_descriptors
from cupl_bench.report.figures.drawing import STYLE

HEN = ("hen", 0.75, [(0.31, "hen, which has two legs."), (0.25, "hen, which has a beak.")])
MANY = ("owl", 0.2, [(0.2 - 0.01 * place, f"owl, which has {place} claws") for place in range(15)])


def test_each_prompt_has_a_bar_as_long_as_its_similarity_and_its_own_words() -> None:
    with mpl.rc_context(STYLE):
        figure = _figure(Image.new("RGB", (8, 6)), [HEN, MANY, ("third", 0.05, [(0.1, "not drawn")])])
    _, hen, owl = figure.axes
    assert [bar.get_width() for bar in hen.patches] == [0.31, 0.25]
    assert [text.get_text().strip() for text in hen.texts] == ["two legs", "0.310", "a beak", "0.250"]
    assert (hen.get_title("left"), owl.get_title("left")) == ("hen: 75.0%", "owl: 20.0%")
    assert len(owl.patches) == 12
    assert owl.texts[-1].get_text() == " and 3 prompts of lower similarity"


@pytest.mark.parametrize(
    ("texts", "own"),
    [
        (["one sentence of its own."], ["one sentence of its own."]),
        (["a red hen.", "a rare hen."], ["red", "rare"]),
        (["a photo of an owl", "a drawing of an owl"], ["photo", "drawing"]),
        (["two legs", "legs"], ["two legs", "legs"]),
    ],
)
def test_only_whole_words_that_all_prompts_share_are_left_out(texts: list[str], own: list[str]) -> None:
    assert _own_words(texts) == own


@pytest.mark.parametrize("ending", [".pdf", ".svg", ".png"])
def test_the_ending_says_the_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"hen{ending}"
    write_descriptors(path, Image.new("L", (8, 6)), [HEN])
    assert path.read_bytes().startswith({".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG"}[ending])


def test_other_endings_and_several_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"figure=one\.jpg should end in \.pdf, \.svg, \.png"):
        _figure_of("one.jpg", ["a"])
    with pytest.raises(ConfigError, match="draws one image, and there are 2"):
        _figure_of("one.png", ["a", "b"])


@pytest.mark.slow
def test_classify_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32), "red").save("red.png")
    asked = ["class_names=[red fox,owl]", "prompts=ensemble", "figure=bars.svg", f"cache_dir={tmp_path}"]
    assert main(["classify", "red.png", *asked]) == 0
    assert "figure    " in capsys.readouterr().out
    assert (tmp_path / "bars.svg").stat().st_size > 1000
