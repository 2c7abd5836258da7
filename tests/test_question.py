"""The words of a question: upgraded, asked again, and never believed further than they are words."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from cupl_bench.composition import compose
from cupl_bench.config import question_of
from cupl_bench.config.again import Place, ask_again, dataset_again, filled
from cupl_bench.errors import ConfigError, ResultsError
from cupl_bench.question import QuestionRecord, literal

OLD = {
    "dataset": {
        "_target_": "cupl_bench.dataset.folder.FolderSource", "name": "folder", "path": "photos", "split": "all",
        "class_names": None, "primary": "top1", "skip_broken": True, "decode": "fast",
        "texts": {"templates": None, "cupl": "${asset:prompts/assets/cupl/demo.json}", "concept": None},
    },
    "backbone": {
        "_target_": "cupl_bench.backbone.open_clip.OpenClipSource", "name": "open_clip", "architecture": "a.json",
        "pretrained": "w.safetensors", "transform_of": None,
    },
    "prompts": {
        "_target_": "cupl_bench.prompts.strategies.DescriptionsStrategy", "name": "file",
        "path": "${dataset.texts.cupl}",
        "variant": None, "cache_dir": "${cache_dir}", "templates": None, "aliases": None, "extra": "error",
        "clean": False, "aggregation": "mean",
    },
    "precision": "fp32", "budget": 3, "seed": 7,
}  # fmt: skip
"""What a record held before questions had a version, at commit bbf8646."""


def old(**changes: object) -> dict[str, object]:
    """The old words with some settings replaced, by their dotted keys; `...` takes one away."""
    out = {key: dict(value) if isinstance(value, dict) else value for key, value in OLD.items()}
    for key, value in changes.items():
        group, _, name = key.partition("__")
        node = out[group] if name else out
        if value is ...:
            del node[name or group]
        else:
            node[name or group] = value
    return out


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(results_dir=tmp_path / "results", cache_dir=tmp_path / "cache")


def test_an_old_record_is_upgraded_and_stays_what_it_is() -> None:
    words = QuestionRecord.model_validate(OLD)
    assert (words.version, words.decode, words.skip_broken, words.primary) == (2, "fast", True, "top1")
    assert (words.precision, words.budget, words.seed) == ("fp32", 3, 7)
    assert "decode" not in words.dataset
    assert words.option("dataset") == OLD["dataset"]
    assert words.option("prompts") == OLD["prompts"]
    assert words.beyond_words == ()
    assert QuestionRecord.model_validate_json(words.model_dump_json()) == words
    assert OLD["dataset"]["decode"] == "fast"  # what is upgraded is not changed


def test_an_old_record_is_asked_again(place: Place) -> None:
    question = ask_again(QuestionRecord.model_validate(OLD), place)
    assert (question.decode, question.skip_broken, question.precision) == ("fast", True, "fp32")
    assert question.dataset.path == "photos"
    assert (question.prompts.budget, question.prompts.seed) == (3, 7)
    assert Path(question.prompts.strategy.path).is_file()
    assert question.prompts.strategy.cache_dir == str(place.cache_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["prompts=union", "seed=3"],
        ["dataset=cub", "dataset.decode=fast", "backbone=vit_b32_openai", "prompts=cupl_top"],
        ["prompts=templates", "prompts.templates=['a \\${x} {}']", "budget=2", "precision=bf16"],
    ],
)
def test_what_is_asked_is_asked_again(overrides: list[str], place: Place) -> None:
    config = compose([*overrides, f"cache_dir={place.cache_dir}", f"results_dir={place.results_dir}"])
    asked = question_of(config)
    words = QuestionRecord.model_validate_json(asked.config.model_dump_json())
    assert filled(words) == (words, ())
    assert ask_again(words, place) == asked


@pytest.mark.parametrize(
    "text",
    ["${oc.env:CUPL_SECRET}", "x/${oc.env:CUPL_SECRET,none}.json", "${oc.decode:'1'}", "${now:%Y}", "${results_dir}",
     "${asset:../../x}", "${asset:/etc/passwd}", "${hydra.runtime.cwd}", "${.path}", "${oc.select:a}", "${", "a${b",
     "${user_cache:x}", "${dataset.texts.nothing}", "${dataset.${seed}}"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["prompts__path", "dataset__path", "backbone__pretrained"])
def test_nothing_of_a_record_is_looked_up(text: str, key: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPL_SECRET", "swordfish")
    for form in (OLD, QuestionRecord.model_validate(OLD).model_dump()):
        changed = {name: dict(value) if isinstance(value, dict) else value for name, value in form.items()}
        group, _, name = key.partition("__")
        changed[group][name] = text
        with pytest.raises(ResultsError, match=rf"{group}\.{name} of the record") as found:
            ask_again(QuestionRecord.model_validate(changed), place)
        assert "swordfish" not in str(found.value)


def test_what_stands_for_itself_or_grows_without_end_is_refused(place: Place) -> None:
    texts = {"a": "${dataset.texts.b}", "b": "${dataset.texts.a}"}
    with pytest.raises(ResultsError, match="refers to itself"):
        ask_again(QuestionRecord.model_validate(old(dataset__texts=texts)), place)
    texts = {f"t{i}": f"${{dataset.texts.t{i + 1}}}" * 30 for i in range(15)} | {"t15": "x" * 30}
    with pytest.raises(ResultsError, match="longer than any setting"):
        ask_again(QuestionRecord.model_validate(old(dataset__texts=texts)), place)


def test_a_literal_is_given_back_as_it_is(place: Place) -> None:
    text = "costs ${oc.env:HOME} {}"
    words = QuestionRecord.model_validate(old(prompts__path=literal(text)))
    assert words.resolved(place.cache_dir, place.cache_dir)["prompts"]["path"] == text


def test_a_class_from_outside_the_package_is_said_and_not_imported(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strangers_code.py").write_text(
        "from dataclasses import dataclass\nfrom pathlib import Path\n"
        f"Path({str(tmp_path / 'was_run')!r}).touch()\n\n@dataclass(frozen=True)\nclass Mine:\n    x: int\n"
        "    def __call__(self, class_names):\n        raise NotImplementedError\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = QuestionRecord.model_validate(
        old(prompts={"_target_": "strangers_code.Mine", "name": "mine", "x": 1}, budget=None)
    )
    assert words.beyond_words == ("prompts: the class strangers_code.Mine",)
    with pytest.raises(ResultsError, match=r"1 parts of this question are classes from outside.*--trust"):
        ask_again(words, place)
    assert not (tmp_path / "was_run").exists()
    assert "strangers_code" not in sys.modules
    trusted = Place(results_dir=place.results_dir, cache_dir=place.cache_dir, trust=True)
    assert ask_again(words, trusted).prompts.x == 1
    assert (tmp_path / "was_run").exists()
    sys.modules.pop("strangers_code", None)


@pytest.mark.parametrize(
    "target", ["os.system", "cupl_bench.store.os.system", "cupl_bench.store.Path", "cupl_bench.nowhere.X", 3, "",
               "cupl_bench", "${dataset.texts.concept}", ["a"]]
)  # fmt: skip
def test_only_classes_of_the_package_are_built(target: object, place: Place) -> None:
    for group in ("dataset", "backbone", "prompts"):
        with pytest.raises((ResultsError, ConfigError)):
            ask_again(QuestionRecord.model_validate(old(**{f"{group}___target_": target})), place)
    with pytest.raises((ResultsError, ConfigError)):
        dataset_again(QuestionRecord.model_validate(old(dataset___target_=target)), place)


def test_an_address_of_a_record_is_shown_and_not_fetched(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("fetched"))
    address = "https://strangers.example/p.json"
    for change in ({"prompts__path": address}, {"dataset__texts": {"cupl": address}},
                   {"prompts__templates": ["a {}", "zip::" + address]}):  # fmt: skip
        words = QuestionRecord.model_validate(old(**change))
        with pytest.raises(ResultsError, match=r"strangers\.example/p\.json.*--trust"):
            ask_again(words, place)
    trusted = Place(results_dir=place.results_dir, cache_dir=place.cache_dir, trust=True)
    assert (
        ask_again(QuestionRecord.model_validate(old(prompts__path=address)), trusted).prompts.strategy.path == address
    )


def test_a_record_cannot_claim_to_be_complete() -> None:
    words = QuestionRecord.model_validate(old(backbone___target_=None))
    assert words.beyond_words == ("backbone: open_clip, which was in memory alone",)
    claimed = words.model_dump() | {"beyond_words": []}
    assert QuestionRecord.model_validate(claimed).beyond_words == words.beyond_words
    with pytest.raises(
        ResultsError, match="cannot be asked again from its record: 'backbone: open_clip, which was in mem"
    ):
        words.check_whole()


@pytest.mark.parametrize(
    "given", [{}, old(prompts=...), old(dataset=...), old(precision=...), old(dataset__primary=...), old(seed=...),
              old(dataset=3), {"data": OLD["dataset"], "model": OLD["backbone"]}, {"version": 2}]
)  # fmt: skip
def test_what_is_lost_is_not_made_up(given: dict, place: Place) -> None:
    words = QuestionRecord.model_validate(given)
    with pytest.raises(ResultsError, match="does not hold its whole question"):
        ask_again(words, place)


@pytest.mark.parametrize("given", [{"version": 3}, old(precision="fp8"), old(dataset__skip_broken="yes"), [], "x"])
def test_what_is_no_question_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        QuestionRecord.model_validate(given)


def test_settings_that_a_class_gained_have_their_defaults_of_today(place: Place) -> None:
    words = QuestionRecord.model_validate(old(prompts__clean=..., backbone__transform_of=...))
    whole, gained = filled(words)
    taken_out = {"backbone.transform_of=None", "prompts.clean=False"}
    came_later = {
        "backbone.state_dict_key=None", "prompts.missing=error", "prompts.fill=${dataset.texts.templates}",
        "dataset.limit=None", "dataset.seed=0", "dataset.groups=None", "dataset.sets=None",
    }  # fmt: skip
    assert set(gained) == taken_out | came_later
    asked = ask_again(QuestionRecord.model_validate(OLD), place)
    again = ask_again(whole, place)
    assert (again.prompts, again.backbone) == (asked.prompts, asked.backbone)


def test_settings_that_a_class_inside_another_gained_are_filled_too() -> None:
    config = compose(["prompts=union"])
    words = question_of(config).config.model_dump()
    del words["prompts"]["members"]["sentences"]["clean"]
    whole, gained = filled(QuestionRecord.model_validate(words))
    assert gained == ("prompts.members.sentences.clean=False",)
    assert "name" not in whole.prompts["members"]["sentences"]
