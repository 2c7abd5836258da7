"""From class names to image-prompts on the disk: what to ask, what is known already, what became of the answers."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cupl_bench import __version__
from cupl_bench.describe import DescribeError
from cupl_bench.describe.answers import MARKS, Sentence, marked, sentence_of
from cupl_bench.describe.asking import Ask, ask_all, limits_of, request_key
from cupl_bench.describe.journal import Entry, Journal, opened, read_journal
from cupl_bench.describe.llm_prompts import LlmPrompt, filled, read_llm_prompts, thing_of
from cupl_bench.describe.settings import Endpoint, Recipe
from cupl_bench.errors import CuplBenchError, first, short
from cupl_bench.identity import content_key
from cupl_bench.paths import absolute
from cupl_bench.progress import progress
from cupl_bench.store import write_atomically

__all__ = ["Description", "Plan", "Written"]

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1

CHARACTERS_PER_TOKEN = 4
"""Of English text, roughly; for a plan."""

TOKENS_AROUND = 8
"""The tokens that a chat template puts around a question, roughly."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a description: requests and answers in all, those that the journal holds, tokens of the rest, cost.

    ``input_tokens`` is an estimate, ``output_tokens`` an upper bound; None as cost where prices are not set.
    """

    classes: int
    llm_prompts: int
    answers: int
    journaled: int
    requests: int
    input_tokens: int
    output_tokens: int
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class Written:
    """The result of a description. ``marks``: for each the answers that bear it, how many are left out, and cases.

    ``per_class``: the fewest and the most sentences. ``uncounted``: replies without a count of tokens.
    """

    output: Path
    provenance: Path
    sentences: int
    per_class: tuple[int, int]
    left_out: int
    marks: Mapping[str, tuple[int, int, list[str]]]
    input_tokens: int
    output_tokens: int
    uncounted: int
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class Description:
    """Class names of a data set, a server, and a recipe: one CuPL JSON.

    ``folder``: where journals lie, and the JSON unless the recipe names it.
    """

    dataset: str
    class_names: tuple[str, ...]
    endpoint: Endpoint
    recipe: Recipe
    folder: Path

    def keys(self) -> list[str]:
        """Return the key of each class in the JSON: its name, with the label where names repeat (`missile [657]`).

        Raises:
            DescribeError: two classes would have one key, or a name is blank.
        """
        if blank := [label for label, name in enumerate(self.class_names) if not name.strip()]:
            raise DescribeError(f"{len(blank)} class names are blank, first: class {first(blank)}. Name them.")
        count = Counter(self.class_names)
        keys = [f"{name} [{label}]" if count[name] > 1 else name for label, name in enumerate(self.class_names)]
        if twice := [key for key, times in Counter(keys).items() if times > 1]:
            raise DescribeError(
                f"{len(twice)} class names look like the keys of repeated names, first: {first(twice)}."
            )
        return keys

    @property
    def journal(self) -> Path:
        """The answers of this data set and this server, of whatever model and recipe."""
        return self.folder / f"{_file_name(self.dataset)}_{_file_name(self.endpoint.name)}.journal.jsonl"

    def output(self) -> Path:
        """Return the CuPL JSON: as the recipe says, or by a name that changes with all that moves its content."""
        if self.recipe.output is not None:
            return absolute(self.recipe.output)
        facts = {
            "class_names": list(self.class_names),
            "llm_prompts": [one.text for one in self.llm_prompts()],
            "endpoint": [self.endpoint.base_url, self.endpoint.model, self.endpoint.api],
            "recipe": {name: value for name, value in asdict(self.recipe).items() if name not in ("plan", "output")},
        }
        parts = (self.dataset, self.endpoint.name, self.recipe.name, content_key(facts)[:8])
        return self.folder / f"{'_'.join(map(_file_name, parts))}.json"

    def llm_prompts(self) -> list[LlmPrompt]:
        """Return the LLM-prompts with their gaps."""
        return read_llm_prompts(self.recipe.llm_prompts, self.dataset)

    def asks(self) -> list[list[Ask]]:
        """Return the questions about each class, one for each LLM-prompt."""
        recipe, llm_prompts = self.recipe, self.llm_prompts()
        thing = recipe.category or thing_of(self.dataset)
        asked: Counter[str] = Counter()
        rows = []
        for label, name in enumerate(self.class_names):
            row = []
            for llm_prompt in llm_prompts:
                text = filled(llm_prompt.text, name, thing, recipe.article)
                text = f"{text}\n{recipe.instruction}" if recipe.instruction else text
                # The same words about two classes of one name are two questions, with answers of their own.
                request = request_key(self.endpoint, recipe, text, asked[text])
                asked[text] += 1
                ask = Ask(
                    request=request,
                    label=label,
                    class_name=name,
                    llm_prompt=llm_prompt.text,
                    text=text,
                    indices=tuple(range(recipe.n)),
                )
                row.append(ask)
            rows.append(row)
        return rows

    def plan(self) -> Plan:
        """Return the plan, and ask nothing."""
        self.keys()
        rows = self.asks()
        every = [ask for row in rows for ask in row]
        left = _left(every, read_journal(self.journal))
        parts = [part for ask in left for part in ask.parts(self.endpoint.answers_per_request)]
        around = TOKENS_AROUND if self.endpoint.api == "chat" else 0
        input_tokens = sum(-(-len(part.text) // CHARACTERS_PER_TOKEN) + around for part in parts)
        answers = sum(len(ask.indices) for ask in every)
        missing = sum(len(ask.indices) for ask in left)
        output_tokens = missing * self.recipe.max_tokens
        return Plan(
            classes=len(rows),
            llm_prompts=len(rows[0]),
            answers=answers,
            journaled=answers - missing,
            requests=len(parts),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost=self.endpoint.cost(input_tokens, output_tokens),
        )

    def write(
        self, key: Callable[[], str | None], counter: Callable[[], tuple[Callable[[Sequence[str]], list[int]], int]]
    ) -> Written:
        """Ask what the journal does not hold, and write the CuPL JSON with its provenance.

        Args:
            key: gives the server's key; not called where nothing is left to ask.
            counter: gives what counts the tokens of texts, and how many a text tower reads.

        Raises:
            DescribeError: the server fails for good, or a class is left without a sentence; the journal is kept.
        """
        keys, output, rows = self.keys(), self.output(), self.asks()
        provenance = output.with_name(f"{output.stem}.provenance.json")
        if output.exists() and not provenance.exists():
            raise DescribeError(
                f"{output} exists and was not written by this command. Name another place: describe.output=..."
            )
        every = [ask for row in rows for ask in row]
        with opened(self.journal) as journal:
            left = _left(every, journal)
            wanted = sum(len(ask.indices) for ask in left)
            total = sum(len(ask.indices) for ask in every)
            if wanted:
                log.info(
                    "asks       %s of %s answers from %s at %s",
                    f"{wanted:,}",
                    f"{total:,}",
                    self.endpoint.model,
                    self.endpoint.base_url,
                )
                self._ask(left, wanted, key(), journal, total)
            answers = [[[journal.of(ask.request)[index] for index in ask.indices] for ask in row] for row in rows]
        return self._made(keys, answers, output, provenance, *counter())

    def _ask(self, left: Sequence[Ask], wanted: int, key: str | None, journal: Journal, total: int) -> None:
        try:
            with progress(wanted, "answers") as advance:
                ask_all(left, self.endpoint, self.recipe, key, journal, advance, answered=wanted < total)
        except CuplBenchError as error:
            missing = sum(len(ask.indices) for ask in _left(left, journal))
            raise type(error)(
                f"{error} {total - missing:,} of {total:,} answers are in {self.journal}; the same command continues"
                " from there and asks none of them again."
            ) from None

    def _made(
        self,
        keys: Sequence[str],
        answers: Sequence[Sequence[Sequence[Entry]]],
        output: Path,
        provenance: Path,
        count_tokens: Callable[[Sequence[str]], list[int]],
        context_length: int,
    ) -> Written:
        entries = [[entry for of_prompt in row for entry in of_prompt] for row in answers]
        sentences = [
            [
                sentence_of(entry.text, entry.finish_reason, self.recipe.postprocess, self.recipe.stop or ())
                for entry in row
            ]
            for row in entries
        ]
        refused = [
            [entry.refusal is not None or entry.finish_reason == "content_filter" for entry in row] for row in entries
        ]
        marks = marked(sentences, refused, self.class_names, count_tokens, context_length)
        left_out = [
            [
                not sentence.text or bool(set(found) & set(self.recipe.leave_out))
                for sentence, found in zip(row, row_marks, strict=True)
            ]
            for row, row_marks in zip(sentences, marks, strict=True)
        ]
        content = {
            key: [sentence.text for sentence, out in zip(row, outs, strict=True) if not out]
            for key, row, outs in zip(keys, sentences, left_out, strict=True)
        }
        counted: dict[str, tuple[int, int, list[str]]] = {}
        for mark in MARKS:
            places = [
                (label, place) for label, row in enumerate(marks) for place, found in enumerate(row) if mark in found
            ]
            cases = []
            for label, place in places[:3]:
                text = sentences[label][place].text or _said(entries[label][place])
                cases.append(f"{keys[label]}: {short(' '.join(text.split()), 80)!r}")
            if places:
                counted[mark] = (len(places), sum(left_out[label][place] for label, place in places), cases)
        if bare := [key for key, row in content.items() if not row]:
            found = ", ".join(f"{count:,} {MARKS[mark]} ({mark})" for mark, (count, _, _) in counted.items())
            raise DescribeError(
                f"{len(bare)} of {len(keys)} classes are left without a sentence, first: {first(bare, 3)}. Of all"
                f" answers {found}. No file is written; every answer is in {self.journal}. Keep more with"
                " describe.leave_out=[...], ask for more with describe.n=..., or ask in other words."
            )
        distinct = {entry.response: entry for row in entries for entry in row}.values()
        input_tokens = sum(entry.prompt_tokens or 0 for entry in distinct)
        output_tokens = sum(entry.completion_tokens or 0 for entry in distinct)
        written = Written(
            output=output,
            provenance=provenance,
            sentences=sum(map(len, content.values())),
            per_class=(min(map(len, content.values())), max(map(len, content.values()))),
            left_out=sum(map(sum, left_out)),
            marks=counted,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            uncounted=sum(entry.prompt_tokens is None or entry.completion_tokens is None for entry in distinct),
            cost=self.endpoint.cost(input_tokens, output_tokens),
        )
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        facts = self._provenance(written, keys, entries, sentences, marks, left_out, text)
        # First the provenance: a JSON without it would look like a file of another origin.
        write_atomically(provenance, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
        write_atomically(output, text.encode())
        return written

    def _provenance(
        self,
        written: Written,
        keys: Sequence[str],
        entries: Sequence[Sequence[Entry]],
        sentences: Sequence[Sequence[Sentence]],
        marks: Sequence[Sequence[tuple[str, ...]]],
        left_out: Sequence[Sequence[bool]],
        text: str,
    ) -> dict[str, object]:
        times = [entry.time for row in entries for entry in row]
        kept: dict[str, list[dict[str, object]]] = {key: [] for key in keys}
        out = []
        for label, key in enumerate(keys):
            row = zip(entries[label], sentences[label], marks[label], left_out[label], strict=True)
            for place, (entry, sentence, found, gone) in enumerate(row):
                what: dict[str, object] = {
                    "llm_prompt": place // self.recipe.n,
                    "index": entry.index,
                    "request": entry.request,
                    **({"marks": list(found)} if found else {}),
                }
                if gone:
                    out.append({"class": key, **what, "sentence": sentence.text, "answer": entry.text})
                else:
                    kept[key].append(what)
        return {
            "schema_version": SCHEMA_VERSION,
            "what": "image-prompts by a language model, class by class in the order of the JSON",
            "file": written.output.name,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "cupl_bench": __version__,
            "dataset": self.dataset,
            "num_classes": len(keys),
            "num_sentences": written.sentences,
            "endpoint": {
                "name": self.endpoint.name,
                "base_url": self.endpoint.base_url,
                "api": self.endpoint.api,
                "model": self.endpoint.model,
                "answered_by": sorted({entry.answered_by for row in entries for entry in row if entry.answered_by}),
            },
            "asked_from": min(times),
            "asked_to": max(times),
            "llm_prompts": [asdict(one) for one in self.llm_prompts()],
            "thing": self.recipe.category or thing_of(self.dataset),
            "article": self.recipe.article,
            "instruction": self.recipe.instruction,
            "n": self.recipe.n,
            "limits": limits_of(self.recipe),
            "postprocess": self.recipe.postprocess,
            "leave_out": list(self.recipe.leave_out),
            "tokens": {
                "input": written.input_tokens,
                "output": written.output_tokens,
                "replies_without_a_count": written.uncounted,
                "cost": written.cost,
            },
            "marks": {
                mark: {"says": MARKS[mark], "answers": count, "left_out": gone}
                for mark, (count, gone, _) in written.marks.items()
            },
            "left_out": out,
            "sentences": kept,
            "journal": self.journal.name,
        }


def _left(asks: Sequence[Ask], journal: Journal) -> list[Ask]:
    """Return the part of ``asks`` that the journal does not hold."""
    left = []
    for ask in asks:
        known = journal.of(ask.request)
        if indices := tuple(index for index in ask.indices if index not in known):
            left.append(Ask(**{**vars(ask), "indices": indices}))
    return left


def _said(entry: Entry) -> str:
    return entry.text or entry.refusal or ""


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)
