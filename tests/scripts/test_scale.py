"""The arithmetic of a sweep is that of its plan, and the operations of a tower are those of its matrices."""

import json

import pytest

from scripts.scale import operations_of, rows_of, table

SWEEP = ("-m", "dataset=cub,dtd", "backbone=demo,vit_b32_openai", "prompts=simple,ensemble", "scorer=plain,mta")


@pytest.mark.slow
def test_operations_are_those_of_the_matrices() -> None:
    tokens, width, layers, out = 50, 768, 12, 512
    linear = tokens * width * (3 * width + width + 8 * width)
    attention = 2 * tokens * tokens * width
    patches = (tokens - 1) * width * 3 * 32 * 32
    assert operations_of("ViT-B-32")[0] == 2 * (layers * (linear + attention) + patches + width * out)


def test_the_script_counts_what_the_plan_says(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.scale.operations_of", lambda architecture: (4_000, 3_000))
    assert cli("plan", *SWEEP, "output=json") == 0, cli.err
    totals = json.loads(cli.out)["totals"]
    rows = rows_of(totals)
    for counted in ("images", "views", "texts"):
        assert sum(getattr(one, counted) for one in rows) == totals[counted] > 0
    assert totals["images"] == 2 * (5_794 + 1_880)
    assert (totals["jobs"], totals["one_for_each"]) == (4, ["data set", "backbone"])
    assert totals["gigabytes"]["images"] == pytest.approx(totals["images"] / 2 * (128 + 512) * 4 / 1e9)
    hours = totals["images"] * 4_000 / 2e12 / 3600, totals["views"] * 4_000 / 2e12 / 3600
    assert sum(one.hours(2.0)[0] for one in rows) == pytest.approx(hours[0])
    assert sum(one.hours(2.0)[1] for one in rows) == pytest.approx(hours[1])
    assert len(list(table(rows, 2.0))) == 2 + len(rows) + 1
