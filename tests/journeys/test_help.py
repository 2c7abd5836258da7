"""Help and completion: every command explains itself, every key has a meaning, and a key press is quick."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cupl_bench.__main__ import main
from cupl_bench.commands import COMMANDS
from cupl_bench.commands.completion import BASH, completions
from cupl_bench.commands.options import groups, keys_of, root_groups, root_keys
from cupl_bench.conf_folder import conf_dir

CONF = [conf_dir()]
OPTIONS = [(group, option) for group, options in groups(CONF).items() for option in options]


def test_every_key_has_a_meaning_beside_it() -> None:
    lost = [
        f"{group}={option}: {key.path}"
        for group, option in OPTIONS
        for key in keys_of(group, option, CONF)
        if not key.meaning
    ]
    lost += [key.path for key in root_keys(conf_dir()) if not key.meaning]
    lost += [group for group, (_, meaning) in root_groups(conf_dir()).items() if not meaning]
    assert not lost


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for line in ([name, "--help"], [name, "-h"], ["help", name]):
        assert main(line) == 0
        pages.append(capsys.readouterr().out)
    assert len(set(pages)) == 1
    page = pages[0]
    command = COMMANDS[name]
    assert page.startswith(f"cupl-bench {name} ")
    assert command.summary in page.replace("\n", " ")
    for word in (*command.keys, *command.own, *command.flags, *command.groups, "--config-dir", *command.examples):
        assert word in page
    assert max(map(len, page.splitlines())) <= 120 or any(len(line) > 115 for line in command.examples)
    assert set(command.groups) <= {*root_groups(conf_dir()), "hydra/launcher"}
    assert {*command.keys} <= {key.path for key in root_keys(conf_dir())}


def test_the_page_of_the_program_names_every_command_and_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([]) == main(["--help"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    # Programs read the names from the beginnings of lines.
    assert [line.split()[1] for line in page.splitlines() if line.startswith("cupl-bench ")] == [*COMMANDS] * 2  # twice
    words = " ".join(page.split())
    assert all(f" {name} {command.summary} " in words for name, command in COMMANDS.items())


@pytest.mark.slow
def test_the_keys_are_those_of_the_options_chosen(cli) -> None:
    assert cli("eval", "dataset=folder", "--help") == 0
    assert "dataset.path" in cli.out
    assert "dataset.protocol" not in cli.out
    assert cli("eval", "-h", "dataset=cub,flowers", "prompts=waffle") == 0
    assert "dataset.protocol" in cli.out
    assert "Keys of dataset=cub,flowers" in cli.out
    assert "prompts.pairs" in cli.out
    assert "prompts.templates" not in cli.out
    assert cli("eval", "experiment=waffle_cub", "--help") == 0
    assert "Keys of prompts=waffle" in cli.out
    assert cli("eval", "dataset=foldr", "--help") == 2
    assert "Did you mean 'folder'" in cli.err


def test_options_of_ones_own_are_explained_by_their_own_comments(cli, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "prompts"
    folder.mkdir(parents=True)
    (folder / "loud.yaml").write_text(
        "# Loud ones.\n_target_: mine.Loud\nname: loud\nvolume: 11 # how loud\n"
        "inner:\n  _target_: mine.Inner\n  x: 1 # deep\n"
    )
    assert cli("eval", "--config-dir", str(tmp_path / "mine"), "prompts=loud", "--help") == 0, cli.err
    assert "Keys of prompts=loud (prompts.KEY=VALUE): Loud ones." in cli.out
    for row in ("prompts.volume   [11] how loud", "prompts.inner.x  [1] deep", "prompts.name     [loud] what records"):
        assert row in cli.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--mutlirun"], "--mutlirun is not a flag of 'eval'. Did you mean '--multirun'"),
        (["report", "-m"], "-m is not a flag of 'report'"),
        (["plan", "nonsense"], "'nonsense' is neither key=value nor a flag; 'cupl-bench plan --help'"),
        (["report", "nonsense"], "report takes one word, paper, or none, not 'nonsense'"),
        (["classify", "bakbone=demo"], "bakbone is not a key of the configuration. Did you mean 'backbone'"),
        (["export", "tu=x.zip"], "tu is not a key of the configuration"),
        (["eval", "--config-dir"], "Argument --config-dir/-cd: expected one argument"),
        (["completion"], "completion needs the shell, bash or zsh"),
        (["help", "evla"], "Did you mean 'eval'"),
        (["evl"], "'evl' is not a command. Did you mean 'eval'? 'cupl-bench --help' lists the commands."),
        (["datasets"], "dataset=NAME chooses one for eval, and 'cupl-bench eval --help' lists them."),
        (["dataset=cub"], "'dataset=cub' is not a command. Begin with one: cupl-bench eval dataset=cub"),
        (["--hlep"], "Did you mean '--help'? 'cupl-bench --help' lists the commands."),
        (["eval", "--config-nam", "x"], "is not a flag of 'eval'. There is one configuration; experiment=NAME takes"),
        (["report", "figurs=classes"], "figurs is not a key of 'report'. Did you mean 'figures'?"),
    ],
)
def test_arguments_that_are_none(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_files_and_overrides_are_told_apart_by_one_rule(cli, photos: Path, tiny) -> None:
    strange = Path("photo=1.jpg")
    shutil.copy(photos / "ant" / "0.jpg", strange)
    shutil.copy(photos / "ant" / "0.jpg", "seed=3")
    shared = ["class_names=[a,b]", *tiny.overrides]
    assert cli("classify", str(strange), *shared) == 0, cli.err
    assert cli("classify", "./seed=3", "seed=4", *shared) == 0, cli.err
    assert cli("classify", "seed=3", *shared) == 2
    assert "classify needs an image" in cli.err


# Completion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cupl-bench rep", {"report", "reproduce"}),
        ("cupl-bench ", {*COMMANDS, "completion", "help"}),
        ("cupl-bench help ef", {"effects"}),
        ("cupl-bench completion z", {"zsh"}),
        ("cupl-bench eval prompts=waffle_", {"prompts=waffle_concept"}),
        ("cupl-bench eval -m prompts=simple,wa", {"prompts=simple,waffle", "prompts=simple,waffle_concept"}),
        ("cupl-bench eval data", {"dataset=", "dataset."}),
        ("cupl-bench eval dataset=folder dataset.pa", {"dataset.path="}),
        ("cupl-bench eval dataset=demo,cub dataset.pro", {"dataset.protocol="}),
        ("cupl-bench eval dataset=demo dataset.pro", set()),
        ("cupl-bench eval rerun=f", {"rerun=failed"}),
        ("cupl-bench eval results_", {"results_dir="}),
        ("cupl-bench eval --mu", {"--multirun"}),
        ("cupl-bench report --mu", set()),
        ("cupl-bench prompts --st", {"--strict"}),
        ("cupl-bench export t", {"to="}),
        ("cupl-bench describe llm=ol", {"llm=ollama"}),
        ("cupl-bench eval llm=ol", set()),
        ("cupl-bench nonsense ", set()),
    ],
)
def test_what_may_follow(line: str, found: set[str]) -> None:
    assert set(completions(line)) == found


def test_options_of_ones_own_are_completed(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "loud.yaml").write_text("volume: 11\n")
    assert completions(f"cupl-bench eval --config-dir {tmp_path} prompts=lo") == ["prompts=loud"]
    assert completions(f"cupl-bench eval --config-dir={tmp_path} prompts=loud prompts.v") == ["prompts.volume="]


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment in which `cupl-bench` is this checkout."""
    script = tmp_path / "bin" / "cupl-bench"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m cupl_bench "$@"\n')
    script.chmod(0o755)
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": root}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cupl-bench cla", ["classify"]),
        ("cupl-bench eval prompts=simple,nam", ["simple,name_only", "simple,names"]),
        ("cupl-bench eval dataset=folder dataset.pa", ["dataset.path="]),
    ],
)
def test_bash_completes(program: dict[str, str], line: str, expected: list[str]) -> None:
    """As bash does on a key press: COMP_LINE, COMP_POINT and COMP_WORDS are set, and the function is called."""
    drive = (
        'eval "$(cupl-bench completion bash)"; complete -p cupl-bench >/dev/null || exit 3; compopt() { :; }; '
        f"COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=($COMP_LINE); COMP_CWORD=1; "
        "_cupl_bench; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", drive], env=program, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == expected, done.stderr
    assert "complete -F _cupl_bench cupl-bench" in BASH


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cupl-bench eval prompts=simple,nam", ["whole", "prompts=simple,name_only", "prompts=simple,names"]),
        ("cupl-bench eval dataset=folder dataset.pa", ["begun", "dataset.path="]),
    ],
)
def test_zsh_completes(program: dict[str, str], words: str, expected: list[str]) -> None:
    """A key goes on behind its =, without a space; what is whole ends with one, as zsh adds it by itself."""
    drive = (
        'compdef() { :; }; compadd() { print -l -- $@[-1] ${(P)@[-1]}; }; eval "$(cupl-bench completion zsh)"; '
        f"words=({words}); CURRENT=$#words; _cupl_bench"
    )
    done = subprocess.run(["zsh", "-fc", drive], env=program, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == expected, done.stderr


@pytest.mark.slow
def test_help_status_and_completion_need_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cupl_bench.__main__ import main\n"
        "lines = [['--help'], ['report', '--help'], ['classify', '-h'], ['status', 'prompts=simple'], ['status']]\n"
        "for line in lines:\n"
        "    main([*line, f'results_dir={sys.argv[1]}'] if line[0] == 'status' else line)\n"
        "heavy = {'torch', 'pandas', 'transformers', 'open_clip', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = (
        "import sys\nfrom cupl_bench.__main__ import main\n"
        "main(['completion', 'words', 'bash', 'cupl-bench eval prompts=wa'])\n"
        "heavy = {'torch', 'pandas', 'hydra', 'omegaconf', 'numpy'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "waffle_concept" in done.stdout
