"""Questions to a language model: many at once within a limit, tried again within bounds, each reply kept first.

Tries over HTTP (refused connections, cut ones, time-outs, 408, 409, 429, 5xx) and their pauses are those of the openai
client, which waits as `Retry-After` says, for two minutes at most. A reply that cannot be read counts as a try too.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from cupl_bench.describe import DescribeError
from cupl_bench.describe.journal import Entry, Journal
from cupl_bench.describe.settings import Endpoint, Recipe
from cupl_bench.errors import ConfigError, CuplBenchError
from cupl_bench.identity import content_key
from cupl_bench.interrupts import raise_if_interrupted

__all__ = ["Ask", "ask_all", "checked_key", "limits_of", "request_key", "without_key"]

log = logging.getLogger(__name__)

LONGEST_PAUSE = 8.0
"""Seconds between tries where the reply, not the connection, is at fault; the pause of the openai client."""

NEWS_SECONDS = 30.0

NOT_TAKEN = (400, 422)
"""Statuses by which a server refuses one question for what it says, or all of them for what all have in common."""

REFUSALS_AT_FIRST = 3
REFUSALS_LATER = 20
"""After so many refusals in a row the server is at fault, not the questions: before its first answer, and after it."""

SECRET_LENGTH = 8
"""A key that is shorter (`EMPTY`, `none`) is not a secret, and may be a word of an answer."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One LLM-prompt about one class, and the indices of the answers that are wanted of it."""

    request: str
    label: int
    class_name: str
    llm_prompt: str
    text: str
    indices: tuple[int, ...]

    def parts(self, size: int | None) -> Iterator["Ask"]:
        """Yield this request in parts of at most ``size`` answers."""
        step = size or len(self.indices) or 1
        for start in range(0, len(self.indices), step):
            yield replace(self, indices=self.indices[start : start + step])


class QuestionRefusedError(DescribeError):
    """The server does not take a question."""


class Message(BaseModel):
    """Of a chat; the content is None where a model refuses or calls a tool."""

    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    """One answer: a message (`chat`) or a text (`completions`)."""

    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class Usage(BaseModel):
    """Tokens of a whole reply."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Reply(BaseModel):
    """The parts of a reply that are read; servers add much more."""

    choices: list[Choice]
    model: str | None = None
    usage: Usage | None = None


def request_key(endpoint: Endpoint, recipe: Recipe, text: str, occurrence: int) -> str:
    """Return the content key of a question; ``occurrence`` tells the same question about two classes apart."""
    return content_key(
        {
            "base_url": endpoint.base_url,
            "model": endpoint.model,
            "api": endpoint.api,
            "limits": limits_of(recipe),
            "text": text,
            "occurrence": occurrence,
        }
    )[:32]


def limits_of(recipe: Recipe) -> dict[str, float | int | list[str] | None]:
    """Return the settings that limit an answer and influence its words."""
    return {
        "temperature": recipe.temperature,
        "max_tokens": recipe.max_tokens,
        "stop": None if recipe.stop is None else list(recipe.stop),
    }


def without_key(text: str, key: str | None) -> str:
    """Return ``text`` without the key, if a server has repeated it."""
    if key is None or len(key) < SECRET_LENGTH:
        return text
    for form in (key, key.replace("/", "\\/"), quote(key, safe="")):
        text = text.replace(form, "[key]")
    return text


def ask_all(
    asks: Sequence[Ask],
    endpoint: Endpoint,
    recipe: Recipe,
    key: str | None,
    journal: Journal,
    advance: Callable[[int, str], None],
    *,
    answered: bool = False,
) -> None:
    """Ask everything and keep every reply; what is asked when something fails for good is waited for.

    A question that the server refuses while it answers others ends nothing: at the end it stands in the journal as
    refused, with the server's words.

    Args:
        asks: what is wanted.
        endpoint: of whom.
        recipe: how.
        key: for the server; None where it wants none.
        journal: open; every answer is in it before anything else happens.
        advance: told of every reply: how many answers, and a word on tokens and cost.
        answered: whether this server has answered such questions before.

    Raises:
        DescribeError: the server failed for good; the text has no key in it, whatever the server said.
    """
    asyncio.run(_Asking(endpoint, recipe, key, journal, advance, answered).all(asks))


class _Asking:
    def __init__(
        self,
        endpoint: Endpoint,
        recipe: Recipe,
        key: str | None,
        journal: Journal,
        advance: Callable[[int, str], None],
        answered: bool,
    ) -> None:
        self._endpoint, self._recipe, self._key = endpoint, recipe, key
        self._journal, self._advance = journal, advance
        self._input = self._output = self._answers = 0
        self._answered, self._refused_in_a_row = answered, 0
        self._told = time.monotonic()
        self._client: Any = None

    async def all(self, asks: Sequence[Ask]) -> None:
        import httpx
        from openai import AsyncOpenAI

        endpoint = self._endpoint
        pending = deque(part for ask in asks for part in ask.parts(endpoint.answers_per_request))
        failures: list[CuplBenchError] = []
        refused: dict[str, QuestionRefusedError] = {}

        async def work() -> None:
            while pending and not failures:
                raise_if_interrupted()
                ask = pending.popleft()
                if ask.request in refused:  # the same question, for more answers
                    continue
                try:
                    await self._fill(ask)
                except QuestionRefusedError as error:
                    refused[ask.request] = error
                    self._refused_in_a_row += 1
                    if self._refused_in_a_row >= (REFUSALS_LATER if self._answered else REFUSALS_AT_FIRST):
                        failures.append(error)
                except CuplBenchError as error:
                    failures.append(error)

        # A key is always given: without one the client would take OPENAI_API_KEY and send it to any server.
        async with AsyncOpenAI(
            api_key=self._key or "none",
            base_url=endpoint.base_url,
            timeout=httpx.Timeout(endpoint.timeout, connect=min(endpoint.timeout, 10.0)),
        ) as self._client:
            await asyncio.gather(*(work() for _ in range(min(endpoint.concurrency, len(pending)))))
        if failures or (refused and not self._answered):
            raise failures[0] if failures else next(iter(refused.values()))
        of_refused = [ask for ask in asks if ask.request in refused]
        for ask in of_refused:
            self._keep_refusal(ask, str(refused[ask.request]))
        if of_refused:
            log.warning(
                "%s questions are refused by the server and count as refusals, first about %r: %s",
                f"{len(of_refused):,}",
                of_refused[0].class_name,
                refused[of_refused[0].request],
            )

    async def _fill(self, ask: Ask) -> None:
        """Ask until every index has its answer; a server may give fewer at once than it is asked for, or more."""
        wanted = deque(ask.indices)
        while wanted:
            reply = await self._reply(ask.text, len(wanted))
            name = uuid.uuid4().hex
            known = self._journal.of(ask.request)
            spare = max([self._recipe.n - 1, *known]) + 1
            usage = reply.usage or Usage()
            entries = []
            for choice in reply.choices:
                index = wanted.popleft() if wanted else (spare := spare + 1) - 1
                entries.append(self._entry(ask, index, name, choice, usage, reply.model))
            self._journal.append(entries)
            self._answered, self._refused_in_a_row = True, 0
            self._tell(min(len(entries), len(ask.indices)), usage)

    def _keep_refusal(self, ask: Ask, reason: str) -> None:
        """Let a question that the server does not take stand in the journal: it is not asked again."""
        name, choice = uuid.uuid4().hex, Choice(message=Message(refusal=reason), finish_reason="content_filter")
        usage = Usage(prompt_tokens=0, completion_tokens=0)
        known = self._journal.of(ask.request)
        left = [index for index in ask.indices if index not in known]
        self._journal.append([self._entry(ask, index, name, choice, usage, None) for index in left])
        self._tell(len(left), usage)

    def _entry(self, ask: Ask, index: int, response: str, choice: Choice, usage: Usage, model: str | None) -> Entry:
        message = choice.message or Message(content=choice.text)
        return Entry(
            request=ask.request,
            index=index,
            label=ask.label,
            class_name=ask.class_name,
            llm_prompt=ask.llm_prompt,
            asked=ask.text,
            base_url=self._endpoint.base_url,
            api=self._endpoint.api,
            model=self._endpoint.model,
            answered_by=self._plain(model),
            limits=limits_of(self._recipe),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            response=response,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            finish_reason=self._plain(choice.finish_reason),
            refusal=self._plain(message.refusal),
            text=self._plain(message.content) or "",
        )

    async def _reply(self, text: str, count: int) -> Reply:
        """Return a reply that can be read and holds an answer."""
        import openai

        endpoint, used, wrong = self._endpoint, 0, ""
        kind = DescribeError
        try:
            async with asyncio.timeout(endpoint.patience):
                while used < endpoint.tries:
                    if used:
                        await asyncio.sleep(min(0.5 * 2 ** (used - 1), LONGEST_PAUSE))
                    client = self._client.with_options(max_retries=endpoint.tries - used - 1)
                    calls = client.chat.completions if endpoint.api == "chat" else client.completions
                    raw = await calls.with_raw_response.create(**self._body(text, count))
                    used += raw.retries_taken + 1
                    content = raw.http_response.content
                    try:
                        reply = Reply.model_validate_json(content)
                    except ValidationError as error:
                        wrong = f"is not an answer ({error.errors()[0]['type']}): {self._excerpt(content)}"
                        continue
                    if reply.choices:
                        return reply
                    wrong = f"holds no choice: {self._excerpt(content)}"
        except TimeoutError:
            problem = f"gave no answer within {endpoint.patience:g} s, all tries together (llm.patience)"
        except openai.APITimeoutError:
            problem = f"stalled {endpoint.tries} times, each for {endpoint.timeout:g} s (llm.timeout)"
        except openai.APIStatusError as error:
            problem = self._refused(error)
            kind = QuestionRefusedError if error.status_code in NOT_TAKEN else DescribeError
        except openai.APIConnectionError as error:
            cause = self._plain(str(error.__cause__ or error)) or type(error.__cause__).__name__
            problem = f"cannot be reached, or breaks off ({cause}), in {endpoint.tries} tries. Is it running?"
        except openai.OpenAIError as error:
            problem = f"cannot be asked: {self._plain(str(error))}"
        else:
            problem = f"was asked {used} times, and its reply {wrong}"
        # From None: the exceptions of the client hold the request, and with it the key.
        raise kind(f"{endpoint.base_url} {problem.rstrip('.')}.") from None

    def _body(self, text: str, count: int) -> dict[str, Any]:
        recipe, endpoint = self._recipe, self._endpoint
        body: dict[str, Any] = {"model": endpoint.model, endpoint.limit_key: recipe.max_tokens}
        body |= {"messages": [{"role": "user", "content": text}]} if endpoint.api == "chat" else {"prompt": text}
        body |= {"n": count} if count > 1 else {}
        body |= {} if recipe.temperature is None else {"temperature": recipe.temperature}
        body |= {} if not recipe.stop else {"stop": list(recipe.stop)}
        return body

    def _refused(self, error: Any) -> str:
        """Return the message for a status that is not tried again, or no more."""
        endpoint, status = self._endpoint, int(error.status_code)
        said = self._excerpt(error.response.content)
        if status in (401, 403):
            given = "no key" if self._key is None else f"the key of {endpoint.key_from}"
            return f"does not accept {given} ({status}: {said}). Set llm.key_from to the variable of a valid one"
        if status == 404:
            return (
                f"has no model {endpoint.model!r}, or is no such server ({status}: {said}). Set llm.model, llm.base_url"
            )
        if status == 429:
            wait = error.response.headers.get("retry-after")
            pause = f", and asks for a pause of {self._plain(wait)} s" if wait else ""
            return f"takes no more requests for now ({status}: {said}){pause}; lower llm.concurrency, or wait"
        if status < 500:
            return f"does not take the request for model {endpoint.model!r} ({status}: {said})"
        return f"fails, {endpoint.tries} times ({status}: {said})"

    def _excerpt(self, content: bytes) -> str:
        # The key goes before the cut, so that no half of it is left.
        text = " ".join((self._plain(content.decode("utf-8", "replace")) or "").split())
        return repr(text if len(text) <= 200 else f"{text[:200]}...")

    def _plain(self, text: str | None) -> str | None:
        """Return a text of the server without the key."""
        if text is None:
            return None
        return without_key(text, self._key)

    def _tell(self, answers: int, usage: Usage) -> None:
        self._answers += answers
        self._input += usage.prompt_tokens or 0
        self._output += usage.completion_tokens or 0
        cost = self._endpoint.cost(self._input, self._output)
        note = f"{self._input:,} tokens in, {self._output:,} out" + ("" if cost is None else f", cost {cost:.4f}")
        self._advance(answers, note)
        if time.monotonic() - self._told > NEWS_SECONDS:
            self._told = time.monotonic()
            log.info("%s answers; %s", f"{self._answers:,}", note)


def checked_key(variable: str, value: str | None) -> str:
    """Return the key out of the environment, as a header can carry it.

    Raises:
        ConfigError: there is none, or it holds what no header can.
    """
    key = (value or "").strip()
    if not key:
        raise ConfigError(
            f"The environment variable {variable} holds no key. Set it (export {variable}=...), name another with"
            " llm.key_from=..., or say llm.key_from=null if the server wants none."
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(f"The environment variable {variable} holds what no key can: spaces or unusual characters.")
    return key
