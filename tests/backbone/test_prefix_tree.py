"""The prefix tree gives what the model's own text encoder gives."""

import tracemalloc
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.coca_model import CoCa, MultimodalCfg
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP, convert_weights_to_lp
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextModelWithProjection, RobertaConfig, SiglipConfig, SiglipModel

from cupl_bench.backbone.prefix_tree import (
    _blocks,
    _matrix,
    _shared_lengths,
    _tree,
    encode_sequences,
    find_causal_tower,
    prove,
)
from cupl_bench.backbone.transformers_models import _features

CONTEXT, VOCABULARY = 77, 50
SOT, EOT = VOCABULARY - 2, VOCABULARY - 1
VISION = CLIPVisionCfg(layers=1, width=32, head_width=16, image_size=16, patch_size=8)


def open_clip_model(
    kind: type = CLIP, *, cast_dtype: torch.dtype | None = None, quick_gelu: bool = False, **text: Any
) -> Any:
    settings = {
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "width": 32,
        "heads": 4,
        "layers": 3,
        **text,
    }
    if unknown := set(text) - {field.name for field in fields(CLIPTextCfg)}:
        pytest.skip(f"this release of open_clip has no {', '.join(sorted(unknown))}")
    torch.manual_seed(0)
    model = kind(24, VISION, CLIPTextCfg(**settings), quick_gelu=quick_gelu, cast_dtype=cast_dtype).eval()
    return randomised(model)


def randomised(model: nn.Module) -> nn.Module:
    """Weights and biases far from their starting values, so that every part of a block counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.15)
    return model


def transformers_model(kind: type = CLIPModel, **text: Any) -> Any:
    config = CLIPConfig(
        projection_dim=24,
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": CONTEXT,
            "projection_dim": 24,
            "bos_token_id": SOT,
            "eos_token_id": EOT,
            "pad_token_id": EOT,
            **text,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 8,
        },
    )
    torch.manual_seed(0)
    return randomised(kind(config if kind is CLIPModel else config.text_config).eval())


def padded(sequences: list[list[int]], pad_id: int = 0) -> Tensor:
    rows = torch.full((len(sequences), CONTEXT), pad_id)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return rows


def difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    assert ours.dtype == torch.float32
    return float((F.normalize(ours, dim=-1) - F.normalize(theirs.float(), dim=-1)).abs().max())


MODEL = open_clip_model()
TOWER = find_causal_tower(MODEL)
assert TOWER is not None

bodies = st.lists(st.integers(0, 3) | st.integers(0, SOT - 1), max_size=CONTEXT - 2)
trees = st.lists(bodies, min_size=1, max_size=12)
"""Half of the tokens are one of four, so that beginnings are shared."""


@pytest.mark.slow
@settings(max_examples=60)
@given(trees, st.sampled_from([None, 1, 20, 100, 400]), st.booleans())
def test_random_trees(texts: list[list[int]], max_nodes: int | None, doubled: bool) -> None:
    sequences = [[SOT, *text, EOT] for text in texts] * (1 + doubled)
    ours = encode_sequences(TOWER, sequences, max_nodes=max_nodes)
    with torch.no_grad():
        assert difference(ours, MODEL.encode_text(padded(sequences))) < 2e-6


LONG = [SOT, *[i * 7 % SOT for i in range(CONTEXT - 2)], EOT]
CASES = {
    "empty prompt": [[SOT, EOT]],
    "one token": [[EOT]],
    "whole context": [LONG],
    "all equal": [[SOT, 3, 4, EOT]] * 7,
    "all different": [[i, 5, 6, EOT] for i in range(40)],
    "shared and unshared": [[SOT, 1, 2, 3, EOT], [SOT, 1, 2, EOT], [7, 1, 2, EOT], [SOT, 1, EOT], LONG],
    "one begins another": [[5], [5, 4, 7], [5, 4, 9, 3]],
    "end of text twice": [[SOT, 1, EOT, 2, EOT], [SOT, 1, EOT, 3, 3, EOT], [SOT, 1, EOT]],
    "highest id before the last": [[SOT, 1, EOT, 2, 3, 4]],
    "deep branches": [[SOT, *[1] * depth, 2, EOT] for depth in range(CONTEXT - 3)],
}
MODELS: dict[str, tuple[Callable[[], Any], int]] = {
    "CLIP": (open_clip_model, 0),
    "CLIP, QuickGELU": (lambda: open_clip_model(quick_gelu=True), 0),
    "CLIP, LayerScale": (lambda: open_clip_model(ls_init_value=0.5), 0),
    "CLIP, pool at an id": (lambda: open_clip_model(pool_type="eos", eos_id=EOT), 1),
    "CLIP, projection with a bias": (lambda: open_clip_model(proj_bias=True), 0),
    "CLIP, no projection": (lambda: open_clip_model(proj_type="none"), 0),
    "CLIP, another LayerNorm": (lambda: open_clip_model(norm_kwargs={"eps": 1e-2}), 0),
    "CLIP, other widths": (lambda: open_clip_model(width=48, heads=2, mlp_ratio=3.0), 0),
    "CustomTextCLIP": (lambda: open_clip_model(CustomTextCLIP), 0),
    "CustomTextCLIP, pool at an id": (lambda: open_clip_model(CustomTextCLIP, pool_type="eos", eos_id=EOT), 0),
    "transformers": (transformers_model, EOT),
    "transformers, GELU": (lambda: transformers_model(hidden_act="gelu"), 0),
    "transformers, old end id": (lambda: transformers_model(eos_token_id=2), EOT),
    "transformers, text alone": (lambda: transformers_model(CLIPTextModelWithProjection), EOT),
}
"""How each is built, and what its rows are filled with."""


@cache
def made(name: str) -> tuple[Any, int]:
    build, pad_id = MODELS[name]
    return build(), pad_id


def own_encoder(model: Any) -> Any:
    if isinstance(model, CLIPModel):
        return lambda rows: _features(model.get_text_features(input_ids=rows))
    if isinstance(model, CLIPTextModelWithProjection):
        return lambda rows: model(input_ids=rows).text_embeds
    return model.encode_text


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("case", CASES)
def test_each_model(name: str, case: str) -> None:
    model, pad_id = made(name)
    tower = find_causal_tower(model)
    assert tower is not None
    sequences = CASES[case]
    if tower.eot_id is not None and not all(tower.eot_id in sequence for sequence in sequences):
        with pytest.raises(ValueError, match="no end-of-text token"):
            encode_sequences(tower, sequences)
        return
    if pad_id == EOT and not all(EOT in sequence for sequence in sequences):
        pytest.skip("the padding would be the highest id")
    if case == "one begins another":
        sequences = [sequence for sequence in sequences if len(sequence) == 1 or sequence[0] != max(sequence)]
    with torch.no_grad():
        theirs = own_encoder(model)(padded(sequences, pad_id))
    assert difference(encode_sequences(tower, sequences), theirs) < 2e-6


@pytest.mark.parametrize("name", MODELS)
def test_proof(name: str) -> None:
    model, pad_id = made(name)
    tower = find_causal_tower(model)
    assert tower is not None
    assert prove(tower, own_encoder(model), context_length=CONTEXT, pad_id=pad_id) < 2e-6


@pytest.mark.parametrize("part", ["transformer.resblocks.1.ln_2", "transformer.resblocks.2.attn.out_proj", "ln_final"])
def test_proof_sees_a_model_that_does_something_else(part: str) -> None:
    model = open_clip_model()
    tower = find_causal_tower(model)
    assert tower is not None

    def encode(rows: Tensor) -> Tensor:
        with torch.no_grad():
            changed = open_clip_model()
            changed.get_submodule(part).weight.mul_(1.05)
            return changed.encode_text(rows)

    assert prove(tower, encode, context_length=CONTEXT, pad_id=0) > 1e-4


def test_proof_sees_attention_to_the_padding() -> None:
    blind, seeing = open_clip_model(), open_clip_model()
    seeing.attn_mask.zero_()
    tower = find_causal_tower(blind)
    assert tower is not None
    assert prove(tower, seeing.encode_text, context_length=CONTEXT, pad_id=0) > 1e-3


class _Subclass(CLIP):
    pass


class _ParallelBlock(ResidualAttentionBlock):
    def forward(self, q_x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        return q_x + self.attention(self.ln_1(q_x), attn_mask=attn_mask) + self.mlp(self.ln_2(q_x))


def _with(change: Any) -> Any:
    model = open_clip_model()
    change(model)
    return model


def _coca() -> Any:
    text = CLIPTextCfg(
        context_length=16,
        vocab_size=VOCABULARY,
        width=32,
        heads=4,
        layers=1,
        embed_cls=True,
        output_tokens=True,
    )
    multimodal = MultimodalCfg(context_length=16, width=32, heads=4, layers=1, vocab_size=VOCABULARY)
    return CoCa(
        24,
        multimodal,
        text,
        CLIPVisionCfg(
            layers=1,
            width=32,
            head_width=16,
            image_size=16,
            patch_size=8,
            attentional_pool=True,
            attn_pooler_heads=2,
            output_tokens=True,
        ),
    )


def _siglip() -> Any:
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return SiglipModel(SiglipConfig(text_config=tower, vision_config={**tower, "image_size": 16, "patch_size": 8}))


def _roberta() -> Any:
    model = open_clip_model(CustomTextCLIP)
    config = RobertaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    model.text = HFTextEncoder(
        "roberta", 24, config=config, pooler_type="mean_pooler", proj_type="linear", pretrained=False
    )
    return model


NOT_UNDERSTOOD = {
    "no causal mask": lambda: open_clip_model(no_causal_mask=True),
    "no causal mask, own text module": lambda: open_clip_model(CustomTextCLIP, no_causal_mask=True),
    "SigLIP of open_clip": lambda: open_clip_model(
        CustomTextCLIP, no_causal_mask=True, pool_type="last", proj_bias=True
    ),
    "causal, pool last": lambda: open_clip_model(pool_type="last"),
    "causal, pool first": lambda: open_clip_model(CustomTextCLIP, pool_type="first"),
    "class token": lambda: open_clip_model(CustomTextCLIP, embed_cls=True),
    "tokens beside the feature": lambda: open_clip_model(CustomTextCLIP, output_tokens=True),
    "CoCa": _coca,
    "SigLIP of transformers": _siglip,
    "text tower of transformers in open_clip": _roberta,
    "custom blocks": lambda: open_clip_model(block_type="custom"),
    "block of another order": lambda: _with(lambda model: model.transformer.resblocks.insert(1, _ParallelBlock(32, 4))),
    "norm of queries and keys": lambda: open_clip_model(qk_norm=True),
    "norm in the MLP": lambda: open_clip_model(scale_fc=True),
    "subclass": lambda: open_clip_model(_Subclass),
    "another mask": lambda: _with(lambda model: model.attn_mask[3].zero_()),
    "wrapped linear": lambda: _with(
        lambda model: setattr(model.transformer.resblocks[1].mlp, "c_fc", nn.Sequential(nn.Linear(32, 128)))
    ),
    "unknown activation": lambda: _with(
        lambda model: setattr(model.transformer.resblocks[1].mlp, "gelu", nn.Softmax(-1))
    ),
    "unknown norm": lambda: _with(lambda model: setattr(model.transformer.resblocks[0], "ln_1", nn.RMSNorm(32))),
    "no model of text": lambda: nn.Linear(2, 2),
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_none_where_not_understood(name: str) -> None:
    assert find_causal_tower(NOT_UNDERSTOOD[name]()) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pure", [True, False])
def test_half_precision(dtype: torch.dtype, pure: bool) -> None:
    model = open_clip_model(cast_dtype=None if pure else dtype)
    model.to(dtype) if pure else convert_weights_to_lp(model, dtype)
    tower = find_causal_tower(model)
    assert tower is not None
    assert tower.dtype == dtype
    with torch.no_grad():
        theirs = model.encode_text(padded(CASES["shared and unshared"]))
    allowed = 3e-2 if dtype == torch.bfloat16 else 4e-3
    assert difference(encode_sequences(tower, CASES["shared and unshared"]), theirs) < allowed


def _many() -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 20, (200,), generator=generator)
    return [[SOT, *torch.randint(0, 4, (int(n),), generator=generator).tolist(), EOT] for n in lengths]


def test_same_bits_each_time() -> None:
    assert torch.equal(encode_sequences(TOWER, _many()), encode_sequences(TOWER, _many()))


@pytest.mark.slow
@pytest.mark.parametrize("max_nodes", [1, 7, 64, 300, 10**6])
def test_block_size_changes_rounding_only(max_nodes: int) -> None:
    assert difference(encode_sequences(TOWER, _many(), max_nodes=max_nodes), encode_sequences(TOWER, _many())) < 1e-6


def test_order_is_that_of_the_sequences() -> None:
    sequences = _many()
    backwards = encode_sequences(TOWER, sequences[::-1])
    assert torch.equal(backwards.flip(0), encode_sequences(TOWER, sequences))


def test_each_prefix_is_computed_once() -> None:
    seen = []
    handle = MODEL.transformer.resblocks[0].mlp.register_forward_hook(
        lambda module, args, out: seen.append(len(args[0]))
    )
    sequences = _many()
    encode_sequences(TOWER, [*sequences, *sequences], max_nodes=10**6)
    handle.remove()
    nodes = len({tuple(sequence[:n]) for sequence in sequences for n in range(1, len(sequence) + 1)})
    assert len(seen) == 1
    assert nodes <= seen[0] < nodes * 1.03


def test_blocks_are_bounded() -> None:
    seen = []
    handle = MODEL.transformer.resblocks[0].mlp.register_forward_hook(
        lambda module, args, out: seen.append(len(args[0]))
    )
    encode_sequences(TOWER, _many(), max_nodes=200)
    handle.remove()
    assert len(seen) > 3
    assert max(seen) < 200 + 2 * CONTEXT


def test_progress_counts_rows() -> None:
    done: list[int] = []
    sequences = _many()
    encode_sequences(TOWER, sequences, max_nodes=100, on_progress=done.append)
    assert len(done) > 3
    assert done == sorted(done)
    assert done[-1] == len(sequences)


def test_no_sequences() -> None:
    assert encode_sequences(TOWER, []).shape == (0, 24)


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ([], "no end-of-text token"),
        ([SOT, 1, 2], "its highest id, 48, is its first"),
        ([*[1] * CONTEXT, EOT], "78 tokens up to its end of text; the tower reads 77"),
        ([SOT, VOCABULARY], "the tower knows 0 to 49"),
        ([-1, EOT], "token ids run from -1"),
    ],
)
def test_wrong_sequences_are_errors(sequence: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_sequences(TOWER, [[SOT, EOT], sequence])


def test_open_clip_of_a_published_architecture() -> None:
    config = open_clip.get_model_config("ViT-B-32")
    config["text_cfg"] |= {"width": 64, "heads": 2, "layers": 2}
    config["vision_cfg"] |= {"width": 64, "layers": 1}
    model = CLIP(**config).eval()
    tower = find_causal_tower(model)
    assert tower is not None
    assert prove(tower, model.encode_text, context_length=77, pad_id=0) < 2e-6


def test_trees_of_many_prompts_take_little_memory() -> None:
    generator = torch.Generator().manual_seed(3)
    sequences = {(SOT, *row, EOT) for row in torch.randint(0, 6, (20_000, 18), generator=generator).tolist()}
    distinct = sorted(sequences)
    tracemalloc.start()
    tokens, lengths = _matrix(distinct, TOWER)
    shared = _shared_lengths(tokens)
    for low, high in _blocks(lengths - shared, 2048):
        _tree(tokens[low:high], lengths[low:high], shared[low:high], 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
