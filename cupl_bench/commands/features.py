"""`cupl-bench features`: the features of a question as a folder, for other programs and for this one."""

from typing import TYPE_CHECKING

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose
from cupl_bench.errors import ConfigError
from cupl_bench.paths import absolute
from cupl_bench.terminal import say

if TYPE_CHECKING:  # heavy: a look at the help needs no torch
    from cupl_bench.feature_folders import Features
    from cupl_bench.run.encode import Material

__all__ = ["command"]


def command(given: Arguments) -> int:
    """Write the features of one question to the folder ``to=``; gives the exit code."""
    from cupl_bench.config import machine_of, question_of
    from cupl_bench.feature_folders import check_target, write_features
    from cupl_bench.run.bench import Workbench
    from cupl_bench.run.encode import gather

    if not given.own.get("to"):
        raise ConfigError("features needs a folder to write: cupl-bench features dataset=... backbone=... to=FOLDER")
    folder, layout = absolute(given.own["to"]), given.own.get("layout", "cupl_bench")
    check_target(folder, layout)
    config = compose(given.overrides, given.config_dir)
    features = _features(gather(question_of(config), machine_of(config), Workbench()))
    names = write_features(folder, features, layout)
    say(f"{len(features.images):,} images, {len(features.class_names):,} classes, {len(features.prompts):,} prompts:")
    for name in names:
        say(f"  {folder / name}")
    return 0


def _features(material: "Material") -> "Features":
    """Return the features of a question, with what they are."""
    import numpy as np
    import pandas as pd

    from cupl_bench.embeddings import build_class_embeddings
    from cupl_bench.environment import describe_environment
    from cupl_bench.feature_folders import Features
    from cupl_bench.run.device import device_of
    from cupl_bench.run.scoring import logit_scale_of

    prepared = material.prepared
    dataset, prompts, question = prepared.dataset, prepared.prompts, prepared.question
    kept = np.flatnonzero(material.images.kept)
    rows = [
        (label, dataset.class_names[label], text, row)
        for label, (texts, places) in enumerate(zip(prompts.texts, material.rows_of_class, strict=True))
        for text, row in zip(texts, places, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["label", "class_name", "text", "row"])
    if material.weights is not None:
        table["weight"] = [weight for own in material.weights for weight in own]
    facts = prepared.facts.as_record()
    return Features(
        images=material.images.stored[:],
        labels=material.labels,
        image_ids=[dataset.image_ids[place] for place in kept.tolist()],
        class_names=dataset.class_names,
        classes=build_class_embeddings(
            material.texts.rows, material.rows_of_class, prompts.aggregation, material.weights
        ),
        prompts=table,
        texts=material.texts.rows,
        sets=material.sets,
        groups=None if dataset.groups is None else dataset.groups.taken(kept),
        facts={
            "dataset": {
                "name": question.dataset_name,
                "split": dataset.split,
                "fingerprint": dataset.fingerprint,
                "num_images": len(kept),
                "num_classes": len(dataset.class_names),
            },
            "backbone": {
                "name": question.backbone_name,
                "precision": question.precision,
                "decode": question.decode,
                "logit_scale": logit_scale_of(prepared),
                **{name: value for name, value in facts.items() if name != "model"},
            },
            "prompts": {
                "name": question.prompts_name,
                "digest": prompts.digest,
                "aggregation": str(prompts.aggregation),
                "source": prompts.source,
            },
            "environment": describe_environment(
                device_of(prepared.machine), (prepared.machine.results_dir, prepared.machine.cache_dir), None
            ),
        },
    )
