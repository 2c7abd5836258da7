"""A question with all that is known before the first image is decoded: what enters its run key and its paths."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cupl_bench.dataset import Dataset
from cupl_bench.identity import bytes_key, content_key, run_key
from cupl_bench.keys import Keys
from cupl_bench.prompts import Prompts
from cupl_bench.records import record_path
from cupl_bench.run.towers import Towers
from cupl_bench.scorers import Use
from cupl_bench.scorers.facts import ScorerFacts
from cupl_bench.stored_features import ImageFeatures, broken_before_whole, missing_images

__all__ = ["Prepared", "class_embeddings_path", "left_out_before", "left_out_of"]


@dataclass(frozen=True, kw_only=True)
class Prepared(Towers):
    """A question with everything that is known before the first image is decoded.

    ``left_out``: the digest of the images that cannot be decoded, as far as that is known; None where all can.
    """

    dataset: Dataset
    prompts: Prompts
    scorer: ScorerFacts
    left_out: str | None = None

    @property
    def uses(self) -> tuple[Use, ...]:
        """What the scores look at beside an image and the class embeddings."""
        of_prompts: tuple[Use, ...] = ("other_images",) if self.prompts.weigh_by_images else ()
        return tuple(dict.fromkeys((*self.scorer.needs.uses, *of_prompts)))

    @property
    def key(self) -> str:
        """The run key: names, numbers and digests, never paths."""
        question, facts = self.question, self.facts
        return run_key(
            {
                "dataset": [
                    question.dataset_name, self.dataset.split, self.dataset.fingerprint, question.skip_broken
                ],
                "primary": question.primary,
                "backbone": [
                    question.backbone_name, facts.image_key(question.precision, question.decode),
                    facts.text_key(question.precision),
                    # CLIP's own tokenizer is in no key, so that records from before this rule are found.
                    *([] if facts.tokenization is None else [facts.tokenization]),
                ],
                "prompts": [question.prompts_name, self.prompts.digest],
                # With a budget the seed enters too: seeds that drew the same prompts have their own records.
                **({} if self.prompts.budget is None else {"budget": [self.prompts.budget, self.prompts.seed]}),
                # Fewer images make another question, and the machine may decide which images these are.
                **({} if self.left_out is None else {"left_out": self.left_out}),
                # Questions from before data sets had versions keep their keys.
                **({} if self.dataset.version == 1 else {"dataset_version": self.dataset.version}),
                # Questions from before there were scorers keep their keys.
                **({} if self.scorer.key is None else {"scorer": self.scorer.key}),
            }
        )  # fmt: skip

    @property
    def record_path(self) -> Path:
        """Where the record of this question lies."""
        return record_path(self.machine.results_dir, self.key)


def left_out_before(prepared: Prepared) -> str | None:
    """Return the digest of the images left out, if known without encoding: every image without features is broken."""
    if not prepared.question.skip_broken or prepared.dataset.features is not None:
        return None
    keys = prepared.dataset.image_keys
    missing = missing_images(prepared.dataset, prepared.images)
    broken = [index for index, _ in broken_before_whole(prepared.dataset, missing)]
    return _digest_of_keys(keys[index] for index in broken) if len(broken) == len(missing) else None


def left_out_of(dataset: Dataset, images: ImageFeatures) -> str | None:
    """Return the digest of the images that could not be decoded; None where all could."""
    return _digest_of_keys(dataset.image_keys[index] for index in np.flatnonzero(~images.kept).tolist())


def _digest_of_keys(keys: Iterable[bytes]) -> str | None:
    """Return a digest of the keys that depends neither on their order nor on repeats; None for no keys."""
    distinct = sorted(set(keys))
    return bytes_key(b"".join(distinct)).hex() if distinct else None


def class_embeddings_path(prepared: Prepared) -> Path:
    """Return where the class embeddings of these prompts are kept."""
    question, machine, facts = prepared.question, prepared.machine, prepared.facts
    named: dict[str, object] = {
        "texts": facts.text_key(question.precision),
        "tokenizer": facts.tokenizer,
        "prompts": prepared.prompts.digest,
    }
    if prepared.prompts.weigh_by_images:  # the weights depend on which images can be decoded
        named["image_features"] = facts.image_key(question.precision, question.decode)
        named["images"] = bytes_key(Keys.of(prepared.dataset.image_keys).packed.tobytes()).hex()
        # If no image is left out, it does not matter whether any could be.
        named |= {"skip_broken": False} if prepared.left_out is None else {"left_out": prepared.left_out}
    return machine.cache_dir / "class_embeddings" / f"{content_key(named)[:32]}.safetensors"
