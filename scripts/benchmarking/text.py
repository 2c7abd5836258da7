"""Class embeddings from prompts, side by side with three peers.

Weights are random, which changes no time. The limit of a set is the number of token slots that the peers
encode, padded to the context, over the number of distinct token prefixes. A share of the limit compares with
CLIP_benchmark at the same precision (fp32: amp off; bf16: its default, autocast to bf16).
"""

import contextlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from clip_benchmark.metrics.zeroshot_classification import zero_shot_classifier
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from benchmarking.rows import Row, Table, in_turn, median
from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.backbone.prefix_tree import CausalTextTower, encode_sequences, find_causal_tower

__all__ = ["measure", "peer_version"]

ClassPrompts = Mapping[str, Sequence[str]]
Embeddings = Float[Tensor, "c d"]

MODEL = "ViT-B-32"
TRANSFORMERS_BATCH = 64


def peer_version() -> str:
    """Of CLIP_benchmark."""
    return version("clip-benchmark")


def measure(files: Sequence[Path], repeats: int, *, num_classes: int) -> list[Table]:
    """A table for the 80 templates and for each file."""
    names = [str(name) for name in open_clip.IMAGENET_CLASSNAMES[:: 1000 // num_classes][:num_classes]]
    templates = list(open_clip.OPENAI_IMAGENET_TEMPLATES)
    sets: dict[str, ClassPrompts] = {
        f"{len(templates)} templates": {name: [template(name) for template in templates] for name in names}
    }
    for file in files:
        content = json.loads(file.read_text())
        sets[file.name] = {name: content[name] for name in list(content)[:num_classes]}
    models = {precision: _model(MODEL, precision) for precision in ("fp32", "bf16")}
    return [_compare(title, prompts, models, repeats) for title, prompts in sets.items()]


def _model(name: str, precision: str) -> Any:
    """The model as the peer loads it: parameters ask for gradients, or autocast would not keep its casts."""
    torch.manual_seed(0)
    return open_clip.create_model(name, precision=precision).eval()


def _compare(title: str, prompts: ClassPrompts, models: Mapping[str, Any], repeats: int) -> Table:
    tokenizer = open_clip.get_tokenizer(MODEL)
    fast = FastBpe.from_tokenizer(tokenizer)
    towers = {precision: find_causal_tower(model) for precision, model in models.items()}
    if fast is None or towers["fp32"] is None or towers["bf16"] is None:
        raise SystemExit(f"{MODEL} has no causal text tower with open_clip's own tokenizer.")
    texts = [text for sentences in prompts.values() for text in sentences]
    sequences, _ = fast(texts)
    slots = len(texts) * tokenizer.context_length
    nodes = len({sequence[:end] for sequence in set(sequences) for end in range(1, len(sequence) + 1)})
    limit = slots / nodes

    twin = _transformers_twin(models["fp32"])
    model = models["fp32"]
    found: dict[str, Embeddings] = {}

    def kept(name: str, embed: Callable[[], Embeddings]) -> Callable[[], None]:
        return lambda: found.update({name: embed()})

    ways = {
        "CLIP_benchmark fp32": lambda: _of_clip_benchmark(model, tokenizer, prompts, amp=False),
        "CLIP_benchmark bf16": lambda: _of_clip_benchmark(model, tokenizer, prompts, amp=True),
        "transformers": lambda: _of_transformers(twin, fast, prompts),
        "ours fp32": lambda: _ours(towers["fp32"], fast, prompts),
        "ours bf16": lambda: _ours(towers["bf16"], fast, prompts),
    }
    templates = len({tuple(text.replace(name, "{}") for text in sentences) for name, sentences in prompts.items()}) == 1
    if templates:
        ways["open_clip fp32"] = lambda: _of_open_clip(model, tokenizer, list(prompts))
    seconds = in_turn({name: kept(name, embed) for name, embed in ways.items()}, repeats, time.process_time)
    medians = {name: median(values) for name, values in seconds.items()}

    def off(name: str) -> float:
        return float((found[name] - found["CLIP_benchmark fp32"]).abs().max())

    def row(ours: str, peer: str, bar: float, unit: float) -> Row:
        ratio = medians[peer] / medians[ours]
        share = f", {ratio / limit:.2f} of the limit" if unit != 1 else ""
        allowed = off("CLIP_benchmark bf16") if ours == "ours bf16" else 1e-5
        return Row(
            what=f"{ours}, {medians[ours]:.2f} s",
            against=f"{peer}, {medians[peer]:.2f} s",
            value=f"{ratio:.1f} times{share}; class embeddings differ by {off(ours):.0e}",
            bar=f">= {bar} {'of the limit' if unit != 1 else 'times'}; <= {allowed:.0e}",
            met=ratio / unit >= bar and off(ours) <= allowed,
            seconds={ours: seconds[ours], peer: seconds[peer]},
        )

    rows = [row("ours fp32", "CLIP_benchmark fp32", 0.9, limit)]
    if templates:
        rows.append(row("ours fp32", "open_clip fp32", 0.9, limit))
    rows.append(row("ours bf16", "CLIP_benchmark bf16", 0.85, limit))
    rows.append(row("ours fp32", "transformers", 2 if templates else 1.5, 1))
    note = (
        f"{MODEL}, random weights, {len(prompts)} classes, {len(texts):,} prompts: {slots:,} padded slots, {nodes:,}"
        f" distinct prefixes, limit {limit:.1f}. CPU seconds. transformers pads batches of"
        f" {TRANSFORMERS_BATCH} to their longest."
    )
    return Table(title=f"Text: {title}", note=note, rows=rows)


def _ours(tower: CausalTextTower | None, tokenizer: FastBpe, prompts: ClassPrompts) -> Embeddings:
    assert tower is not None  # noqa: S101
    sequences, _ = tokenizer([text for sentences in prompts.values() for text in sentences])
    features = encode_sequences(tower, sequences)
    return _means(features, prompts)


def _of_clip_benchmark(model: Any, tokenizer: object, prompts: ClassPrompts, *, amp: bool) -> Embeddings:
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        columns: Tensor = zero_shot_classifier(model, tokenizer, list(prompts), dict(prompts), "cpu", amp=amp)
    return columns.T.float()


def _of_open_clip(model: Any, tokenizer: object, names: Sequence[str]) -> Embeddings:
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES
    columns: Tensor = open_clip.build_zero_shot_classifier(model, tokenizer, names, templates, num_classes_per_batch=1)
    return columns.T


def _of_transformers(model: CLIPModel, tokenizer: FastBpe, prompts: ClassPrompts) -> Embeddings:
    """Batches padded to their longest, as `padding=True` gives them; tokenized by ours, in its favour."""
    sequences, _ = tokenizer([text for sentences in prompts.values() for text in sentences])
    features = []
    for start in range(0, len(sequences), TRANSFORMERS_BATCH):
        batch = [torch.tensor(sequence) for sequence in sequences[start : start + TRANSFORMERS_BATCH]]
        rows = nn.utils.rnn.pad_sequence(batch, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in batch], batch_first=True)
        with torch.no_grad():
            features.append(model.get_text_features(input_ids=rows, attention_mask=mask).pooler_output)
    return _means(torch.cat(features), prompts)


def _means(features: Float[Tensor, "p d"], prompts: ClassPrompts) -> Embeddings:
    counts = [len(sentences) for sentences in prompts.values()]
    units = F.normalize(features, dim=-1)
    return torch.stack([F.normalize(part.mean(0), dim=0) for part in torch.split(units, counts)])


def _transformers_twin(model: Any) -> CLIPModel:
    """The same text tower as a model of transformers."""
    tower = find_causal_tower(model)
    if tower is None or tower.projection is None:
        raise SystemExit("the model has no text tower that transformers can hold")
    vocabulary, width = tower.token_embedding.shape
    text_config = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": model.transformer.resblocks[0].mlp.c_fc.out_features,
        "num_hidden_layers": len(tower.blocks),
        "num_attention_heads": tower.blocks[0].heads,
        "max_position_embeddings": len(tower.position_embedding),
        "hidden_act": "gelu",
        "eos_token_id": vocabulary - 1,
    }
    vision_config = {
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 64,
    }
    twin = CLIPModel(
        CLIPConfig(projection_dim=tower.embed_dim, text_config=text_config, vision_config=vision_config)
    ).eval()
    with torch.no_grad():
        text = twin.text_model
        text.embeddings.token_embedding.weight.copy_(tower.token_embedding)
        text.embeddings.position_embedding.weight.copy_(tower.position_embedding)
        text.final_layer_norm.load_state_dict(tower.final_norm.state_dict())
        twin.text_projection.weight.copy_(tower.projection)
        for layer, block in zip(text.encoder.layers, model.transformer.resblocks, strict=True):
            projections = (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
            for linear, weight, bias in zip(
                projections, block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3), strict=True
            ):
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
            for mine, theirs in (
                (layer.self_attn.out_proj, block.attn.out_proj),
                (layer.layer_norm1, block.ln_1),
                (layer.layer_norm2, block.ln_2),
                (layer.mlp.fc1, block.mlp.c_fc),
                (layer.mlp.fc2, block.mlp.c_proj),
            ):
                mine.load_state_dict(theirs.state_dict())
    return twin
