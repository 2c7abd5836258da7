"""Whether the prompts of a run are those of its digest, and its class embeddings can be those of its prompts."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from cupl_bench.checking.findings import SHOWN, Seen
from cupl_bench.checking.reading import Run, path_of
from cupl_bench.embeddings import ALMOST_ONE, Aggregation
from cupl_bench.errors import UnreadableError
from cupl_bench.identity import content_key
from cupl_bench.prompts import GivenEmbeddings
from cupl_bench.report.naming import recorded
from cupl_bench.store import DamagedFileError, read_arrays

__all__ = ["embeddings_of", "prompts_of"]


def prompts_of(run: Run, seen: Seen) -> None:
    """Compare a table of prompts with the counts and the digest of its record."""
    record, frame = run.record, run.prompts
    asked = record.prompts
    if isinstance(frame, str):
        if frame:
            seen.faults.append(frame)
        else:
            seen.unknown.append("the record names no table of prompts, as those of earlier versions")
        return
    num_classes = record.dataset.num_classes
    labels, texts = frame["label"].to_numpy(), frame["text"]
    if sorted(set(labels.tolist())) != list(range(num_classes)) or (np.diff(labels) < 0).any():
        seen.faults.append(f"its labels are not those of {num_classes:,} classes in their order")
        return
    for what, told, ours in (
        ("prompts", asked.num_prompts, len(frame)),
        ("distinct prompts", asked.num_distinct, texts.nunique()),
    ):
        if told != ours:
            seen.faults.append(f"{told:,} {what} in the record and {ours:,} in the table")
    if asked.digest not in _digests(run, frame):
        target = recorded(record, "prompts").get("_target_")
        if asked.weighting != "given" and (target is None or str(target).endswith(".EmbeddingsStrategy")):
            seen.notes.append("a digest over features that somebody gave, which are in no file of a run, is not judged")
        else:
            seen.faults.append(
                f"the texts, their order or their weights are not those of the digest {asked.digest[:12]}"
            )


def _digests(run: Run, frame: pd.DataFrame) -> list[str]:
    """Return the digests that these prompts can have: alone, and with class vectors that somebody gave."""
    asked = run.record.prompts

    def ragged(column: str) -> list[list[object]]:
        return [rows.tolist() for _, rows in frame.groupby("label", sort=True)[column]]

    facts: dict[str, object] = {"texts": ragged("text"), "aggregation": asked.aggregation}
    if asked.weighting == "given" and "weight" in frame:
        facts["weights"] = ragged("weight")
    if asked.uses_images:
        facts["weigh_by_images"] = True
    found = [content_key(facts)]
    path = path_of(run.record, run.results_dir, "class_embeddings")
    if found[0] != asked.digest and path is not None:
        try:
            rows = read_arrays(path)[0]["class_embeddings"]
        except (FileNotFoundError, UnreadableError, DamagedFileError, KeyError):
            return found
        given = GivenEmbeddings(rows=rows.astype(np.float32), row_of={}, is_of_classes=True)
        found.append(content_key({**facts, "given": given.sha256}))
    return found


def embeddings_of(run: Run, seen: Seen) -> None:
    """Look whether class embeddings are of this run, of its shape, and as long as their aggregation makes them."""
    record = run.record
    path = path_of(record, run.results_dir, "class_embeddings")
    if path is None:
        return
    try:
        arrays, facts = read_arrays(path)
    except FileNotFoundError:
        seen.faults.append(f"{path.parent.name}/{path.name} is not there")
        return
    except UnreadableError as error:
        seen.unknown.append(str(error))
        return
    except DamagedFileError as error:
        seen.faults.append(str(error).replace(str(path), f"{path.parent.name}/{path.name}"))
        return
    facts = facts if isinstance(facts, dict) else {}  # whatever stands there
    for key, told in (("run_key", record.run_key), ("aggregation", record.prompts.aggregation)):
        if facts.get(key) != told:
            seen.faults.append(f"the file is of the {key} {facts.get(key)}")
    shape = (record.dataset.num_classes, record.backbone.embed_dim)
    matrix = arrays.get("class_embeddings")
    if matrix is None or matrix.shape != shape or matrix.dtype != np.float32:
        told_shape = "no class embeddings" if matrix is None else f"{matrix.dtype} of the shape {matrix.shape}"
        seen.faults.append(f"the file holds {told_shape}, not float32 of the shape {shape}")
        return
    _check_lengths(matrix, "class embeddings", record.prompts.aggregation != Aggregation.MEAN_SIMILARITY, seen)
    if record.prompts.aggregation != Aggregation.MAX_SIMILARITY:
        return
    prompts, owner = arrays.get("prompt_embeddings"), arrays.get("prompt_class")
    if prompts is None or owner is None or owner.ndim != 1 or prompts.shape != (len(owner), shape[1]):
        seen.faults.append("the vectors of single prompts, from which the scores come, are not there")
        return
    if sorted(set(owner.tolist())) != list(range(shape[0])):
        seen.faults.append("the vectors of single prompts are not those of every class")
    _check_lengths(prompts, "vectors of prompts", True, seen)


def _check_lengths(rows: Float[np.ndarray, "r d"], what: str, are_unit: bool, seen: Seen) -> None:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    fits = abs(lengths - 1) < ALMOST_ONE if are_unit else (lengths < 1 + ALMOST_ONE) & (lengths > 0)
    if wrong := np.flatnonzero(~fits).tolist():
        said = "length one" if are_unit else "at most length one, and more than none"
        rows_said = ", ".join(map(str, wrong[:SHOWN]))
        seen.faults.append(f"{len(wrong):,} of {len(rows):,} {what} are not of {said}, first: {rows_said}")
