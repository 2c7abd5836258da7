"""Class embeddings from prompts, side by side with three peers, on one thread in one run.

    python scripts/benchmark_text.py --prompts imagenet_prompts_base.json

Weights are random, which changes no time. The limit of a set is the number of token slots that the peers
encode, padded to the context, over the number of distinct token prefixes. A share of the limit compares with
CLIP_benchmark at the same precision (fp32: amp off; bf16: its default, autocast to bf16).
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from clip_benchmark.metrics.zeroshot_classification import zero_shot_classifier
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.backbone.prefix_tree import CausalTextTower, encode_sequences, find_causal_tower

ClassPrompts = Mapping[str, Sequence[str]]
Embeddings = Float[Tensor, "c d"]

TRANSFORMERS_BATCH = 64


def main() -> None:
    """Prints a table for each set of prompts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, help="a CuPL file: class name -> sentences")
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)

    names = [str(name) for name in open_clip.IMAGENET_CLASSNAMES[:: 1000 // arguments.classes][: arguments.classes]]
    templates = list(open_clip.OPENAI_IMAGENET_TEMPLATES)
    sets: dict[str, ClassPrompts] = {
        f"{len(templates)} templates": {name: [template(name) for template in templates] for name in names}
    }
    if arguments.prompts is not None:
        content = json.loads(arguments.prompts.read_text())
        sets[arguments.prompts.name] = {name: content[name] for name in list(content)[: arguments.classes]}
    models = {precision: _model(arguments.model, precision) for precision in ("fp32", "bf16")}
    for title, prompts in sets.items():
        _compare(title, prompts, models, arguments.model, arguments.repeats)


def _model(name: str, precision: str) -> nn.Module:
    """The model as the peer loads it: parameters ask for gradients, or autocast would not keep its casts."""
    torch.manual_seed(0)
    return open_clip.create_model(name, precision=precision).eval()


def _compare(title: str, prompts: ClassPrompts, models: Mapping[str, nn.Module], name: str, repeats: int) -> None:
    tokenizer = open_clip.get_tokenizer(name)
    fast = FastBpe.from_tokenizer(tokenizer)
    towers = {precision: find_causal_tower(model) for precision, model in models.items()}
    if fast is None or towers["fp32"] is None or towers["bf16"] is None:
        raise SystemExit(f"{name} has no causal text tower with open_clip's own tokenizer.")
    texts = [text for sentences in prompts.values() for text in sentences]
    sequences, _ = fast(texts)
    slots = len(texts) * tokenizer.context_length
    nodes = len({sequence[:end] for sequence in set(sequences) for end in range(1, len(sequence) + 1)})
    limit = slots / nodes
    print(f"\n{title}: {len(prompts)} classes, {len(texts)} prompts, {slots} slots, {nodes} nodes, limit {limit:.2f}")

    twin = _transformers_twin(models["fp32"])
    model = models["fp32"]
    peer = "CLIP_benchmark fp32", "CLIP_benchmark bf16"
    ways: dict[str, Callable[[], Embeddings]] = {
        peer[0]: lambda: _of_clip_benchmark(model, tokenizer, prompts, amp=False),
        peer[1]: lambda: _of_clip_benchmark(model, tokenizer, prompts, amp=True),
        "transformers fp32": lambda: _of_transformers(twin, fast, prompts),
        "cupl_bench fp32": lambda: _ours(towers["fp32"], fast, prompts),
        "cupl_bench bf16": lambda: _ours(towers["bf16"], fast, prompts),
    }
    if len({tuple(text.replace(name, "{}") for text in sentences) for name, sentences in prompts.items()}) == 1:
        ways["open_clip fp32"] = lambda: _of_open_clip(model, tokenizer, list(prompts))

    seconds: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, Embeddings] = {}
    for _ in range(repeats):  # in turn, so that a slower minute of the machine falls on all of them
        for way, embed in ways.items():
            started = time.perf_counter()
            found[way] = embed()
            seconds[way].append(time.perf_counter() - started)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    print(f"{'':22}{'seconds':>9}{'fastest':>9}{'ratio':>8}{'share of limit':>16}{'max abs diff':>14}")
    for way, median in medians.items():
        same_precision = peer[1] if way.endswith("bf16") else peer[0]
        ratio = medians[same_precision] / median
        diff = float((found[way] - found[peer[0]]).abs().max())
        print(f"{way:22}{median:9.2f}{min(seconds[way]):9.2f}{ratio:8.2f}{ratio / limit:16.2f}{diff:14.1e}")


def _ours(tower: CausalTextTower | None, tokenizer: FastBpe, prompts: ClassPrompts) -> Embeddings:
    assert tower is not None  # noqa: S101
    sequences, _ = tokenizer([text for sentences in prompts.values() for text in sentences])
    features = encode_sequences(tower, sequences)
    return _means(features, prompts)


def _of_clip_benchmark(model: nn.Module, tokenizer: object, prompts: ClassPrompts, *, amp: bool) -> Embeddings:
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        columns = zero_shot_classifier(model, tokenizer, list(prompts), dict(prompts), "cpu", amp=amp)
    return columns.T.float()


def _of_open_clip(model: nn.Module, tokenizer: object, names: Sequence[str]) -> Embeddings:
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES
    return open_clip.build_zero_shot_classifier(model, tokenizer, names, templates, num_classes_per_batch=1).T


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
    return torch.stack([F.normalize(part.mean(0), dim=0) for part in units.split(counts)])


def _transformers_twin(model: nn.Module) -> CLIPModel:
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


if __name__ == "__main__":
    main()
