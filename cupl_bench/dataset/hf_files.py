"""The files of a data set on the hub, as the `datasets` library would read them, known before they are fetched."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cupl_bench.dataset.hub import (
    Repository,
)
from cupl_bench.errors import DatasetError, first

__all__ = ["HF_URL", "Address", "HubFiles"]

HF_URL = re.compile(r"hf://datasets/(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<pattern>.+)")

NO_OPTIONS = {"name", "version", "data_dir", "data_files", "description", "features"}
"""Fields of a configuration of the library that say which data it is, not how its files are read."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Files on the hub: all that the library takes for data where there are none; ``format`` None: by their endings."""

    repository: Repository
    format: str | None
    files: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """How the library reads a commit of a data set: a format of its own, its options, and the files of each split.

    ``features``: the types of the columns in the library's words, where the repository tells them.
    """

    format: str
    splits: dict[str, list[str]]
    options: dict[str, Any]
    features: dict[str, Any] | None

    @classmethod
    def of(cls, builder: Any, root: str) -> "HubFiles":
        """Return what a builder of the library would read below ``root``, the address of a commit.

        Raises:
            DatasetError: it would read files of elsewhere.
        """
        splits = {str(name): [str(one) for one in files] for name, files in (builder.config.data_files or {}).items()}
        if other := [one for files in splits.values() for one in files if not one.startswith(root)]:
            raise DatasetError(f"{root} names files of elsewhere, which are not read: {first(other, 3)}.")
        usual = type(builder.config)()
        options = {
            one.name: getattr(builder.config, one.name)
            for one in fields(builder.config)
            if one.name not in NO_OPTIONS and getattr(builder.config, one.name) != getattr(usual, one.name)
        }
        return cls(
            format=type(builder).__module__.rpartition(".")[2],
            splits={name: [one.removeprefix(root) for one in files] for name, files in splits.items()},
            options=options,
            features=None if builder.info.features is None else builder.info.features.to_dict(),
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "HubFiles":
        """Return what `dataclasses.asdict` made of one."""
        return cls(**content)

    def wanted(self, split: str) -> list[str]:
        """Return the files that a split is read from; none if there is no such split.

        All files, where it is a part or a sum of splits, or where class names are those of folders of all splits.
        """
        if self.format.endswith("folder") or not split.isidentifier():
            return [one for files in self.splits.values() for one in files]
        return self.splits.get(split, [])

    def features_of(self) -> Any:
        """Return the types of the columns; None where the files alone tell them."""
        import datasets

        return None if self.features is None else datasets.Features.from_dict(self.features)
