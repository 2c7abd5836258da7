import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from cupl_bench.backbone import products
from cupl_bench.backbone.prefix_tree import encode_sequences, find_causal_tower
from cupl_bench.backbone.products import linear_weights, quick_products

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
WIDTH = 512


@pytest.fixture
def _slow_mkl(monkeypatch):
    """Say that MKL is slow here, whatever the processor."""
    monkeypatch.setattr(products, "_mkl_falls_short", lambda: True)


@pytest.fixture(scope="module")
def clip():
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    tower = {"width": WIDTH, "layers": 2}
    model = open_clip.model.CLIP(
        embed_dim=64,
        vision_cfg={**tower, "image_size": 32, "patch_size": 16, "head_width": 64},
        text_cfg={**tower, "context_length": 12, "vocab_size": 50, "heads": 8},
    )
    return model.eval()


def count_products(monkeypatch):
    """Return a list that grows with each product that oneDNN computes."""
    seen, own = [], products._linear
    monkeypatch.setattr(products, "_linear", lambda *given: (seen.append(1), own(*given))[1])
    return seen


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
def test_a_tower_gives_the_features_that_it_gives_without(clip, monkeypatch):
    images, ids = torch.randn(3, 3, 32, 32), torch.randint(1, 49, (3, 12))
    ids[:, 7] = 49
    seen = count_products(monkeypatch)
    for encode, given in ((clip.encode_image, images), (clip.encode_text, ids)):
        with torch.inference_mode():
            plain = F.normalize(encode(given), dim=-1)
            assert not seen
            with quick_products(linear_weights(clip)):
                quick = F.normalize(encode(given), dim=-1)
        # Two blocks, each with the inputs and the outputs of attention and two layers of the MLP.
        assert len(seen) == 8
        assert (plain - quick).abs().max() < 1e-6
        seen.clear()


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
@pytest.mark.filterwarnings("ignore:TF32")
def test_the_prefix_tree_uses_it(clip, monkeypatch):
    tower = find_causal_tower(clip)
    sequences = [(1, 2, 3, 49), (1, 2, 4, 49)]
    with torch.backends.mkldnn.flags(enabled=False):
        plain = F.normalize(encode_sequences(tower, sequences), dim=-1)
    seen = count_products(monkeypatch)
    quick = F.normalize(encode_sequences(tower, sequences), dim=-1)
    assert len(seen) > 8
    assert (plain - quick).abs().max() < 1e-6


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
@pytest.mark.parametrize("rows", [(5,), (2, 5), (0,), ()])
@pytest.mark.parametrize("biased", [True, False])
def test_a_product_has_the_shape_and_values_of_pytorchs(rows, biased):
    layer = nn.Linear(WIDTH, WIDTH, bias=biased)
    given = torch.randn(*rows, WIDTH)
    with torch.no_grad():
        plain = layer(given)
        with quick_products(linear_weights(layer)):
            quick = layer(given)
    torch.testing.assert_close(quick, plain)
    assert quick.is_contiguous()
    assert not quick.is_mkldnn


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
@pytest.mark.parametrize(
    ("rows", "weight", "bias"),
    [
        ((1, 2, 1, 2, 1), (WIDTH, WIDTH), None),
        ((2,), (WIDTH,), None),
        ((2,), (0, WIDTH), (0,)),
        ((2,), (WIDTH, WIDTH), (1,)),
        ((2,), (WIDTH, WIDTH), (2, WIDTH)),
    ],
)
def test_what_onednn_does_not_take_is_left_to_pytorch(rows, weight, bias):
    given = [torch.randn(*rows, WIDTH), torch.randn(weight), None if bias is None else torch.randn(bias)]
    plain = F.linear(*given)
    with torch.no_grad(), quick_products([torch.empty(WIDTH, WIDTH)]):
        assert torch.equal(F.linear(*given), plain)


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
@pytest.mark.parametrize(
    ("asked", "plain"),
    [
        ({"need_weights": False}, True),
        ({"need_weights": False, "attn_mask": torch.full((4, 4), -torch.inf).triu(1)}, True),
        ({"need_weights": False, "attn_mask": torch.full((4, 4), -torch.inf).triu(1), "is_causal": True}, False),
        ({"need_weights": False, "attn_mask": torch.zeros(8 * 3, 4, 4)}, False),
        ({"need_weights": False, "key_padding_mask": torch.tensor([[False] * 3 + [True]] * 3)}, False),
        ({"need_weights": True}, False),
    ],
)
def test_attention_is_computed_here_only_where_it_is_plain(asked, plain, monkeypatch):
    layer = nn.MultiheadAttention(WIDTH, 8, batch_first=True).eval()
    given = torch.randn(3, 4, WIDTH)
    with torch.no_grad():
        expected, expected_weights = layer(given, given, given, **asked)
        seen = count_products(monkeypatch)
        with quick_products(linear_weights(layer)):
            found, weights = layer(given, given, given, **asked)
    assert bool(seen) == plain
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights, expected_weights)


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
def test_attention_between_two_sequences_and_with_dropout_is_left_to_pytorch(monkeypatch):
    layer = nn.MultiheadAttention(WIDTH, 8, dropout=0.5)
    one, other = torch.randn(4, 3, WIDTH), torch.randn(5, 3, WIDTH)
    seen = count_products(monkeypatch)
    with torch.no_grad(), quick_products(linear_weights(layer)):
        layer.train()(one, one, one, need_weights=False)
        layer.eval()(one, other, other, need_weights=False)
    assert not seen


@pytest.mark.usefixtures("_slow_mkl")
@pytest.mark.parametrize(
    "weights",
    [
        [],
        [torch.empty(511, 512)],
        [torch.empty(512, 512, dtype=torch.bfloat16)],
        [torch.empty(512, 512, dtype=torch.float64)],
        [torch.empty(512, 512, device="meta")],
    ],
)
def test_other_models_are_left_as_they_are(weights):
    with quick_products(weights) as mode:
        assert mode is None


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
def test_a_mixed_model_keeps_its_other_dtypes():
    half = nn.Linear(8, 8, dtype=torch.bfloat16)
    attention = nn.MultiheadAttention(8, 2, dtype=torch.bfloat16).eval()
    given = torch.ones(2, 1, 8, dtype=torch.bfloat16)
    with torch.no_grad(), quick_products([torch.empty(512, 512)]) as mode:
        assert isinstance(mode, TorchFunctionMode)
        assert half(given).dtype == torch.bfloat16
        assert attention(given, given, given, need_weights=False)[0].dtype == torch.bfloat16


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
def test_autocast_keeps_its_dtype_and_bits(monkeypatch):
    """A training loop may evaluate its model inside it."""
    layer, attention = nn.Linear(WIDTH, WIDTH), nn.MultiheadAttention(WIDTH, 8).eval()
    given = torch.randn(3, 2, WIDTH)
    seen = count_products(monkeypatch)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain, attended = layer(given), attention(given, given, given, need_weights=False)[0]
        with quick_products(linear_weights(layer)):
            assert torch.equal(layer(given), plain)
            assert torch.equal(attention(given, given, given, need_weights=False)[0], attended)
    assert plain.dtype == torch.bfloat16
    assert not seen


@needs_onednn
@pytest.mark.usefixtures("_slow_mkl")
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_weights_are_left_to_pytorch():
    large, sparse = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
    sparse.weight = nn.Parameter(sparse.weight.detach().to_sparse_csr())
    given = torch.randn(3, WIDTH)
    with torch.no_grad():
        plain = sparse(given)
        with quick_products([large.weight]):
            assert torch.equal(sparse(given), plain)
        with quick_products(linear_weights(sparse)) as mode:
            assert mode is None


@needs_onednn
@pytest.mark.slow
@pytest.mark.usefixtures("_slow_mkl")
def test_a_compiled_part_of_a_model_computes_as_it_was_compiled(monkeypatch):
    """A model in memory may have one; PyTorch's compiler takes no tensors of oneDNN."""
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), torch.compile(nn.Linear(WIDTH, WIDTH), backend="aot_eager"))
    given = torch.randn(3, WIDTH)
    with torch.no_grad():
        plain = model(given)
        seen = count_products(monkeypatch)
        with quick_products(linear_weights(model)):
            torch.testing.assert_close(model(given), plain)
    assert len(seen) == 1, "of the part that is not compiled"


@pytest.mark.usefixtures("_slow_mkl")
def test_large_embeddings_do_not_count():
    """Those of open_clip's models stay in float32 where all else is in half precision."""
    model = nn.Sequential(nn.Embedding(5000, 64), nn.MultiheadAttention(64, 2), nn.Linear(64, 64))
    assert sum(weight.numel() for weight in linear_weights(model)) == 64 * 64 * 5
    with quick_products(linear_weights(model)) as mode:
        assert mode is None


@pytest.mark.usefixtures("_slow_mkl")
def test_a_small_tower_is_judged_without_the_large_one():
    """Loaded alone, it has to give the same features to the last bit."""
    model = nn.ModuleDict({"visual": nn.Linear(512, 512), "text": nn.Linear(64, 64)})
    assert [len(weight) for weight in linear_weights(model, ["visual"])] == [64]
    with quick_products(linear_weights(model, ["visual"])) as mode:
        assert mode is None


@pytest.mark.parametrize(
    ("processor", "capability", "short"),
    [
        ("vendor_id : AuthenticAMD", "AVX512", True),
        ("vendor_id : AuthenticAMD", "AVX2", False),
        ("vendor_id : GenuineIntel", "AVX512", False),
        ("", "AVX512", False),
    ],
)
def test_it_is_for_processors_of_amd_with_avx512(processor, capability, short, monkeypatch):
    monkeypatch.setattr(products, "_processor", lambda: processor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for library in (torch.backends.mkl, torch.backends.mkldnn):
        monkeypatch.setattr(library, "is_available", lambda: True)
    assert products._mkl_falls_short.__wrapped__() is short
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert products._mkl_falls_short.__wrapped__() is False


@pytest.mark.usefixtures("_slow_mkl")
@pytest.mark.filterwarnings("ignore:TF32")
def test_pytorchs_own_switch_turns_it_off():
    with torch.backends.mkldnn.flags(enabled=False), quick_products([torch.empty(512, 512)]) as mode:
        assert mode is None
