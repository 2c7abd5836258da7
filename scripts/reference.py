"""Look at the reference runs in results/reference, or add an archive to them.

    python scripts/reference.py                             # every archive: as signed, whole, and what it says
    python scripts/reference.py runs.zip NAME "who, where"  # looks at it, copies it and signs it

The index holds the sha256 of each archive and what stands in its records; docs/reference.md says what is looked at.
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cupl_bench.archive import import_runs
from cupl_bench.checking import check_runs, exit_code
from cupl_bench.errors import CuplBenchError, ResultsError, first
from cupl_bench.prompts.provenance import IN_QUESTION, UNSTATED
from cupl_bench.records import Record, read_records

FOLDER = Path(__file__).parents[1] / "results" / "reference"
INDEX, SCHEMA = "index.json", "schema.json"
LARGEST = 20_000_000
"""Bytes of an archive; a clone of the project carries all of them."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}")


class Row(BaseModel):
    """What stands in a record; fractions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_key: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    dataset: str
    dataset_version: int
    split: str
    num_images: int
    backbone: str
    weights_sha256: str
    precision: str
    prompts: str
    prompts_digest: str
    scorer: str
    top1: float
    mean_per_class: float
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class Archive(BaseModel):
    """An archive of `cupl-bench export`, signed by its sha256. ``by``: who ran it, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    by: str
    runs: tuple[Row, ...]


class Index(BaseModel):
    """The reference runs: archives by the name of their file, without its ending."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    archives: dict[Annotated[str, Field(pattern=f"^{NAME.pattern}$")], Archive]


def schema() -> str:
    """Return the JSON schema of the index."""
    return json.dumps(Index.model_json_schema(), indent=1) + "\n"


def read_index(folder: Path) -> Index:
    """Return the index of a folder; one without archives where there is none yet."""
    path = folder / INDEX
    return Index.model_validate_json(path.read_bytes()) if path.is_file() else Index(archives={})


def looked_at(path: Path, by: str) -> Archive:
    """Return the entry of an archive in which nothing is wrong.

    Raises:
        ResultsError: it is damaged, too large, or its runs are not what a reference should be.
    """
    if path.stat().st_size > LARGEST:
        raise ResultsError(
            f"{path.name} has {path.stat().st_size / 1e6:.0f} MB; at most {LARGEST / 1e6:.0f} are taken."
        )
    with tempfile.TemporaryDirectory(prefix="cupl-bench-reference-") as name:
        folder = Path(name)
        import_runs(path, folder)
        findings = check_runs(folder).findings
        if exit_code(findings) != 0:
            told = [f"{one.check}: {'; '.join(one.cases) or one.reason}" for one in findings if one.verdict != "ok"]
            raise ResultsError(f"{path.name} does not pass 'cupl-bench check': {first(told, 3)}")
        records = read_records(folder)
    if faults := [f"{one.run_key}: {fault}" for one in records for fault in faults_of(one)]:
        raise ResultsError(f"{path.name}: {len(faults)} things are wrong, first: {first(faults, 3)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = sorted(map(row_of, records), key=lambda one: (one.dataset, one.backbone, one.prompts, one.run_key))
    return Archive(sha256=digest, by=by, runs=tuple(rows))


def faults_of(record: Record) -> Iterator[str]:
    """Yield what a reference run should not be: what nobody can ask again, or whose terms nobody knows."""
    place = record.environment
    if not place.get("commit") or place.get("dirty") is not False:
        yield "it was not run from a commit without changes"
    if record.config is None:
        yield "it does not hold its question"
    else:
        try:
            record.config.check_whole()
        except ResultsError as error:
            yield str(error)
        if record.config.beyond_words:
            yield f"it needs what is not of this project: {first(record.config.beyond_words, 3)}"
    if record.dataset.features is not None:
        yield "its image features were given, not encoded"
    for what, licence in (("data set", record.dataset.licence), ("weights", record.backbone.licence)):
        if licence is None:
            yield f"the licence of the {what} is not told"
    if record.prompts.texts is None:
        yield "it does not say who wrote its texts"
    for text in record.prompts.texts or ():
        if text.licence in (None, UNSTATED) and text.source != IN_QUESTION:
            yield f"the archive would carry the texts of {text.source}, whose licence is not told"
    if places := sorted(set(re.findall(r"(?:^|[\s\"'=:])(/[\w.-]+/[^\s\"']*|~/[^\s\"']*)", record.model_dump_json()))):
        yield f"it names places of a machine: {first(places, 3)}"


def row_of(record: Record) -> Row:
    """Return what the index says of a run.

    Raises:
        ResultsError: the run has failed.
    """
    if record.metrics is None:
        raise ResultsError(f"{record.run_key} has failed, and is no reference.")
    return Row(
        run_key=record.run_key,
        dataset=record.dataset.name,
        dataset_version=record.dataset.version,
        split=record.dataset.split,
        num_images=record.dataset.num_images,
        backbone=record.backbone.name,
        weights_sha256=record.backbone.weights_sha256,
        precision=record.backbone.precision,
        prompts=record.prompts.name,
        prompts_digest=record.prompts.digest,
        scorer=record.scorer.name,
        top1=record.metrics.top1,
        mean_per_class=record.metrics.mean_per_class,
        commit=record.environment["commit"],
    )


def check_folder(folder: Path) -> Index:
    """Return the index of a folder whose archives are all as it says.

    Raises:
        ResultsError: an archive is not in the index or not there, is another one, or is not what a reference should be.
    """
    index = read_index(folder)
    files = {path.stem for path in folder.glob("*.zip")}
    if other := sorted(files ^ index.archives.keys()):
        raise ResultsError(f"{len(other)} archives are in {folder} or in its index alone: {first(other, 3)}")
    for name, entry in index.archives.items():
        path = folder / f"{name}.zip"
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != entry.sha256:
            raise ResultsError(f"{path.name} has the sha256 {found[:12]}, and the index signs {entry.sha256[:12]}.")
        if looked_at(path, entry.by) != entry:
            raise ResultsError(f"The index says otherwise than the records of {path.name}. Add it again.")
    return index


def add(source: Path, name: str, by: str, folder: Path) -> Archive:
    """Copy an archive to a folder under a name, sign it in the index, and return its entry.

    Raises:
        ResultsError: the name is taken or none, or the archive is not what a reference should be.
    """
    index = read_index(folder)
    if not NAME.fullmatch(name):
        raise ResultsError(f"{name!r} is no name: small letters, digits, - and _ alone.")
    if name in index.archives:
        raise ResultsError(f"{name} is there already. A reference is never replaced: choose another name.")
    if not by.strip():
        raise ResultsError("Say who ran it, and where.")
    entry = looked_at(source, by)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.zip").write_bytes(source.read_bytes())
    whole = Index(archives=dict(sorted({**index.archives, name: entry}.items())))
    (folder / INDEX).write_text(whole.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / SCHEMA).write_text(schema(), encoding="utf-8")
    return entry


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", type=Path, help="what 'cupl-bench export' wrote")
    parser.add_argument("name", nargs="?", default="", help="what it is called here")
    parser.add_argument("by", nargs="?", default="", help="who ran it, and where")
    given = parser.parse_args()
    try:
        if given.archive is not None:
            entry = add(given.archive, given.name, given.by, FOLDER)
            print(f"{given.name}.zip: {len(entry.runs)} runs, sha256 {entry.sha256}")
        index = check_folder(FOLDER)
    except (CuplBenchError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(index.archives)} archives, {sum(len(one.runs) for one in index.archives.values())} runs: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
