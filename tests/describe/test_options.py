"""The YAML files of language models and recipes."""

from inspect import signature

import pytest
import yaml
from hydra.utils import get_object

from cupl_bench.composition import compose as compose_once
from cupl_bench.conf_folder import conf_dir
from cupl_bench.config import describing_of
from cupl_bench.describe.settings import Endpoint, Recipe
from cupl_bench.errors import ConfigError

FILES = sorted([*(conf_dir() / "llm").glob("*.yaml"), *(conf_dir() / "describe").glob("*.yaml")])


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_an_option_names_every_parameter_and_builds(path) -> None:
    content = yaml.safe_load(path.read_text())
    parameters = signature(get_object(content["_target_"])).parameters
    assert set(content) - {"_target_"} == set(parameters)
    assert not [one for one in parameters.values() if one.default is not one.empty]
    model = ["llm.model=x"] if content.get("model") == "???" else []
    _, _, endpoint, recipe = describing_of(compose_once([f"{path.parent.name}={path.stem}", *model]))
    assert isinstance(endpoint, Endpoint)
    assert isinstance(recipe, Recipe)
    assert path.stem in (endpoint.name, recipe.name)


def test_the_servers_of_the_field() -> None:
    assert {path.stem for path in FILES} >= {"openai", "vllm", "llama_cpp", "ollama", "transformers_serve"}


def test_the_papers_settings() -> None:
    _, _, _, recipe = describing_of(compose_once(["describe=paper"]))
    assert (recipe.n, recipe.temperature, recipe.max_tokens, recipe.stop) == (10, 0.99, 50, (".",))
    assert (recipe.postprocess, recipe.instruction, recipe.leave_out) == ("paper", "", ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["llm=vllm"], "llm.model is not set. Give it: llm.model="),
        (["llm.base_url=localhost"], "llm.base_url=localhost is not an address"),
        (["llm.base_url=file:///etc"], "is not an address"),
        (["llm.api=chats"], "llm.api='chats' is of the wrong type or value"),
        (["llm.concurrency=0"], "llm.concurrency=0 is of the wrong type or value"),
        (["llm.timeout=-1"], "llm.timeout=-1 is of the wrong type or value"),
        (["+llm.api_key=sk-secret"], "llm.api_key is not a setting"),
        (["describe.n=0"], "describe.n=0 is of the wrong type or value"),
        (["describe.article=german"], "describe.article='german'"),
        (["describe.postprocess=claen"], "describe.postprocess='claen'"),
        (["describe.leave_out=[unamed]"], "Did you mean 'unnamed'"),
        (["describe.output=prompts.txt"], "should end in .json"),
        (["describe.plan=perhaps"], "describe.plan='perhaps'"),
    ],
)
def test_mistakes_stop_before_any_work(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        describing_of(compose_once(overrides))
    assert "sk-secret" not in str(caught.value)
