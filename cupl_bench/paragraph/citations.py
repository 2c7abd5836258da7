"""Whose work a run rests on: entries of BibTeX, found by the names of data sets, backbones, prompts and scorers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from cupl_bench.dataset.spec import read_spec
from cupl_bench.dataset.texts import spec_names

__all__ = ["Entry", "bibtex", "entries", "keys_of"]

REFERENCES = Path(__file__).with_name("references.bib")
START = re.compile(r"^@\w+\{([^,\s]+),$", re.MULTILINE)
CITED_FOR = re.compile(r",?\n\s*cited_for = \{([^}]*)\}")


@dataclass(frozen=True)
class Entry:
    """An entry of BibTeX, and what it is cited for: ``kind:name`` with ``*`` for any letters."""

    key: str
    text: str
    cited_for: tuple[str, ...]


@lru_cache(maxsize=1)
def entries() -> Mapping[str, Entry]:
    """Return every entry by its key; a named data set that none is cited for has one made of its spec's own words."""
    content = REFERENCES.read_text(encoding="utf-8")
    starts = list(START.finditer(content))
    found: dict[str, Entry] = {}
    for place, match in enumerate(starts):
        end = starts[place + 1].start() if place + 1 < len(starts) else len(content)
        text = content[match.start() : end].strip()
        told = CITED_FOR.search(text)
        found[match[1]] = Entry(match[1], CITED_FOR.sub("", text), tuple(told[1].split()) if told else ())
    for name in spec_names():
        if not _keys(found, f"dataset:{name}"):
            spec = read_spec(name)
            lines = (f"@misc{{dataset-{name},", f"  title = {{{spec.title}}},", f"  note = {{{spec.citation}}}", "}")
            found[f"dataset-{name}"] = Entry(f"dataset-{name}", "\n".join(lines), (f"dataset:{name}",))
    return found


def keys_of(*things: str) -> list[str]:
    """Return the keys of the entries that are cited for one of ``things``, such as ``dataset:pets``; each once.

    >>> keys_of("dataset:pets", "backbone:vit_b32_openai")
    ['radford2021learning', 'parkhi2012cats']
    """
    return _keys(entries(), *things)


def _keys(known: Mapping[str, Entry], *things: str) -> list[str]:
    return [
        entry.key
        for entry in known.values()
        if any(fnmatchcase(thing, pattern) for pattern in entry.cited_for for thing in things)
    ]


def bibtex(keys: Iterable[str]) -> str:
    """Return the entries of these keys as a file of BibTeX."""
    return "".join(f"{entries()[key].text}\n\n" for key in dict.fromkeys(keys))
