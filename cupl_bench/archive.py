"""Runs as one file, records and all that they name, for a machine that has neither data nor model."""

import hashlib
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cupl_bench.dataset.archives import UNREADABLE
from cupl_bench.errors import ResultsError, first, nearest
from cupl_bench.records import Record, read_record, read_records, record_path
from cupl_bench.store import write_atomically

__all__ = ["Imported", "export_runs", "import_runs"]

MANIFEST = "manifest.json"
VERSION = 1
MEMBER = re.compile(
    r"records/[0-9a-f]{12}\.json|(predictions|prompts)/[0-9a-f]{12}\.parquet|class_embeddings/[0-9a-f]{12}\.safetensors"
)
"""What an archive may hold; so nothing in it can be written anywhere else."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every member: equal runs give equal archives."""


class Manifest(BaseModel):
    """The list of members with their sha256, and the version of this form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive_version: int
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Run keys that an archive held: those that are new here, and those that were here before and were kept."""

    new: tuple[str, ...]
    kept: tuple[str, ...]


def export_runs(results_dir: Path, run_keys: Sequence[str], target: Path) -> list[Record]:
    """Write finished runs to a zip file; gives their records. The file appears whole or not at all.

    Args:
        results_dir: where the runs lie.
        run_keys: which; empty for all that are finished.
        target: the archive.

    Raises:
        ResultsError: a run is not there, not finished, or lacks a file.
    """
    if run_keys:
        records = [_finished(results_dir, key) for key in dict.fromkeys(run_keys)]
    else:
        records = [record for record in read_records(results_dir) if record.status == "ok"]
        if not records:
            raise ResultsError(f"{results_dir} holds no finished run to export.")
    contents: dict[str, bytes] = {}
    for record in records:
        paths = {} if record.artifacts is None else record.artifacts.model_dump(exclude_none=True)
        for name in [f"records/{record.run_key}.json", *paths.values()]:
            try:
                contents[name] = (results_dir / name).read_bytes()
            except OSError as error:
                raise ResultsError(
                    f"{results_dir / name} of run {record.run_key} cannot be read ({error.strerror}). Run its question"
                    " again with rerun=always."
                ) from error
    manifest = Manifest(
        archive_version=VERSION,
        files={name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())},
    )
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in [(MANIFEST, manifest.model_dump_json(indent=1).encode()), *sorted(contents.items())]:
                archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
        part.replace(target)
    except OSError as error:
        raise ResultsError(
            f"{target} cannot be written ({error.strerror or error}). Name another: to=FILE.zip"
        ) from error
    return records


def import_runs(path: Path, results_dir: Path) -> Imported:
    """Take the runs of an archive in below ``results_dir``. A run that is finished here already is kept as it is.

    Everything is checked before the first file is written; records come last, so a run that is listed is whole.

    Raises:
        ResultsError: the file is no such archive, is damaged, or holds anything else.
    """
    contents = _checked(path)
    records = [name for name in contents if name.startswith("records/")]
    new: list[str] = []
    kept: list[str] = []
    for name in records:
        key = Path(name).stem
        record = _parsed(path, name, contents[name])
        needed = [] if record.artifacts is None else list(record.artifacts.model_dump(exclude_none=True).values())
        if lost := [one for one in needed if one not in contents]:
            raise ResultsError(f"{path} lacks {first(lost)} of run {key}. Export the run again.")
        (kept if _is_finished(results_dir, key) else new).append(key)
    for key in new:
        own = [name for name in contents if Path(name).stem == key]
        for name in sorted(own, key=lambda one: one.startswith("records/")):
            write_atomically(results_dir / name, contents[name])
    return Imported(new=tuple(new), kept=tuple(kept))


def _finished(results_dir: Path, key: str) -> Record:
    path = record_path(results_dir, key)
    if not path.is_file():
        known = [one.stem for one in sorted((results_dir / "records").glob("*.json"))]
        raise ResultsError(f"There is no record {path}.{nearest(key, known)}")
    record = read_record(path)
    if record.status != "ok":
        raise ResultsError(f"Run {key} has failed ({record.error}); only finished runs are exported.")
    return record


def _is_finished(results_dir: Path, key: str) -> bool:
    path = record_path(results_dir, key)
    return path.is_file() and read_record(path).status == "ok"


def _parsed(path: Path, name: str, content: bytes) -> Record:
    try:
        record = Record.model_validate_json(content)
    except ValidationError as error:
        raise ResultsError(
            f"{name} in {path} is no record that this version reads: {error.errors()[0]['msg']}."
        ) from error
    if f"records/{record.run_key}.json" != name:
        raise ResultsError(f"{name} in {path} holds the record of run {record.run_key}.")
    return record


def _checked(path: Path) -> dict[str, bytes]:
    """The members of an archive, each with the content that its manifest promises."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if MANIFEST not in names:
                raise ResultsError(f"{path} holds no {MANIFEST}: it is no archive that 'cupl-bench export' wrote.")
            manifest = Manifest.model_validate_json(archive.read(MANIFEST))
            if manifest.archive_version != VERSION:
                raise ResultsError(
                    f"{path} is an archive of version {manifest.archive_version}; this program reads {VERSION}."
                )
            if odd := [name for name in {*names, *manifest.files} - {MANIFEST} if not MEMBER.fullmatch(name)]:
                raise ResultsError(f"{path} holds {len(odd)} members that no run has, first: {first(sorted(odd))}.")
            if sorted(names) != sorted([MANIFEST, *manifest.files]):
                raise ResultsError(f"{path}: its members are not those of its {MANIFEST}. Export the runs again.")
            contents = {name: archive.read(name) for name in manifest.files}
    except FileNotFoundError as error:
        raise ResultsError(f"{path} does not exist.") from error
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]
        raise ResultsError(f"{path} cannot be read as an archive ({reason}). Export or copy it again.") from error
    if damaged := [
        name for name, content in contents.items() if hashlib.sha256(content).hexdigest() != manifest.files[name]
    ]:
        raise ResultsError(
            f"{path}: {len(damaged)} of {len(contents)} members differ from their sha256, first: {first(damaged)}."
            " Export or copy it again."
        )
    return contents
