"""Archives are fetched whole or not at all, and unpacked so that no path leaves the folder."""

import hashlib
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from posixpath import dirname, join, normpath
from typing import IO, cast

from cupl_bench.dataset.urls import UrlError, fetch_url
from cupl_bench.errors import DatasetError

__all__ = ["ARCHIVE_ENDINGS", "UNREADABLE", "fetch", "unpack"]

ARCHIVE_ENDINGS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip")

UNREADABLE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    IndexError,
)  # fmt: skip
"""Errors of archives that are damaged, encrypted (RuntimeError), of an unknown kind, or name no file (IndexError)."""


def fetch(url: str, md5: str | None, folder: Path) -> Path:
    """Return the file at ``url``, kept in ``folder``; it has its name only once it is whole.

    Raises:
        DatasetError: it cannot be had, or is not the expected content.
    """
    try:
        return fetch_url(url, folder, name=url.rsplit("/", 1)[-1], digest=None if md5 is None else f"md5:{md5}")
    except UrlError as error:
        raise DatasetError(f"{error} Download it on a machine with a network, and put it into {folder}.") from error


def _check_md5(archive: Path, md5: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise DatasetError(
            f"{archive} is not the published file, or is incomplete (md5 {found}, expected {md5}). Download it again."
        )


def unpack(archive: Path, folder: Path, md5: str | None = None) -> Path:
    """Return ``folder`` with the content of ``archive``; reuse what was unpacked before, never half an archive.

    Raises:
        DatasetError: it is not an archive, is damaged, is not the content that ``md5`` names, or a path in it would
            leave the folder.
    """
    if folder.is_dir():
        return folder
    if md5 is not None:
        _check_md5(archive, md5)
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        inside = half / "content"  # half itself is the user's alone; this has the rights of all that they make
        inside.mkdir()
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, inside)
        else:
            _unpack_tar(archive, inside)
        inside.replace(folder)
    except UNREADABLE as error:
        reason = str(error).partition(":\n")[0] or type(error).__name__  # tarfile lists every compression it tried
        raise DatasetError(
            f"{archive} cannot be unpacked into {folder} ({reason}). If the disk is not full, the file is damaged:"
            " download it again."
        ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


def _check_name(archive: Path, name: str) -> None:
    """Refuse a name that leads out of the folder on any system: absolute, with a drive, or with a step up."""
    path = PureWindowsPath(name)  # which takes both slashes for a separator
    if path.anchor or ".." in path.parts:
        raise DatasetError(f"{archive} holds a path that leaves its folder ({name!r}); it is not unpacked.")


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            _check_name(archive, name)
        packed.extractall(folder)  # noqa: S202 - every path was looked at


def _unpack_tar(archive: Path, folder: Path) -> None:
    """Write folders and files, with the rights of new files, and last the links, so that nothing goes through one.

    Not by ``extractall``, whose ``filter="data"`` Python has only from 3.11.4 on.
    """
    links: dict[str, str] = {}
    with tarfile.open(archive) as packed:
        for member in packed:
            _check_name(archive, member.name.lstrip("/"))  # as tar itself does
            name = normpath(member.name.lstrip("/"))
            path = folder / name
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                path.parent.mkdir(parents=True, exist_ok=True)
                with cast(IO[bytes], packed.extractfile(member)) as content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
            elif member.issym() or member.islnk():
                links[name] = normpath(join(dirname(name) if member.issym() else "", member.linkname))
                _check_name(archive, links[name])
            else:
                raise DatasetError(f"{archive} holds {name!r}, no file, folder or link; it is not unpacked.")
    for name in links:
        target, passed = links[name], {name}
        while target in links and target not in passed:
            passed.add(target)
            target = links[target]
        if not (folder / target).is_file():
            raise DatasetError(
                f"{archive} holds the link {name!r}, which does not lead to a file of the archive; it is not unpacked."
                " Unpack it by hand and name its folder with dataset.path=FOLDER."
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _link(folder / name, folder / target)


def _link(path: Path, target: Path) -> None:
    """Give a file a second name, or its content where the file system knows no links."""
    if path.exists():
        raise FileExistsError(f"{path.name} is there twice")
    try:
        path.hardlink_to(target)
    except OSError:
        shutil.copyfile(target, path)
