"""Nothing that is read runs code, nothing that is unpacked leaves its folder, and no key is ever written down."""

import io
import json
import logging
import pickle
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from making import TinyModel

import cupl_bench
from cupl_bench.dataset.archives import unpack
from cupl_bench.errors import DatasetError, PromptsError
from cupl_bench.prompts.sources import read_descriptions

SOURCES = sorted(Path(cupl_bench.__file__).parent.rglob("*.py"))

FORBIDDEN = {
    "pickle": r"\b(?:c?pickle|dill|joblib|shelve|marshal|cloudpickle)\b(?!\w)",
    "code of a hub": r"trust_remote_code\s*=\s*True",
    "evaluation": r"(?<![\w.])(?:eval|exec)\s*\(",
    "yaml that makes objects": r"yaml\.(?:unsafe_)?load\(|Loader=yaml\.(?:Full|Unsafe)?Loader",
    "a shell": r"shell\s*=\s*True|os\.system\(|os\.popen\(",
    "arrays of objects": r"allow_pickle\s*=\s*True",
}
"""What no module of the package may hold. CIFAR's pickles are read by torchvision, which checks their published md5."""

ALLOWED = {
    ("array_files.py", "pickle"),  # the error that torch raises where it refuses
    ("open_clip_models.py", "pickle"),  # a word in what torch says then
    ("options.py", "pickle"),  # it tells a launcher by its name, joblib
}


def code_of(path: Path) -> str:
    """A module without its docstrings and comments."""
    import ast

    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value = ast.Constant(None)
    return ast.unparse(tree)


@pytest.mark.slow
@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_package_holds_no_way_to_run_what_it_reads(what: str) -> None:
    assert len(SOURCES) > 40
    found = [path.name for path in SOURCES if re.search(FORBIDDEN[what], code_of(path))]
    assert [name for name in found if (name, what) not in ALLOWED] == []


@pytest.mark.slow
def test_torch_files_are_read_with_weights_only() -> None:
    for path in SOURCES:
        for call in re.findall(r"torch\.load\([^\n]*", code_of(path)):
            assert "weights_only=True" in call, path


class Malicious:
    """Unpickling this writes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.write_text, (self.proof, "code was run"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "safetensors"])
def test_malicious_weights_are_refused(cli, on_photos, tmp_path: Path, ending: str) -> None:
    proof, weights = tmp_path / "proof", tmp_path / f"weights.{ending}"
    torch.save({"state_dict": Malicious(proof)}, weights)
    assert on_photos(f"backbone.pretrained={weights}") == 2, cli.err
    assert not proof.exists()
    assert "Traceback" not in cli.err
    weights.write_bytes(pickle.dumps(Malicious(proof)))
    assert on_photos(f"backbone.pretrained={weights}") == 2, cli.err
    assert not proof.exists()


@pytest.mark.parametrize("ending", ["pt", "pth", "json"])
def test_malicious_prompts_are_refused(tmp_path: Path, ending: str) -> None:
    proof, prompts = tmp_path / "proof", tmp_path / f"prompts.{ending}"
    for content in (pickle.dumps(Malicious(proof)), pickle.dumps({"ant": [Malicious(proof)]})):
        prompts.write_bytes(content)
        with pytest.raises(PromptsError):
            read_descriptions(str(prompts))
    torch.save({"ant": [Malicious(proof)]}, prompts)
    with pytest.raises(PromptsError):
        read_descriptions(str(prompts))
    assert not proof.exists()


def members(kind: str) -> list[tarfile.TarInfo]:
    info = tarfile.TarInfo("x")
    if kind == "absolute link":
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    elif kind == "hard link outside":
        info.type, info.linkname = tarfile.LNKTYPE, "../../../etc/passwd"
    elif kind == "device":
        info.type = tarfile.CHRTYPE
    elif kind == "link and file through it":
        info.type, info.linkname = tarfile.SYMTYPE, ".."
        through = tarfile.TarInfo("x/out.txt")
        through.size = 1
        return [info, through]
    return [info]


@pytest.mark.parametrize("kind", ["absolute link", "hard link outside", "device", "link and file through it"])
def test_no_member_of_a_tar_reaches_outside(tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        for member in members(kind):
            archive.addfile(member, io.BytesIO(b"1") if member.size else None)
    with pytest.raises(DatasetError, match="is not unpacked|cannot be unpacked"):
        unpack(tmp_path / "bad.tar", tmp_path / "deep" / "set")
    assert not list(tmp_path.rglob("out.txt"))
    assert not (tmp_path / "deep" / "set").exists()


@pytest.mark.parametrize("name", ["..\\out.txt", "C:\\out.txt", "a/../../../out.txt", "//server/out.txt"])
def test_no_member_of_a_zip_reaches_outside(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, b"1")
    with pytest.raises(DatasetError, match="holds a path that leaves its folder"):
        unpack(tmp_path / "bad.zip", tmp_path / "deep" / "set")
    assert not list(tmp_path.rglob("*out.txt"))


NASTY = [
    "=1+1",
    "@SUM(A1)",
    "+cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\\input{/etc/passwd}",
    "a|b",
    "50% & $x_1",
]


@pytest.fixture
def nasty(cli, tiny: TinyModel, tmp_path: Path, photos: Path) -> Path:
    """A sweep whose prompts and class names mean something to spreadsheets, browsers and LaTeX."""
    classes = dict(zip(sorted(path.name for path in photos.iterdir()), NASTY, strict=False))
    (tmp_path / "names.json").write_text(json.dumps(classes))
    (tmp_path / "p.json").write_text(
        json.dumps({name: [f"{name} {text}" for text in NASTY] for name in classes.values()})
    )
    arguments = [
        "dataset=folder",
        f"dataset.path={photos}",
        f"dataset.class_names={tmp_path / 'names.json'}",
        *tiny.overrides,
    ]
    assert cli("eval", *arguments) == 0, cli.err
    name = "'prompts.name=\"=HYPERLINK(0)<script>alert(2)</script>\"'".strip("'")
    assert cli("eval", *arguments, "prompts=file", f"prompts.path={tmp_path / 'p.json'}", name) == 0, cli.err
    assert cli("report") == 0, cli.err
    return cli.results


@pytest.mark.slow
def test_names_are_text_in_every_table_and_page(nasty: Path) -> None:
    csv = (nasty / "tables" / "comparison.csv").read_text()
    assert "'=HYPERLINK" in csv
    assert not re.search(r"(?:^|,)\"?[=+@]", csv, re.MULTILINE)
    for path in nasty.rglob("*.md"):
        assert "<script>" not in path.read_text(), path
    for path in nasty.rglob("*.tex"):
        text = re.sub(r"^% .*$", "", path.read_text(), flags=re.MULTILINE)  # comments hold no names
        assert not re.search(r"(?<!\\)[&%$_](?!.*\\\\)", text.replace(" & ", " ")), path
        assert "\\input{" not in path.read_text()
    for path in nasty.rglob("*.html"):
        text = path.read_text()
        assert "<script>alert" not in text, path
        assert not re.search(r"</script>alert|alert\(\d\)</script>", text), path


SECRETS = {
    "OPENAI_API_KEY": "sk-secret-0123456789abcdef",
    "HF_TOKEN": "hf_secretsecretsecret",
    "HUGGING_FACE_HUB_TOKEN": "hf_secretsecretsecret2",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "ANTHROPIC_API_KEY": "sk-ant-secret-0123456789",
    "AWS_SECRET_ACCESS_KEY": "aws/secret/0123456789",
}


@pytest.mark.slow
def test_no_key_is_written_down_or_told(
    cli, on_photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A finished run, a failed one, a mistake and a defect, tracked by wandb offline, with keys in the environment."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)
    told = []
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb"))
    tracked = ["tracking=wandb", "tracking.mode=offline", f"tracking.folder={tmp_path / 'wandb'}"]
    for arguments, code in (
        (["-m", "prompts=simple,ensemble", *tracked], 2),
        (["prompts=name_only", "hydra.verbose=true"], 0),
        (["prompts=file", "prompts.path=nowhere.json"], 2),
    ):
        assert on_photos(*arguments) == code, cli.err
        told += [cli.out, cli.err]
    monkeypatch.setattr("cupl_bench.run.scoring.measure", lambda *_: 1 / 0)
    assert on_photos("prompts=simple", "rerun=always") == 1
    told += [cli.out, cli.err, caplog.text]
    assert cli("report") == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if path.suffix == ".wandb"]
    for name, value in SECRETS.items():
        assert value not in "".join(told), name
        for path in files:
            assert value.encode() not in path.read_bytes(), (name, path)


def test_a_key_given_as_an_argument_is_not_kept_either(cli, on_photos) -> None:
    """Arguments stand in logs and records: one that looks like a key is refused before anything is written."""
    assert on_photos("llm.api_key=sk-secret-0123456789abcdef") == 2
    assert "looks like a secret" in cli.err
    assert on_photos("+api_key=sk-secret-0123456789abcdef") == 2
    for path in cli.results.rglob("*"):
        assert not path.is_file() or b"sk-secret" not in path.read_bytes(), path
