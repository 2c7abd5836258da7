"""Data sets of the Hugging Face hub, or in its layout on the disk, through the `datasets` library."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveInt

from cupl_bench.dataset import Dataset, ReadTaken
from cupl_bench.dataset.digests import keys_inside, keys_of_files
from cupl_bench.dataset.hf_files import HF_URL, Address, HubFiles
from cupl_bench.dataset.hf_table import (
    HfRows,
    ReadRow,
    column_values,
    is_image_struct,
    only_column,
    paths_of,
    usual_label_column,
)
from cupl_bench.dataset.hub import (
    HubError,
    NotReachedError,
    Repository,
    cause_of,
    check_access,
    sizes,
    snapshot,
    told,
    transport_errors,
)
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.limit import chosen, limited
from cupl_bench.dataset.more_told import groups_of, groups_told, sets_of, sets_told
from cupl_bench.dataset.names import read_class_names
from cupl_bench.dataset.remembered import remembered
from cupl_bench.dataset.urls import UrlError, fetch_url, kept, size_of_url, size_text
from cupl_bench.errors import DataNotHereError, DatasetError, first, nearest
from cupl_bench.identity import content_key
from cupl_bench.keys import Keys
from cupl_bench.store import user_cache_dir
from cupl_bench.truth import ClassSets, Groups

__all__ = ["HfSource"]


@dataclass(frozen=True, kw_only=True)
class HfSource:
    """A split of a hub data set (``path`` is its id) or of a local folder of parquet, arrow, image or tar files.

    ``data_files``: pattern of the files of the split, below ``path``; without it the library guesses.
    ``image_column`` and ``label_column``: found by their types where there is only one candidate.
    ``class_names``: a JSON list in label order, for labels that are bare numbers.
    ``revision``: branch, tag or commit on the hub.
    ``config_name``: which configuration of a data set that has several.
    ``groups``, ``sets``: a column of the group of each image, or of lists of its classes, the first of which then is
    its label; or JSON files that tell them (`dataset/more_told.py`).
    ``limit``: so many images of each class, drawn with ``seed``; for a quick look.

    Of the hub, only the files of the split are fetched, of one commit, which the record names.

    Images are taken as stored bytes and decoded by `cupl_bench.dataset.decode`: the library's own decoder would
    apply the EXIF rotation that the reference codes do not.
    """

    path: str
    split: str
    data_files: str | list[str] | None
    image_column: str | None
    label_column: str | None
    class_names: str | None
    revision: str | None
    limit: PositiveInt | None = None
    seed: NonNegativeInt = 0
    config_name: str | None = None  # a default, for records that were made before it was there
    groups: str | None = None
    sets: str | None = None
    download: ClassVar[bool] = True

    def __call__(self, cache_dir: Path) -> Dataset:
        return self.part(cache_dir, None)

    def part(self, cache_dir: Path, shard: tuple[int, int] | None) -> Dataset:
        """Return part i of n of the images; all of them if None."""
        table, origin = self._load(cache_dir)
        rows = self._rows_of(table)
        names, labels = self._named(rows)
        ids = ImageNames.of(map(str, range(len(labels))))
        groups, sets = self._groups(rows, ids), self._sets(rows, ids, names, labels)
        own, num_whole = chosen(labels, self.limit, self.seed, shard)
        return Dataset(
            split=limited(self.split, self.limit, self.seed),
            class_names=tuple(names),
            labels=labels[own],
            image_ids=ids.take(own),
            image_keys=rows.keys(own, cache_dir),
            read=ReadTaken(rows.read, own),
            origin=None if origin is None else {"source": origin},
            num_whole=num_whole,
            sets=None if sets is None else sets.taken(own),
            groups=None if groups is None else groups.taken(own),
        )

    def _groups(self, rows: HfRows, ids: Sequence[str]) -> Groups | None:
        return (
            groups_told(self.groups, ids) if rows.groups is None else groups_of(rows.groups, f"column {self.groups!r}")
        )

    def _sets(
        self, rows: HfRows, ids: Sequence[str], names: Sequence[str], labels: Int64[np.ndarray, " n"]
    ) -> ClassSets | None:
        if rows.sets is None:
            return sets_told(self.sets, ids, names, labels.tolist())
        return sets_of(rows.sets, names, f"column {self.sets!r}")

    def on_this_machine(self) -> "HfSource":
        """Return this source without its download: a repository that is not in the hub's cache is an error of its own.

        Its `DataNotHereError` is raised by the call.
        """
        return HfHere(**vars(self))

    def not_here(self) -> str:
        """Tell what a run would fetch: repository and commit, and the size of the files that are not here.

        Raises:
            DatasetError: there is no such repository, revision or split, or it is not to be seen.
        """
        if urls := self._urls:
            known = [size_of_url(one) for one in urls]
            size = size_text(None if None in known else sum(one or 0 for one in known))
            return f"not here, to download: {first(urls, 3)} ({size}); {self.split}"
        address = self._on_the_hub
        if address is None:
            return "not here"
        try:
            found = sizes(address.repository)
            wanted = self._wanted(self._files_at(address, found.commit, None))
        except NotReachedError:
            return f"not here, to download: {self.path} ({size_text(None)}); {self.split}"
        except HubError as error:
            raise DatasetError(str(error)) from error
        size = size_text(found.missing(address.repository, [escape(one) for one in wanted]))
        return f"not here, to download: {self.path} ({size} at {found.commit[:12]}); {self.split}"

    def rows(self) -> HfRows:
        """Return the rows of the split of files on this machine, with their labels as they are stored.

        Raises:
            DatasetError: the split cannot be had, a column is missing, or a row has no label.
        """
        return self._rows_of(self._load_here())

    def _rows_of(self, table: Any) -> HfRows:
        import datasets

        image_column = self.image_column or only_column(
            table, "image", lambda feature: isinstance(feature, datasets.Image) or is_image_struct(feature)
        )
        sets = column_values(table, "sets", self.sets)
        label_column = self.label_column or (self.sets if sets is not None else None) or usual_label_column(table)
        for key, column in (("image_column", image_column), ("label_column", label_column)):
            if column not in table.column_names:
                raise DatasetError(
                    f"{self.path} has no column {column!r} (dataset.{key}); it has {table.column_names}."
                    f"{nearest(column, table.column_names)}"
                )
        feature = table.features[label_column]
        if label_column == self.sets:
            if lost := sum(not one for one in sets or ()):
                raise DatasetError(
                    f"{lost} of {len(table)} rows of {self.path} are of no class in {label_column!r}. Leave them out."
                )
            feature = getattr(feature, "feature", None)
        column = table.select_columns([label_column]).with_format("arrow")[:].column(0)
        if missing := column.null_count:
            raise DatasetError(f"{missing} of {len(column)} rows of {self.path} have no label in {label_column!r}.")
        # Equal labels are one object: ten million texts would be ten million objects.
        known: dict[object, Any] = {}
        values = [
            known.setdefault(value, value) if isinstance(value, str) else value
            for batch in column.chunks
            for value in (batch.to_pylist() if label_column != self.sets else (one[0] for one in batch.to_pylist()))
        ]
        images = table.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))
        read = ReadRow(images, image_column)
        files = [Path(entry["filename"]) for entry in table.cache_files]
        what = [self.path, self.split, image_column, str(len(table))]
        paths = paths_of(images, image_column)

        def keys(indices: Int64[np.ndarray, " m"], cache_dir: Path) -> Keys:
            if paths is not None:
                names = ImageNames.of(paths[index] for index in indices.tolist())
                return keys_of_files("", names, Path(self.path), cache_dir)
            return keys_inside(files, what, indices, read, cache_dir)

        names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
        return HfRows(
            read=read,
            keys=keys,
            label_column=label_column,
            values=values,
            names=names,
            groups=column_values(table, "groups", self.groups),
            sets=sets,
        )

    def _split_of(self, splits: Any) -> Any:
        if self.split not in splits:
            raise DatasetError(
                f"{self.path} has no split {self.split!r}; it has {first(sorted(splits))}."
                f"{nearest(self.split, splits)} dataset.split names one."
            )
        return splits[self.split]

    @property
    def _files(self) -> list[str]:
        return [self.data_files] if isinstance(self.data_files, str) else list(self.data_files or [])

    @property
    def _urls(self) -> list[str]:
        """Return the addresses of the files where they are named by URL."""
        found = [one for one in self._files if one.startswith(("http://", "https://"))]
        if found and len(found) < len(self._files):
            raise DatasetError(f"dataset.data_files names files of this machine and by URL: {first(self._files)}.")
        return found

    @property
    def _on_the_hub(self) -> Address | None:
        """Return where on the hub the files are; None for a folder and for files of elsewhere."""
        files = self._files
        if Path(self.path).is_dir():
            return None
        if _is_format(self.path):
            found = [HF_URL.fullmatch(one) for one in files]
            places = {None if one is None else (one["name"], one["revision"]) for one in found}
            if len(places) > 1:
                raise DatasetError(
                    f"dataset.data_files names files of several places: {first(files)}. Name those of one."
                )
            if not places or (place := places.pop()) is None:
                return None
            return Address(
                repository=Repository(kind="dataset", name=place[0], revision=place[1] or self.revision),
                format=self.path,
                files=[one["pattern"] for one in found if one is not None],
            )
        if self.path.startswith(("/", "./", "../", "~")) or self.path.count("/") > 1:
            raise DatasetError(
                f"dataset.path={self.path} does not exist; give a folder, or a hub id such as owner/name."
            )
        return Address(
            repository=Repository(kind="dataset", name=self.path, revision=self.revision), format=None, files=files
        )

    def _load(self, cache_dir: Path) -> tuple[Any, str | None]:
        """Return the table of the split, and the repository with its commit, or the URLs, that it comes from."""
        if urls := self._urls:
            return self._load_of_urls(urls), " ".join(urls)
        address = self._on_the_hub
        if address is None:
            return self._load_here(), None
        try:
            return self._load_of_the_hub(address, cache_dir)
        except NotReachedError as error:
            kind = DatasetError if self.download else DataNotHereError
            raise kind(str(error)) from error
        except HubError as error:
            raise DatasetError(str(error)) from error

    def _load_of_urls(self, urls: Sequence[str]) -> Any:
        """Return the table of files that are fetched once."""
        folder = user_cache_dir() / "files"
        if not self.download and (lost := [one for one in urls if not kept(one, folder).is_file()]):
            raise DataNotHereError(f"{len(lost)} of {len(urls)} files are not here, first: {first(lost, 3)}.")
        try:
            files = [str(fetch_url(one, folder)) for one in urls]
        except UrlError as error:
            raise DatasetError(f"{error} Fetch it by hand and give its path in dataset.data_files.") from error
        return self._table(self.path, self.config_name, data_files={self.split: files})

    def _load_of_the_hub(self, address: Address, cache_dir: Path) -> tuple[Any, str]:
        """Return the table of one commit, made of the files that the hub has for the split, and no others.

        Not by the library's own way to the hub: that takes any commit that it has prepared where the hub does not
        answer, and fetches all splits.
        """
        repository = address.repository
        commit = self._commit(repository)
        asked = content_key({"of": [repository.name, address.format, address.files, self.config_name, self.split]})
        files = remembered(
            user_cache_dir() / "hub" / f"{commit}-{asked[:16]}.json",
            "files of a data set",
            lambda: asdict(self._files_at(address, commit, cache_dir)),
            HubFiles.from_json,
        )
        wanted = self._wanted(files)
        folder = snapshot(
            repository, [escape(one) for one in wanted], cache_dir, download=self.download, key="dataset.path"
        )
        if folder.name != commit:
            raise HubError(f"{repository.name} was changed while it was downloaded. Start again.")
        if lost := [one for one in wanted if not (folder / one).is_file()]:
            raise NotReachedError(
                f"{len(lost)} of {len(wanted)} files of {repository.name} are not in the hub's cache here, first:"
                f" {first(lost, 3)}. Start again where the hub can be reached."
            )
        here = {
            name: [str(folder / one) for one in paths]
            for name, paths in files.splits.items()
            if set(paths) <= set(wanted)
        }
        options = {"data_files": here, "features": files.features_of(), **files.options}
        return self._table(files.format, **options), f"{repository.name}@{commit}"

    def _wanted(self, files: HubFiles) -> list[str]:
        wanted = files.wanted(self.split)
        if not wanted:
            raise DatasetError(
                f"{self.path} has no split {self.split!r}; it has {first(sorted(files.splits))}."
                f"{nearest(self.split, files.splits)} dataset.split names one."
            )
        return wanted

    def _commit(self, repository: Repository) -> str:
        """Return the commit of the revision: as the hub says, or where it does not answer, as it said last."""
        if not self.download:
            return snapshot(repository, [], None, download=False, key="dataset.path").name
        try:
            return sizes(repository, anew=True).commit
        except HubError as error:
            try:
                return snapshot(repository, [], None, download=False, key="dataset.path").name
            except HubError:
                raise error from None

    def _files_at(self, address: Address, commit: str, cache_dir: Path | None) -> HubFiles:
        """Return how the library would read a commit: its format and the files of each split. Downloads no images.

        Raises:
            HubError: the hub does not answer, or refuses them.
            DatasetError: it has no such data.
        """
        import datasets

        name = address.repository.name
        if not self.download:
            raise self._not_asked(name)
        check_access(
            replace(address.repository, revision=commit), cache_dir
        )  # the library's own errors do not tell why
        root = f"hf://datasets/{name}@{commit}/"
        path, files = (name, address.files) if address.format is None else (
            address.format, [f"{root}{one}" for one in address.files]
        )  # fmt: skip
        with self._explained(address.repository, commit), tempfile.TemporaryDirectory() as nothing:
            # An empty cache: the library would take any commit from its own where the hub fails.
            builder = datasets.load_dataset_builder(
                path,
                self.config_name,
                data_files={self.split: files} if files else None,
                revision=commit if address.format is None else None,
                cache_dir=nothing,
            )
        return HubFiles.of(builder, root)

    def _not_asked(self, name: str) -> NotReachedError:
        return NotReachedError(
            f"Which files of {name} make up the split {self.split} was not yet asked on this machine, and the hub"
            " cannot be reached now. Start again where it can, or give a folder of its files in dataset.path."
        )

    def _load_here(self) -> Any:
        """Return the table of the split from a folder, or from files named one by one."""
        import datasets

        folder = Path(self.path)
        if (folder / "state.json").is_file():  # one split, as `Dataset.save_to_disk` writes it
            with self._explained(None, None):
                return datasets.load_from_disk(self.path)
        if (folder / "dataset_dict.json").is_file():
            with self._explained(None, None):
                return self._split_of(datasets.load_from_disk(self.path))
        files = None if self.data_files is None else {self.split: self.data_files}
        return self._table(self.path, self.config_name, data_files=files)

    def _table(self, *arguments: Any, **options: Any) -> Any:
        import datasets

        with self._explained(None, None):
            return datasets.load_dataset(*arguments, split=self.split, **options)

    @contextmanager
    def _explained(self, repository: Repository | None, commit: str | None) -> Iterator[None]:
        """Tell what the library's errors mean, in one message each; ``repository`` is None for files of this machine.

        Raises:
            HubError: the hub does not answer, or refuses something.
            DatasetError: something else is wrong.
        """
        import datasets
        from datasets.exceptions import DatasetsError

        try:
            with _quiet(datasets):
                yield
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            raise DatasetError(
                f"{self.path} needs a loading script, which is never run here. Name its data files, such as"
                f" dataset.path=parquet 'dataset.data_files=hf://datasets/{self.path}/data/test-*.parquet'."
            ) from error
        except transport_errors() as error:
            if repository is None:
                raise DatasetError(f"{self.path} cannot be loaded: {error}.") from error
            raise told(repository, error, []) from error
        except (DatasetsError, ValueError, OSError) as error:
            if repository is not None and (cause := cause_of(error)) is not None:
                raise told(repository, cause, []) from error
            if repository is not None and isinstance(error, ConnectionError):  # it tells no more
                raise self._not_asked(repository.name) from error
            if self.data_files is None and len(configs := _configs(self.path, commit)) > 1:
                if self.config_name is None:
                    raise DatasetError(
                        f"{self.path} has {len(configs)} configurations, {first(configs)}. Choose one:"
                        f" dataset.config_name={configs[0]}"
                    ) from error
                if self.config_name not in configs:
                    raise DatasetError(
                        f"dataset.config_name={self.config_name} is not a configuration of {self.path}; it has"
                        f" {first(configs)}.{nearest(self.config_name, configs)}"
                    ) from error
            raise DatasetError(
                f"{self.path} cannot be loaded: {error} Look at dataset.split={self.split} and dataset.data_files."
            ) from error

    def _named(self, rows: HfRows) -> tuple[list[str], np.ndarray]:
        column, values = rows.label_column, rows.values
        given = None if self.class_names is None else read_class_names(Path(self.class_names))
        if isinstance(given, dict):
            raise DatasetError(f"{self.class_names} should be a JSON list of class names in label order.")
        if rows.names is not None:
            if given is not None and len(given) != len(rows.names):
                raise DatasetError(
                    f"{self.class_names} lists {len(given)} class names, but the labels of {self.path} have"
                    f" {len(rows.names)}."
                )
            return given or list(rows.names), np.array(values, dtype=np.int64)
        if all(isinstance(value, str) for value in values):
            more = [] if rows.sets is None else [word for one in rows.sets for word in one]
            names = sorted({str(value) for value in (*values, *more)})
            place = {name: label for label, name in enumerate(names)}
            if given is not None and set(given) != set(names):
                lost = sorted(set(names) - set(given))
                raise DatasetError(
                    f"{self.class_names} and the labels of {self.path} are different names, first:"
                    f" {first(lost or given)}."
                )
            return names, np.array([place[str(value)] for value in values], dtype=np.int64)
        if not all(isinstance(value, int) for value in values):
            raise DatasetError(f"column {column!r} of {self.path} holds neither whole numbers nor text.")
        if given is None:
            raise DatasetError(
                f"the labels of {self.path} are bare numbers (column {column!r}). Give their names in label order:"
                " dataset.class_names=FILE.json"
            )
        return given, np.array(values, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class HfHere(HfSource):
    """The same data, as far as it is on this machine."""

    download: ClassVar[bool] = False


def _is_format(path: str) -> bool:
    """Return whether the library has a reader of that name, such as parquet or imagefolder."""
    return path.isidentifier() and find_spec(f"datasets.packaged_modules.{path}") is not None


def _quiet(datasets: Any) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def manager() -> Any:
        import sys

        shown = sys.stderr.isatty()
        if not shown:
            datasets.disable_progress_bars()
        try:
            yield
        finally:
            if not shown:
                datasets.enable_progress_bars()

    return manager()


def _configs(path: str, revision: str | None) -> list[str]:
    """Return the names of a data set's configurations; none where that cannot be known."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return [str(name) for name in datasets.get_dataset_config_names(path, revision=revision)]
    except (DatasetsError, ValueError, OSError):
        return []
