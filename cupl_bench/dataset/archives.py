"""Archives are fetched whole or not at all, and unpacked so that no path leaves the folder."""

import hashlib
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import pooch

from cupl_bench.errors import DatasetError

__all__ = ["ARCHIVE_ENDINGS", "UNREADABLE", "fetch", "unpack"]

ARCHIVE_ENDINGS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip")

UNREADABLE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    IndexError,
)  # fmt: skip
"""What archives raise that are damaged, encrypted (RuntimeError), of an unknown kind, or name no file (IndexError)."""


def fetch(url: str, md5: str | None, folder: Path) -> Path:
    """The file at ``url``, kept in ``folder``; it has its name only once it is whole.

    Raises:
        DatasetError: it cannot be had, or is not the expected content.
    """
    known = None if md5 is None else f"md5:{md5}"
    try:
        return Path(pooch.retrieve(url, known_hash=known, fname=url.rsplit("/", 1)[-1], path=folder, progressbar=False))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{url} cannot be downloaded ({error}). Fetch it by hand, where there is a network, and put it into"
            f" {folder}."
        ) from error


def _check_md5(archive: Path, md5: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise DatasetError(
            f"{archive} is not the published file, or not whole (md5 {found}, expected {md5}). Download it again."
        )


def unpack(archive: Path, folder: Path, md5: str | None = None) -> Path:
    """``folder`` with the content of ``archive``; what was unpacked before is taken, half an archive never is.

    Raises:
        DatasetError: it is no archive, is damaged, is not the content that ``md5`` names, or a path in it would leave
            the folder.
    """
    if folder.is_dir():
        return folder
    if md5 is not None:
        _check_md5(archive, md5)
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, half)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(half, filter="data")
        half.replace(folder)
    except tarfile.FilterError as error:
        raise DatasetError(f"{archive} holds a path that leaves its folder ({error}); it is not unpacked.") from error
    except UNREADABLE as error:
        reason = str(error).partition(":\n")[0] or type(error).__name__  # tarfile lists every compression it tried
        raise DatasetError(
            f"{archive} cannot be unpacked into {folder} ({reason}). If the disk is not full, the file is damaged:"
            " download it again."
        ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
                raise DatasetError(f"{archive} holds a path that leaves its folder ({name!r}); it is not unpacked.")
        packed.extractall(folder)  # noqa: S202 - every path was looked at
