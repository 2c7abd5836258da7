"""Runs as one file, records and all that they name, for a machine that has neither data nor model.

An archive may come from anybody: it is read in small pieces, checked before anything of it is used, and unpacked only
to the places where the files of a run lie.
"""

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from cupl_bench.dataset.archives import UNREADABLE
from cupl_bench.errors import ResultsError, first, nearest
from cupl_bench.records import (
    RECORD_LIMIT,
    Record,
    finished_record,
    read_record,
    read_records,
    record_path,
    unlike_artifacts,
)
from cupl_bench.store import set_aside, write_atomically, writing_atomically

__all__ = ["Imported", "export_runs", "import_runs", "is_archive"]

MANIFEST = "manifest.json"
VERSION = 1
MEMBER = re.compile(
    r"records/[0-9a-f]{12}\.json|(predictions|prompts)/[0-9a-f]{12}\.parquet|class_embeddings/[0-9a-f]{12}\.safetensors"
)
"""The names that an archive may hold, so that nothing in it is written anywhere else."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every member: equal runs give equal archives."""
PIECE = 1 << 20
"""Bytes that are read at once."""
LARGEST_GROWTH = 100
SMALL = 64_000_000
"""An archive whose content would be both larger than this and so many times larger than itself is no archive of
runs: predictions and embeddings shrink by less than ten."""


class Manifest(BaseModel):
    """The list of members with their sha256, and the version of this form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive_version: int
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Run keys that an archive held.

    ``new``: those that had no finished run here. ``mended``: those whose run here had lost or damaged files. ``kept``:
    those that are whole here, with the same numbers.
    """

    new: tuple[str, ...]
    mended: tuple[str, ...]
    kept: tuple[str, ...]


def export_runs(results_dir: Path, run_keys: Sequence[str], target: Path) -> list[Record]:
    """Write finished runs to a zip file and return their records. The file appears whole or not at all.

    Args:
        results_dir: where the runs lie.
        run_keys: which; empty for all that are finished.
        target: the archive.

    Raises:
        ResultsError: a run is not there, not finished, or lacks a file; one of its files is a link or no file; or
            ``target`` exists and is not a file.
    """
    if run_keys:
        records = [_finished(results_dir, key) for key in dict.fromkeys(run_keys)]
    else:
        records = [record for record in read_records(results_dir) if record.status == "ok"]
        if not records:
            raise ResultsError(f"{results_dir} holds no finished run to export.")
    target = target.resolve()
    if target.exists() and not target.is_file():
        raise ResultsError(f"{target} exists and is not a file, so it is not replaced. Name another: to=FILE.zip")
    digests: dict[str, str] = {}
    for record in records:
        digests[f"records/{record.run_key}.json"] = _digest_of_file(results_dir, record, "record")
        for name, path in _artifacts(record).items():
            digests[path] = _digest_of_file(results_dir, record, name)
    manifest = Manifest(archive_version=VERSION, files=dict(sorted(digests.items())))
    with writing_atomically(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with _added(archive, MANIFEST) as member:
            member.write(manifest.model_dump_json(indent=1).encode())
        for name, digest in manifest.files.items():
            with _opened(results_dir / name, results_dir) as source, _added(archive, name) as member:
                found = hashlib.sha256()
                while piece := source.read(PIECE):
                    found.update(piece)
                    member.write(piece)
            if found.hexdigest() != digest:
                raise ResultsError(f"{results_dir / name} was changed during the export. Export again.")
    return records


def import_runs(path: Path, results_dir: Path) -> Imported:
    """Import the runs of an archive below ``results_dir``; a run that is whole here already is kept as it is.

    Everything is checked before the first file is written; records come last, so a run that is listed is whole. A run
    that lost files here gets them back.

    Raises:
        ResultsError: the file is no such archive, is damaged, holds anything else, or has other numbers for a run that
            is here; nothing is written then.
    """
    with _reading(path), zipfile.ZipFile(path) as archive:
        manifest = _checked(path, archive)
        found: dict[str, list[str]] = {"new": [], "mended": [], "kept": []}
        wanted: list[str] = []
        unlike: list[str] = []
        for name in (one for one in manifest.files if one.startswith("records/")):
            record = _parsed(path, name, archive.read(name))
            _check_digests(path, record, manifest)
            here = finished_record(record_path(results_dir, record.run_key))
            how, files = _compared(record, here, manifest, results_dir)
            if how == "unlike":
                unlike.append(_said(record, here))
            else:
                found[how].append(record.run_key)
                wanted += files
        if unlike:
            raise ResultsError(
                f"{path}: {len(unlike)} runs have other numbers here, first: {'; '.join(unlike[:3])}. Nothing is"
                " imported: one of the two was altered, or was made by different code. Import into another folder"
                " (results_dir=...) and compare them."
            )
        for name in sorted(wanted, key=lambda one: one.startswith("records/")):
            _take(archive, name, manifest.files[name], results_dir)
    return Imported(**{how: tuple(keys) for how, keys in found.items()})


def is_archive(path: Path) -> bool:
    """Return whether a file begins as an archive of runs does, however damaged the rest is.

    Source: PKWARE, APPNOTE.TXT, 4.3.7: the first member's name stands 30 bytes after the signature.
    """
    try:
        with path.open("rb") as file:
            start = file.read(30 + len(MANIFEST))
    except OSError:
        return False
    return start.startswith(b"PK\x03\x04") and start.endswith(MANIFEST.encode())


def _finished(results_dir: Path, key: str) -> Record:
    path = record_path(results_dir, key)
    if not path.is_file():
        known = [one.stem for one in sorted((results_dir / "records").glob("*.json"))]
        raise ResultsError(f"There is no record {path}.{nearest(key, known)}")
    record = read_record(path)
    if record.status != "ok":
        raise ResultsError(f"Run {key} has failed ({record.error}); only finished runs are exported.")
    return record


def _artifacts(record: Record) -> dict[str, str]:
    return {} if record.artifacts is None else record.artifacts.model_dump(exclude_none=True)


@contextmanager
def _opened(path: Path, results_dir: Path) -> Iterator[BufferedReader]:
    """Open a file of a run; refuse links, files below a link inside ``results_dir``, devices and pipes."""
    if path.parent.resolve() != results_dir.resolve() / path.parent.name or path.is_symlink():
        raise ResultsError(
            f"{path} is a link, or lies in a folder that is one. Only files of the results folder itself are exported:"
            " replace the link by the file."
        )
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ResultsError(f"{path} is not a file. Move it away, and run its question again with rerun=always.")
        yield file


def _digest_of_file(results_dir: Path, record: Record, name: str) -> str:
    """Return the sha256 of the record or an artifact of a run, which is what the run wrote."""
    path = results_dir / _artifacts(record).get(name, f"records/{record.run_key}.json")
    try:
        with _opened(path, results_dir) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ResultsError(
            f"{path} of run {record.run_key} cannot be read ({error.strerror}). Run its question again with"
            " rerun=always."
        ) from error
    if (record.artifact_digests or {}).get(name, digest) != digest:
        raise ResultsError(
            f"{path} of run {record.run_key} is not what the run wrote: it was altered or damaged. Run its question"
            " again with rerun=always."
        )
    return digest


@contextmanager
def _added(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as member:
        yield member


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged archive into one clear message."""
    try:
        yield
    except FileNotFoundError as error:
        raise ResultsError(f"{path} does not exist.") from error
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]
        raise ResultsError(f"{path} cannot be read as an archive ({reason}). Export or copy it again.") from error


def _checked(path: Path, archive: zipfile.ZipFile) -> Manifest:
    """Return the manifest of an archive; its members are those that it lists, with the content that it promises."""
    names = archive.namelist()
    if MANIFEST not in names:
        raise ResultsError(f"{path} holds no {MANIFEST}: it is not an archive that 'cupl-bench export' wrote.")
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    total, packed = sum(info.file_size for info in archive.infolist()), path.stat().st_size
    if total > max(SMALL, LARGEST_GROWTH * packed):
        raise ResultsError(
            f"{path} has {packed / 1e6:,.1f} MB and would unpack to {total / 1e6:,.0f} MB: archives of runs never"
            " shrink that much. It is not unpacked."
        )
    manifest = Manifest.model_validate_json(archive.read(MANIFEST))
    if manifest.archive_version != VERSION:
        raise ResultsError(f"{path} is an archive of version {manifest.archive_version}; this program reads {VERSION}.")
    if odd := [name for name in {*names, *manifest.files} - {MANIFEST} if not MEMBER.fullmatch(name)]:
        raise ResultsError(f"{path} holds {len(odd)} members that belong to no run, first: {first(sorted(odd))}.")
    if sorted(names) != sorted([MANIFEST, *manifest.files]):
        raise ResultsError(f"{path}: its members are not those that its {MANIFEST} lists. Export the runs again.")
    if large := [name for name, size in sizes.items() if name.startswith("records/") and size > RECORD_LIMIT]:
        raise ResultsError(f"{path}: {first(large)} is larger than any record.")
    if damaged := [name for name, digest in manifest.files.items() if _digest_of_member(archive, name) != digest]:
        raise ResultsError(
            f"{path}: {len(damaged)} of {len(manifest.files)} members differ from their sha256, first:"
            f" {first(damaged)}. Export or copy it again."
        )
    return manifest


def _digest_of_member(archive: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    with archive.open(name) as member:
        while piece := member.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _parsed(path: Path, name: str, content: bytes) -> Record:
    try:
        record = Record.model_validate_json(content)
    except ValidationError as error:
        raise ResultsError(
            f"{name} in {path} is not a record that this version reads: {error.errors()[0]['msg']}."
        ) from error
    if f"records/{record.run_key}.json" != name:
        raise ResultsError(f"{name} in {path} holds the record of run {record.run_key}.")
    return record


def _check_digests(path: Path, record: Record, manifest: Manifest) -> None:
    """Check that the archive holds all files of a run, as its record knows them."""
    files = _artifacts(record)
    if lost := [one for one in files.values() if one not in manifest.files]:
        raise ResultsError(f"{path} lacks {first(lost)} of run {record.run_key}. Export the run again.")
    digests = record.artifact_digests or {}
    if other := [one for name, one in files.items() if digests.get(name, manifest.files[one]) != manifest.files[one]]:
        raise ResultsError(
            f"{path}: {first(other)} is not what run {record.run_key} wrote by its own record. Export the run again."
        )


def _compared(record: Record, here: Record | None, manifest: Manifest, results_dir: Path) -> tuple[str, list[str]]:
    """Return how a run of an archive compares with the one here, and which of its files to import.

    If the run here has lost files, they are replaced by those of the archive, provided that these are the same. If they
    come from another machine, with the same numbers, the whole run is imported.
    """
    whole = [f"records/{record.run_key}.json", *_artifacts(record).values()]
    if here is None:
        return "new", whole
    if record.status != "ok":
        return "kept", []
    if _numbers(record) != _numbers(here):
        return "unlike", []
    try:
        lost = unlike_artifacts(here, results_dir)
    except OSError as error:
        raise ResultsError(f"{error.filename} of run {here.run_key} cannot be read ({error.strerror}).") from error
    if not lost:
        return "kept", []
    promised = {_artifacts(here)[name]: digest for name, digest in (here.artifact_digests or {}).items()}
    same = all(promised.get(one) == manifest.files.get(one) for one in lost)
    return "mended", lost if same else whole


def _numbers(record: Record) -> tuple[object, ...]:
    """Return the part of a record that all records of its run key share, whatever machine made them."""
    metrics = record.metrics
    values = () if metrics is None else (metrics.top1, metrics.top5, metrics.mean_per_class, metrics.primary)
    return (
        record.protocol_version,
        record.dataset.num_images,
        record.dataset.num_classes,
        record.dataset.num_broken,
        *(None if value is None else round(value, 9) for value in values),
    )


def _said(record: Record, here: Record | None) -> str:
    def top1(one: Record | None) -> str:
        return "none" if one is None or one.metrics is None else f"{100 * one.metrics.top1:.4f}%"

    images = record.dataset.num_images
    return f"{record.run_key} (top-1 {top1(record)} of {images:,} images there, {top1(here)} here)"


def _take(archive: zipfile.ZipFile, name: str, digest: str, results_dir: Path) -> None:
    """Write a member to its place; what else is there under the name of a record is set aside."""
    path = results_dir / name
    if name.startswith("records/"):
        content = archive.read(name)
        if path.exists() and _is_no_record(path):
            set_aside(path, f"{path} is not a record")
        write_atomically(path, content)
        return
    with archive.open(name) as member, writing_atomically(path) as file:
        found = hashlib.sha256()
        while piece := member.read(PIECE):
            found.update(piece)
            file.write(piece)
        if found.hexdigest() != digest:
            raise ResultsError(f"{name} was changed during the import. Import the archive again.")


def _is_no_record(path: Path) -> bool:
    try:
        read_record(path)
    except ResultsError:
        return True
    return False
