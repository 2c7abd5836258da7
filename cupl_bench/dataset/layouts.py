"""The layouts in which data sets lie on a disk; each lists the images of one split with the source's own classes.

A layout is data (part of a spec) and one method: ``listing`` of one of its roots gives None where that folder is not of
that layout, so that several can be tried. Which label a class is, is not decided here.
"""

from typing import Annotated

from pydantic import Field

from cupl_bench.dataset.annotation_layouts import Annotations, Clevr, Kitti
from cupl_bench.dataset.array_layouts import Cifar, Fer2013, Mnist, Stl10, Svhn
from cupl_bench.dataset.folder_layouts import ClassFolders
from cupl_bench.dataset.imagenet_layouts import ImagenetFlat, ImagenetO, ImagenetReal, ImagenetX
from cupl_bench.dataset.list_layouts import CoopSplit, SplitFile, TableFile
from cupl_bench.dataset.metadata_layouts import Celeba, Fmow, JsonLines, MetadataTable, VocSets
from cupl_bench.dataset.release_layouts import Cars, Cub, Dogs, Flowers
from cupl_bench.dataset.shard_layouts import Parquet, Webdataset, WebdatasetGroups

__all__ = ["Layout"]

Layout = Annotated[
    ClassFolders
    | ImagenetFlat
    | ImagenetX
    | Cub
    | Flowers
    | SplitFile
    | TableFile
    | Cars
    | Dogs
    | Clevr
    | Kitti
    | Annotations
    | Cifar
    | Mnist
    | Stl10
    | Svhn
    | Fer2013
    | CoopSplit
    | Parquet
    | Webdataset
    | ImagenetReal
    | ImagenetO
    | VocSets
    | MetadataTable
    | Celeba
    | Fmow
    | JsonLines
    | WebdatasetGroups,
    Field(discriminator="kind"),
]
