"""Each value of a sweep goes to the options that have its key; what cannot be asked is refused."""

import re

import pytest

from cupl_bench.composition import read_questions
from cupl_bench.conf_folder import conf_dir
from cupl_bench.errors import ConfigError


def asked(*overrides: str) -> list[tuple[str, ...]]:
    return [one.overrides for one in read_questions(overrides, several=True).all]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["prompts=simple,file", "prompts.path=a.json,b.json"],
            [("prompts=simple",), ("prompts=file", "prompts.path=a.json"), ("prompts=file", "prompts.path=b.json")],
        ),
        (
            ["prompts.path=a.json,b.json", "prompts=file,simple"],
            [("prompts=file", "prompts.path=a.json"), ("prompts=file", "prompts.path=b.json"), ("prompts=simple",)],
        ),
        (
            ["dataset=cub,flowers", "dataset.protocol=custom"],
            [("dataset=cub", "dataset.protocol=custom"), ("dataset=flowers", "dataset.protocol=custom")],
        ),
        (
            ["prompts=waffle,dclip_waffle", "prompts.pairs=5"],
            [("prompts=waffle", "prompts.pairs=5"), ("prompts=dclip_waffle", "prompts.pairs=5")],
        ),
        (
            ["dataset=demo,folder", "dataset.path=a,b"],
            [("dataset=demo",), ("dataset=folder", "dataset.path=a"), ("dataset=folder", "dataset.path=b")],
        ),
        (
            ["dataset=demo,cub", "dataset.texts.concept=bird"],
            [("dataset=demo", "dataset.texts.concept=bird"), ("dataset=cub", "dataset.texts.concept=bird")],
        ),
        (  # both have it, one waits for it
            ["prompts=file,templates", "prompts.templates=mine.json"],
            [("prompts=file",), ("prompts=templates", "prompts.templates=mine.json")],
        ),
        (["prompts=glob(cupl_b*)"], [("prompts=cupl_base",)]),
        (
            ["prompts=simple,file", "prompts.path=a", "seed=1,2"],
            [
                ("prompts=simple", "seed=1"),
                ("prompts=simple", "seed=2"),
                ("prompts=file", "seed=1", "prompts.path=a"),
                ("prompts=file", "seed=2", "prompts.path=a"),
            ],
        ),
    ],
)
def test_a_key_goes_to_the_options_that_have_it(overrides: list[str], expected: list[tuple[str, ...]]) -> None:
    assert asked(*overrides) == expected


@pytest.mark.slow
def test_a_glob_takes_a_key_of_all_that_it_matches() -> None:
    names = [one[0] for one in asked("dataset=glob(c*)", "dataset.protocol=custom")]
    assert names == [f"dataset={path.stem}" for path in sorted((conf_dir() / "dataset").glob("c*.yaml"))]
    assert {"dataset=cars", "dataset=cub"} <= set(names)
    assert {one[1] for one in asked("dataset=glob(c*)", "dataset.protocol=custom")} == {"dataset.protocol=custom"}


@pytest.mark.slow
def test_a_key_of_a_recipe_that_sweeps_goes_to_its_options() -> None:
    questions = read_questions(["experiment=waffle_cub", "prompts.pairs=5"], several=False)
    with_key = [one.name for one in questions.all if "prompts.pairs=5" in one.overrides]
    assert len(questions.all) == 21
    assert len(with_key) == 12
    assert all("waffle" in name for name in with_key)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["prompts=simple,file", "prompts.pth=x"],
            "prompts.pth is not a key of prompts=simple,file. Did you mean 'prompts.path'",
        ),
        (["prompts=simple,file", "prompts.pth=x,y"], "Did you mean 'prompts.path'"),
        (["dataset=cub,flowers", "dataset.protocl=custom"], "Did you mean 'dataset.protocol'"),
        (["dataset=cub,flwers"], "dataset=flwers is not an option of dataset. Did you mean 'flowers'"),
        (["dataset=glob(zz*)"], "dataset=glob(zz*) matches nothing. Options: aircraft, "),
        (["batch_size=1,x"], "batch_size=x cannot be set: Value 'x'"),
        (["hydra.verbose=true,false"], "cannot vary Hydra's own settings"),
        (["seed=interval(0,1)"], "seed=interval(0,1) is not a list of values"),
        (["prompts=null"], "it cannot be null"),
    ],
)
def test_a_sweep_is_refused_before_anything_runs(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_questions(overrides, several=True)


def test_questions_of_one_data_set_and_backbone_are_a_job() -> None:
    jobs = read_questions(["prompts=simple,cupl", "dataset=cub,dtd"], several=True).jobs
    assert [[one.name for one in job] for job in jobs] == [
        ["dataset=cub prompts=simple", "dataset=cub prompts=cupl"],
        ["dataset=dtd prompts=simple", "dataset=dtd prompts=cupl"],
    ]
