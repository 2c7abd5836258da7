"""`cupl-bench published`: the published numbers that ours are held against, searched."""

from collections import Counter

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose
from cupl_bench.terminal import answer, rows_of, say, show_table, speak_to_program

__all__ = ["command"]

MOST = 40
"""Rows that are shown at once."""


def command(given: Arguments) -> int:
    """Show the published numbers that hold the given words, and fit the given filters; return the exit code."""
    from cupl_bench.report.published import search_published, shown_rows
    from cupl_bench.schema import Output

    config = compose(given.overrides, given.config_dir)
    speak_to_program(config.output == Output.json)
    found = search_published(given.plain, given.own)
    show_table(shown_rows(found.head(MOST)).to_dict("records"), "Published numbers in percent")
    sources = Counter(found["source"]).most_common()
    unsure = int((found["verified"] != "yes").sum())
    rows, files = (
        f"{number:,} {one}{'' if number == 1 else 's'}"
        for number, one in ((len(found), "row"), (len(sources), "source"))
    )
    say(f"{rows} of {files}, {unsure:,} unverified; results/README.md has the columns")
    if len(found) > MOST:
        told = ", ".join(f"{name} ({number:,})" for name, number in sources[:6])
        say(f"{len(found) - MOST:,} more rows are not shown; narrow the search, or output=json. Most are of {told}")
    if config.output == Output.json:
        answer(rows_of(found))
    return 0
