"""The commands, a module each: `command(given)` does the work and returns the exit code.

A new command is a module here and an entry in COMMANDS, from which its arguments are read and its help is written. This
module imports nothing, so that help and completion are quick.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["COMMANDS", "QUESTION", "Command"]


@dataclass(frozen=True, kw_only=True)
class Command:
    """The arguments that a command takes.

    ``summary``: what it does, a line. ``plain``: what an argument without ``=`` is, and its meaning; None where there
    is none. ``own``: keys that are read by this command alone, and their meanings. ``flags``: its own flags.
    ``groups``: the groups of conf/ that it reads. ``keys``: the keys of the root that it reads. ``examples``: whole
    lines. ``module``: its module. ``sweeps``: whether a list of values is a question for each.
    """

    summary: str
    examples: tuple[str, ...]
    plain: tuple[str, str] | None = None
    own: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    module: str | None = None
    sweeps: bool = False


FEATURES = ("dataset", "backbone", "prompts")
QUESTION = (*FEATURES, "scorer")
ASKED = ("precision", "budget", "seed")
PLACES = ("results_dir", "cache_dir")
MACHINE = ("device", "batch_size", "num_workers", "cache_limit_gb")

COMMANDS = {
    "eval": Command(
        summary="answer a question: a data set, a backbone, prompts, a scorer; -m sweeps over lists",
        groups=(*QUESTION, "machine", "tracking", "experiment", "hydra/launcher"),
        keys=(*ASKED, *PLACES, *MACHINE, "rerun", "shard", "baseline", "output"),
        sweeps=True,
        examples=(
            "cupl-bench eval",
            "cupl-bench eval dataset=folder dataset.path=~/photos backbone=vit_b32_openai prompts=simple",
            "cupl-bench eval -m dataset=cub,flowers backbone=vit_b32_openai prompts=simple,ensemble",
            "cupl-bench eval -m prompts=simple,file prompts.path=a.json,b.json",
            "cupl-bench eval -m prompts=simple,ensemble scorer=plain,autoclip",
            "cupl-bench eval experiment=cupl_table1",
        ),
    ),
    "status": Command(
        summary="which questions of a sweep are done, running, failed or missing; arguments as for eval, or none for"
        " the last sweep",
        groups=(*QUESTION, "experiment"),
        keys=(*ASKED, "results_dir"),
        sweeps=True,
        examples=("cupl-bench status", "cupl-bench status dataset=cub,flowers prompts=simple,ensemble"),
    ),
    "plan": Command(
        summary="what eval would reuse and compute, without running anything",
        groups=(*QUESTION, "machine", "experiment"),
        keys=(*ASKED, *PLACES, *MACHINE, "shard", "output"),
        sweeps=True,
        examples=("cupl-bench plan 'dataset=glob(*)'", "cupl-bench plan experiment=cupl_table1"),
    ),
    "effects": Command(
        summary="what each prompt adds, and accuracy against the number of prompts; arguments as for eval",
        own={"select": "a JSON file to write: the smallest set of prompts that is not significantly worse than all"},
        groups=(*FEATURES, "machine", "experiment"),
        keys=(*ASKED, *PLACES, *MACHINE, "output"),
        sweeps=True,
        examples=("cupl-bench effects prompts=ensemble,cupl", "cupl-bench effects prompts=cupl select=kept.json"),
    ),
    "features": Command(
        summary="to=FOLDER: write image features, labels, class embeddings and prompt features for other programs",
        own={
            "to": "the folder to write; required, and it must not be there yet",
            "layout": "cupl_bench (read back by dataset=features), tip_adapter, zlap or clip_retrieval",
        },
        groups=(*FEATURES, "machine"),
        keys=(*ASKED, *PLACES, *MACHINE),
        examples=(
            "cupl-bench features dataset=cub backbone=vit_b32_openai prompts=cupl to=cub_vit_b32",
            "cupl-bench eval dataset=features dataset.path=cub_vit_b32 backbone=given prompts=embeddings"
            " prompts.path=cub_vit_b32",
        ),
    ),
    "report": Command(
        summary="tables, figures and a page from the records below results_dir; or the paragraph of a paper",
        plain=("paper", "write the paragraph of a reproducibility checklist, with its citations, and nothing else"),
        own={
            "figures": "the kinds that are drawn: strategies, classes, confusions, budget, seeds, scaling, against and"
            " ranks; none draws nothing; without it, all that the runs allow",
            "width": "column (3.3 inches), page (6.9 inches) or slide",
            "format": "pdf, svg and png; pdf,png without it",
            "pair": "two strategies: classes and confusions of the first minus the second",
            "against": "a number for each strategy or file of prompts, to draw accuracy against it",
            "axis": "what that number is",
            "rows": "strategies or datasets: what is a row of tables/matrix",
            "columns": "the columns of tables/matrix, in this order, by their names there",
        },
        keys=(*PLACES, "baseline", "output"),
        examples=(
            "cupl-bench report",
            "cupl-bench report paper",
            "cupl-bench report figures=strategies,classes width=page format=svg pair=cupl,ensemble",
            "cupl-bench report figures=against 'against={one.json: 1, three.json: 3}' 'axis=LLM-prompts of each class'",
        ),
    ),
    "published": Command(
        summary="[WORD ...] [dataset=NAME ...]: the published numbers that ours are held against",
        plain=("WORD", "text that a row must hold in any of its columns"),
        own={
            "dataset": "names of data sets between commas; in each of these keys * stands for any letters",
            "protocol": "the protocol of the data set, such as coop",
            "backbone": "options of backbone",
            "prompts": "options of prompts",
            "scorer": "options of scorer",
            "metric": "top1, mean_per_class or mean_of_top1_and_top5",
            "source": "the table or file that a number stands in",
            "verified": "yes: read in its source; no: written down from memory",
        },
        keys=("output",),
        examples=(
            "cupl-bench published dataset=pets backbone=vit_b32_openai",
            "cupl-bench published 'prompts=cupl*' protocol=coop verified=yes output=json",
            "cupl-bench published WaffleCLIP dataset=cub,dtd",
        ),
    ),
    "prompts": Command(
        summary="counts, repeats and faults of prompts, without a model; class=NAME lists one",
        plain=(
            "FILE",
            "a file of prompts, inspected as it is; without a file, dataset= and prompts= choose the prompts",
        ),
        own={
            "class": "list the prompts of this class alone, by its name or label",
            "tokenizer": "the open_clip architecture whose tokenizer counts (ViT-B-32)",
        },
        flags={"--strict": "exit with code 2 if something is wrong"},
        groups=("dataset", "prompts"),
        keys=("budget", "seed", "cache_dir", "output"),
        examples=(
            "cupl-bench prompts dataset=cub prompts=library",
            "cupl-bench prompts mine.json --strict",
            "cupl-bench prompts mine.json 'class=tree frog'",
        ),
    ),
    "reproduce": Command(
        summary="RECORD ...: ask recorded questions again and compare the answers image by image",
        plain=("RECORD", "a record, or its RUN_KEY below results_dir/records"),
        flags={"--trust": "run classes and fetch addresses from outside the package that the record names"},
        keys=(*PLACES, "device", "batch_size", "num_workers"),
        examples=(
            "cupl-bench reproduce results/records/0123456789ab.json",
            "cupl-bench reproduce 0123456789ab dataset.path=~/photos device=cpu",
        ),
    ),
    "check": Command(
        summary="whether the runs of a folder, an archive or an experiment are complete, whole and what they say",
        plain=("ARCHIVE.zip", "what 'cupl-bench export' wrote, instead of a results folder"),
        groups=(*QUESTION, "experiment"),
        keys=(*ASKED, "results_dir", "output"),
        sweeps=True,
        examples=(
            "cupl-bench check experiment=cupl_table1",
            "cupl-bench check results_dir=elsewhere",
            "cupl-bench check runs.zip experiment=cupl_table1 output=json",
        ),
    ),
    "export": Command(
        summary="[RUN_KEY ...] to=FILE.zip: finished runs as one file",
        plain=("RUN_KEY", "the key of a run; without any, all finished runs"),
        own={"to": "the file to write; required"},
        keys=("results_dir",),
        examples=("cupl-bench export to=runs.zip",),
    ),
    "import": Command(
        summary="FILE.zip ...: add the runs of another machine to yours, after checking them",
        plain=("FILE.zip", "what 'cupl-bench export' wrote"),
        keys=("results_dir",),
        module="import_archive",
        examples=("cupl-bench import runs.zip results_dir=results",),
    ),
    "describe": Command(
        summary="llm=NAME: ask a language model for image-prompts of the classes; describe.plan=true only counts",
        groups=("dataset", "llm", "describe"),
        keys=PLACES,
        examples=(
            "cupl-bench describe dataset=cub llm=openai describe.plan=true",
            "cupl-bench describe dataset=cub llm=ollama llm.model=MODEL",
        ),
    ),
    "classify": Command(
        summary="IMAGE ... 'class_names=[tree frog,tailed frog]': the likeliest class of each image",
        plain=("IMAGE", "an image; images=[...] is the same as a key"),
        own={"figure": "FILE.pdf, .svg or .png: draw the image beside the prompts of its two likeliest classes"},
        groups=("backbone", "prompts", "machine"),
        keys=("class_names", "images", "precision", "cache_dir", "device", "batch_size", "output"),
        examples=("cupl-bench classify frog.jpg 'class_names=[tree frog,tailed frog]' backbone=vit_b32_openai",),
    ),
}
"""Every command, in the order of the help."""
