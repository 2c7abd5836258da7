"""Fetch data sets: torchvision's downloads, archives by URL, repositories of the hub.

Each gives the folder in which a layout then finds the images. A repository's files are named; no script is ever run.
"""

import importlib.util
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cupl_bench.dataset.archives import fetch, unpack
from cupl_bench.dataset.layouts import Layout
from cupl_bench.dataset.texts import Facts
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

    def fetch(self, folder: Path) -> Fetched:
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
            except (RuntimeError, OSError, ValueError, EOFError) as error:
                raise DatasetError(f"torchvision's {self.name} cannot be downloaded ({error}).") from error
            finally:
                shutil.rmtree(half, ignore_errors=True)
        return Fetched(folder=folder, origin=f"torchvision {self.name}")


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

    def fetch(self, folder: Path) -> Fetched:
        """Download, check and unpack into ``folder``.

        Raises:
            DatasetError: it cannot be had, or is not the expected content.
        """
        if not folder.is_dir():
            archive = fetch(self.url, self.md5, folder.parent / "archives")
            unpack(archive, folder)
        return Fetched(folder=folder, origin=self.url)


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

    def fetch(self, folder: Path) -> Fetched:
        """Download what is not in the hub's own cache; an archive is unpacked into ``folder``.

        Raises:
            DatasetError: there is no network, no permission, or no such repository.
        """
        import huggingface_hub
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        page = f"https://huggingface.co/datasets/{self.repo}"
        pin = f" --revision {self.revision}" if self.revision else ""
        include = " ".join(f"--include '{pattern}'" for pattern in self.files)
        by_hand = f"hf download {self.repo} --repo-type dataset{pin} {include} --local-dir FOLDER"
        log_in = f"Accept its terms on {page}, run 'hf auth login' (or set HF_TOKEN), and start again."
        transport_errors: tuple[type[Exception], ...] = (HfHubHTTPError, OSError, *_transport_errors())
        try:
            snapshot = huggingface_hub.snapshot_download(
                self.repo, repo_type="dataset", revision=self.revision, allow_patterns=list(self.files)
            )
        except GatedRepoError as error:
            raise DatasetError(f"{self.repo} is gated, and your account has no access. {log_in}") from error
        except LocalEntryNotFoundError as error:
            raise DatasetError(
                f"{self.repo} cannot be reached and is not in the hub's cache here. Where there is a network:"
                f" {by_hand}; then dataset.path=FOLDER.{f' It is gated: {log_in}' if self.gated else ''}"
            ) from error
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
            hint = f"It is gated: {log_in}" if self.gated else f"It may have moved or become private: look at {page}."
            raise DatasetError(f"{self.repo} is not on the hub as {self.revision or 'main'}. {hint}") from error
        except transport_errors as error:
            raise DatasetError(
                f"{self.repo} cannot be downloaded ({error}). Start again: what is here is kept. By hand: {by_hand};"
                " then dataset.path=FOLDER."
            ) from error
        origin = f"{self.repo}@{Path(snapshot).name}"
        if self.archive is None:
            return Fetched(folder=Path(snapshot), origin=origin)
        return Fetched(folder=unpack(Path(snapshot) / self.archive, folder), origin=origin)


def _transport_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the library below the hub's client, which has changed once."""
    if importlib.util.find_spec("httpx") is None:
        return ()
    import httpx

    return (httpx.HTTPError,)


Remote = Annotated[Torchvision | Archive | Hub, Field(discriminator="kind")]
