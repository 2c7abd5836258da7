"""What runs were made from: data sets, weights, prompts, scorers, seeds; in sentences of their records alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from cupl_bench.dataset.spec import read_spec
from cupl_bench.dataset.texts import spec_names
from cupl_bench.paragraph.citations import keys_of
from cupl_bench.paragraph.markup import cite, code, joined
from cupl_bench.prompts.provenance import IN_MEMORY, IN_QUESTION, NO_MODEL
from cupl_bench.records import Record, TextsRecord
from cupl_bench.report.naming import SHA256, prompts_settings, recorded
from cupl_bench.report.published import shipped_option
from cupl_bench.report.runs import Run

__all__ = ["DIGITS", "by", "count", "datasets", "models", "prompts", "scorers", "seeds"]

DIGITS = 12
"""Hex digits of a digest that the text holds; the records hold all."""
WEIGHTS = ("architecture", "pretrained", "path")
"""Settings of a backbone that say which weights it has."""
METRICS = {"top1": "top-1 accuracy", "mean_per_class": "the mean over classes of their top-1 accuracy"}
AGGREGATIONS = {
    "mean": "the mean of their unit vectors stands for a class",
    "mean_similarity": "their similarities are averaged",
    "max_similarity": "the greatest of their similarities counts",
}
WEIGHTINGS = {
    "given": "weighed as the strategy says",
    "zpe": "weighed by how sure the model is of the images, whose labels it does not see",
}

Thing = TypeVar("Thing")


def by(things: Iterable[Thing], key: Callable[[Thing], object]) -> list[list[Thing]]:
    """Return things that are alike in ``key`` together, in the order of their first."""
    found: dict[object, list[Thing]] = {}
    for one in things:
        found.setdefault(key(one), []).append(one)
    return list(found.values())


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun.

    >>> count(1, "run"), count(2304, "class", "classes")
    ('1 run', '2,304 classes')
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def cited_for(record: Record, group: str) -> list[str]:
    """Return the keys of what an option of this project is cited for, if a run is of that option and not of its name.

    A data set is known by its spec, a backbone by its weights, prompts and scorers by their class.
    """
    settings = recorded(record, group)
    name = str(getattr(record, group).name)
    if group == "dataset":
        if settings.get("spec") in spec_names():
            coop = (record.dataset.origin or {}).get("protocol") == "coop"
            return keys_of(f"dataset:{settings['spec']}", *(["protocol:coop"] if coop else []))
        return keys_of("dataset:demo") if _class(settings) == "DemoSource" else []
    option = shipped_option(f"{group}/{name}.yaml")
    if not option or _class(settings) != _class(option):
        return []
    if group == "backbone" and any(settings.get(key) != option.get(key) for key in WEIGHTS):
        return []
    return keys_of(f"{group}:{name}")


def _class(settings: Mapping[str, Any]) -> str:
    return str(settings.get("_target_")).rpartition(".")[2]


def datasets(runs: Sequence[Run], unknown: list[str]) -> str:
    """Return the sentences on data sets; what is not known is added to ``unknown``."""

    def same(run: Run) -> object:
        one = run.record.dataset
        return one.name, one.split, one.fingerprint, one.num_images, one.num_broken, one.version, run.group.decode

    return f"Data: {'; '.join(_dataset(group, unknown) for group in by(runs, same))}."


def _dataset(runs: Sequence[Run], unknown: list[str]) -> str:
    records = [run.record for run in runs]
    one = records[-1].dataset
    spec, origin = recorded(records[-1], "dataset").get("spec"), one.origin or {}
    is_named = spec in spec_names()
    title = f"{read_spec(str(spec)).title} ({code(one.name)})" if is_named else code(one.name)
    keys = cited_for(records[-1], "dataset")
    if not keys:
        unknown.append(f"a reference for the data set {one.name}")
    size = f"{count(one.num_images, 'image')} of {count(one.num_classes, 'class', 'classes')}"
    told = [f"split {code(one.split)}, {size}"]
    if one.num_broken:
        told.append(f"{count(one.num_broken, 'image')} that could not be decoded left out")
    if one.features is not None:
        said = f", said to be of {code(one.features.said_to_be_of)}" if one.features.said_to_be_of else ""
        told.append(f"given as image features (sha256 {_short(one.features.sha256)}{said})")
    if origin:
        told += [f"{key} {code(origin[key])}" for key in ("protocol", "source") if key in origin]
        told += [f"class names {code(origin['names'])}"] if "names" in origin else []
    headline = {run.metrics.primary_name for run in records if run.metrics is not None}
    metrics = {METRICS.get(name, code(name)) for name in headline}
    if runs[-1].group.decode != "exact":
        told.append(f"decoded by {code(runs[-1].group.decode)}")
    told += [f"version {one.version}", f"fingerprint {_short(one.fingerprint)}"]
    told.append(_licence((run.dataset.licence for run in records), f"of the data set {one.name}", unknown))
    return f"{title}{cite(keys)}: {', '.join(told)}; its metric is {joined(sorted(metrics))}"


def models(runs: Sequence[Run], unknown: list[str]) -> str:
    """Return the sentences on weights."""

    def same(run: Run) -> object:
        one = run.record.backbone
        return one.name, one.architecture, one.pretrained, one.weights_sha256, one.activation, one.precision, one.origin

    return f"Weights: {'; '.join(_model([run.record for run in group], unknown) for group in by(runs, same))}."


def _model(records: Sequence[Record], unknown: list[str]) -> str:
    one = records[-1].backbone
    keys = cited_for(records[-1], "backbone")
    if not keys:
        unknown.append(f"a reference for the backbone {one.name}")
    if one.architecture == one.pretrained == "given":  # features of it were given, and it was not there
        unknown.append(f"the weights of the backbone {one.name}")
        return f"{code(one.name)}{cite(keys)}: its features were given, and its weights are not known"
    told = [
        f"architecture {code(one.architecture)}, weights {code(one.pretrained)} with the sha256"
        f" {_short(one.weights_sha256)}",
        *([f"from {code(one.origin)}"] if one.origin else []),
        f"activation {code(one.activation)}, precision {code(one.precision)}",
        *([f"images of {one.image_size[0]} x {one.image_size[1]} pixels"] if one.image_size else []),
        _licence((run.backbone.licence for run in records), f"of the weights of {one.name}", unknown),
    ]
    return f"{code(one.name)}{cite(keys)}: {', '.join(told)}"


def prompts(runs: Sequence[Run], unknown: list[str]) -> str:
    """Return the sentences on prompts: a strategy after the other, by the names that tables give them."""

    def same(run: Run) -> object:
        return run.prompts, run.record.prompts.aggregation, run.record.prompts.weighting, run.record.prompts.budget

    return f"Prompts: {'; '.join(_strategy(group, unknown) for group in by(runs, same))}."


def _strategy(runs: Sequence[Run], unknown: list[str]) -> str:
    one = runs[-1].record.prompts
    texts = [[_prompts_of(run.record)] for run in runs]
    told = list(dict.fromkeys(text for row in texts for text in row))
    if len(told) > 1:
        told = [f"{text} on {code(run.dataset)}" for run, (text,) in zip(runs, texts, strict=True)]
        told = list(dict.fromkeys(told))
    told.append(AGGREGATIONS.get(one.aggregation, f"aggregated by {code(one.aggregation)}"))
    if one.budget is not None:
        told.append(f"at most {one.budget:,} of each class")
    if one.weighting is not None:
        told.append(WEIGHTINGS.get(one.weighting, f"weighed by {code(one.weighting)}"))
    known = [run.record for run in runs if run.record.prompts.texts is not None]
    if len(known) < len(runs):
        unknown.append(
            f"who wrote the texts of {runs[-1].prompts}, and their licence, in {count(len(runs) - len(known), 'run')}"
        )
        told.append("who wrote their texts was not recorded" + (" by all runs" if known else ""))
    named = dict.fromkeys((text, _quoted(record)) for record in known for text in record.prompts.texts or ())
    told += [_texts(text, quoted, runs[-1].prompts, unknown) for text, quoted in named]
    return f"{code(runs[-1].prompts)}{cite(cited_for(runs[-1].record, 'prompts'))}: {', '.join(told)}"


def _prompts_of(record: Record) -> str:
    asked = record.prompts
    told = f"{count(asked.num_prompts, 'prompt')}"
    if asked.num_distinct != asked.num_prompts:
        told += f" ({asked.num_distinct:,} distinct)"
    told += f" with the digest {_short(asked.digest)}"
    for source in asked.source.split("; ") if asked.source else ():
        name, digest = [*SHA256.split(source), ""][:2]
        told += f" from {code(name)}{f' with the sha256 {_short(digest)}' if digest else ''}"
    return told + (f", {asked.num_truncated:,} of them cut to the model's context" if asked.num_truncated else "")


def _quoted(record: Record) -> str | None:
    """Return the one template that a question holds itself; None where there are several, or none."""
    settings = prompts_settings(record, looked_up=True) or {}
    templates = settings.get("templates")
    return (
        str(templates[0])
        if isinstance(templates, Sequence) and not isinstance(templates, str) and len(templates) == 1
        else None
    )


def _texts(one: TextsRecord, quoted: str | None, name: str, unknown: list[str]) -> str:
    if one.source == IN_QUESTION:
        return f"with the template {code(quoted)}" if quoted else "whose texts the records hold in full"
    if one.source == IN_MEMORY or one.source.startswith("the class "):
        unknown.append(f"who wrote the texts of {name}, and their licence")
        return f"of texts {one.source}, of which nobody says who wrote them"
    if one.language_model is None:
        unknown.append(f"who wrote {one.source}")
    wrote = {None: "nobody says who wrote them", NO_MODEL: "written by people"}.get(
        one.language_model, f"written by {one.language_model}"
    )
    return f"texts of {code(one.source)} ({wrote}, {_licence([one.licence], f'of {one.source}', unknown)})"


def scorers(runs: Sequence[Run], unknown: list[str]) -> str:  # noqa: ARG001 - as the others
    """Return the sentences on how features became answers."""
    groups = by((run.record for run in runs), lambda record: (record.scorer.name, repr(_parameters(record))))
    return " ".join(_scorer(group[-1]) for group in groups)


def _scorer(record: Record) -> str:
    one = record.scorer
    if one.name == "plain":
        return "Scores: an image gets the class of its greatest cosine similarity, and the first of equals."
    settings = [f"{key} {code(value)}" for key, value in _parameters(record).items()]
    uses = f"; it looks at {joined(use.replace('_', ' ') for use in one.uses)}" if one.uses else ""
    with_them = f" ({', '.join(settings)}; constants from {one.constants_from})" if settings else ""
    name = f"{code(one.name)}{cite(cited_for(record, 'scorer'))}"
    return f"Scorer {name}{with_them}{uses}; kind: {one.kind.replace('_', ' ')}."


def _parameters(record: Record) -> Mapping[str, Any]:
    return {key: value for key, value in record.scorer.parameters.items() if key != "seed" and value is not None}


def seeds(runs: Sequence[Run], unknown: list[str]) -> str:
    """Return the sentence on seeds: of prompts, scorers and samples of images."""
    found: dict[str, set[int]] = {}
    for run in runs:
        sample = recorded(run.record, "dataset")
        for what, seed in (
            (f"the prompts {code(run.prompts)}", run.record.prompts.seed),
            (f"the scorer {code(run.scorer)}", run.record.scorer.parameters.get("seed")),
            (f"the images of {code(run.dataset)}", sample.get("seed") if sample.get("limit") is not None else None),
        ):
            if isinstance(seed, int):
                found.setdefault(what, set()).add(seed)
    drawn = [f"{what} with {joined(map(code, sorted(of_it)))}" for what, of_it in found.items()]
    own = [run.record.run_key for run in runs if run.record.config is None or run.record.config.beyond_words]
    if own:
        unknown.append(f"whether parts from outside the program drew anything, in {count(len(own), 'run')}")
    others = "; whether parts from outside the program drew anything is not known" if own else "; nothing else was"
    if drawn:
        return f"Seeds of what was drawn at random: {'; '.join(drawn)}{others}."
    if own:
        return f"Seeds: none was recorded{others}."
    return "Seeds: no prompt, no score and no sample of images was drawn at random."


def _short(digest: str) -> str:
    return code(digest[:DIGITS])


def _licence(told: Iterable[str | None], what: str, unknown: list[str]) -> str:
    known = list(dict.fromkeys(one for one in told if one))
    if not known:
        unknown.append(f"the licence {what}")
        return "licence not known"
    return f"licence {' or '.join(known)}"
