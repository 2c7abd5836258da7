"""What a question is called."""

from cupl_bench.composition import named, read_questions


def test_names_of_questions_are_those_of_the_version_before() -> None:
    """`status` finds the outcomes of earlier runs by them."""
    asked = ["prompts=simple,cupl", "dataset=demo", "batch_size=3", "seed=1"]
    names = [one.name for one in read_questions(asked, several=True).all]
    assert names == ["dataset=demo prompts=simple seed=1", "dataset=demo prompts=cupl seed=1"]
    assert named([]) == "the defaults"
