"""The lines below a plan: its totals in words, of at most 80 columns."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from cupl_bench.commands.plan_totals import Download, Gigabytes, NotKnown, Time, Totals
from cupl_bench.dataset.urls import size_text

__all__ = ["lines_of"]

COLUMNS = 80
LABEL = 10
SIZE = re.compile(r"([\d.]+) (GB|MB|kB|bytes)")
UNITS = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "bytes": 1.0}
NAMED = 3
"""Downloads that are named, those that most questions wait for."""


def lines_of(totals: Totals) -> list[str]:
    """Return the lines below a plan; only an address may be longer than 80 columns, so that it can be copied."""
    found: list[str] = []
    for label, text in _said(totals):
        found += textwrap.wrap(
            text,
            COLUMNS,
            initial_indent=label.ljust(LABEL),
            subsequent_indent=" " * LABEL,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return found


def _said(totals: Totals) -> Iterator[tuple[str, str]]:
    yield "in all", f"{_count(totals.questions, 'question')}, {totals.finished:,} finished"
    if totals.jobs > 1:
        yield "jobs", f"{totals.jobs:,}, one for each {_list(totals.one_for_each)}"
    todo = [_count(totals.images, "image")] if totals.images else []
    todo += [_count(totals.views, "view")] if totals.views else []
    todo += [f"at most {_count(totals.texts, 'prompt')}"] if totals.texts else []
    if todo:
        yield "to encode", _list(todo)
        if any((totals.gigabytes.images, totals.gigabytes.views, totals.gigabytes.texts)):
            yield "on disk", _on_disk(totals.gigabytes)
        yield from _times(totals.times)
    if lacking := _not_known(totals.not_known):
        yield "not known", lacking
    yield from _to_fetch(totals.downloads)
    for one in totals.by_hand:
        yield "by hand", f"{one.what}, for {_count(one.questions, 'question')}"


def _on_disk(gigabytes: Gigabytes) -> str:
    parts = {"images": gigabytes.images, "views": gigabytes.views, "prompts, at most": gigabytes.texts}
    told = [f"{_size(size)} of {what}" for what, size in parts.items() if size]
    return f"{_size(sum(parts.values()))} of features" + (f": {_list(told)}" if len(told) > 1 else "")


def _size(gigabytes: float) -> str:
    return f"{gigabytes:,.2f} GB" if gigabytes >= 0.005 else size_text(round(gigabytes * 1e9))


def _times(times: Sequence[Time]) -> Iterator[tuple[str, str]]:
    """Yield how long it takes on each device, where earlier runs say so."""
    if not times:
        yield "time", "not known: no run in this results folder has encoded anything"
    for one in times:
        told = [f"{_duration(one.image_seconds)} for images"] if one.image_seconds else []
        told += [f"{_duration(one.text_seconds)} for prompts"] if one.text_seconds else []
        lacking = {"images": one.no_images_of, "prompts": one.no_texts_of}
        if one.no_images_of == one.no_texts_of:
            lacking = {"": one.no_images_of}
        not_known = [_first(names) + (f" ({what})" if what else "") for what, names in lacking.items() if names]
        parts = [f"about {_list(told)}, by earlier runs"] if told else []
        parts += [f"not known of {_list(not_known)}"] if not_known else []
        if parts:
            yield "time", f"on {one.device}: {'; '.join(parts)}"


def _not_known(lacking: NotKnown) -> str:
    count = lacking.prompts_of_questions
    parts = [f"how many images {_first(lacking.images_of)} has"] if lacking.images_of else []
    parts += [f"how many prompts {_count(count, 'question')} {'has' if count == 1 else 'have'}"] if count else []
    if own := lacking.own_texts_of:
        parts.append(
            f"how many texts scorer={_first(own)} {'encodes itself' if len(own) == 1 else 'encode themselves'}"
        )
    parts += [f"how wide the features of {_first(lacking.width_of)} are"] if lacking.width_of else []
    return f"{_list(parts)}: not in these sums" if parts else ""


def _to_fetch(downloads: Sequence[Download]) -> Iterator[tuple[str, str]]:
    if not downloads:
        return
    known = [_bytes(one.size or "") for one in downloads]
    size = size_text(int(sum(one for one in known if one is not None)))
    lost = sum(one is None for one in known)
    yield (
        "to fetch",
        f"{_count(len(downloads), 'download')}: "
        + ("sizes not known" if lost == len(known) else f"{size}{f', and {lost} of unknown size' if lost else ''}"),
    )
    for one in downloads[:NAMED]:
        yield "", f"{one.what} ({one.size}), for {_count(one.questions, 'question')}"
    if len(downloads) > NAMED:
        fewer = downloads[NAMED].questions < downloads[NAMED - 1].questions
        yield "", f"and {len(downloads) - NAMED:,} more" + (", for fewer questions" if fewer else "")


def _bytes(text: str) -> float | None:
    match = SIZE.search(text)
    return None if match is None else float(match[1]) * UNITS[match[2]]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _list(parts: Sequence[str]) -> str:
    """Return parts of a sentence, one after the other.

    >>> _list(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _first(names: Sequence[str]) -> str:
    """Return two names and how many more there are.

    >>> _first(["a", "b", "c", "d"])
    'a, b and 2 more'
    """
    return _list(names) if len(names) < 4 else f"{', '.join(names[:2])} and {len(names) - 2:,} more"
