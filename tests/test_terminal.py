"""What stands on the terminal and in a pipe, and what a program reads."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.cells import cell_len

from cupl_bench import terminal
from cupl_bench.commands import plan
from cupl_bench.commands.report import Report, _left
from cupl_bench.progress import busy, showing_progress
from cupl_bench.report.page import Page

WIDE = pd.DataFrame(
    {
        "dataset": ["birds", "flowers"],
        "prompts": ["simple", "cupl_ensemble"],
        "top-1 [95%]": ["66.2 [64.2, 68.1]", "85.5 [84.0, 86.8]"],
        "top-5": ["82.8", "97.7"],
        "mean per class": ["66.2", "85.5"],
        "never": ["0.9", "76.6"],
        "never alone": ["14.9", "95.3"],
        "minus simple [95%]": ["", "+19.3 [+17.3, +21.2]"],
    }
)


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch):
    def show(stream: io.StringIO, **environment: str) -> str:
        for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", **environment}.items():
            monkeypatch.setenv(name, value)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            terminal.show_table(WIDE.to_dict("records"), "Accuracy in percent")
        return stream.getvalue()

    return show


def lines_of(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_a_table_fits_the_terminal_and_says_what_it_leaves_out(shown, columns: int) -> None:
    lines = lines_of(shown(Tty(), COLUMNS=str(columns)))
    left_out = [line for line in lines if line.startswith("left out because the terminal is too narrow: ")]
    assert bool(left_out) == (columns < 110)
    table = [line for line in lines if line not in left_out]
    assert max(map(len, table)) <= columns
    words = " ".join(table).split()
    assert {"minus", "simple", "[95%]", "+19.3", "+21.2]"} <= set(
        words
    )  # the column that tells most stays at any width
    if columns == 80:
        assert left_out[0].startswith("left out because the terminal is too narrow: never alone")


SWEEP = [
    {
        "dataset": f"data_set_{dataset}",
        "backbone": f"backbone_{backbone}",
        "prompts": name,
        "images": f"{1000 + dataset:,}",
        "top-1 [95%]": "66.2 [64.2, 68.1]",
        "top-5": "82.8",
        "mean per class": "66.2",
        "minus simple [95%]": "+19.3 [+17.3, +21.2] n.s.",
    }
    for dataset in range(3)
    for backbone in range(6)
    for name in ["simple", *(f"descriptions_of_a_language_model_{place:02}.json" for place in range(19))]
]


def test_a_sweep_of_120_runs_on_three_data_sets_fits_80_columns_and_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Tty()
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.show_table(SWEEP, "Accuracy in percent")
    lines = lines_of(stream.getvalue())
    assert max(map(len, lines)) <= 80
    assert len(lines) == 3 + 18 + 360 + 1  # title, head and rule; groups; runs; what is left out
    assert [line for line in lines if line.startswith("data_set_1")] == [
        f"data_set_1, backbone_{backbone}: images 1,001" for backbone in range(6)
    ]
    assert lines[-1] == "left out because the terminal is too narrow: mean per class"
    rows = [line for line in lines if "66.2 [64.2, 68.1]" in line]
    assert all(line.endswith("82.8  +19.3 [+17.3, +21.2] n.s.") for line in rows)
    assert len({line.split("  ")[0] for line in rows}) == 20  # names are cut, and none looks like another


def test_weights_that_all_rows_share_stand_in_the_title_and_no_line_is_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        {
            "dataset": name,
            "backbone": "vit_b16_openai",
            "prompts": "ensemble",
            "data": f"not here, to download: owner/{name} (size not known); test of VTAB, {place},000 images",
            "images": f"{place},000",
            "classes": "10",
            "prompts to average": "800",
            "images to encode": f"{place},000",
            "prompts to encode": "<= 800",
            "weights": "to download from hub:timm/vit_base_patch16_clip_224.openai (size not known)",
            "run": "",
        }
        for place, name in enumerate(("imagenet_sketch", "caltech101", "cifar10"))
    ]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Tty()
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.show_table(rows, "What eval would do")
    lines = lines_of(stream.getvalue())
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("What eval would do: backbone vit_b16_openai, weights to download from")
    assert lines[1] == "  hub:timm/vit_base_patch16_clip_224.openai (size not known)"  # an address is one word
    assert lines[2].split() == ["dataset", "prompts", "data", "images", "to", "encode"]
    assert "not here, to down" in lines[4]
    assert " ".join(map(str.strip, lines[7:])).endswith("prompts to encode")
    monkeypatch.setenv("COLUMNS", "200")
    for row in rows:
        row["weights"] = "here"
    terminal.show_table(rows, "What eval would do")
    assert "weights" not in stream.getvalue().rpartition("What eval")[2]  # that they are here needs no word


@pytest.mark.parametrize("columns", ["10", "40"])
def test_wide_letters_and_a_terminal_that_is_far_too_narrow_end_too(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Tty()
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.show_table([{"prompts": "花" * 90 + end, "top-1 [95%]": "66.2 [64.2, 68.1]"} for end in "ab"], "Title")
    lines = lines_of(stream.getvalue())
    assert "66.2 [64.2, 68.1]" in lines[-1]
    assert lines[-1].split("  ")[0] != lines[-2].split("  ")[0]
    if columns == "40":
        assert max(cell_len(line) for line in lines) <= 40


def test_a_pipe_gets_the_whole_table_plain(shown) -> None:
    text = shown(io.StringIO(), COLUMNS="20")
    assert "\x1b" not in text
    assert all(str(cell) in text for column in WIDE for cell in WIDE[column])
    assert "left out" not in text


def test_no_colour_where_none_is_wanted(shown) -> None:
    text = shown(Tty(), COLUMNS="200", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]", text)


@pytest.mark.long
def test_a_run_goes_on_when_its_reader_has_gone(tiny, photos: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=simple,name_only"]
    command = [sys.executable, "-m", "cupl_bench", "eval", "-m", *asked]
    own = [f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}"]
    ended = subprocess.run([*command, *own], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(list((tmp_path / "results" / "records").glob("*.json"))) == 2
    assert (tmp_path / "results" / "report" / "index.html").is_file()


# The end of a process ------------------------------------------------------------------------------------------------

ENDING = """
import atexit, logging, sys, threading, time
from cupl_bench import __main__ as program
logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
class Heavy:
    def __del__(self): print("freed")
stays = Heavy()
def main():
    atexit.register(print, "handled")
    threading.Thread(target=lambda: (time.sleep(0.2), print("joined"))).start()
    print("answered")
    return CODE
program.main = main
program.program()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("result", "code", "lines"),
    [
        ("0", 0, ["answered", "joined", "handled"]),
        ("2", 2, ["answered", "joined", "handled"]),
        ("1 / 0", 1, ["answered", "joined", "handled", "freed"]),
    ],
)
def test_a_process_ends_with_its_code_when_all_is_written_and_frees_nothing(
    result: str, code: int, lines: list[str]
) -> None:
    script = ENDING.replace("CODE", result)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.splitlines()) == (code, lines)
    assert ("ZeroDivisionError" in ended.stderr) == (code == 1)


# For programs --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_question_is_one_document(cli, on_photos) -> None:
    assert on_photos("output=json") == 0
    document = json.loads(cli.out)
    (told,) = document["records"]
    record = json.loads((cli.results / "records" / f"{told['run_key']}.json").read_text())
    assert told["record"] == str(cli.results / "records" / f"{told['run_key']}.json")
    assert told["metrics"] == record["metrics"]
    assert (told["dataset"], told["backbone"], told["prompts"]) == ("folder", "open_clip", "simple")
    assert "15 encoded" in cli.err
    assert on_photos() == 0  # the next command speaks to a person again
    assert "finished before" in cli.out
    assert cli.err == ""


@pytest.mark.slow
@pytest.mark.usefixtures("with_page")
def test_a_sweep_tells_its_runs_its_failures_and_its_comparison(cli, on_photos) -> None:
    assert on_photos("-m", "prompts=simple,name_only,ensemble", "output=json") == 2
    document = json.loads(cli.out)
    assert [one["prompts"] for one in document["records"]] == ["simple", "name_only"]
    assert "prompts=ensemble" in document["failed"][0]["job"]
    assert document["failed"][0]["error"]
    rows = {row["prompts"]: row for row in document["comparison"]}
    assert rows["simple"]["difference"] is None
    assert rows["name_only"]["top1"] == pytest.approx(document["records"][1]["metrics"]["top1"])
    assert (cli.results / "report" / "index.html").is_file()
    assert "page" in cli.err


@pytest.mark.slow
def test_plan_and_report_are_documents(cli, on_photos, photos, tiny) -> None:
    arguments = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, "output=json"]
    assert cli("plan", *arguments) == 0
    (planned,) = json.loads(cli.out)["plan"]
    assert planned["images_to_encode"] == 15
    assert planned["finished"] is False
    assert cli("eval", *arguments) == 0
    assert cli("report", "output=json") == 0
    document = json.loads(cli.out)
    assert document["page"] == str(cli.results / "report" / "index.html")
    assert all((cli.results / path).is_file() for path in [*document["tables"], *document["figures"]])
    assert cli("plan", *arguments, "prompts=nothing") == 2
    assert cli.out == ""


@pytest.mark.slow
def test_effects_are_a_document_with_what_was_measured_and_what_failed(cli, tiny, photos) -> None:
    arguments = ["effects", "dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    templates = ["a {}.", "the {} at night."]
    given = ["prompts=templates", f"prompts.templates={templates}"]
    assert cli(*arguments, *given, "output=json") == 0, cli.err
    document = json.loads(cli.out)
    assert document["failed"] == []
    (told,) = document["measured"]
    assert (told["dataset"], told["backbone"], told["prompts"]) == ("folder", "open_clip", "templates")
    assert told["files"] == [str(cli.results / kind / f"{told['run_key']}.parquet") for kind in ("effects", "curves")]
    effects, curve = (pd.read_parquet(path) for path in told["files"])
    assert [row["top1_without"] for row in told["effects"]] == pytest.approx(effects["top1_without"].tolist())
    assert [row["top1_mean"] for row in told["curve"]] == pytest.approx(curve["top1_mean"].tolist())
    assert [row["text"] for row in told["effects"][:2]] == templates
    assert told["effects"][0]["class_name"] is None
    assert "effects   " in cli.err
    assert cli(*arguments, "prompts=ensemble,simple", "output=json") == 2
    document = json.loads(cli.out)
    assert [one["prompts"] for one in document["measured"]] == ["simple"]
    assert "prompts=ensemble" in document["failed"][0]["job"]
    assert document["failed"][0]["error"] in cli.err
    assert cli(*arguments, "prompts=simple") == 0  # the next command speaks to a person again
    assert "Accuracy against the number of prompts" in cli.out


@pytest.mark.slow
def test_classified_images_are_a_document(cli, tiny, photos) -> None:
    images = [str(photos / "ant" / "0.jpg"), str(photos / "bee" / "1.jpg")]
    arguments = ["classify", *images, "class_names=[tree frog,tailed frog]", *tiny.overrides]
    assert cli(*arguments, "output=json") == 0, cli.err
    told = json.loads(cli.out)["images"]
    assert [one["image"] for one in told] == images
    for one in told:
        assert one["sigmoid"] is False
        assert {each["class_name"] for each in one["classes"]} == {"tree frog", "tailed frog"}
        likely, unlikely = (each["probability"] for each in one["classes"])
        assert likely > unlikely
        assert likely + unlikely == pytest.approx(1)
        assert [prompt["text"] for prompt in one["classes"][0]["prompts"]] == [
            f"a photo of a {one['classes'][0]['class_name']}."
        ]
    assert cli(*arguments) == 0
    similarity = told[0]["classes"][0]["prompts"][0]["similarity"]
    assert f"{100 * told[0]['classes'][0]['probability']:.1f}%" in cli.out
    assert f"{similarity:.3f}  a photo of a" in cli.out
    assert cli(*arguments[:-1], "nowhere.jpg", "output=json") == 2
    assert cli.out == ""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["classify", "plan"])
@pytest.mark.parametrize("output", ["table", "json"])
def test_what_is_logged_stays_out_of_an_answer(
    command: str, output: str, cli, tiny, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("cupl_bench.libraries")
    if command == "classify":
        monkeypatch.setattr("cupl_bench.commands.classify.load_libraries", lambda _: log.info("loading   PyTorch"))
        image = str(photos / "ant/0.jpg")
        assert cli("classify", image, "class_names=[ant,bee]", *tiny.overrides, f"output={output}") == 0, cli.err
    else:
        read = plan.read_questions
        monkeypatch.setattr(plan, "read_questions", lambda *a, **b: [log.info("loading   PyTorch"), read(*a, **b)][1])
        asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, f"output={output}"]
        assert cli("plan", *asked) == 0, cli.err
    assert "loading" not in cli.out
    assert "loading   PyTorch" in cli.err.splitlines()
    assert cli("report") == 2  # and no further than that command: another one logs as it did
    log.info("said")
    assert cli.capture.readouterr().out == "said\n"


def test_another_form_of_output_is_refused(cli) -> None:
    assert cli("report", "output=xml") == 2
    assert "output=xml" in cli.err


@pytest.mark.slow
def test_a_large_folder_ends_a_sweep_with_tables_and_a_hint(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cupl_bench.commands.report.QUICK", 20)
    assert on_photos("-m", "prompts=simple,name_only") == 0
    assert f"page      cupl-bench report results_dir={cli.results}" in cli.out
    assert (cli.results / "tables" / "comparison.csv").is_file()
    assert not (cli.results / "report").exists()


def test_the_end_of_a_report_names_one_folder(tmp_path: Path) -> None:
    tables = [tmp_path / "tables" / name for name in ("a.csv", "b.md")]
    path = tmp_path / "report" / "index.html"
    page = Page(path=path, files=[path], thumbnail_folders=[], num_bytes=0, num_thumbnails=0, without_images=[])
    report = Report(comparison=None, tables=tables, figures=tables[:1], page=page)
    assert _left(tmp_path, report) == [f"results   {tmp_path}: page report/index.html, 2 tables, 1 files of figures"]


def test_what_is_said_while_something_is_shown_as_busy_stays_on_standard_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, shown = io.StringIO(), Tty()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", shown)
    with showing_progress(), busy("comparing 3 runs"):
        terminal.say("told")
    assert out.getvalue() == "told\n"
    assert "comparing 3 runs" in shown.getvalue()


def test_names_with_brackets_and_colons_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = [{"dataset": "birds [given]", "prompts": name} for name in ("[red]mine", ":smile: other")]
    terminal.show_table(table, "Accuracy [bold]")
    out = " ".join(capsys.readouterr().out.split())  # a title is folded where the table is narrow
    for name in ("birds [given]", "[red]mine", ":smile: other", "Accuracy [bold]"):
        assert name in out


@pytest.mark.parametrize("columns", [38, 49, 80])
def test_letters_that_are_two_columns_wide_are_counted_as_two(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    from rich.cells import cell_len

    rows = [
        {"dataset": "動物園の写真", "prompts": "日本語のテンプレート", "top-1": "66.2", "top-5": "82.8"},
        {"dataset": "птицы", "prompts": "हिन्दी", "top-1": "85.5", "top-5": "97.7"},
    ]
    stream = Tty()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.show_table(rows, "得点")
    lines = lines_of(stream.getvalue())
    left_out = [line for line in lines if line.startswith("left out because")]
    table = lines[: lines.index(left_out[0])] if left_out else lines
    assert bool(left_out) == (columns < 49)
    assert max(map(cell_len, table)) <= columns
    assert len(table) == 5  # no row is broken into two
