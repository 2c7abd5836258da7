import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupl_bench.dataset.names import normalised
from cupl_bench.errors import PromptsError
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.prompts.sources import fill, read_descriptions, read_templates


def test_the_eighty_templates_are_open_clips_in_its_order() -> None:
    import open_clip

    expected = [make("tree frog") for make in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert [fill(template, "tree frog") for template in read_templates("openai_imagenet_80")] == expected
    assert len(expected) == 80


@pytest.mark.parametrize("name", ["a {b} c", "{}", "{0}", "100% {", "Änderung", "树蛙", "it's"])
def test_braces_and_other_signs_in_a_name_stay(name: str) -> None:
    assert fill("a photo of a {}, {curly} {0}.", name) == f"a photo of a {name}, {{curly}} {{0}}."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no template"),
        ('{"a": 1}', "holds a map; it should hold a list of templates"),
        ('["a {}", 3]', "1 of 2 templates are not text, first: 3"),
        ('["a {}", "b", "c"]', r"2 of 3 templates lack the \{\}"),
        ("[", "is not JSON"),
    ],
)
def test_template_files_that_are_wrong(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "templates.json"
    path.write_text(content)
    with pytest.raises(PromptsError, match=message):
        read_templates(str(path))


def test_an_unknown_list_offers_the_nearest() -> None:
    with pytest.raises(PromptsError, match="Did you mean 'openai_imagenet_80'"):
        read_templates("openai_imagnet_80")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[1]", "holds a list; it should map each class name"),
        (b"3", "holds a number"),
        (b"{}", "holds no class"),
        (b'{"a": "text"}', "1 of 1 classes do not hold a list of sentences, first: 'a'"),
        (b'{"a": []}', "1 of 1 classes hold an empty list, first: 'a'"),
        (b'{"a": ["x"], "b": ["y", 7]}', "1 of 2 classes hold something that is not text, first: 'b' holds 7"),
        (b'{"a": [null]}', "holds None"),
        (b'{"a": ["x"], "a": ["y"]}', "1 keys appear more than once, first: 'a'"),
        (b'{"a": ["\xff"]}', "is not UTF-8 text"),
        (b'{"imagenet1k": {"a": ["x"]}, "cub": {}}', "holds 2 maps, 'imagenet1k', 'cub': .* more than one data set"),
        (b'{"imagenet1k": {"a": "x"}}', "1 of 1 classes do not hold a list of sentences, first: 'a'"),
        (b'{"imagenet1k": {}}', "holds no class"),
        (b'{"a": {"b": ["x"]}, "c": ["y"]}', "1 of 2 classes do not hold a list of sentences, first: 'a'"),
        (b"[" * 100_000, "nested too deeply|is not JSON"),
    ],
)
def test_description_files_that_are_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_bytes(content)
    with pytest.raises(PromptsError, match=message):
        read_descriptions(str(path))


def test_clip_benchmarks_file_has_the_map_of_its_data_set_inside(tmp_path: Path) -> None:
    path = tmp_path / "cupl_prompts.json"
    held = {"tench": ["A tench is a fish."], "goldfish": ["A goldfish is orange.", "It swims."]}
    path.write_text(json.dumps({"imagenet1k": held}))
    assert read_descriptions(str(path)) == held


def test_a_missing_file_offers_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "pets_prompts_full.json").write_text("{}")
    with pytest.raises(PromptsError, match="does not exist.*Did you mean 'pets_prompts_full.json'"):
        read_descriptions(str(tmp_path / "pet_prompts_full.json"))


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "prompts.json"
    path.write_text(json.dumps(content))
    try:
        held = read_descriptions(str(path))
    except PromptsError:
        return
    assert held
    assert all(isinstance(text, str) for row in held.values() for text in row)
    assert all(held.values())


def test_names_are_joined_by_spelling_and_never_by_position() -> None:
    """Trap T5: the keys of CuPL's files stand in another order than the classes in 7 of 14 data sets."""
    names = ["head of a  crocodile", "Ram C/V Van", "apse indoor", "Beagle", "missile", "missile"]
    keys = ["missile", "beagle", "apse (indoor)", "Ram CV Van", "head of a crocodile"]
    join = join_by_name(names, keys, "file")
    assert join.keys == ("head of a crocodile", "Ram CV Van", "apse (indoor)", "beagle", "missile", "missile")
    assert join.counts == {"exact": 2, "normalised": 4, "aliased": 0, "ignored": 0}
    assert join_by_name(names, keys[::-1], "file") == join


def test_a_class_without_prompts_lists_the_first_five_and_the_nearest() -> None:
    names = [f"class {letter}" for letter in "abcdefg"]
    with pytest.raises(PromptsError) as caught:
        join_by_name(names, ["klass a", "class g"], "the file")
    assert "6 of 7 classes have no prompts in the file" in str(caught.value)
    assert "'class e' and 1 more" in str(caught.value)
    assert "Did you mean 'klass a'" in str(caught.value)


def test_entries_of_another_data_set_are_an_error_unless_ignored() -> None:
    """CuPL's bird file has the 500 classes of Birdsnap: it is not CUB's."""
    with pytest.raises(PromptsError, match="2 of 3 classes of the file belong to no class.*another data set"):
        join_by_name(["a"], ["a", "b", "c"], "the file")
    assert join_by_name(["a"], ["a", "b", "c"], "the file", ignore_extra=True).counts["ignored"] == 2


def test_two_candidates_are_an_error() -> None:
    with pytest.raises(PromptsError, match="holds 2 classes that could be 'great-gray owl'"):
        join_by_name(["great-gray owl"], ["great gray owl", "Great Gray Owl"], "the file")


def test_aliases_mend_renames_and_are_checked() -> None:
    join = join_by_name(["ball moss"], ["air plant"], "file", {"ball moss": "air plant"})
    assert (join.keys, join.counts["aliased"]) == (("air plant",), 1)
    with pytest.raises(PromptsError, match="1 aliases name no class of.*Did you mean 'air plant'"):
        join_by_name(["ball moss"], ["air plant"], "file", {"ball moss": "air plants"})
    with pytest.raises(PromptsError, match="1 aliases are given for unknown class names"):
        join_by_name(["ball moss"], ["air plant"], "file", {"bal moss": "air plant"})


def test_names_of_other_scripts_do_not_collapse() -> None:
    assert normalised("树蛙") != normalised("尾蛙")
    assert normalised("Müller's Frog") == normalised("muller s frog")
    assert join_by_name(["树蛙", "!?"], ["!?", "树蛙"], "file").counts["exact"] == 2
