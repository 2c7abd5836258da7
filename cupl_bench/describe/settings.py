"""Settings of a user: the server that is asked (`conf/llm`), and what it is asked for (`conf/describe`)."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from cupl_bench.describe.answers import MARKS
from cupl_bench.errors import ConfigError, nearest

__all__ = ["Endpoint", "Recipe"]

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server that speaks OpenAI's protocol, and how hard it is tried.

    ``base_url``: up to and without `/chat/completions`. ``api``: `chat`, or `completions` for models without a chat
    template. ``key_from``: the environment variable that holds the key; None where the server wants none.
    ``limit_key``: by which word the server knows the limit of tokens.
    ``answers_per_request``: at most so many at once; 1 where a server knows no `n`; None: all at once.
    ``concurrency``: requests at the same time. ``tries``: of one request, the first included.
    ``timeout``: seconds without a sign from the server until a try is given up; ``patience``: seconds for all tries.
    ``price_input``, ``price_output``: of a million tokens, in any currency.

    Raises:
        ConfigError: the address is none, or a key stands where none belongs.
    """

    name: str
    base_url: str
    model: str
    api: Literal["chat", "completions"]
    key_from: str | None
    limit_key: Literal["max_tokens", "max_completion_tokens"]
    answers_per_request: PositiveInt | None
    concurrency: PositiveInt
    tries: PositiveInt
    timeout: PositiveFloat
    patience: PositiveFloat
    price_input: NonNegativeFloat | None
    price_output: NonNegativeFloat | None

    def __post_init__(self) -> None:
        # Neither message repeats what was given: it may hold a key.
        if self.key_from is not None and not VARIABLE.fullmatch(self.key_from):
            raise ConfigError(
                "llm.key_from should be the name of an environment variable, in capitals, such as OPENAI_API_KEY; the"
                " key itself stands in that variable and nowhere else."
            )
        address = urlsplit(self.base_url)
        if address.username or address.password or address.query or address.fragment:
            raise ConfigError(
                "llm.base_url should be an address alone, without user, password or query: a key comes from the"
                " environment variable that llm.key_from names."
            )
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(
                f"llm.base_url={self.base_url} is not an address; give one such as http://localhost:8000/v1."
            )

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the price of so many tokens; None where it is not known."""
        if self.price_input is None or self.price_output is None:
            return None
        return (input_tokens * self.price_input + output_tokens * self.price_output) / 1e6


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The LLM-prompts, how answers are sampled, and how an answer becomes sentences.

    ``llm_prompts``: `base` or `full` (CuPL's, for the data set), a path to a JSON list, or a list.
    ``category``: what stands for ``{thing}``, such as `the bird {}`; None: the data set's own.
    ``article``: `fixed` ("an electric ray"), or `paper`, which has "an" before capital vowels alone.
    ``instruction``: a line after each LLM-prompt, for chat models; empty for none.
    ``n``: answers to each LLM-prompt. ``temperature``: None leaves it to the server.
    ``max_tokens``, ``stop``: where an answer ends. ``postprocess``: `clean` or `paper`.
    ``leave_out``: answers with one of these marks do not become image-prompts.
    ``output``: the CuPL JSON; None: a name of its own below `results_dir/descriptions`.
    ``plan``: count what would be asked, and ask nothing.

    Raises:
        ConfigError: ``leave_out`` names no mark, or ``output`` is not a JSON file.
    """

    name: str
    llm_prompts: str | tuple[str, ...]
    category: str | None
    article: Literal["fixed", "paper"]
    instruction: str
    n: PositiveInt
    temperature: NonNegativeFloat | None
    max_tokens: PositiveInt
    stop: tuple[str, ...] | None
    postprocess: Literal["clean", "paper"]
    leave_out: tuple[str, ...]
    output: str | None
    plan: bool

    def __post_init__(self) -> None:
        if unknown := [mark for mark in self.leave_out if mark not in MARKS]:
            raise ConfigError(
                f"describe.leave_out={unknown[0]} is not a mark of an answer.{nearest(unknown[0], MARKS)} There are"
                f" {', '.join(MARKS)}."
            )
        if self.output is not None and not self.output.endswith(".json"):
            raise ConfigError(f"describe.output={self.output} should end in .json: it becomes a CuPL JSON.")
