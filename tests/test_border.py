"""What a user's own classes hand over is parsed where it comes in, or refused with the class and the value."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from cupl_bench.backbone import Backbone, BackboneFacts, Tokens, identified_by, loaded_by
from cupl_bench.dataset import Dataset, listed_by
from cupl_bench.embeddings import Aggregation, build_class_embeddings
from cupl_bench.errors import BackboneError, ConfigError, DatasetError, PromptsError
from cupl_bench.prompts import Prompts, prompts_of
from cupl_bench.prompts.budget import BudgetStrategy
from cupl_bench.run.asking import Machine, Question
from cupl_bench.scores import similarities


@pytest.fixture(autouse=True)
def as_a_user_runs_it() -> Iterator[None]:
    """Tests check the types of all calls; no user does, so the border has to stand alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@dataclass(frozen=True)
class Seasons:
    """A strategy of a user's own that hands on what it is given."""

    given: dict[str, Any]
    answer: Any = None

    def __call__(self, class_names: Any) -> Any:
        if self.answer is not None:
            return self.answer
        texts = [[f"a {name} in spring.", f"a {name} in snow."] for name in class_names]
        return Prompts(**{"texts": texts, "aggregation": Aggregation.MEAN, **self.given})


@dataclass(frozen=True)
class Source:
    """A data set of a user's own."""

    given: dict[str, Any]
    answer: Any = None

    def __call__(self, cache_dir: Path) -> Any:
        return self.answer if self.answer is not None else Dataset(**{**DATASET, **self.given})


DATASET: dict[str, Any] = {
    "split": "all",
    "class_names": ["ant", "bee"],
    "labels": [0, 1, 1],
    "image_ids": ["a", "b", "c"],
    "image_keys": [bytes([place]) * 16 for place in range(3)],
    "read": lambda index: b"",
}
FACTS: dict[str, Any] = {
    "architecture": "mine",
    "pretrained": "",
    "weights_sha256": "00",
    "activation": "gelu",
    "image_size": [8, 8],
    "embed_dim": 4,
    "transform": {},
    "model": {},
    "tokenizer": "of the tests",
    "tokenization": None,
}


@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_an_aggregation_by_its_name_is_scored_as_the_member(aggregation: Aggregation) -> None:
    """By identity each text fell through to another rule than the one that its record named."""
    named = prompts_of(Seasons({"aggregation": str(aggregation)}), ["ant", "bee"])
    meant = prompts_of(Seasons({"aggregation": aggregation}), ["ant", "bee"])
    assert named == meant
    assert type(named.aggregation) is Aggregation
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((5, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    images = torch.from_numpy(rows[::-1].copy())
    owned = [[0, 1, 2], [3, 4]]
    scores = [
        similarities(images, build_class_embeddings(rows, owned, one))
        for one in (str(aggregation), aggregation)  # type: ignore[arg-type]
    ]
    assert torch.equal(*scores)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"aggregation": "nonsense"},
            "Seasons: aggregation is 'nonsense'.*'mean', 'mean_similarity' or 'max_similarity'",
        ),
        ({"aggregation": None}, "aggregation is None"),
        ({"texts": [["a"], [3, None]]}, r"texts\[1\]\[0\] is 3.*texts\[1\]\[1\] is None"),
        ({"texts": ["ant", "bee"]}, r"texts\[0\] is 'ant'"),
        ({"texts": [["a"], {"b", "c"}]}, "which has no order"),
        ({"texts": []}, "prompts of no class"),
        ({"texts": [["a"]]}, "gives prompts of 1 classes for 2 class names"),
        ({"texts": [["a"], ["\ud800"]]}, "1 of 2 classes have a prompt that is no Unicode text"),
        ({"weights": [[1, 1]]}, "of another shape"),
        ({"weights": [["much", 1], [1, 1]]}, r"weights\[0\]\[0\] is 'much'"),
        ({"weights": [[-1, 1], [1, 1]]}, "1 weights are not above zero"),
        ({"weigh_by_images": "perhaps"}, "weigh_by_images is 'perhaps'"),
        ({"seed": "one"}, "seed is 'one'"),
        ({"join": ["exact"]}, "join is"),
    ],
)
def test_prompts_of_a_users_class_are_refused_with_its_name(given: dict[str, Any], message: str) -> None:
    for strategy in (Seasons(given), BudgetStrategy(strategy=Seasons(given), budget=2, seed=0)):
        with pytest.raises(PromptsError, match=message) as caught:
            prompts_of(strategy, ["ant", "bee"])
        assert "Seasons" in str(caught.value)


@pytest.mark.parametrize("answer", [[["a"], ["b"]], {"texts": ()}, "ant"])
def test_a_strategy_that_gives_something_else_is_named(answer: object) -> None:
    with pytest.raises(PromptsError, match=r"Seasons gives .*; a strategy gives cupl_bench.prompts.Prompts"):
        prompts_of(Seasons({}, answer), ["ant", "bee"])


def test_a_data_set_of_a_users_class_may_hold_lists() -> None:
    dataset = listed_by(Source({"labels": np.array([0, 1, 1], dtype=np.uint8), "notes": ["one"]}), Path(), None)
    assert dataset.labels.dtype == np.int64
    assert (dataset.class_names, dataset.notes) == (("ant", "bee"), ("one",))
    assert dataset.fingerprint == Dataset(**DATASET).fingerprint
    assert listed_by(Source({}), Path(), (1, 3)).num_whole == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"class_names": "ab"}, "class_names is 'ab'"),
        ({"class_names": ["ant", 7]}, r"class_names\[1\] is 7"),
        ({"class_names": {"ant", "bee"}}, "no order"),
        ({"class_names": ["ant", " "]}, "1 class names are blank"),
        ({"class_names": ["ant", "\ud800"]}, "1 class names are no Unicode text"),
        ({"labels": [0.0, 1.0, 1.0]}, "labels are float64"),
        ({"labels": [[0], [1], [1]]}, "of the shape"),
        ({"labels": ["ant", "bee", "bee"]}, "whole number for each image"),
        ({"labels": [True, False, True]}, "labels are bool"),
        ({"labels": [0, 1, 2]}, "1 of 3 images have a label outside 0 to 1"),
        ({"labels": [0, 1]}, "one for each image"),
        ({"image_ids": "abc"}, "image_ids holds 'a'"),
        ({"image_ids": [1, 2, 3]}, "image_ids holds 1"),
        ({"image_keys": ["a" * 16] * 3}, "image_keys holds"),
        ({"image_keys": [b"ab"] * 3}, "3 of 3 image_keys are not of 16 bytes"),
        ({"read": b"bytes"}, "read is b'bytes'"),
        ({"tiers": ["often"]}, "1 tiers for 2 classes"),
        ({"notes": "one"}, "notes is 'one'"),
        ({"num_whole": "all"}, "num_whole is 'all'"),
    ],
)
def test_a_data_set_of_a_users_class_is_refused_with_its_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=f"Source: .*{message}"):
        listed_by(Source(given), Path(), None)


@pytest.mark.parametrize("answer", [{"labels": []}, [("a.jpg", 0)]])
def test_a_source_that_gives_something_else_is_named(answer: object) -> None:
    with pytest.raises(DatasetError, match=r"Source gives .*cupl_bench.dataset.Dataset"):
        listed_by(Source({}, answer), Path(), (1, 2))


@dataclass(frozen=True)
class Model:
    """A backbone of a user's own."""

    given: dict[str, Any]
    answer: Any = None

    def identify(self, cache_dir: Path, *, download: bool) -> Any:
        return self.answer if self.answer is not None else BackboneFacts(**{**FACTS, **self.given})

    def load(self, facts: Any, device: Any, precision: Any) -> Any:
        return {"facts": facts}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"embed_dim": "wide"}, "embed_dim is 'wide'"),
        ({"embed_dim": 0}, "should be 1 or more"),
        ({"image_size": 224}, "image_size is 224"),
        ({"weights_sha256": b"ab\xff"}, "weights_sha256 is"),
        ({"weights_sha256": ""}, "weights_sha256 is blank"),
        ({"transform": [1]}, r"transform is \[1\]"),
        ({"model": {"layers": {1, 2}}}, "model holds what is no plain data"),
    ],
)
def test_the_facts_of_a_users_backbone_are_refused_with_its_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=f"Model: .*{message}"):
        identified_by(Model(given), Path(), download=False)


def test_a_backbone_that_gives_something_else_is_named() -> None:
    with pytest.raises(BackboneError, match=r"Model.identify gives .*BackboneFacts"):
        identified_by(Model({}, dict(FACTS)), Path(), download=False)
    with pytest.raises(BackboneError, match=r"Model.load gives .*Backbone"):
        loaded_by(Model({}), BackboneFacts(**FACTS), torch.device("cpu"), "fp32")
    with pytest.raises(BackboneError, match="2 sequences and says of 1"):
        Tokens(sequences=((1,), (2,)), truncated=(False,))


@pytest.mark.parametrize("scale", [float("nan"), "hot"])
def test_a_temperature_is_a_finite_number(scale: object) -> None:
    parts: dict[str, Any] = dict.fromkeys(("device", "transform", "encode_images", "text"))
    with pytest.raises(BackboneError, match="logit_scale"):
        Backbone(facts=BackboneFacts(**FACTS), logit_scale=scale, logit_bias=None, **parts)  # type: ignore[arg-type]


QUESTION: dict[str, Any] = {
    "dataset_name": "mine",
    "dataset": Source({}),
    "skip_broken": False,
    "decode": "exact",
    "primary": "top1",
    "backbone_name": "mine",
    "backbone": Model({}),
    "precision": "fp32",
    "prompts_name": "mine",
    "prompts": Seasons({}),
    "config": {},
}


@pytest.mark.parametrize("name", ["primary", "decode", "precision", "skip_broken"])
def test_a_question_of_nonsense_is_refused(name: str) -> None:
    """A metric of another name was taken for mean_per_class."""
    question = Question(**QUESTION)
    with pytest.raises(ConfigError, match=f"{name}( is '|=)nonsense('| is not a metric)"):
        replace(question, **{name: "nonsense"})


def test_a_machine_that_reruns_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rerun is 'sometimes'"):
        Machine(
            results_dir=tmp_path,
            cache_dir=tmp_path,
            device="cpu",
            batch_size=1,
            num_workers=0,
            cache_limit_gb=1.0,
            rerun="sometimes",  # type: ignore[arg-type]
            shard=None,
        )
