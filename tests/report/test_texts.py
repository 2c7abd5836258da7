"""Numbers and tables as a person reads them."""

import math

from cupl_bench.report.tables import _pipes
from cupl_bench.report.texts import interval, percent, points


def test_what_is_not_there_is_empty() -> None:
    assert [percent(None), percent(math.nan), points(None), points(math.nan), interval(math.nan, math.nan)] == [""] * 5
    assert interval(None, 0.5) == ""


def test_percent_has_one_decimal_and_a_difference_its_sign() -> None:
    assert (percent(0.6127), points(0.0149), points(-0.2), points(0.00123, 2)) == ("61.3", "+1.5", "-20.0", "+0.12")
    assert points(-0.0001) == "+0.0"
    assert (interval(0.1, 0.25), interval(-0.1, 0.25, signed=True)) == ("[10.0, 25.0]", "[-10.0, +25.0]")


def test_a_table_of_markdown_has_columns_of_one_width() -> None:
    rows = [(" cupl ", 12, "61.3"), ("\u6f22\u5b57", 1000, None)]
    assert _pipes(["prompts", "images", "top-1"], rows) == (
        "| prompts   |   images |   top-1 |\n"
        "|:----------|---------:|--------:|\n"
        "| cupl      |       12 |    61.3 |\n"
        "| \u6f22\u5b57      |     1000 |         |\n"
    )
