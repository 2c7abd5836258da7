"""Read templates and descriptions, check them, and join them to class names."""

import difflib
import hashlib
import json
import re
import runpy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cupl_bench.dataset.names import is_unicode, normalised, other_lists
from cupl_bench.dataset.texts import CUPL_COMMIT, CuplFile, FetchedList, read_texts, spec_names
from cupl_bench.dataset.urls import UrlError, fetch_url
from cupl_bench.errors import DatasetError, PromptsError, first, nearest
from cupl_bench.json_files import read_json
from cupl_bench.open_clip_files import open_clip_file
from cupl_bench.prompts.files import check_download, content_of, path_of

__all__ = [
    "Descriptions",
    "Join",
    "Official",
    "fetch_official",
    "fill",
    "join_by_name",
    "normalised",
    "read_descriptions",
    "read_templates",
    "strategy_of",
]

Descriptions = Mapping[str, Sequence[str]]
"""Class name -> its sentences, as CuPL's files have it."""

OPEN_CLIP_LISTS = {
    "openai_imagenet_80": "OPENAI_IMAGENET_TEMPLATES",
    "openai_imagenet_7": "SIMPLE_IMAGENET_TEMPLATES",
}
"""Template lists that open_clip carries: our name -> its name in `open_clip.zero_shot_metadata`."""


def fill(template: str, class_name: str) -> str:
    """Return ``template`` with the class name for each ``{}``; other braces, and those in the name, stay.

    >>> fill("a photo of a {}.", "tree frog")
    'a photo of a tree frog.'
    """
    return template.replace("{}", class_name)


def read_templates(source: str | Sequence[str], group: Literal["prompts", "scorer"] = "prompts") -> list[str]:
    """Return templates from a list, a file or URL that holds one, or a list that open_clip carries by name.

    A file is JSON, or a `.txt` with a template on each line, where ``{c}`` means the same as ``{}``: CLIP_benchmark's.
    A message about a list names the setting of ``group``.

    >>> read_templates(["a photo of a {}."])
    ['a photo of a {}.']

    Raises:
        PromptsError: there is none, one is not text, or one lacks the ``{}`` that stands for the class name.
    """
    if isinstance(source, str):
        place = source.partition("#sha256=")[0]
        if source in OPEN_CLIP_LISTS:
            templates: object = _open_clip_templates(OPEN_CLIP_LISTS[source])
        elif place.endswith(".json"):
            templates = read_json(path_of(source), "a list of templates", PromptsError)
        elif place.endswith(".txt"):
            templates = _templates_of_lines(path_of(source))
        else:
            templates = _templates_of_dataset(source)
        where = source
    else:
        templates, where = list(source), f"{group}.templates"
    if not isinstance(templates, list):
        raise PromptsError(
            f"{where} holds {_kind(templates)}; it should hold a list of templates.{strategy_of(templates, where)}"
        )
    if not templates:
        raise PromptsError(f"{where} holds no template. Give at least one, such as 'a photo of a {{}}.'.")
    if wrong := [template for template in templates if not isinstance(template, str)]:
        raise PromptsError(f"{where}: {len(wrong)} of {len(templates)} templates are not text, first: {first(wrong)}.")
    if wrong := [template for template in templates if "{}" not in template]:
        raise PromptsError(
            f"{where}: {len(wrong)} of {len(templates)} templates lack the {{}} that stands for the class name,"
            f" first: {first(wrong)}."
        )
    if wrong := [template for template in templates if not is_unicode(template)]:
        raise PromptsError(f"{where}: {len(wrong)} templates are not Unicode text, first: {first(wrong)}.")
    return templates


def _templates_of_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptsError(f"{path} cannot be read ({error}); it should hold one template on each line.") from error
    return [line.strip().replace("{c}", "{}") for line in lines if line.strip()]


def _templates_of_dataset(source: str) -> list[str]:
    """Return the list ``dataset/list``, such as `cub/waffle`, of a named data set."""
    dataset, _, name = source.partition("/")
    lists: list[str] = []
    if dataset in spec_names():
        texts = read_texts(dataset)
        if name in texts.templates:
            return list(texts.templates[name])
        if name in texts.fetched:
            return _fetched_templates(texts.fetched[name])
        lists = [f"{dataset}/{one}" for one in (*texts.templates, *texts.fetched)]
    known = [*sorted(OPEN_CLIP_LISTS), *lists]
    raise PromptsError(
        f"{source!r} names no templates: give a list, a path to a JSON file, DATASET/LIST, or one of {known}."
        f"{nearest(source, known)}"
    )


def _fetched_templates(listed: FetchedList) -> list[str]:
    """Return templates of another language; ``{c}`` means the class there."""
    try:
        found = listed.read(path_of(f"{listed.url}#sha256={listed.sha256}"))
    except DatasetError as error:
        raise PromptsError(str(error)) from error
    return [template.replace("{c}", "{}") for template in found]


def _open_clip_templates(name: str) -> list[str]:
    """Return a template list of open_clip, read from its one file: importing the whole package takes seconds."""
    lists = runpy.run_path(str(open_clip_file("zero_shot_metadata.py")))
    return [make("{}") for make in lists[name]]


def read_descriptions(source: str, *, may_be_empty: bool = False) -> Descriptions:
    """Return the texts of each class name, image-prompts or descriptors, from any form that `content_of` reads.

    ``may_be_empty``: whether a class may have no text, as one without descriptors.

    That is: the JSON of CuPL, SuS-X, AWT, MPVR, LaBo and of descriptors, CLIP_benchmark's with the map of a data set
    inside, the torch files of VDT-Adapter, and a folder of text files as AdaptCLIPZS has them.

    Raises:
        PromptsError: the file cannot be had, or holds anything else.
    """
    content = content_of(source, "a CuPL JSON: class name -> list of sentences")
    if not isinstance(content, dict):
        raise PromptsError(
            f"{source} holds {_kind(content)}; it should map each class name to a list of sentences."
            f"{strategy_of(content, source)}"
        )
    content = _of_one_data_set(content, source)
    if not content:
        raise PromptsError(f"{source} holds no class; it should map each class name to a list of sentences.")
    if wrong := [name for name, sentences in content.items() if not isinstance(sentences, list)]:
        raise PromptsError(
            f"{source}: {len(wrong)} of {len(content)} classes do not hold a list of sentences, first: {first(wrong)}."
            f"{strategy_of(content, source)}"
        )
    if (wrong := [name for name, sentences in content.items() if not sentences]) and not may_be_empty:
        raise PromptsError(
            f"{source}: {len(wrong)} of {len(content)} classes hold an empty list, first: {first(wrong)}. If these are"
            f" descriptors, say prompts=dclip dataset.texts.descriptors={source}, which accepts a class without any; if"
            " sentences are still missing, prompts.missing=templates fills such classes from templates."
        )
    if wrong := [name for name, row in content.items() if not all(isinstance(text, str) for text in row)]:
        odd = next(text for text in content[wrong[0]] if not isinstance(text, str))
        raise PromptsError(
            f"{source}: {len(wrong)} of {len(content)} classes hold something that is not text, first:"
            f" {wrong[0]!r} holds {odd!r}."
        )
    if wrong := [name for name, row in content.items() if not all(is_unicode(text) for text in (name, *row))]:
        raise PromptsError(
            f"{source}: {len(wrong)} of {len(content)} classes hold what is not Unicode text (half a surrogate pair),"
            f" first: {first(wrong)}."
        )
    return content


def _of_one_data_set(content: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the map of the one data set in a file of maps; any other content as it is.

    Raises:
        PromptsError: there are maps of more than one.
    """
    maps = [one for one in content.values() if isinstance(one, dict)]
    if not maps or len(maps) != len(content):
        return content
    if len(maps) > 1:
        raise PromptsError(
            f"{source} holds {len(maps)} maps, {first(list(content), 3)}: the prompts of more than one data set. Save"
            " the one that is meant in a file of its own."
        )
    return maps[0]


@dataclass(frozen=True, kw_only=True)
class Official:
    """CuPL's own file for a data set, as it lies in the cache, checked.

    ``aliases``: class name -> key, for spellings that are other words. ``subset``: whether the data set has a part of
    the file's classes. ``source``: repository, commit and file. ``sha256``: of the content that was checked.
    """

    path: Path
    sha256: str
    source: str
    aliases: Mapping[str, str]
    subset: bool


def fetch_official(dataset: str, variant: str, cache_dir: Path) -> Official:
    """Return the file of the CuPL paper for a named data set, downloaded once at a fixed commit and checked each time.

    Args:
        dataset: its name.
        variant: ``base`` or ``full``.
        cache_dir: it is kept below this, in `prompts/cupl`.

    Raises:
        PromptsError: CuPL has no file for it, it cannot be downloaded, or it is not the published content.
    """
    try:
        texts = read_texts(dataset)
    except DatasetError as error:
        raise PromptsError(str(error)) from error
    if texts.cupl is None:
        raise PromptsError(f"CuPL has no file of image-prompts for {dataset}. {texts.instead_of_cupl or ''}".strip())
    file = texts.cupl.base if variant == "base" else texts.cupl.full
    folder = cache_dir / "prompts" / "cupl" / CUPL_COMMIT[:12]
    path = folder / file.path.rsplit("/", 1)[-1]
    by_hand = f"Fetch {file.url} by hand and put it into {folder}, or give its place in prompts.path."
    if not path.is_file():
        check_download(file.url)
        try:
            known = None if file.sha256 is None else f"sha256:{file.sha256}"
            fetch_url(file.url, folder, name=path.name, digest=known)
        except UrlError as error:
            raise PromptsError(f"{error} {by_hand}") from error
    content = path.read_bytes()
    if (found := _unlike(content, file)) is not None:
        raise PromptsError(f"{path} is not CuPL's {file.path} ({found}). Remove it and start again. {by_hand}")
    source = f"sarahpratt/CuPL@{CUPL_COMMIT} {file.path}"
    digest = hashlib.sha256(content).hexdigest()
    return Official(path=path, sha256=digest, source=source, aliases=texts.cupl.aliases, subset=texts.cupl.subset)


def _unlike(content: bytes, file: CuplFile) -> str | None:
    """Return what is wrong with ``content``; None where it is the published one."""
    if file.sha256 is not None:
        found, expected = hashlib.sha256(content).hexdigest(), file.sha256
    else:
        # Git's own name for a content: all that is known of the two files of ImageNet.
        blob = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
        blob.update(content)
        found, expected = blob.hexdigest(), file.git_blob
    return None if found == expected else f"digest {found[:12]}, expected {expected[:12]}"


def strategy_of(content: object, source: str) -> str:
    """Return a sentence that names the option that reads a file of this form; empty where none does."""
    if isinstance(content, list) and content and all(isinstance(one, str) and "{}" in one for one in content):
        return f" These are templates: prompts=templates prompts.templates={source} reads them."
    if isinstance(content, dict) and content and all(isinstance(one, str) for one in content.values()):
        return (
            " A map from name to name is read by prompts.aliases or dataset.class_names; a single sentence of each"
            ' class stands in a list of its own: {"tree frog": ["A tree frog is green."]}.'
        )
    if isinstance(content, dict) and content and all(isinstance(one, list) for one in content.values()):
        return (
            f" Sentences of each class are read by prompts=file prompts.path={source}, descriptors by prompts=dclip"
            f" dataset.texts.descriptors={source}, other names by prompts=names dataset.texts.names={source}."
        )
    return ""


def _kind(value: object) -> str:
    names = {
        dict: "a map",
        list: "a list",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "nothing")


@dataclass(frozen=True, kw_only=True)
class Join:
    """For each class the key that it owns in a file, how it was found, and which file that was.

    ``missing``: the labels of classes that own none, whose key is their own name.
    """

    keys: tuple[str, ...]
    counts: Mapping[str, int]
    where: str
    missing: frozenset[int] = frozenset()


def join_by_name(
    class_names: Sequence[str],
    keys: Sequence[str],
    where: str,
    aliases: Mapping[str, str] | None = None,
    ignore_extra: bool = False,
    missing: Literal["error", "templates"] | None = None,
    group: Literal["prompts", "scorer"] = "prompts",
) -> Join:
    """Find each class its key: by its label, an alias, letter for letter, or the normalised name; never by position.

    A key ``NAME [LABEL]`` belongs to the class of that name and label: so classes of one name have texts of their own.

    Args:
        class_names: in label order; names that repeat share a key, unless the file has one for each label.
        keys: what the file holds.
        where: the file, for messages.
        aliases: class name -> key, for real renames; both may be spelt in another case, or with other punctuation.
        ignore_extra: whether keys that belong to no class are left out silently.
        missing: whether a class without a key is an error, or is filled from templates by the caller; None where the
            caller has no such choice.
        group: whose file it is, so that a message names the settings of this group.

    Raises:
        PromptsError: a class has no key or more than one, a key belongs to no class, or an alias names neither.
    """
    renamed = _aliases_as_spelt(aliases or {}, class_names, keys, where)
    found, how = _found(class_names, keys, where, renamed, group)
    lost = [name for name, key in zip(class_names, found, strict=True) if key is None]
    extra = [key for key in keys if key not in set(found)]
    if lost and (missing != "templates" or len(lost) == len(class_names)):
        raise PromptsError(
            f"{len(lost)} of {len(class_names)} classes {'have no prompts' if group == 'prompts' else 'are not'} in"
            f" {where}, first: {first(lost)}.{nearest(lost[0], extra or keys)}{_unclaimed(extra, keys)} "
            + (
                _other_list(class_names, keys, where, renamed, ignore_extra)
                or _how_to_mend(lost, extra, missing, group)
            )
        )
    if extra and not ignore_extra:
        mend = _other_list(class_names, keys, where, renamed, ignore_extra) or (
            "Is it the file of another data set? If not, say prompts.extra=ignore."
        )
        raise PromptsError(
            f"{len(extra)} of {len(keys)} classes of {where} belong to no class of the data set, first: {first(extra)}."
            f"{nearest(extra[0], class_names)} {mend}"
        )
    counts = {name: how[name] for name in ("exact", "normalised", "aliased")} | {"ignored": len(extra)}
    if missing == "templates":
        counts["filled"] = len(lost)
    return Join(
        keys=tuple(name if key is None else key for name, key in zip(class_names, found, strict=True)),
        counts=counts,
        where=where,
        missing=frozenset(label for label, key in enumerate(found) if key is None),
    )


def _found(
    class_names: Sequence[str], keys: Sequence[str], where: str, aliases: Mapping[str, str], group: str = "prompts"
) -> tuple[list[str | None], Counter[str]]:
    """Return the key of each class, None where it has none, and how many were found by which rule."""
    held = set(keys)
    by_normalised = _by_normalised(keys)
    found: list[str | None] = []
    how: Counter[str] = Counter()
    for label, name in enumerate(class_names):
        close = by_normalised.get(normalised(name), []) if normalised(name) else []
        if (labelled := f"{name} [{label}]") in held:
            found.append(labelled)
            how["exact"] += 1
        elif name in aliases:
            found.append(aliases[name])
            how["aliased"] += 1
        elif name in held:
            found.append(name)
            how["exact"] += 1
        elif len(close) == 1:
            found.append(close[0])
            how["normalised"] += 1
        elif len(close) > 1:
            raise PromptsError(
                f"{where} holds {len(close)} classes that could be {name!r}: {first(close)}. Say which"
                f" with {group}.aliases."
            )
        else:
            found.append(None)
    return found, how


def _by_normalised(words: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in dict.fromkeys(words):
        found.setdefault(normalised(word), []).append(word)
    return found


def _aliases_as_spelt(
    aliases: Mapping[str, str], class_names: Sequence[str], keys: Sequence[str], where: str
) -> dict[str, str]:
    """Return the aliases in the spelling of the class names and of the file."""
    if not aliases:
        return {}

    def spelt(word: str, known: set[str], by_normalised: Mapping[str, list[str]]) -> list[str]:
        return [word] if word in known else by_normalised.get(normalised(word), []) if normalised(word) else []

    names, held = set(class_names), set(keys)
    close_names, close_keys = _by_normalised(class_names), _by_normalised(keys)
    ends = {key: spelt(key, held, close_keys) for key in aliases.values()}
    starts = {name: spelt(name, names, close_names) for name in aliases}
    if lost := [key for key, found in ends.items() if not found]:
        raise PromptsError(
            f"{len(lost)} aliases name no class of {where}, first: {first(lost)}.{nearest(lost[0], keys)}"
        )
    if lost := [name for name, found in starts.items() if not found]:
        raise PromptsError(
            f"{len(lost)} aliases are given for unknown class names, first:"
            f" {first(lost)}.{nearest(lost[0], class_names)}"
        )
    if several := [word for word, found in (*starts.items(), *ends.items()) if len(found) > 1]:
        raise PromptsError(
            f"{len(several)} words of the aliases could be more than one name, first: {first(several)}. Spell them"
            " letter for letter."
        )
    return {starts[name][0]: ends[key][0] for name, key in aliases.items()}


def _unclaimed(extra: Sequence[str], keys: Sequence[str]) -> str:
    """Return a sentence on the entries of a file that belong to no class."""
    return f" {len(extra)} of its {len(keys)} entries belong to no class, first: {first(extra)}." if extra else ""


def _other_list(
    class_names: Sequence[str], keys: Sequence[str], where: str, aliases: Mapping[str, str], ignore_extra: bool
) -> str | None:
    """Return a sentence that names the data set's list of class names that joins; None where none does."""
    for dataset, variant, names in other_lists(class_names):
        try:
            found, _ = _found(names, keys, where, {name: key for name, key in aliases.items() if name in names})
        except PromptsError:
            continue
        if None not in found and (ignore_extra or set(keys) <= set(found)):
            return (
                f"All of them match another list of class names of {dataset}: take dataset.names={variant}; the scores"
                " are then those of these names."
            )
    return None


def _how_to_mend(lost: Sequence[str], extra: Sequence[str], missing: str | None, group: str) -> str:
    by_normalised = {normalised(key): key for key in extra}
    close = {name: difflib.get_close_matches(normalised(name), list(by_normalised), n=1) for name in lost[:3]}
    pairs = {name: by_normalised[found[0]] for name, found in close.items() if found}
    example = f", such as {json.dumps(pairs, ensure_ascii=False)}" if pairs else ""
    fill = " Or fill their classes from templates: prompts.missing=templates." if missing is not None else ""
    return (
        f"Add them to the file, or map them with {group}.aliases (a JSON file: class name -> name in the"
        f" file{example}).{fill}"
    )


def replace_name(text: str, old: str, new: str) -> str:
    """Return ``text`` with the whole words ``old``, in any case, replaced by ``new``.

    >>> replace_name("A frog, not a frogfish.", "frog", "toad")
    'A toad, not a frogfish.'
    """
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, text, flags=re.IGNORECASE)
