"""Predictions are read back and held against their records."""

import pandas as pd
import pytest
from recorded import Store

from cupl_bench.errors import ResultsError


def test_predictions_that_are_not_those_of_the_record_are_refused(store: Store) -> None:
    record = store.add("simple")
    path = store.folder / record.artifacts.predictions
    pd.read_parquet(path).iloc[:-3].to_parquet(path)
    with pytest.raises(ResultsError, match="holds 237 predictions"):
        store.table()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResultsError, match="cannot be read"):
        store.table()
    path.unlink()
    with pytest.raises(ResultsError, match="rerun=always"):
        store.table()
