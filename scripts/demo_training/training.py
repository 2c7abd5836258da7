"""Trains the demo's CLIP on a CPU: deterministic for a seed, and resumable after a kill.

Nothing random is carried from step to step. The order of an epoch, the captions and the crops of a step are
each drawn from (seed, epoch) or (seed, step), so a run that continues from a checkpoint computes what an
unbroken run would have.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from cupl_bench.dataset.demo.drawing import IMAGE_SIZE, Dice, generator_for
from demo_training.captions import write_caption
from demo_training.corpus import Corpus

CONTEXT_LENGTH: Final = 48
_LENGTH_GROUPS: Final = 4
MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Channel means and deviations of CLIP's own preprocessing; any fixed numbers would do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What decides the weights, besides the training set: change one and a checkpoint no longer fits."""

    seed: int
    steps: int
    batch_size: int
    learning_rate: float
    warm_up: int
    weight_decay: float
    named: int
    nameless: int


def model_config(vocab_size: int) -> dict[str, Any]:
    """The model as an open_clip config: 64 px ModifiedResNet, causal text tower pooled at the end token."""
    return {
        "embed_dim": 128,
        "quick_gelu": False,
        "vision_cfg": {"layers": [1, 2, 2, 1], "width": 16, "image_size": IMAGE_SIZE, "head_width": 64},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocab_size,
            "width": 128,
            "heads": 4,
            "layers": 2,
            "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"},
        },
    }


def build_model(vocab_size: int, seed: int) -> CLIP:
    """An untrained model; its first weights depend on the seed alone."""
    torch.manual_seed(seed)
    config = model_config(vocab_size)
    model = CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=config["vision_cfg"],
        text_cfg={key: value for key, value in config["text_cfg"].items() if key != "tokenizer_kwargs"},
        quick_gelu=config["quick_gelu"],
    )
    model.visual.to(memory_format=torch.channels_last)  # twice as fast with bfloat16 convolutions on a CPU
    return model


def encode_text(model: CLIP, tokens: Tensor) -> Tensor:
    """Text features (n, d) of tokens (n, length), which may be shorter than the model's context."""
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x[torch.arange(len(tokens)), tokens.argmax(dim=-1)])
    features: Tensor = x @ model.text_projection
    return features


def encode_captions(model: CLIP, tokens: Tensor) -> Tensor:
    """Text features (n, d) of tokens (n, length), in groups of like length to skip most padding."""
    lengths = (tokens != 0).sum(dim=1)
    order = lengths.argsort(stable=True)
    parts = [encode_text(model, tokens[rows, : int(lengths[rows[-1]])]) for rows in order.chunk(_LENGTH_GROUPS)]
    return torch.cat(parts)[order.argsort()]


def train(
    plan: Plan,
    corpus: Corpus,
    tokenizer: SimpleTokenizer,
    folder: Path,
    log: Callable[[str], None],
    checkpoint_every: int,
) -> CLIP:
    """The trained model; continues from the checkpoint in `folder` if there is one.

    Raises:
        ValueError: The checkpoint belongs to another plan.
    """
    model = build_model(tokenizer.vocab_size, plan.seed)
    optimizer = _optimizer(model, plan)
    checkpoint = folder / "checkpoint.safetensors"
    first = _restore(checkpoint, model, optimizer, plan) if checkpoint.exists() else 0
    if first:
        log(f"continues after step {first} of {plan.steps}")
    model.train()
    started, losses = time.perf_counter(), []
    for step in range(first, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _schedule(step, plan)
        rows = _rows(step, plan, len(corpus.traits))
        images, tokens = _batch(rows, step, plan, corpus, tokenizer)
        # The fused attention is slow backwards in bfloat16 on a CPU: four times the plain one on rows this
        # short.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            image_features, text_features = model.visual(images), encode_captions(model, tokens)
        logits = (
            model.logit_scale.exp()
            * F.normalize(image_features.float(), dim=-1)
            @ F.normalize(text_features.float(), dim=-1).T
        )
        target = torch.arange(len(rows))
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, math.log(100))
        losses.append(loss.detach())
        if (step + 1) % checkpoint_every == 0 or step + 1 == plan.steps:
            _save(checkpoint, model, optimizer, plan, step + 1)
            pace = (time.perf_counter() - started) / (step + 1 - first)
            mean = float(torch.stack(losses).mean())
            log(f"step {step + 1:5d} of {plan.steps}  loss {mean:.3f}  {pace:.3f} s a step")
            losses = []
    return model.eval()


def _schedule(step: int, plan: Plan) -> float:
    if step < plan.warm_up:
        return (step + 1) / plan.warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - plan.warm_up) / max(1, plan.steps - plan.warm_up)))


def _optimizer(model: CLIP, plan: Plan) -> torch.optim.AdamW:
    matrices = [one for one in model.parameters() if one.ndim >= 2]
    vectors = [one for one in model.parameters() if one.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)


def _rows(step: int, plan: Plan, total: int) -> npt.NDArray[np.int64]:
    """The pictures of one step: each epoch is a permutation whose incomplete last batch is left out."""
    per_epoch = total // plan.batch_size
    epoch, place = divmod(step, per_epoch)
    order = _permutation(plan.seed, epoch, total)
    return order[place * plan.batch_size : (place + 1) * plan.batch_size]


_last_permutation: dict[tuple[int, int, int], npt.NDArray[np.int64]] = {}


def _permutation(seed: int, epoch: int, total: int) -> npt.NDArray[np.int64]:
    key = (seed, epoch, total)
    if key not in _last_permutation:
        _last_permutation.clear()
        _last_permutation[key] = generator_for(seed, 0, epoch).permutation(total)
    return _last_permutation[key]


def _batch(
    rows: npt.NDArray[np.int64], step: int, plan: Plan, corpus: Corpus, tokenizer: SimpleTokenizer
) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 64, 64), shifted by up to 4 px and half of them mirrored, and tokens (n, 48)."""
    dice = Dice(generator_for(plan.seed, 1, step))
    pictures = np.empty((len(rows), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for at, row in enumerate(rows):
        padded = np.pad(corpus.images[row], ((4, 4), (4, 4), (0, 0)), mode="edge")
        down, right = dice.whole(0, 8), dice.whole(0, 8)
        crop = padded[down : down + IMAGE_SIZE, right : right + IMAGE_SIZE]
        pictures[at] = crop[:, ::-1] if dice.chance(0.5) else crop
    texts = [write_caption(corpus.traits[row], dice).text for row in rows]
    tokens = tokenizer(texts, context_length=CONTEXT_LENGTH)
    return normalised(pictures), tokens


def normalised(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """Images (n, 3, 64, 64) as the model takes them, from pixels (n, 64, 64, 3)."""
    pixels = torch.from_numpy(pictures).float().div_(255)
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


def _save(path: Path, model: CLIP, optimizer: torch.optim.AdamW, plan: Plan, step: int) -> None:
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        tensors |= {f"{key}.{name}": state[key].contiguous() for key in ("exp_avg", "exp_avg_sq", "step")}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    save_file(tensors, unfinished, metadata={"plan": json.dumps(asdict(plan)), "step": str(step)})
    unfinished.replace(path)


def _restore(path: Path, model: CLIP, optimizer: torch.optim.AdamW, plan: Plan) -> int:
    with safe_open(path, "pt") as stored:
        about = stored.metadata()
        if json.loads(about["plan"]) != asdict(plan):
            raise ValueError(f"{path} was written by another plan: {about['plan']}. Remove it to start anew.")
        model.load_state_dict({name: stored.get_tensor(f"model.{name}") for name in model.state_dict()})
        for name, parameter in model.named_parameters():
            # In the parameter's own memory layout: the fused step pairs them by place in memory.
            optimizer.state[parameter] = {
                key: torch.empty_like(parameter).copy_(stored.get_tensor(f"{key}.{name}"))
                for key in ("exp_avg", "exp_avg_sq")
            } | {"step": stored.get_tensor(f"step.{name}")}
    return int(about["step"])


def export(model: CLIP, tokenizer: SimpleTokenizer, folder: Path) -> None:
    """Writes `open_clip_config.json` and `model.safetensors` (float16) for open_clip's `local-dir:`."""
    config = {
        "model_cfg": model_config(tokenizer.vocab_size),
        "preprocess_cfg": {
            "mean": list(MEAN),
            "std": list(STD),
            "size": [IMAGE_SIZE, IMAGE_SIZE],
            "interpolation": "bicubic",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    unfinished = folder / "model.partial"
    save_file(tensors, unfinished, metadata={"format": "pt"})
    unfinished.chmod(0o644)  # safetensors leaves files to their owner alone
    unfinished.replace(folder / "model.safetensors")
