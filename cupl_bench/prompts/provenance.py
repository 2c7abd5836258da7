"""Who wrote the texts of a question, and under which licence they are: what is known, and nothing made up.

A file of prompts may have its provenance beside it, as `cupl-bench describe` writes one: `NAME.provenance.json` of
`NAME.json`, a map with the ``sha256`` of the file, its ``licence``, and the ``language_model`` that wrote it. One with
another sha256 is of another content, and is not believed.
"""

import json
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cupl_bench.dataset.texts import CUPL_COMMIT, read_texts, spec_names
from cupl_bench.errors import CuplBenchError
from cupl_bench.prompts.files import LIBRARY, digest_of, path_of
from cupl_bench.prompts.sources import OPEN_CLIP_LISTS
from cupl_bench.prompts.strategies import OFFICIAL
from cupl_bench.prompts.waffle import CLIP_VOCABULARY

__all__ = ["IN_MEMORY", "IN_QUESTION", "NO_MODEL", "UNSTATED", "Written", "facts_of", "written_by"]

log = logging.getLogger(__name__)

IN_QUESTION = "written out in the question"
"""The source of texts that the settings of a question hold themselves."""
IN_MEMORY = "given in memory"
"""The source of texts that no setting names."""
UNSTATED = "none stated"
"""The licence of texts that are shared without one."""
NO_MODEL = "none"
"""The language model of texts that people wrote."""
OPENAI = "openai/CLIP"
"""Where OpenAI's templates come from; people wrote them (Radford et al., arXiv 2103.00020, section 3.1.4)."""
CUPL_MODEL = "text-davinci-002"
"""The model of CuPL's files: `generate_image_prompts.py` of sarahpratt/CuPL@719619c."""


class Written(NamedTuple):
    """Texts of one source. ``licence`` and ``language_model`` are None where nobody says."""

    source: str
    licence: str | None = None
    language_model: str | None = None


def written_by(settings: Mapping[str, Any], *, with_fill: bool = False) -> tuple[Written, ...]:
    """Return each source of texts that a strategy reads, once.

    Args:
        settings: of ``prompts``, without interpolations.
        with_fill: whether the templates of ``fill`` were needed.
    """
    if settings.get("_target_") is None:
        return (Written(IN_MEMORY),)
    found: list[Written] = []
    for where, value in _settings(settings):
        key = where.rpartition(".")[2]
        if value is None or (key == "fill" and not with_fill):
            continue
        if key in ("templates", "fill"):
            found.append(_templates(value))
        elif key == "concept":
            found.append(Written(IN_QUESTION))
        elif key == "words" and value == CLIP_VOCABULARY:
            found.append(Written(f"the words of CLIP's vocabulary ({OPENAI})", f"MIT ({OPENAI})", NO_MODEL))
        elif key in ("path", "words", "characters"):
            found.append(_file(str(value)))
    return tuple(dict.fromkeys(found))


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the settings by their dotted keys, a list of texts as one."""
    found: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found += [(f"{key}.{inner}", one) for inner, one in _settings(value)]
        else:
            found.append((key, value))
    return found


def _templates(value: object) -> Written:
    if not isinstance(value, str):
        return Written(IN_QUESTION)
    if value in OPEN_CLIP_LISTS:
        return Written(f"{value} ({OPENAI}, as open_clip has them)", f"MIT ({OPENAI})", NO_MODEL)
    dataset, _, name = value.partition("/")
    if dataset in spec_names() and name in (sources := read_texts(dataset).templates_source):
        told = sources[name]
        licence = f"MIT ({told.partition('@')[0]})" if "(MIT)" in told else None
        return Written(f"{value} ({told})", licence, NO_MODEL if told.startswith(OPENAI) else None)
    return _file(value)


def _file(place: str) -> Written:
    if place.startswith(OFFICIAL):
        name = f"CuPL's file for {place.removeprefix(OFFICIAL)} (sarahpratt/CuPL@{CUPL_COMMIT[:7]})"
        return Written(name, UNSTATED, CUPL_MODEL)
    plain = place.partition("#sha256=")[0]
    is_named = "://" in plain or plain.startswith(LIBRARY)
    facts = facts_of(place)
    return Written(
        plain if is_named else Path(plain).name,
        *(str(facts[key]) if facts.get(key) else None for key in ("licence", "language_model")),
    )


def facts_of(place: str) -> Mapping[str, Any]:
    """Return the provenance of a file; empty where there is none, or where it is of another content.

    ``language_model`` is there where one is named. No number depends on it: what cannot be read is a warning.
    """
    if place.startswith(OFFICIAL):
        return {"language_model": CUPL_MODEL}
    if "://" in place:  # a download has nothing beside it
        return {}
    try:
        path = path_of(place)
        if place.startswith(LIBRARY):
            return _read(path.parent / "provenance" / path.name)
        beside = path.with_name(f"{path.stem}.provenance.json")
        if not (beside.is_file() and path.is_file()):
            return {}
        facts = _read(beside)
        return facts if facts.get("sha256") == digest_of(path) else {}
    except (OSError, ValueError, CuplBenchError) as error:
        _warn(place, str(error))
        return {}


@cache
def _warn(place: str, why: str) -> None:
    """Warn once for each file: a run asks twice, who wrote it and what it cost."""
    log.warning(
        "the provenance of %s cannot be read (%s): the record says neither who wrote it nor its cost", place, why
    )


def _read(path: Path) -> Mapping[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    facts = content if isinstance(content, dict) else {}
    endpoint = facts.get("endpoint")
    model = endpoint.get("model") if isinstance(endpoint, Mapping) else None
    return {"language_model": model, **facts} if model else facts
