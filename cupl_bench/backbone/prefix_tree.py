"""Text features from the tree of all token prefixes: each distinct prefix is computed once.

A causal text tower reads its feature at the end-of-text token, so what follows that token cannot matter, and
two prompts that begin alike share the computation of their beginning. The distinct sequences, sorted, are the
paths of a tree: a node is a distinct prefix, its position is its depth, and it attends to its ancestors and
itself.

Nodes are numbered in the order of the sorted sequences (parents before children, subtrees contiguous), so
node ``k`` is an ancestor of node ``q``, or ``q`` itself, exactly if ``k <= q <= end[k]``, where ``end[k]`` is
the last node of the subtree of ``k``. The linear layers see the nodes of a block as one matrix. Attention
sees them in short rows: the keys of a row are its own nodes and the ancestors of its first node, which are
the only ones outside of it that its queries can see.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cupl_bench.backbone.products import quick_products

__all__ = ["Block", "CausalTextTower", "encode_sequences", "find_causal_tower", "prove"]

Array = np.ndarray

ROW_NODES = {"cpu": 32}
ROW_NODES_ELSEWHERE = 128
"""Queries in a row of attention: measured best on a CPU; a GPU prefers fewer and longer rows."""

BLOCK_BYTES = {"cpu": 2**25}
BLOCK_BYTES_ELSEWHERE = 2**31
"""Activations of a block: near the caches on a CPU, enough to fill a GPU."""

NODE_CHANNELS = 16
"""Activations of a node alive at once, in multiples of the width."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A pre-norm residual block: attention, then an MLP.

    ``qkv_weight``: rows of the queries, then the keys, then the values. ``scale_1``, ``scale_2``: LayerScale
    or nothing. Whatever works node by node is the model's own module, so that its dtype rules stay its own.
    """

    norm_1: nn.Module
    qkv_weight: Float[Tensor, "three_w w"]
    qkv_bias: Float[Tensor, " three_w"]
    heads: int
    out: nn.Module
    scale_1: nn.Module
    norm_2: nn.Module
    mlp: nn.Module
    scale_2: nn.Module


@dataclass(frozen=True, kw_only=True, eq=False)
class CausalTextTower:
    """A causal text tower that pools at the end of the text.

    It shares the model's parameters (for transformers, a copy of the queries', keys' and values'), so it is
    found after the model has its device and dtype. ``projection``: as the weight of a linear layer.
    ``eot_id``: the id that is pooled at, in its first place; None if that is the highest id of each sequence.
    """

    token_embedding: Float[Tensor, "v w"]
    position_embedding: Float[Tensor, "t w"]
    blocks: tuple[Block, ...]
    final_norm: nn.Module
    projection: Float[Tensor, "d w"] | None
    projection_bias: Float[Tensor, " d"] | None
    eot_id: int | None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the linear layers compute in."""
        return self.blocks[0].qkv_weight.dtype

    @property
    def device(self) -> torch.device:
        """Return the device on which the tower computes."""
        return self.token_embedding.device

    @property
    def embed_dim(self) -> int:
        """Width of a feature."""
        return self.position_embedding.shape[1] if self.projection is None else self.projection.shape[0]

    def pooled_length(self, sequence: Sequence[int]) -> int:
        """Return how many tokens of the sequence its feature depends on.

        Raises:
            ValueError: the sequence is empty or does not end its text.
        """
        try:
            place = sequence.index(max(sequence) if self.eot_id is None else self.eot_id)
        except ValueError:
            raise ValueError(f"a sequence of {len(sequence)} tokens has no end-of-text token {self.eot_id}") from None
        if self.eot_id is None and place == 0 and len(sequence) > 1:
            raise ValueError(
                f"a sequence of {len(sequence)} tokens has no end-of-text token: its highest id,"
                f" {sequence[0]}, is its first, whose feature says nothing of the rest"
            )
        return place + 1


@torch.no_grad()
def encode_sequences(
    tower: CausalTextTower,
    sequences: Sequence[Sequence[int]],
    *,
    max_nodes: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Float[Tensor, "p d"]:
    """Return the projected text feature of each sequence, not scaled, in float32 on the tower's device.

    Row i is what the model's own text encoder gives for ``sequences[i]`` padded to its context length, but
    for rounding. Sequences may repeat and may begin one another.

    Args:
        tower: the text tower.
        sequences: token ids without padding, of any lengths up to the context length.
        max_nodes: about how many nodes are computed at once; None chooses by device and width.
        on_progress: is called with the number of finished rows after each block.

    Raises:
        ValueError: a sequence has no end-of-text token, is too long, or holds an id out of range.
    """
    features = torch.empty(len(sequences), tower.embed_dim, dtype=torch.float32, device=tower.device)
    if not sequences:
        return features
    cut = [tuple(sequence[: tower.pooled_length(sequence)]) for sequence in sequences]
    distinct = sorted(set(cut))
    place = {sequence: i for i, sequence in enumerate(distinct)}
    owner = np.fromiter((place[sequence] for sequence in cut), np.int64, len(cut))
    rows = np.argsort(owner, kind="stable")  # grouped by sequence, in the order of the distinct ones
    first_row = np.searchsorted(owner[rows], np.arange(len(distinct) + 1))
    tokens, lengths = _matrix(distinct, tower)
    del cut, place, distinct
    shared = _shared_lengths(tokens)
    if max_nodes is None:
        budget = BLOCK_BYTES.get(tower.device.type, BLOCK_BYTES_ELSEWHERE)
        max_nodes = budget // (NODE_CHANNELS * tower.position_embedding.shape[1] * 4)
    row_nodes = ROW_NODES.get(tower.device.type, ROW_NODES_ELSEWHERE)
    for low, high in _blocks(lengths - shared, max_nodes):
        tree = _tree(tokens[low:high], lengths[low:high], shared[low:high], row_nodes)
        block_rows = rows[first_row[low] : first_row[high]]
        of_row = torch.from_numpy(owner[block_rows] - low).to(tower.device)
        with quick_products([tower.blocks[0].qkv_weight]):
            found = _forward(tower, tree)
        features[torch.from_numpy(block_rows).to(tower.device)] = found[of_row]
        if on_progress is not None:
            on_progress(int(first_row[high]))
    return features


def prove(
    tower: CausalTextTower, encode_padded: Callable[[Tensor], Tensor], *, context_length: int, pad_id: int
) -> float:
    """Return the largest difference of a unit feature between the tree and the model's encoder, on a few prompts.

    The prompts have one token, a few and as many as the context holds; they share beginnings, branch, and end twice.
    There are five of them, since each is a padded row of the model's own encoder: ten took half of a model's loading.

    Args:
        tower: the text tower.
        encode_padded: the model's own encoder, padded ids (p, context_length) to features.
        context_length: width of its rows.
        pad_id: what fills them.
    """
    vocabulary = len(tower.token_embedding)
    eot = vocabulary - 1 if tower.eot_id is None else tower.eot_id
    words = [id for id in range(min(vocabulary, 4096)) if id not in (eot, pad_id)]
    text = [words[i * 37 % len(words)] for i in range(context_length)]
    lengths = sorted({min(length, context_length - 1) for length in (0, 5, context_length - 1)})
    prompts = [[*text[:length], eot] for length in lengths]
    prompts += [[*text[: length // 2], words[-1], *text[length // 2 + 1 : length], eot] for length in lengths[1:][-1:]]
    prompts += [[*text[:1], eot, *text[1:2], eot][:context_length]]
    padded = torch.full((len(prompts), context_length), pad_id, dtype=torch.long)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    with torch.no_grad():
        theirs = F.normalize(encode_padded(padded.to(tower.device)).to(tower.device, torch.float32), dim=-1)
    ours = F.normalize(encode_sequences(tower, prompts), dim=-1)
    return float((ours - theirs).abs().max())


def _matrix(distinct: Sequence[tuple[int, ...]], tower: CausalTextTower) -> tuple[Int[Array, "s t"], Int[Array, " s"]]:
    """Return the sequences as rows filled up with -1, and their lengths."""
    lengths = np.fromiter(map(len, distinct), np.int64, len(distinct))
    if lengths.max() > len(tower.position_embedding):
        raise ValueError(
            f"a sequence has {lengths.max()} tokens up to its end of text;"
            f" the tower reads {len(tower.position_embedding)}"
        )
    ids = np.fromiter(chain.from_iterable(distinct), np.int32, int(lengths.sum()))
    if ids.min() < 0 or ids.max() >= len(tower.token_embedding):
        raise ValueError(
            f"token ids run from {ids.min()} to {ids.max()}; the tower knows 0 to {len(tower.token_embedding) - 1}"
        )
    tokens = np.full((len(distinct), lengths.max()), -1, np.int32)
    tokens[np.arange(lengths.max()) < lengths[:, None]] = ids
    return tokens, lengths


def _shared_lengths(tokens: Int[Array, "s t"]) -> Int[Array, " s"]:
    """Return how many tokens each sequence shares with the one before it; 0 for the first."""
    shared = np.zeros(len(tokens), np.int64)
    # Neighbours are different, so the first place where they differ exists.
    shared[1:] = (tokens[1:] != tokens[:-1]).argmax(axis=1)
    return shared


def _blocks(new_nodes: Int[Array, " s"], max_nodes: int) -> list[tuple[int, int]]:
    """Return ranges of sequences with about equal numbers of new nodes, at most about ``max_nodes`` each."""
    ends = new_nodes.cumsum()
    count = -(-int(ends[-1]) // max_nodes)
    block = (ends - 1) * count // int(ends[-1])
    borders = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(new_nodes)]
    return list(pairwise(borders))


@dataclass(frozen=True, kw_only=True)
class _Tree:
    """The nodes of a block; the last few are fillers of the last row, which nothing sees.

    ``keys``: the nodes that each row attends to. ``key_ends``: the last node of the subtree of each, -1 for a
    filler. ``leaves``: the last node of each sequence.
    """

    tokens: Int[Array, " n"]
    depths: Int[Array, " n"]
    keys: Int[Array, "rows keys"]
    key_ends: Int[Array, "rows keys"]
    leaves: Int[Array, " s"]


def _tree(tokens: Int[Array, "s t"], lengths: Int[Array, " s"], shared: Int[Array, " s"], row_nodes: int) -> _Tree:
    """Return the tree of a block of sorted sequences, in rows of at most ``row_nodes``."""
    depths = np.arange(int(lengths.max()))
    tokens, shared = tokens[:, : len(depths)], shared.copy()
    shared[0] = 0
    leaves = (lengths - shared).cumsum() - 1
    starts = leaves - (lengths - shared) + 1
    # The node of sequence s at depth d is new with the last sequence up to s that shares at most d tokens.
    sequence = np.arange(len(lengths))[:, None]
    new_with = np.maximum.accumulate(np.where(shared[:, None] <= depths, sequence, 0), axis=0)
    paths = starts[new_with] + depths - shared[new_with]

    rows = -(-(int(leaves[-1]) + 1) // row_nodes)
    queries = -(-(int(leaves[-1]) + 1) // rows)  # rows of one length, with fewer fillers than rows
    node_tokens, node_depths = np.zeros(rows * queries, np.int64), np.zeros(rows * queries, np.int64)
    ends = np.arange(rows * queries)
    on_path = depths < lengths[:, None]
    nodes = paths[on_path]
    node_tokens[nodes] = tokens[on_path]
    node_depths[nodes] = np.broadcast_to(depths, tokens.shape)[on_path]
    ends[nodes] = np.repeat(leaves, lengths)  # of the sequences through a node the last one is written last

    firsts = np.arange(rows) * queries
    is_ancestor = depths < node_depths[firsts][:, None]
    ancestors = np.where(is_ancestor, paths[np.searchsorted(leaves, firsts)], 0)
    above = int(node_depths[firsts].max())
    own = firsts[:, None] + np.arange(queries)
    filler = np.zeros((rows, -(above + queries) % 8), np.int64)  # GPU kernels want a multiple of 8 keys
    return _Tree(
        tokens=node_tokens,
        depths=node_depths,
        keys=np.concatenate([ancestors[:, :above], own, filler], axis=1),
        key_ends=np.concatenate([np.where(is_ancestor, ends[ancestors], -1)[:, :above], ends[own], filler - 1], axis=1),
        leaves=leaves,
    )


def _forward(tower: CausalTextTower, tree: _Tree) -> Float[Tensor, "s d"]:
    """Return the features of the leaves, computed in the tower's dtype and given in float32."""
    tokens, depths, keys, key_ends, leaves = (
        torch.from_numpy(array).to(tower.device)
        for array in (tree.tokens, tree.depths, tree.keys, tree.key_ends, tree.leaves)
    )
    rows = len(keys)
    bias = _attention_bias(keys, key_ends, len(tokens) // rows, tower.dtype)
    # The sum of all blocks is kept in float32, as autocast does: half the rounding, and no time to speak of.
    x = tower.token_embedding[tokens].float() + tower.position_embedding[depths].float()
    for block in tower.blocks:
        width = x.shape[1]
        qkv = F.linear(_normed(block.norm_1, x, tower.dtype), block.qkv_weight, block.qkv_bias)
        q = qkv[:, :width].view(rows, -1, block.heads, width // block.heads).transpose(1, 2)
        keys_values = qkv[:, width:].index_select(0, keys.flatten())
        k, v = keys_values.view(rows, -1, 2, block.heads, width // block.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).reshape(-1, width)
        if block is tower.blocks[-1]:  # nothing but the leaves is read from here on
            x, seen = x[leaves], seen[leaves]
        x = x + block.scale_1(block.out(seen))
        x = x + block.scale_2(block.mlp(_normed(block.norm_2, x, tower.dtype)))
    x = _normed(tower.final_norm, x, torch.float32)
    if tower.projection is not None:
        added = None if tower.projection_bias is None else tower.projection_bias.float()
        x = F.linear(x, tower.projection.float(), added)
    return x


def _normed(norm: nn.Module, x: Float[Tensor, "n w"], dtype: torch.dtype) -> Float[Tensor, "n w"]:
    """Return the norm of ``x`` in the dtype of its own weights, given in ``dtype``."""
    own = next((parameter.dtype for parameter in norm.parameters()), dtype)
    normed: Tensor = norm(x.to(own))
    return normed.to(dtype)


def _attention_bias(
    keys: Int[Tensor, "rows keys"], key_ends: Int[Tensor, "rows keys"], queries: int, dtype: torch.dtype
) -> Float[Tensor, "rows 1 queries keys"]:
    """Return 0 where a query sees a key, which is an ancestor or itself, and minus infinity elsewhere."""
    query = torch.arange(len(keys) * queries, device=keys.device).view(len(keys), queries, 1)
    seen = (keys[:, None, :] <= query) & (query <= key_ends[:, None, :])
    return torch.zeros(seen.shape, dtype=dtype, device=keys.device).masked_fill_(~seen, -math.inf)[:, None]


def find_causal_tower(model: nn.Module) -> CausalTextTower | None:
    """Return the model's text tower if each part of it is understood and the tree is exact for it, else None.

    Decided by structure alone: exact types of the modules, a causal mask, pooling at the end of the text, no
    class token, plain pre-norm attention blocks. What a name says is not looked at. Parameters that were
    moved or cast afterwards need a new tower.
    """
    return _tower_of_open_clip(model) or _tower_of_transformers(model)


def _tower_of_open_clip(model: Any) -> CausalTextTower | None:
    """Return the text tower of a model of open_clip, or None.

    Source: open_clip 3.3.0, `CLIP.encode_text`, `TextTransformer.forward`, `ResidualAttentionBlock`.
    """
    models, parts = _loaded("open_clip.model"), _loaded("open_clip.transformer")
    if models is None or parts is None:
        return None
    if type(model) is models.CLIP:
        text, pool_type = model, model.text_pool_type
    elif type(model) is models.CustomTextCLIP and type(model.text) is parts.TextTransformer:
        text = model.text
        if text.cls_emb is not None or text.output_tokens:
            return None
        pool_type = text.pool_type
    else:
        return None
    # Releases before the pooling at an id have no such attribute, and need none.
    eos_id = None
    if pool_type == "eos":
        eos_id = model.text_eos_id if text is model else text.eos_id
    norms = (nn.LayerNorm, parts.LayerNorm, parts.LayerNormFp32)
    if (
        pool_type not in ("argmax", "eos")
        or not _is_causal(text.attn_mask)
        or type(text.transformer) is not parts.Transformer
        or type(text.token_embedding) is not nn.Embedding
        or type(text.ln_final) not in norms
    ):
        return None
    blocks = []
    for block in text.transformer.resblocks:
        if (
            type(block) is not parts.ResidualAttentionBlock
            or type(block.attn) is not nn.MultiheadAttention
            or block.attn.in_proj_weight is None
            or block.attn.in_proj_bias is None
            or block.attn.bias_k is not None
            or block.attn.add_zero_attn
            or not {type(block.ln_1), type(block.ln_2)} <= {*norms}
            or not {type(block.ls_1), type(block.ls_2)} <= {nn.Identity, parts.LayerScale}
            or [type(part) for part in block.mlp]
            not in ([nn.Linear, act, nn.Linear] for act in (nn.GELU, parts.QuickGELU))
        ):
            return None
        blocks.append(
            Block(
                norm_1=block.ln_1,
                qkv_weight=block.attn.in_proj_weight,
                qkv_bias=block.attn.in_proj_bias,
                heads=block.attn.num_heads,
                out=block.attn.out_proj,
                scale_1=block.ls_1,
                norm_2=block.ln_2,
                mlp=block.mlp,
                scale_2=block.ls_2,
            )
        )
    projection = text.text_projection
    weight: Tensor | None
    bias: Tensor | None
    if type(projection) is nn.Linear:
        weight, bias = projection.weight, projection.bias
    elif projection is None or isinstance(projection, nn.Parameter):
        weight, bias = None if projection is None else projection.detach().T, None
    else:
        return None
    return CausalTextTower(
        token_embedding=text.token_embedding.weight,
        position_embedding=text.positional_embedding,
        blocks=tuple(blocks),
        final_norm=text.ln_final,
        projection=weight,
        projection_bias=bias,
        eot_id=eos_id,
    )


def _tower_of_transformers(model: Any) -> CausalTextTower | None:
    """Return the text tower of a model of transformers, or None.

    Source: transformers 5.23, `CLIPTextModel.forward`, `CLIPEncoderLayer`, `get_text_features`.
    """
    parts, activations = (
        _loaded("transformers.models.clip.modeling_clip"),
        _loaded("transformers.activations"),
    )
    if parts is None or activations is None:
        return None
    if type(model) not in (parts.CLIPModel, parts.CLIPTextModelWithProjection):
        return None
    text = model.text_model
    pointwise = {activations.GELUActivation, activations.QuickGELUActivation, nn.GELU}
    if type(text.final_layer_norm) is not nn.LayerNorm or type(model.text_projection) is not nn.Linear:
        return None
    blocks = []
    for layer in text.encoder.layers:
        attention, mlp = layer.self_attn, layer.mlp
        linears = [attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj, mlp.fc1, mlp.fc2]
        if (
            type(layer) is not parts.CLIPEncoderLayer
            or type(attention) is not parts.CLIPAttention
            or type(mlp) is not parts.CLIPMLP
            or type(mlp.activation_fn) not in pointwise
            or {type(linear) for linear in linears} != {nn.Linear}
            or {type(layer.layer_norm1), type(layer.layer_norm2)} != {nn.LayerNorm}
        ):
            return None
        blocks.append(
            Block(
                norm_1=layer.layer_norm1,
                qkv_weight=torch.cat([linear.weight.detach() for linear in linears[:3]]),
                qkv_bias=torch.cat([linear.bias.detach() for linear in linears[:3]]),
                heads=attention.num_heads,
                out=attention.out_proj,
                scale_1=nn.Identity(),
                norm_2=layer.layer_norm2,
                mlp=mlp,
                scale_2=nn.Identity(),
            )
        )
    return CausalTextTower(
        token_embedding=text.embeddings.token_embedding.weight,
        position_embedding=text.embeddings.position_embedding.weight,
        blocks=tuple(blocks),
        final_norm=text.final_layer_norm,
        projection=model.text_projection.weight,
        projection_bias=model.text_projection.bias,
        # Configurations with the id 2 are older than the pooling at an id: the model takes the highest one.
        eot_id=None if text.eos_token_id == 2 else text.eos_token_id,
    )


def _loaded(name: str) -> ModuleType | None:
    """Return a module that is imported already: without it there is no instance of its classes to be recognised."""
    return sys.modules.get(name)


def _is_causal(mask: Tensor | None) -> bool:
    return mask is not None and torch.equal(mask.float().cpu(), torch.full(mask.shape, -math.inf).triu(1))
