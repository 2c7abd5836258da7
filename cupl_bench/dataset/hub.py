"""Repositories of the Hugging Face hub: pinned to a commit, checked file by file, and asked for sizes beforehand.

The hub's own client compares sizes; here each file is also compared with the digest that the hub gave for it, which is
the name of its content in the hub's cache. What was checked is remembered until the file changes.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from cupl_bench.dataset.digests import differing
from cupl_bench.errors import first

__all__ = [
    "FileSizes",
    "HubError",
    "NotReachedError",
    "Repository",
    "cause_of",
    "origin_of",
    "sizes",
    "snapshot",
    "told",
]

REMEMBERED_SECONDS = 60.0
"""How long an answer of the hub counts: a plan of many questions asks for each repository once."""


class HubError(Exception):
    """A repository or a file of it cannot be had; the text says why, and what to do."""


class NotReachedError(HubError):
    """The hub did not answer, or may not be asked, so nothing is known of the repository."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository of the hub. ``revision``: branch, tag or commit; None for the main branch."""

    kind: Literal["model", "dataset"]
    name: str
    revision: str | None

    @property
    def page(self) -> str:
        """The address of its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def by_hand(self, patterns: Sequence[str], key: str) -> str:
        """Return how to fetch it on another machine; ``key`` names the setting that then takes the folder."""
        kind = " --repo-type dataset" if self.kind == "dataset" else ""
        pin = f" --revision {self.revision}" if self.revision else ""
        include = "".join(f" --include '{pattern}'" for pattern in patterns)
        return f"hf download {self.name}{kind}{pin}{include} --local-dir FOLDER; then {key}=FOLDER"


@dataclass(frozen=True, kw_only=True)
class FileSizes:
    """The files of a repository at ``commit``, and the size of each in bytes, None where the hub does not say."""

    commit: str
    size_of: dict[str, int | None]

    def missing(self, repository: Repository, patterns: Sequence[str]) -> int | None:
        """Return how many bytes of the files that fit are not in the hub's cache here; None where that is not known."""
        from huggingface_hub import try_to_load_from_cache

        total = 0
        for name, size in self.size_of.items():
            if not any(fnmatchcase(name, pattern) for pattern in patterns):
                continue
            if isinstance(
                try_to_load_from_cache(repository.name, name, repo_type=repository.kind, revision=self.commit), str
            ):
                continue
            if size is None:
                return None
            total += size
        return total


def snapshot(
    repository: Repository, patterns: Sequence[str], cache_dir: Path | None, *, download: bool = True, key: str
) -> Path:
    """Return the folder, named by its commit, that holds the files of a repository that fit ``patterns``, checked.

    Args:
        repository: which.
        patterns: of the names of its files.
        cache_dir: where it is remembered which files were checked; None for files that were checked before.
        download: whether what is not in the hub's cache is fetched.
        key: the setting that takes a folder instead, for messages.

    Raises:
        HubError: it cannot be had, or a file is not the content that the hub promised; such a file is removed.
        NotReachedError: the hub does not answer, or may not be asked.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        with _quiet():
            found = snapshot_download(
                repository.name, repo_type=repository.kind, revision=repository.revision,
                allow_patterns=list(patterns), local_files_only=not download,
            )  # fmt: skip
    except HFValidationError as error:
        raise HubError(f"{repository.name} is neither a folder nor a hub id (OWNER/NAME).") from error
    except _errors() as error:
        raise told(repository, error, patterns, key) from error
    folder = Path(found)
    if cache_dir is not None:
        _check(repository, folder, patterns, cache_dir)
    return folder


def check_access(repository: Repository, cache_dir: Path | None) -> None:
    """Check that the files of a repository may be read, by its README, which says how the others are read.

    Args:
        repository: which, at a commit.
        cache_dir: where it is remembered which files were checked; None: its content is not checked.

    Raises:
        HubError: they may not; a repository without a README is no error.
        NotReachedError: the hub does not answer, or may not be asked.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        with _quiet():
            readme = hf_hub_download(
                repository.name, "README.md", repo_type=repository.kind, revision=repository.revision
            )
    except _errors() as error:
        if isinstance(error, LocalEntryNotFoundError) or not isinstance(error, EntryNotFoundError):
            raise told(repository, error, []) from error
    else:
        if cache_dir is not None:
            _check(repository, Path(readme).parent, ["README.md"], cache_dir)


def sizes(repository: Repository, *, anew: bool = False) -> FileSizes:
    """Return the files of a repository and their sizes, as the hub tells them; nothing is downloaded.

    Args:
        repository: which.
        anew: whether an answer of a minute ago does not count.

    Raises:
        HubError: there is no such repository or revision, or it is not to be seen.
        NotReachedError: the hub does not answer, or may not be asked.
    """
    for asked in (None,) if anew else (repository, None):
        when, answer = _answers.get(asked, (0.0, None))
        if answer is not None and time.monotonic() - when <= REMEMBERED_SECONDS:
            break
    else:
        answer = _ask(repository)
        _answers[None if isinstance(answer, NotReachedError) else repository] = (time.monotonic(), answer)
    if isinstance(answer, NotReachedError) and answer.__cause__ is not None:  # maybe that of another repository
        raise NotReachedError(str(told(repository, answer.__cause__, []))) from answer.__cause__
    if isinstance(answer, HubError):
        raise answer
    return answer


_answers: dict[Repository | None, tuple[float, FileSizes | HubError]] = {}
"""When which repository was asked for, and the answer; under None, that the hub was not reached: nobody waits again."""


def _ask(repository: Repository) -> FileSizes | HubError:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        info: Any = HfApi().repo_info(
            repository.name, repo_type=repository.kind, revision=repository.revision, files_metadata=True,
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
        )  # fmt: skip
    except HFValidationError:
        return HubError(f"{repository.name} is neither a folder nor a hub id (OWNER/NAME).")
    except _errors() as error:
        reason = told(repository, error, [])
        if not isinstance(error, HfHubHTTPError):  # no answer at all, in time or whole
            reason = NotReachedError(str(reason))
        reason.__cause__ = error
        return reason
    return FileSizes(commit=str(info.sha), size_of={one.rfilename: one.size for one in info.siblings or []})


def origin_of(path: Path) -> str | None:
    """Return the repository and the commit of a file or folder in the hub's cache, as OWNER/NAME@COMMIT; else None."""
    for snapshots in path.absolute().parents:
        kind, _, name = snapshots.parent.name.partition("--")
        if snapshots.name == "snapshots" and kind in ("models", "datasets"):
            commit = path.absolute().relative_to(snapshots).parts[0]
            return f"{name.replace('--', '/')}@{commit}"
    return None


def _check(repository: Repository, folder: Path, patterns: Sequence[str], cache_dir: Path) -> None:
    """Compare each file with the digest that the hub gave for it; remove what differs.

    Raises:
        HubError: a file differs.
    """
    links = [path for path in sorted(folder.rglob("*")) if path.is_symlink() and path.readlink().parent.name == "blobs"]
    links = [link for link in links if len(link.readlink().name) in (40, 64)]
    links = [link for link in links if any(fnmatchcase(link.relative_to(folder).as_posix(), one) for one in patterns)]
    files = [link.parent / link.readlink() for link in links]
    try:
        wrong = differing(files, [file.name for file in files], cache_dir)
        for place in wrong:
            links[place].unlink()
            files[place].unlink(missing_ok=True)  # two names may have one content
    except OSError as error:
        raise HubError(
            f"{error.filename} in the hub's cache cannot be read, or is damaged and cannot be removed"
            f" ({error.strerror}). Mend that, or name another cache with HF_HOME."
        ) from error
    if wrong:
        raise HubError(
            f"{len(wrong)} of {len(files)} files of {repository.name} are not the content whose digest the hub gave,"
            f" first: {first([links[place].name for place in wrong], 3)}. They were damaged on the way or on the disk,"
            " and are removed from the hub's cache: start again. If it happens again, the server sends something else."
        )


def told(repository: Repository, error: BaseException, patterns: Sequence[str], key: str = "dataset.path") -> HubError:
    """Return what an error of the hub's client means, one message for each kind.

    Args:
        repository: that was asked for.
        error: of the client, or of the library below it.
        patterns: the names of the files that were wanted.
        key: the setting that takes a folder instead.
    """
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, page, by_hand = repository.name, repository.page, repository.by_hand(patterns, key)
    cause: BaseException = error
    while isinstance(cause, LocalEntryNotFoundError) and cause.__cause__ is not None:
        cause = cause.__cause__
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) and cause.response is not None else None
    if isinstance(cause, GatedRepoError):
        return HubError(
            f"{name} is gated, and your account has no access. Accept its terms on {page}, run 'hf auth login' (or set"
            " HF_TOKEN), and start again."
        )
    if isinstance(cause, RevisionNotFoundError):
        return HubError(
            f"{name} has no revision {repository.revision or 'main'} on the hub. Look at {page}/commits/main."
        )
    if isinstance(cause, DisabledRepoError):
        return HubError(f"{name} was disabled by the hub. Look at {page}.")
    if isinstance(cause, RepositoryNotFoundError) or (status == 404 and not isinstance(cause, EntryNotFoundError)):
        return HubError(
            f"{name} is not on the hub as {repository.revision or 'main'}, or it is private. It may have moved: look at"
            f" {page}. If it is private, run 'hf auth login' (or set HF_TOKEN)."
        )
    if status in (401, 403):
        return HubError(
            f"{name} is not to be had with your token ({status}). Run 'hf auth login' (or set HF_TOKEN) with one that"
            " may read it."
        )
    if status == 429:
        return HubError(
            f"{name} cannot be downloaded now: the hub has too many requests from you (429). Wait a few minutes and"
            " start again: what is here is kept. With a token (hf auth login) it allows more."
        )
    if status is not None and status >= 500:
        return HubError(
            f"{name} cannot be downloaded now: the hub fails ({status}). Start again later: what is here is kept."
        )
    if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
        return HubError(f"{name} no longer has one of its files ({_short(cause)}). Look at {page}.")
    if isinstance(cause, OfflineModeIsEnabled):
        return NotReachedError(
            f"{name} is not in the hub's cache here, and HF_HUB_OFFLINE forbids to ask the hub. Unset it, or where"
            f" there is a network: {by_hand}."
        )
    if isinstance(cause, LocalEntryNotFoundError) or _is_of_the_network(cause):
        return NotReachedError(
            f"{name} cannot be reached and is not in the hub's cache here. Where there is a network: {by_hand}."
        )
    broken = {"RemoteProtocolError", "ReadError", "ChunkedEncodingError"} & {
        kind.__name__ for kind in type(cause).__mro__
    }
    if broken or "onsistency check failed" in str(cause):
        cause = OSError("it was cut short")
    return HubError(
        f"{name} cannot be downloaded ({_short(cause)}). Start again: what is here is kept. By hand: {by_hand}."
    )


def cause_of(error: BaseException) -> BaseException | None:
    """Return the error of the hub's client that led to another library's error; None where none did."""
    from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

    found: BaseException | None = error
    while found is not None:
        if isinstance(found, (EntryNotFoundError, OfflineModeIsEnabled, *transport_errors())):
            return found
        found = found.__cause__ or found.__context__
    return None


def transport_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the library that the hub's client stands on, which has changed more than once."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(kind for kind in HfHubHTTPError.__bases__ if kind is not OSError and issubclass(kind, Exception))


@contextmanager
def _quiet() -> Iterator[None]:
    """Show the client's bars of progress on a terminal alone."""
    from huggingface_hub import utils

    client: Any = utils  # it does not say that these are its own names
    hidden = not sys.stderr.isatty() and not client.are_progress_bars_disabled()
    if hidden:
        client.disable_progress_bars()
    try:
        yield
    finally:
        if hidden:
            client.enable_progress_bars()


def _errors() -> tuple[type[Exception], ...]:
    return (OSError, *transport_errors())


def _is_of_the_network(error: BaseException) -> bool:
    """Return whether nobody answered: the client's errors of connecting and of waiting, whichever library it is on."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "ConnectionError"})


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
