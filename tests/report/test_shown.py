"""How the numbers of a table read."""

import re

from recorded import Store

from cupl_bench.report.shown import shown


def test_negative_numbers_have_a_minus_in_latex(store: Store) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.4)
    store.write()
    text = (store.folder / "tables" / "comparison.tex").read_text()
    assert re.search(r"& \$-\$\d+\.\d \[\$-\$\d", text)
    assert not re.search(r"[ \[]-\d", text)


def test_no_difference_is_minus_zero(store: Store) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.5)
    table = store.table().assign(difference=-1e-5, difference_low=-2e-5, difference_high=-1e-5)
    assert shown(table)["minus simple [95%]"].iloc[-1].startswith("+0.0 [+0.0, +0.0]")
