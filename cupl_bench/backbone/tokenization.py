"""Identify how a text becomes ids, by a digest: two models with the same weights and other ids are two models.

The digest holds the vocabulary, the merges and the special tokens, and the ids of a few texts that show the rest:
cleaning, lower case, what versions of libraries do. Finding it takes the tokenizer and the library that holds it,
seconds; it is remembered under a key of the files and the versions.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cupl_bench.dataset.remembered import remembered
from cupl_bench.identity import content_key

__all__ = [
    "OF_EARLIER_KEYS",
    "Tokenization",
    "content_of_transformers",
    "find_tokenization",
    "say_once",
    "small_files",
    "versions",
]

log = logging.getLogger(__name__)

SMALL_FILES = ("*.json", "*.txt", "*.model")
"""The files of a tokenizer on the hub, and some of its model."""
OF_EARLIER_KEYS = {
    "6ca0ef80fb9f64ad30e63c3dd2df3eb167d27893b758f1f9eb8370d67b0e6013": "CLIP's own, as open_clip carries it",
    "d398709d774928d965975547ac406983fb651211731653e8994ed5f7df8a5b9a": "the demo's",
}
"""Tokenizations that enter no run key: earlier versions of this program took every model to have one of them."""
PROBES = (
    "",
    "a photo of a tree frog.",
    "A photo of a Tree FROG, I'm sure it's the frogs' 2nd!",
    "  two  spaces,\ttab and\nnew line ",
    "snake_case; semi-colon: 3.14 (brackets) [more] {and} <these> #1 50% a/b \\ ~x~ ^ | =+ @ $",
    "\"quoted\" 'single' *star* `tick` 1,000.50 e.g. U.S.A. rock-n-roll 1st",
    "Café cafe\u0301 naïve Ångström straße İstanbul Σίσυφος",
    "\u201ccurly\u201d \u2018quotes\u2019 \u2013 \u2014 \u2026 \ufb01sh \uff26\uff55\uff4c\uff4c ½ ™",
    "\u00a0hard\u00a0space zero\u200bwidth soft\u00adhyphen",
    "&lt;b&gt; fish &amp; chips &amp;amp; &eacute;&#39;&nbsp;",
    "l\u00e2\u20ac\u2122oiseau caf\u00c3\u00a9 \u00e2\u20ac\u0153x\u00e2\u20ac\u009d",
    "青蛙 アマガエル 청개구리 лягушка ضفدع देश",
    "🐸 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f 12345678901 x1y2 ²³",
    "\x07bell \x1b[31mred\x1b[0m \ufeff\ufffd",
    "<|startoftext|> <|endoftext|> <start_of_text> <end_of_text> </s> <pad> <unk> <bos> <eos> [CLS] [SEP] [MASK]",
    "antidisestablishmentarianism Zyzzyva qwrtplkjh LLaMA iPhone McDonald's O'Neill",
    "a very long sentence of a great many different words, which goes on and on, and on " * 12,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tokenization:
    """How texts become ids.

    ``digest``: of all that decides it. ``keeps_capitals``: whether capitals have other ids than small letters.
    """

    digest: str
    keeps_capitals: bool

    @property
    def in_keys(self) -> str | None:
        """Return its part of a run key: nothing where earlier versions of this program were right about it."""
        return None if self.digest in OF_EARLIER_KEYS else self.digest


def find_tokenization(
    key: str, cache_dir: Path, load: Callable[[], tuple[Mapping[str, object], Callable[[Sequence[str]], Any]]]
) -> Tokenization:
    """Return the tokenization of a tokenizer, found by using it once.

    Args:
        key: of the tokenizer's files and of the versions of what reads them.
        cache_dir: where it is remembered.
        load: gives the tokenizer's content as plain data, and what turns texts into ids; called only if it is new.
    """
    path = cache_dir / "tokenizers" / f"{content_key({'tokenizer': key, 'probes': PROBES})[:32]}.json"

    def find() -> dict[str, object]:
        content, ids_of = load()
        text = PROBES[1].title()
        capital, small = _plain(ids_of([text])), _plain(ids_of([text.lower()]))
        # One by one: what a library does to a batch is no matter of the text.
        digest = content_key({"content": content, "ids": [_plain(ids_of([probe])) for probe in PROBES]})
        return {"digest": digest, "keeps_capitals": capital != small}

    def read(known: Mapping[str, object]) -> Tokenization:
        return Tokenization(digest=str(known["digest"]), keeps_capitals=bool(known["keeps_capitals"]))

    return remembered(path, "tokenization", find, read)


def _plain(ids: Any) -> Any:
    return ids.tolist() if hasattr(ids, "tolist") else [list(row) for row in ids]


def content_of_transformers(tokenizer: Any) -> dict[str, object]:
    """Return the vocabulary, the merges and the special tokens of a tokenizer of `transformers`, in a digest each."""
    content: dict[str, object] = {
        "vocabulary": content_key({"ids": sorted(tokenizer.get_vocab().items())}),
        "special": sorted(tokenizer.all_special_ids),
        "pad": tokenizer.pad_token_id,
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
    }
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        model = json.loads(backend.to_str())["model"]
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model.get("merges") or []]
        scores = model["vocab"] if isinstance(model.get("vocab"), list) else None
        content["merges"] = content_key({"merges": merges, "scores": scores})
    return content


@cache
def say_once(text: str) -> None:
    """Warn, once for each text: a sweep identifies its backbone again and again."""
    log.warning("%s", text)


def small_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each small file of a model folder, the tokenizer's among them."""
    files = sorted({path for pattern in SMALL_FILES for path in folder.glob(pattern) if path.is_file()})
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def versions(*packages: str) -> dict[str, str | None]:
    """Return the installed version of each package, None where it is not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
