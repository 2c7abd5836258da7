"""Read templates and descriptions, and check them."""

import hashlib
import re
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cupl_bench.dataset.names import is_unicode
from cupl_bench.dataset.texts import CUPL_COMMIT, CuplFile, FetchedList, read_texts, spec_names
from cupl_bench.dataset.urls import UrlError, fetch_url
from cupl_bench.errors import DatasetError, PromptsError, first, nearest
from cupl_bench.json_files import read_json
from cupl_bench.open_clip_files import open_clip_file
from cupl_bench.prompts.files import check_download, content_of, path_of

__all__ = ["Descriptions", "Official", "fetch_official", "fill", "read_descriptions", "read_templates", "strategy_of"]

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


def replace_name(text: str, old: str, new: str) -> str:
    """Return ``text`` with the whole words ``old``, in any case, replaced by ``new``.

    >>> replace_name("A frog, not a frogfish.", "frog", "toad")
    'A toad, not a frogfish.'
    """
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, text, flags=re.IGNORECASE)
