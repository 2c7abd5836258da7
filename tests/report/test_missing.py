"""What a sweep lacks."""

import pandas as pd
from recorded import Store

from cupl_bench.records import (
    read_records,
)
from cupl_bench.report.missing import missing_cells


def test_missing_cells_are_those_that_the_others_of_the_sweep_have(store: Store) -> None:
    for dataset in ("birds", "cars"):
        for backbone in ("small", "large"):
            for prompts in ("simple", "cupl"):
                cell = (dataset, backbone, prompts)
                if cell == ("cars", "large", "cupl"):
                    store.add(prompts, dataset=dataset, backbone=backbone, status="failed")
                elif cell != ("birds", "large", "simple"):
                    store.add(prompts, dataset=dataset, backbone=backbone)
    store.add("waffle", dataset="demo", backbone="demo")  # another sweep
    missing = missing_cells(read_records(store.folder))
    assert missing[["dataset", "backbone", "prompts"]].to_numpy().tolist() == [
        ["birds", "large", "simple"],
        ["cars", "large", "cupl"],
    ]
    assert list(missing["why"]) == ["not run", "DatasetError: not here"]
    store.write()
    assert len(pd.read_csv(store.folder / "tables" / "missing.csv")) == 2
