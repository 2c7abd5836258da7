"""The demo's CuPL descriptions: complete, distinct, one visual sentence each."""

import json
from importlib import resources

import pytest
from open_clip.tokenizer import SimpleTokenizer

from cupl_bench.dataset.demo.drawing import evaluated_species

DESCRIPTIONS: dict[str, list[str]] = json.loads(
    (resources.files("cupl_bench") / "prompts/assets/cupl/demo.json").read_text("utf-8")
)
WEIGHTS = resources.files("cupl_bench") / "backbone/assets/demo"


def test_classes_are_those_of_the_dataset_in_its_order() -> None:
    assert list(DESCRIPTIONS) == [one.name for one in evaluated_species()]


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_are_sentences_that_name_the_class(name: str) -> None:
    texts = DESCRIPTIONS[name]
    assert len(texts) >= 8
    for text in texts:
        assert 8 <= len(text.split()) <= 40, text
        assert name in text.lower(), text
        assert text.endswith("."), text
        assert ". " not in text, text
        assert text[0].isupper(), text


def test_no_two_descriptions_are_alike() -> None:
    texts = [text for texts in DESCRIPTIONS.values() for text in texts]
    assert len({text.lower() for text in texts}) == len(texts)


def test_descriptions_fit_the_context_of_the_shipped_model() -> None:
    config = json.loads((WEIGHTS / "open_clip_config.json").read_text("utf-8"))["model_cfg"]["text_cfg"]
    tokenizer = SimpleTokenizer(bpe_path=str(WEIGHTS / config["tokenizer_kwargs"]["bpe_path"]))
    assert tokenizer.vocab_size == config["vocab_size"]
    longest = max(len(tokenizer.encode(text)) for texts in DESCRIPTIONS.values() for text in texts)
    assert longest + 2 <= config["context_length"]  # with the start and end tokens
