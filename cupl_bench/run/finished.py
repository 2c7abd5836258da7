"""Whether a question is answered already."""

import logging

from cupl_bench.backbone import BackboneFacts
from cupl_bench.errors import ResultsError, UnreadableError
from cupl_bench.records import Record, read_record, unlike_artifacts
from cupl_bench.run.prepared import Prepared
from cupl_bench.store import set_aside

__all__ = ["counts_as_finished", "finished"]

log = logging.getLogger(__name__)


def finished(prepared: Prepared) -> Record | None:
    """Return the record of a question that need not be answered again.

    Raises:
        ResultsError: there is none, and rerun=never forbids to make it; or a file may not be read.
    """
    if prepared.record_path.is_file() and prepared.machine.rerun != "always":
        try:
            record = read_record(prepared.record_path)
        except UnreadableError:
            raise
        except ResultsError as error:
            set_aside(prepared.record_path, error)
        else:
            if record.status == "ok" and not counts_as_finished(prepared, record):
                log.warning(
                    "          the record is from an earlier version, which did not record %s: running again",
                    "the tokenizer" if record.dataset.num_broken == 0 else "the images that were left out",
                )
            elif record.status == "ok" and _artifacts_are_whole(prepared, record):
                log.info("          finished before; rerun=always runs it again")
                return record
    if prepared.machine.rerun == "never":
        raise ResultsError(
            f"There is no finished record of this question ({prepared.record_path}), and rerun=never forbids running"
            " it."
        )
    return None


def counts_as_finished(prepared: Prepared, record: Record) -> bool:
    """Return whether a record answers its question.

    In earlier versions no key said which images were left out, nor which tokenizer read the prompts.
    """
    left_out_is_told = record.dataset.num_broken == 0 or prepared.left_out is not None
    return record.status == "ok" and left_out_is_told and _is_of_this_tokenizer(prepared.facts, record)


def _is_of_this_tokenizer(facts: BackboneFacts, record: Record) -> bool:
    """Return whether a record of this key was made with this tokenizer.

    A record from before tokenizers entered the key may come from a model with other merges beside its config.
    """
    own_merges = "bpe_path" in facts.model.get("text_cfg", {}).get("tokenizer_kwargs", {})
    return not own_merges or "tokenization" in record.backbone.model_fields_set


def _artifacts_are_whole(prepared: Prepared, record: Record) -> bool:
    if record.artifacts is None:
        return False
    if lost := unlike_artifacts(record, prepared.machine.results_dir):
        log.warning("          the record is here, but not %s as they were written: running again", " and ".join(lost))
    return not lost
