"""Folders of the Hugging Face hub, from its cache on this machine or by a download."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cupl_bench.backbone import WeightsNotHereError
from cupl_bench.dataset.hub import HubError, NotReachedError, Repository, sizes, snapshot
from cupl_bench.dataset.urls import size_text
from cupl_bench.errors import BackboneError, first

__all__ = ["hub_file", "hub_folder"]


def hub_folder(
    name: str, revision: str | None, patterns: Sequence[str], cache_dir: Path | None, *, download: bool, key: str
) -> Path:
    """Return the folder of a repository of the hub, named by its commit, with the files that fit ``patterns``.

    Args:
        name: the id on the hub, owner and name.
        revision: branch, tag or commit; None for the main branch.
        patterns: which of its files are needed.
        cache_dir: where it is remembered which files were checked; None for files that were checked before.
        download: whether what is not here is fetched.
        key: where the user has named it, for messages.

    Raises:
        WeightsNotHereError: it is not on this machine and ``download`` is False.
        BackboneError: it cannot be had.
    """
    repository = Repository(kind="model", name=name, revision=revision)
    if not download:
        with suppress(HubError):  # what is here counts where the hub does not answer
            found = sizes(repository)
            repository = replace(repository, revision=found.commit)
            if found.missing(repository, patterns) != 0:
                raise WeightsNotHereError(f"hub:{name} ({_size(repository, patterns)})")
    try:
        return snapshot(repository, patterns, cache_dir, download=download, key=key)
    except NotReachedError as error:
        if not download:
            raise WeightsNotHereError(f"hub:{name} ({_size(repository, patterns)})") from error
        raise BackboneError(f"{name} is not a folder here. {error}") from error
    except HubError as error:
        raise BackboneError(f"{key}: {error}") from error


def hub_file(
    name: str, revision: str | None, names: Sequence[str], cache_dir: Path | None, *, download: bool, key: str
) -> Path:
    """Return the first of the files ``names`` that a repository of the hub has; no other is fetched.

    Args:
        name: the id on the hub, owner and name.
        revision: branch, tag or commit; None for the main branch.
        names: of files, the wanted ones first.
        cache_dir: where it is remembered which files were checked; None for files that were checked before.
        download: whether what is not here is fetched.
        key: where the user has named it, for messages.

    Raises:
        WeightsNotHereError: it is not on this machine and ``download`` is False.
        BackboneError: it cannot be had.
    """
    repository = Repository(kind="model", name=name, revision=revision)
    wanted: Sequence[str] = names
    with suppress(HubError):  # the download tells what is wrong, unless all is here
        wanted = [one for one in names if one in sizes(repository).size_of][:1] or names
    for one in wanted:
        folder = hub_folder(name, revision, [one], cache_dir, download=download, key=key)
        if (folder / one).is_file():
            return folder / one
    if not download:
        raise WeightsNotHereError(f"hub:{name} ({_size(repository, wanted)})")
    raise BackboneError(f"{key}: {name} holds none of the files {first(names)} on the hub.")


def _size(repository: Repository, patterns: Sequence[str]) -> str:
    try:
        found = sizes(repository)
    except NotReachedError:
        return size_text(None)
    except HubError as error:
        raise BackboneError(str(error)) from error
    return f"{size_text(found.missing(repository, patterns))} at {found.commit[:12]}"
