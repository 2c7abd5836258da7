"""Fetch data sets: torchvision's downloads, archives by URL, repositories of the hub.

Each gives the folder in which a layout then finds the images. A repository's files are named; no script is ever run.
"""

import shutil
import tempfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Literal
from urllib.error import HTTPError, URLError

from pydantic import Field

from cupl_bench.dataset.archives import fetch, unpack
from cupl_bench.dataset.hub import HubError, NotReachedError, Repository, sizes, snapshot
from cupl_bench.dataset.layouts import Layout
from cupl_bench.dataset.texts import Facts
from cupl_bench.dataset.urls import size_of_url, size_text
from cupl_bench.errors import DatasetError

__all__ = ["Fetched", "Remote"]


class Fetched(Facts):
    """The folder of a remote's files, and their origin: repository and commit, or URL."""

    folder: Path
    origin: str


class Torchvision(Facts):
    """The download of a class of torchvision, which checks the md5 of what it fetches.

    ``protocols``: those that its images answer; None: any.
    """

    kind: Literal["torchvision"]
    name: str
    arguments: Mapping[str, str | int | bool]
    bytes: int | None
    protocols: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        """How a user names it."""
        return "torchvision"

    def fetch(self, folder: Path, cache_dir: Path) -> Fetched:  # noqa: ARG002
        """Download into ``folder``, which appears only when all is there.

        Raises:
            DatasetError: it cannot be had.
        """
        if not folder.is_dir():
            import torchvision.datasets

            folder.parent.mkdir(parents=True, exist_ok=True)
            half = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                getattr(torchvision.datasets, self.name)(str(half), download=True, **self.arguments)
                half.replace(folder)
            except (RuntimeError, OSError, ValueError, EOFError, HTTPException) as error:
                silent = isinstance(error, URLError) and not isinstance(error, HTTPError)  # no server has answered
                said = "the server cannot be reached" if silent else error
                raise DatasetError(f"torchvision's {self.name} cannot be downloaded ({said}).") from error
            finally:
                shutil.rmtree(half, ignore_errors=True)
        return Fetched(folder=folder, origin=f"torchvision {self.name}")

    def size(self) -> str:
        """Tell the size of the download; torchvision cannot be asked for it."""
        return _as_published(self.bytes)


class Archive(Facts):
    """An archive by its URL; ``md5`` is None where it is not known."""

    kind: Literal["archive"]
    url: str
    md5: str | None
    bytes: int | None

    @property
    def title(self) -> str:
        """How a user names it."""
        return "archive"

    def fetch(self, folder: Path, cache_dir: Path) -> Fetched:  # noqa: ARG002
        """Download, check and unpack into ``folder``.

        Raises:
            DatasetError: it cannot be had, or is not the expected content.
        """
        if not folder.is_dir():
            archive = fetch(self.url, self.md5, folder.parent / "archives")
            unpack(archive, folder)
        return Fetched(folder=folder, origin=self.url)

    def size(self) -> str:
        """Tell the size of the download, from the server's own answer where it gives one."""
        size = size_of_url(self.url)
        return _as_published(self.bytes) if size is None else size_text(size)


class Hub(Facts):
    """Named files of a repository of the Hugging Face hub.

    ``revision``: the commit that is known to be good; None where none is known here, and the newest is taken.
    ``archive``: a file among them that is to be unpacked first.
    """

    kind: Literal["hub"]
    repo: str
    revision: str | None
    files: tuple[str, ...]
    gated: bool
    archive: str | None
    bytes: int | None
    layout: Layout

    @property
    def title(self) -> str:
        """How a user names it."""
        return self.repo

    def fetch(self, folder: Path, cache_dir: Path) -> Fetched:
        """Download what is not in the hub's own cache; an archive is unpacked into ``folder``.

        Raises:
            DatasetError: there is no network, no permission, or no such repository.
        """
        try:
            snapshot_folder = snapshot(self._repository, self.files, cache_dir, key="dataset.path")
        except HubError as error:
            page = self._repository.page
            terms = f" It is gated: accept its terms on {page}." if self.gated and page not in str(error) else ""
            raise DatasetError(f"{error}{terms}") from error
        origin = f"{self.repo}@{snapshot_folder.name}"
        if self.archive is None:
            return Fetched(folder=snapshot_folder, origin=origin)
        return Fetched(folder=unpack(snapshot_folder / self.archive, folder), origin=origin)

    def size(self) -> str:
        """Tell the size of the files that are not in the hub's cache, and their commit, from the hub's own answer."""
        gated = ", gated" if self.gated else ""
        try:
            found = sizes(self._repository)
        except NotReachedError:
            return f"{_as_published(self.bytes)}{gated}"
        except HubError as error:
            return f"{_as_published(self.bytes)}{gated}; {error}"
        return f"{size_text(found.missing(self._repository, self.files))} at {found.commit[:12]}{gated}"

    @property
    def _repository(self) -> Repository:
        return Repository(kind="dataset", name=self.repo, revision=self.revision)


def _as_published(size: int | None) -> str:
    """Return the size that a spec tells of a download whose server was not asked, or did not say."""
    return "size not known" if size is None else f"{size_text(size)} as published"


Remote = Annotated[Torchvision | Archive | Hub, Field(discriminator="kind")]
