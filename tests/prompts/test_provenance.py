"""Who wrote texts, and under which licence: as it is told, and of that very content, or not known."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from cupl_bench.composition import compose
from cupl_bench.conf_folder import conf_dir
from cupl_bench.config import question_of
from cupl_bench.dataset.texts import read_texts, spec_names
from cupl_bench.prompts import files
from cupl_bench.prompts.provenance import IN_MEMORY, IN_QUESTION, NO_MODEL, Written, written_by

CLASS = "cupl_bench.prompts.strategies.DescriptionsStrategy"
OWN = Path(files.__file__).parent


def of_path(path: object) -> Written:
    (found,) = written_by({"_target_": CLASS, "path": str(path), "templates": None, "fill": "x"})
    return found


@pytest.mark.parametrize("part", ["cub", "flowers", "imagenet", "imagenet_v2"])
def test_the_library_tells_its_own(part: str) -> None:
    assert of_path(f"library:{part}") == Written(
        f"library:{part}", "Apache-2.0", "a large language model that is not named"
    )


@pytest.mark.parametrize("kind", ["cupl", "descriptors", "names"])
def test_the_demos_texts_tell_theirs(kind: str) -> None:
    found = of_path(OWN / "assets" / kind / "demo.json")
    assert found.licence == "Apache-2.0"
    assert found.language_model == ("a language model that is not named" if kind == "cupl" else None)


def test_cupls_own_files() -> None:
    found = of_path("cupl:pets")
    assert found == Written("CuPL's file for pets (sarahpratt/CuPL@719619c)", "none stated", "text-davinci-002")


def test_a_file_of_ones_own_is_known_by_the_provenance_beside_it_alone(tmp_path: Path) -> None:
    file, beside = tmp_path / "mine.json", tmp_path / "mine.provenance.json"
    file.write_text('{"ant": ["An ant."]}')
    assert of_path(file) == Written("mine.json")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    beside.write_text(json.dumps({"sha256": digest, "licence": "CC0", "endpoint": {"model": "gpt-x"}}))
    assert of_path(file) == of_path(f"{file}#sha256={digest}") == Written("mine.json", "CC0", "gpt-x")
    for wrong in (json.dumps({"sha256": "0" * 64, "licence": "CC0"}), json.dumps({"licence": "CC0"}), "{", "[]"):
        beside.write_text(wrong)
        assert of_path(file) == Written("mine.json")
    beside.write_text(json.dumps({"sha256": digest, "licence": "CC0"}))
    file.write_text('{"ant": ["Another."]}')  # the provenance is of what stood there before
    assert of_path(file) == Written("mine.json")
    assert of_path(tmp_path / "gone.json") == Written("gone.json")


def test_templates_are_those_of_a_list_or_of_the_question() -> None:
    def templates(value: object) -> Written:
        (found,) = written_by({"_target_": CLASS, "templates": value})
        return found

    assert templates(["a {}."]) == Written(IN_QUESTION)
    assert templates("openai_imagenet_80")[1:] == ("MIT (openai/CLIP)", NO_MODEL)
    assert templates("pets/openai")[1:] == ("MIT (openai/CLIP)", NO_MODEL)
    for name in spec_names():
        for one, told in read_texts(name).templates_source.items():
            found = templates(f"{name}/{one}")
            assert told in found.source
            assert (found.licence is None) == ("(MIT)" not in told)
            assert (found.language_model == NO_MODEL) == told.startswith("openai/CLIP")


def test_what_is_in_memory_and_templates_that_filled_nothing() -> None:
    assert written_by({"_target_": None, "name": "given"}) == (Written(IN_MEMORY),)
    settings = {"_target_": CLASS, "path": "library:cub", "fill": ["a {}."]}
    assert len(written_by(settings)) == 1
    assert written_by(settings, with_fill=True)[1] == Written(IN_QUESTION)


@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_dir() / "prompts").glob("*.yaml")))
def test_every_strategy_says_where_its_texts_come_from(name: str) -> None:
    """Of the demo: resolved as a run resolves it, with the texts that the data set names."""
    content = yaml.safe_load((conf_dir() / "prompts" / f"{name}.yaml").read_text())
    texts = yaml.safe_load((conf_dir() / "dataset" / "demo.yaml").read_text())["texts"]

    def filled(value: object) -> object:
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        if isinstance(value, str) and value.startswith("${dataset.texts."):
            return texts[value.removeprefix("${dataset.texts.").removesuffix("}")]
        return value

    found = written_by(filled(content))
    nothing_asked = name in ("coop", "library")  # of which the demo has none
    assert bool(found) != nothing_asked
    assert all(one.source for one in found)


# Licences of weights --------------------------------------------------------------------------------------------------


def licence(*overrides: str) -> object:
    return question_of(compose(overrides)).config.backbone.get("licence")


@pytest.mark.slow
def test_the_licence_of_an_option_is_of_its_own_weights_alone() -> None:
    assert licence("backbone=vit_b32_openai") == "MIT (openai/CLIP)"
    assert licence("backbone=vit_b32_openai", "backbone.pretrained=mine.pt") is None
    assert licence("backbone=vit_b32_openai", "backbone.pretrained=mine.pt", "backbone.name=mine") is None
    assert licence("backbone=vit_b32_openai", "backbone.name=mine") == "MIT (openai/CLIP)"
    assert licence("backbone=vit_b32_openai", "backbone.pretrained=mine.pt", "backbone.licence=CC0") == "CC0"


def test_the_licence_of_weights_of_ones_own_is_what_one_says() -> None:
    own = ("backbone=open_clip", "backbone.architecture=ViT-B-32", "backbone.pretrained=mine.pt")
    assert licence(*own) is None
    assert licence(*own, "backbone.licence=MIT") == "MIT"


def test_every_option_of_known_weights_has_a_licence() -> None:
    for path in sorted((conf_dir() / "backbone").glob("*.yaml")):
        told = yaml.safe_load(path.read_text())["licence"]
        assert (told is None) == (path.stem in ("given", "open_clip", "transformers")), path.stem
