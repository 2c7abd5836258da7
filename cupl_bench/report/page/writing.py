"""The files of the page: its data as compressed scripts, its libraries beside it, itself last."""

import base64
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cupl_bench import __version__
from cupl_bench.errors import ResultsError
from cupl_bench.report.answers import GroupAnswers, read_answers
from cupl_bench.report.comparison import Comparison
from cupl_bench.report.page.contents import (
    BEST_AT_MOST,
    GroupContents,
    best_classes,
    effects_of_run,
    group_contents,
    image_list,
    images_key,
    overview,
    prompts_file,
    prompts_of_run,
    run_contents,
    similarities_of_run,
    with_significance,
)
from cupl_bench.report.page.evidence import evidence
from cupl_bench.report.page.packing import as_json, data_script
from cupl_bench.report.page.thumbnails import AT_MOST, OpenImages, chosen_images, evenly, write_thumbnails
from cupl_bench.report.program import state_of
from cupl_bench.report.runs import Run
from cupl_bench.store import remove, write_changed

__all__ = ["Page", "PageWriter"]

log = logging.getLogger(__name__)

SCRIPTS = (
    "data", "elements", "address", "charts", "tables", "matrix", "overview", "evidence", "allruns", "compare",
    "images", "run", "start",
)  # fmt: skip
OPENING = '"use strict";\n\nwindow.cuplBench = (() => {'
CLOSING = "return { receive, start };\n})();"


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page that was written.

    ``path``: its first file. ``files``: all of its files but the thumbnails, which lie in ``thumbnail_folders``.
    ``num_bytes``: of ``files``. ``without_images``: the keys of runs, one for each list of images, whose images are
    not on this machine.
    """

    path: Path
    files: list[Path]
    thumbnail_folders: list[Path]
    num_bytes: int
    num_thumbnails: int
    without_images: list[str]


class PageWriter:
    """Writes the page of a comparison: each group's runs while they are in memory, and the rest of it at the end."""

    def __init__(self, results_dir: Path) -> None:
        self.results_dir = results_dir
        self.folder = results_dir / "report"
        self.written: dict[str, int] = {}
        self.groups: list[GroupContents] = []
        self.images: dict[str, _Images] = {}
        self.answered = 0
        self.last = _Seen()

    def before(self) -> object:
        """Return what the groups before decide about how the next is shown: how many answers they have."""
        return min(self.answered, BEST_AT_MOST + 1)

    def seen(self) -> Mapping[str, Any]:
        """Return what is to be kept of the last group that was looked at, as plain data."""
        return {
            "files": {name: state_of(self._path(name)) for name in self.last.files},
            "contents": self.groups[-1],
            "answered": self.last.answered,
            "images": {
                key: [run.record.run_key, base64.b64encode(np.packbits(chosen).tobytes()).decode(), len(chosen)]
                for key, (run, chosen) in self.last.chosen.items()
            },
        }

    def again(self, seen: Mapping[str, Any], members: Sequence[Run]) -> bool:
        """Take up what was kept of a group; return False, and take up nothing, if a file of it is another or gone."""
        try:
            if any(state_of(self._path(name)) != state for name, state in seen["files"].items()):
                return False
        except OSError:
            return False
        runs = {run.record.run_key: run for run in members}
        for name, (_, size, *_) in seen["files"].items():
            self.written[name] = size
        for key, (run_key, bits, count) in seen["images"].items():
            chosen = np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8), count=count).astype(np.bool_)
            self.images.setdefault(key, _Images(run=runs[run_key], chosen=chosen)).chosen |= chosen
        self.groups.append(dict(seen["contents"]))
        self.answered += seen["answered"]
        return True

    def look(self, group: GroupAnswers) -> None:
        """Write what the page shows of single runs of a group; `report.comparison.compare` calls it with each."""
        self.last = _Seen()
        classes_of = dict(iter(group.classes.groupby("run_key", sort=False)))
        for one in group.members:
            run_key, key = one.record.run_key, images_key(one)
            _, chosen = self.last.chosen.setdefault(key, (one.run, np.zeros(len(one.labels), dtype=np.bool_)))
            chosen[chosen_images(one, group.against(one))] = True
            if key not in self.images:
                self.images[key] = _Images(run=one.run, chosen=chosen.copy(), listed=image_list(one, self.results_dir))
            prompts = effects = similarities = top5 = None
            self.answered += len(one.labels)
            self.last.answered += len(one.labels)
            if self.answered <= BEST_AT_MOST and (best := best_classes(one, self.results_dir)) is not None:
                top5 = f"top5/{run_key}"
                self._write_data(top5, best)
            if (path := prompts_file(one.record, self.results_dir)) is not None:
                # Runs share a file of the same prompts, but not where these are weighed, by the images as it may be.
                weighed = one.record.prompts.weighting is not None
                prompts = f"prompts/{one.record.prompts.digest[:32]}{f'-{run_key}' if weighed else ''}"
                self.last.files.add(prompts)
                measured = self.results_dir / "effects" / f"{run_key}.parquet"
                if prompts not in self.written or measured.is_file():
                    content = prompts_of_run(path, one.record.dataset.num_classes)
                    if prompts not in self.written:
                        self._write_data(prompts, content)
                    if measured.is_file():
                        effects = f"effects/{run_key}"
                        self._write_data(effects, effects_of_run(measured, content["texts"]))
                measured = self.results_dir / "similarities" / f"{run_key}.parquet"
                if measured.is_file():
                    similarities = f"similarities/{run_key}"
                    self._write_data(similarities, similarities_of_run(measured))
            others = {"prompts": prompts, "effects": effects, "similarities": similarities, "top5": top5}
            contents = run_contents(one, self.results_dir, classes_of[run_key], others)
            self._write_data(f"runs/{run_key}", contents)
        for key, (_, chosen) in self.last.chosen.items():
            self.images[key].chosen |= chosen
        self.groups.append(group_contents(group))

    def write(self, comparison: Comparison, open_images: OpenImages) -> Page:
        """Write the page of a comparison whose groups were all looked at, to ``results_dir``/report.

        Args:
            comparison: of the same records.
            open_images: gives the images of a run where they are here, for thumbnails.

        Raises:
            ResultsError: the page cannot be written.
        """
        for place, contents in enumerate(self.groups):
            self._write_data(f"groups/{place}", with_significance(contents, comparison))
        notes, without = _add_thumbnails(self.images, self.results_dir, open_images, self.folder / "thumbnails")
        for key, images in self.images.items():
            self._write_data(f"images/{key}", images.read(self.results_dir) | {"thumbnails": images.thumbnails})
        _remove_others(self.folder / "data", self.written)
        first = overview(comparison, notes) | evidence(comparison)
        others = {**_libraries(), "index.html": _index(first)}
        for name, asset in others.items():  # the page itself comes last: until then the former one stands
            write_changed(self.folder / name, asset)
        thumbnails = [name for images in self.images.values() for name in images.thumbnails.values()]
        return Page(
            path=self.folder / "index.html",
            files=[*(self.folder / "data" / f"{name}.js" for name in self.written), *map(self.folder.joinpath, others)],
            num_bytes=sum(self.written.values()) + sum(map(len, others.values())),
            thumbnail_folders=sorted({(self.folder / "thumbnails" / name).parent for name in thumbnails}),
            num_thumbnails=len(thumbnails),
            without_images=without,
        )

    def _path(self, name: str) -> Path:
        return self.folder / "data" / f"{name}.js"

    def _write_data(self, name: str, content: object) -> None:
        script = data_script(name, content)
        write_changed(self._path(name), script)
        self.written[name] = len(script)
        self.last.files.add(name)


@dataclass
class _Seen:
    """What is shown of one group: names of files, how many answers, and by list of images a run with its places."""

    files: set[str] = field(default_factory=set)
    answered: int = 0
    chosen: dict[str, tuple[Run, Bool[np.ndarray, " n"]]] = field(default_factory=dict)


@dataclass
class _Images:
    """A list of images that runs answered: the first of these runs, and which images are shown.

    ``listed``: their names and labels, None as long as nobody needed them. ``thumbnails``: files by place.
    """

    run: Run
    chosen: Bool[np.ndarray, " n"]
    listed: dict[str, Any] | None = None
    thumbnails: dict[int, str] = field(default_factory=dict)

    def read(self, results_dir: Path) -> dict[str, Any]:
        """Return the list."""
        if self.listed is None:
            self.listed = image_list(read_answers(results_dir, self.run), results_dir)
        return self.listed


def _add_thumbnails(
    lists: Mapping[str, _Images], results_dir: Path, open_images: OpenImages, folder: Path
) -> tuple[list[str], list[str]]:
    """Put the files of thumbnails into the lists of images.

    Return what a reader should know about them, and the runs whose images are not here.
    """
    notes: list[str] = []
    without: list[str] = []
    left = AT_MOST
    for listed in lists.values():
        record, places = listed.run.record, np.flatnonzero(listed.chosen).tolist()
        images = open_images(record)
        if images is None:
            why = (
                "its image features were given, without images."
                if record.dataset.features
                else "its images are not on the machine that wrote the report."
            )
            notes.append(f"No thumbnails of {record.dataset.name}: {why}")
            without += [] if record.dataset.features else [record.run_key]
            continue
        taken = evenly(places, left)
        if len(taken) < len(places):
            notes.append(f"{len(places) - len(taken):,} images of {record.dataset.name} have no thumbnail: the page"
                         f" holds {AT_MOST:,} at most.")  # fmt: skip
        left -= len(taken)
        index = listed.read(results_dir)["index"]
        of_dataset = {place if index is None else index[place]: place for place in taken}
        files = write_thumbnails(images, list(of_dataset), folder)
        listed.thumbnails = {of_dataset[place]: name for place, name in files.items()}
    return list(dict.fromkeys(notes)), without


def _remove_others(folder: Path, written: Mapping[str, int]) -> None:
    """Remove what an earlier state of the records left."""
    for path in folder.rglob("*.js"):
        if path.relative_to(folder).with_suffix("").as_posix() not in written:
            remove(path)


def _package_file(package: str, *parts: str) -> bytes:
    """Return a file that a library ships, found without importing the library."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ResultsError(f"The page needs the package {package}, which is not installed.")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts).read_bytes()


def _libraries() -> dict[str, bytes]:
    """Return the libraries of the page as files beside it: plotly's, and DataTables as itables ships it.

    DataTables comes as a module, which a page from the disk cannot load from a file; from a data URL it can.
    """
    tables = base64.b64encode(_package_file("itables", "html", "dt_bundle.js")).decode("ascii")
    environment = PackageLoader("cupl_bench.report.page")

    def source(name: str) -> str:
        return environment.get_source(Environment(autoescape=True), name)[0]

    parts = "\n".join(source(f"{name}.js") for name in SCRIPTS)
    return {
        "assets/plotly.min.js": _package_file("plotly", "package_data", "plotly.min.js"),
        "assets/tables.js": f'cuplBench.tables=import("data:text/javascript;base64,{tables}");\n'.encode("ascii"),
        "assets/tables.css": _package_file("itables", "html", "dt_bundle.css"),
        # A page from the disk can load no modules: its scripts are one function.
        "assets/page.js": f"{OPENING}\n{parts}\n{CLOSING}\n".encode(),
        "assets/page.css": source("page.css").encode(),
    }


def _index(content: Mapping[str, Any]) -> bytes:
    environment = Environment(
        loader=PackageLoader("cupl_bench.report.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("index.html.jinja")
    overview_json = Markup(as_json(content))  # noqa: S704 - as_json lets nothing end the element
    return template.render(overview=overview_json, version=__version__).encode("utf-8")
