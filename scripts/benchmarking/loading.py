"""What stands between a command and its first encoding: libraries, weights, and the proof of the tree.

PYTHONPATH=scripts python -m benchmarking.loading WEIGHTS load_text CACHE command   # once: seconds of each step, JSON
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarking.rows import Row, Table, median

__all__ = ["measure"]

MODEL = "ViT-B-32"
STEPS = ("import PyTorch", "import open_clip", "identify the weights, which were hashed before", "load")


def measure(work: Path, repeats: int) -> Table:
    """Each way in processes of its own, by CPU time, with compiled bytecode and the weights in the page cache."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = {name: value.contiguous() for name, value in open_clip.create_model(MODEL).state_dict().items()}
    torch.save(state, work / "loaded.pt")
    save_file(state, work / "loaded.safetensors")
    rows = []
    asked = (
        ("loaded.pt", "load_text", "command"),
        ("loaded.pt", "load", "command"),
        ("loaded.safetensors", "load_text", "command"),
        ("loaded.safetensors", "load_text", "Python"),
    )
    for name, method, place in asked:
        runs = [_own_process(work / name, method, work / "cache", place) for _ in range(repeats + 1)][1:]
        parts = {step: median([run[step] for run in runs]) for step in STEPS}
        total = parts["import open_clip"] + parts["load"]
        has_bar = (method, place) == ("load_text", "command")
        what = {"load_text": "the text tower", "load": "both towers"}[method]
        rows.append(
            Row(
                what=f"{what} of {MODEL} from {Path(name).suffix}, open_clip's import included, by a command"
                if place == "command"
                else f"{what} of {MODEL} from {Path(name).suffix}, the whole of open_clip imported, as from Python",
                against=f"import of PyTorch: {parts['import PyTorch']:.2f} s",
                value=f"{total:.2f} s: import of open_clip {parts['import open_clip']:.2f}, loading"
                f" {parts['load']:.2f}; identified in {parts[STEPS[2]]:.2f} s",
                bar="< 3 s" if has_bar else "",
                met=total < 3 if has_bar else None,
                seconds={step: [run[step] for run in runs] for step in STEPS},
            )
        )
    note = (
        "Random weights, 605 MB. A command imports neither timm nor transformers for this model, nor torchvision's"
        " torch._dynamo; loading is filling the parameters and proving the prefix tree on five prompts."
    )
    return Table(title="Loading", note=note, rows=rows)


def _own_process(weights: Path, method: str, cache: Path, place: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarking.loading", str(weights), method, str(cache), place]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _steps(weights: str, method: str, cache: Path, place: str) -> dict[str, float]:
    spent: dict[str, float] = {}

    def timed(step: str, work: Callable[[], object]) -> object:
        began = time.process_time()
        done = work()
        spent[step] = time.process_time() - began
        return done

    timed(STEPS[0], lambda: __import__("torch"))
    import torch

    from cupl_bench.backbone.open_clip import OpenClipSource
    from cupl_bench.libraries import import_no_more_than_needed, load_open_clip

    if place == "command":
        import_no_more_than_needed()
    torch.set_num_threads(1)
    source = OpenClipSource(architecture=MODEL, pretrained=weights, transform_of=None)
    cache.mkdir(parents=True, exist_ok=True)
    facts = timed(STEPS[2], lambda: source.identify(cache, download=False))
    timed(STEPS[1], lambda: load_open_clip(()))
    timed(STEPS[3], lambda: getattr(source, method)(facts, torch.device("cpu"), "fp32"))
    return spent


def _main(arguments: Sequence[str]) -> None:
    weights, method, cache, place = arguments
    print(json.dumps(_steps(weights, method, Path(cache), place)))


if __name__ == "__main__":
    _main(sys.argv[1:])
