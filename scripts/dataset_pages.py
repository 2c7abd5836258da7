"""Writes docs/datasets/*.md from the specs of the data sets.

    python scripts/dataset_pages.py

A page is never edited by hand: change the spec (`cupl_bench/dataset/specs/NAME.json`) and run this again.
"""

from collections.abc import Mapping
from pathlib import Path

from cupl_bench.dataset.remotes import Remote
from cupl_bench.dataset.spec import Spec, read_spec
from cupl_bench.dataset.texts import CUPL_COMMIT, CuplFile, FetchedList, spec_names
from cupl_bench.metrics import METRICS

PAGES = Path(__file__).parents[1] / "docs" / "datasets"
ACCURACIES = {"top1": "top-1", "mean_per_class": "mean per class"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _metric(spec: Spec) -> str:
    """The line of the headline metric."""
    note = f" {spec.metric_note}" if spec.metric_note else ""
    if spec.primary in ACCURACIES:
        return f"- Metric: **{ACCURACIES[spec.primary]}**; every record has both.{note}"
    metric = METRICS[spec.primary]
    beside = f"; beside it {', '.join(METRICS[name].title for name in metric.along)}" if metric.along else ""
    return f"- Metric: **{metric.title}** (`{metric.name}`, [Metrics](../metrics.md)){beside}.{note}"


def _remote(remote: Remote) -> list[str]:
    if remote.kind == "torchvision":
        return ["`torchvision`", f"`torchvision.datasets.{remote.name}`, which checks md5"]
    if remote.kind == "archive":
        return ["`archive`", f"{remote.url} (md5 {remote.md5 or 'not known here'})"]
    revision = remote.revision or "no commit pinned: none was seen to be good; the record's log names the one used"
    gated = "; gated" if remote.gated else ""
    protocols = ", ".join(remote.layout.protocols)
    files = ", ".join(f"`{pattern}`" for pattern in remote.files)
    page = f"https://huggingface.co/datasets/{remote.repo}"
    return [f"`{remote.repo}`", f"{page}{gated}; files {files}; protocol {protocols}; {revision}"]


def _file(variant: str, file: CuplFile) -> list[str]:
    digest = f"sha256 `{file.sha256}`" if file.sha256 else f"git blob `{file.git_blob}` (its sha256 is not known here)"
    return [variant, f"`{file.path}`", "" if file.bytes is None else f"{file.bytes:,}", digest]


def _texts(spec: Spec) -> list[str]:
    parts = ["## Prompts", ""]
    if spec.texts.templates:
        rows = [
            [
                f"`{spec.name}/{name}`",
                str(len(templates)),
                f"`{templates[0]}`",
                spec.texts.templates_source[name],
            ]
            for name, templates in spec.texts.templates.items()
        ]
        parts += [table(["`dataset.texts.templates`", "templates", "first", "source"], rows), ""]
    else:
        parts += ["Templates: `openai_imagenet_80`, the 80 of OpenAI's ImageNet notebook, as open_clip has them.", ""]
    if spec.texts.cupl is None:
        parts += [f"CuPL has no file for this data set. {spec.texts.instead_of_cupl or ''}".strip(), ""]
        return parts
    files = [_file("base", spec.texts.cupl.base), _file("full", spec.texts.cupl.full)]
    parts += [
        f"CuPL's files (github.com/sarahpratt/CuPL at `{CUPL_COMMIT}`; no licence, so they are fetched, not shipped):",
        "",
        table(["`prompts.variant`", "file", "bytes", "digest"], files),
        "",
    ]
    if spec.texts.cupl.aliases:
        aliases = ", ".join(f"{name} -> {key}" for name, key in spec.texts.cupl.aliases.items())
        parts += [f"Names of other lists that CuPL has under other words: {aliases}.", ""]
    return parts


def _languages(names: Mapping[str, FetchedList], templates: Mapping[str, FetchedList]) -> list[str]:
    if not names:
        return []
    rows = [[f"`{name}`", one.language, f"{one.count:,}", one.url, one.sha256] for name, one in names.items()]
    rows += [
        [f"`dataset.texts.templates=imagenet/{name}`", one.language, str(one.count), one.url, one.sha256]
        for name, one in templates.items()
    ]
    head = ["names", "language", "texts", "fetched from", "sha256"]
    return ["Names of other languages ([docs/languages.md](../languages.md)):", "", table(head, rows), ""]


def page(spec: Spec) -> str:
    """The page of a data set."""
    classes = spec.classes
    protocols = [
        [f"`{name}`", one.split, f"{one.num_images:,}", str(len(classes.ids) - len(one.without)), one.source]
        for name, one in spec.protocols.items()
    ]
    protocols.append(["`custom`", "whatever is there", "", str(len(classes.ids)), "the record's split says so"])
    head = ["label", "id in the sources", *(f"names `{name}`" for name in classes.names)]
    examples = [
        [str(label), f"`{classes.ids[label]}`", *(row[label] for row in classes.names.values())]
        for label in sorted({0, 1, 2, len(classes.ids) - 1} & set(range(len(classes.ids))))
    ]
    joined = "Labels are joined by the source's own name for a class, never by position."
    if classes.carried:
        held = ", ".join(f"`{name}` in `{file}`" for name, file in classes.carried.items())
        joined = f"The data set's own files hold their names (`dataset.names`): {held}. They are not in this package."
    layouts = ", ".join(dict.fromkeys(f"`{layout.kind}`" for layout in spec.layouts))
    parts = [
        f"# {spec.title}",
        "",
        f"`dataset={spec.name}`. Written by `scripts/dataset_pages.py` from"
        f" `cupl_bench/dataset/specs/{spec.name}.json`.",
        "",
        _metric(spec),
        f"- Licence, as far as known here; read it at the source: {spec.licence}.",
        f"- Cite: {spec.citation}.",
        "",
        "## Protocols",
        "",
        table(["`dataset.protocol`", "split", "images", "classes", "who says so"], protocols),
        "",
        "Any other number of images is refused."
        if all(one.some_classes for one in spec.protocols.values())
        else "Any other number of images, or a class without images, is refused.",
        "",
        "## How to get it",
        "",
        spec.how_to_get.replace("{folder}", f"CACHE/datasets/{spec.name}"),
        "`CACHE` is `cache_dir`; `dataset.path=FOLDER` names another place."
        f" Layouts that are understood: {layouts or 'those of the sources below'}.",
        "",
    ]
    if spec.remotes:
        parts += [
            "Or it is downloaded, from the first of these that has the protocol, or from the one you name:",
            "",
            table(["`dataset.source`", "what"], [_remote(remote) for remote in spec.remotes]),
            "",
        ]
    parts += [
        "## Classes",
        "",
        f"{len(classes.ids):,} classes. {joined}" if classes.carried else f"{len(classes.ids)} classes. {joined}",
        "",
        *([] if classes.carried else [table(head, examples), ""]),
        *(f"- {name}: {source}." for name, source in classes.source.items()),
        "",
        *_languages(classes.fetched, spec.texts.fetched),
        *_texts(spec),
        "## Traps",
        "",
        *(f"- {trap}" for trap in spec.traps),
        "",
    ]
    if spec.reference:
        rows = [list(one) for one in spec.reference]
        parts += ["## Published numbers", "", table(["backbone", "prompts", "value", "source"], rows), ""]
    return "\n".join(parts)


def index(specs: list[Spec]) -> str:
    """The page that lists the others."""
    rows = []
    for spec in specs:
        standard = next(iter(spec.protocols.values()))
        cupl = "yes" if spec.texts.cupl else "no"
        rows.append(
            [
                f"[{spec.name}]({spec.name}.md)",
                spec.title,
                standard.split,
                f"{standard.num_images:,}",
                str(len(spec.classes.ids)),
                ACCURACIES[spec.primary] if spec.primary in ACCURACIES else METRICS[spec.primary].title,
                cupl,
            ]
        )
    head = ["`dataset=`", "data set", "split", "images", "classes", "metric", "CuPL file"]
    return f"# Data sets\n\nWritten by `scripts/dataset_pages.py` from the specs.\n\n{table(head, rows)}\n"


def pages() -> dict[str, str]:
    """The content of each file of docs/datasets, by its name."""
    specs = [read_spec(name) for name in spec_names()]
    return {"README.md": index(specs), **{f"{spec.name}.md": page(spec) for spec in specs}}


if __name__ == "__main__":
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, content in pages().items():
        (PAGES / name).write_text(content, encoding="utf-8")
    print(f"{len(pages())} pages in {PAGES}")
