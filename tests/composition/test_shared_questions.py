"""Questions that are put together of parts are those that are composed one by one."""

from pathlib import Path

import pytest
from omegaconf import DictConfig

import cupl_bench.commands.shared_questions
from cupl_bench.commands.shared_questions import SharedQuestions
from cupl_bench.composition import read_questions
from cupl_bench.config import machine_of, question_of
from cupl_bench.dataset.named import NamedSource
from cupl_bench.run.asking import Question

SWEEP = ["dataset=cub,dtd", "backbone=demo,rn50_openai", "prompts=name_only,waffle", "scorer=plain,mta", "device=cpu"]


@pytest.mark.slow
def test_a_question_of_known_parts_is_the_one_that_is_composed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def counted(config: DictConfig) -> Question:
        built.append(config)
        return question_of(config)

    monkeypatch.setattr(cupl_bench.commands.shared_questions, "question_of", counted)
    questions = read_questions([*SWEEP, "precision=fp32,bf16"], several=True)
    shared = SharedQuestions(questions.composer)
    found = {one: shared(one.overrides) for one in questions.all}
    # For each of two precisions: each data set with its strategies, one more backbone and one more scorer.
    assert (len(found), len(built)) == (32, 2 * (2 * 2 + 1 + 1))
    for one in questions.all[3::7]:
        config = questions.composer(one.overrides)
        alone = question_of(config)
        assert found[one] == (alone, machine_of(config)), one.name
        assert found[one][0].config == alone.config


def test_a_part_that_names_another_is_made_anew_with_it() -> None:
    asked = ["dataset=cub,dtd", "prompts=ensemble", "backbone=demo", "results_dir=out/${dataset.name}", "device=cpu"]
    questions = read_questions(asked, several=True)
    shared = SharedQuestions(questions.composer)
    (cub, there), (dtd, elsewhere) = (shared(one.overrides) for one in questions.all)
    assert cub.prompts != dtd.prompts
    assert (there.results_dir.name, elsewhere.results_dir.name) == ("cub", "dtd")
    assert cub.backbone is dtd.backbone or cub.backbone == dtd.backbone


def test_an_option_of_ones_own_shares_nothing(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "odd.yaml").write_text(
        "# @package _global_\nprompts: {_target_: cupl_bench.prompts.strategies.TemplatesStrategy, name: odd,"
        ' templates: ["a {}"], aggregation: mean}\ndataset: {limit: 7}\n'
    )
    questions = read_questions(["dataset=cub", "prompts=simple,odd,simple"], str(tmp_path), several=True)
    shared = SharedQuestions(questions.composer)
    found = [shared(one.overrides)[0].dataset for one in questions.all]
    assert [source.limit for source in found if isinstance(source, NamedSource)] == [None, 7, None]
