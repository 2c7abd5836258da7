"""The images of finished runs, opened again where they are on this machine: nothing is downloaded for a look."""

import logging
from typing import TYPE_CHECKING, Any

from cupl_bench.config.again import Place, dataset_again
from cupl_bench.dataset import Dataset, on_this_machine
from cupl_bench.errors import CuplBenchError
from cupl_bench.paths import absolute
from cupl_bench.records import Record

if TYPE_CHECKING:  # with it pandas, which a report that is finished does not need
    from cupl_bench.report.page import OpenImages

__all__ = ["images_here"]

log = logging.getLogger(__name__)


def images_here(config: Any) -> "OpenImages":
    """Return a function that opens the images of a run: None where they are not on this machine, or are others.

    Args:
        config: any composed configuration; it says where the caches are.
    """
    place = Place(
        results_dir=absolute(config.results_dir),
        cache_dir=absolute(config.cache_dir),
    )

    def open_images(record: Record) -> Dataset | None:
        if record.config is None:
            return None
        try:
            source = dataset_again(record.config, place)
            dataset = on_this_machine(source)(place.cache_dir)
        except CuplBenchError as error:
            log.debug("no images of %s: %s", record.dataset.name, error)
            return None
        if dataset.fingerprint != record.dataset.fingerprint:
            log.warning("the images of %s are no longer those that run %s saw", record.dataset.name, record.run_key)
            return None
        return dataset if dataset.features is None else None  # features that were given have no images

    return open_images
