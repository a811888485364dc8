import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config, trees
from jaxdl.models.llama import Llama
from jaxdl.nn import load_balance_loss
from jaxdl.tasks import LanguageModeling
from tests.models.contract import check_contract
from tests.models.decoding import check_cache, check_packing, check_scan, variables_of

SIZES = {"vocab_size": 30, "features": 16, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "hidden": 24}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 30, (3, 8)), jnp.int32)


@pytest.mark.parametrize(
    "model",
    [
        Llama(**SIZES),
        Llama(**SIZES, scan=True, remat=True, window=3, tie_embeddings=True, dropout_rate=0.1),
        Llama(**SIZES, attention_bias=True, feedforward_bias=True, head_dim=6, attention_dropout_rate=0.2),
    ],
    ids=["plain", "scanned", "biases"],
)
def test_the_contract(model):
    check_contract(model, {"tokens": ((3, 8), "int32")}, vocabulary=30)


@pytest.mark.parametrize("options", [{}, {"window": 3, "tie_embeddings": True}, {"num_kv_heads": 1, "head_dim": 6}])
def test_the_cache_gives_what_is_had_without_it(options):
    model = Llama(**{**SIZES, **options}, scan=True)
    variables = variables_of(model, TOKENS)

    def step(tokens, token_mask, cache):
        return model.apply(variables, tokens, token_mask=token_mask, cache=cache, train=False)

    check_cache(lambda tokens: model.apply(variables, tokens, train=False), step, model.empty_cache(3, 11), 30)


@pytest.mark.parametrize("window", [None, 3])
def test_packed_documents_are_as_if_alone(window):
    model = Llama(**SIZES, window=window)
    check_packing(model, variables_of(model, TOKENS), 30)


def test_scanning_and_recomputing_change_nothing():
    check_scan(Llama(**SIZES, window=5), {"tokens": TOKENS})


def test_a_window_hides_what_is_further_behind():
    model = Llama(**{**SIZES, "num_layers": 1}, window=3)
    variables = variables_of(model, TOKENS)
    apply = jax.jit(model.apply)
    before, after = (apply(variables, tokens) for tokens in (TOKENS, TOKENS.at[:, 2].set((TOKENS[:, 2] + 1) % 30)))
    changed = jnp.abs(after - before).max(axis=(0, 2)) > 1e-4
    assert changed.tolist() == [False, False, True, True, True, False, False, False]


def test_only_distances_count():
    model = Llama(**SIZES)
    variables = variables_of(model, TOKENS)
    moved = model.apply(variables, TOKENS, positions=100 + jnp.arange(8)[None], train=False)
    np.testing.assert_allclose(moved, model.apply(variables, TOKENS, train=False), rtol=0, atol=1e-4)


def test_the_cache_has_the_key_and_value_heads_and_type_of_the_model():
    cache = Llama(**SIZES, dtype="bfloat16").empty_cache(2, 5)
    assert cache.layers[1].tokens.key.shape == (2, 5, 2, 4)
    assert cache.layers[1].tokens.value.dtype == jnp.bfloat16


def test_a_config_makes_it():
    spec = config.spec(Llama, **SIZES, rope_original_length=64)
    config.check(spec)
    assert config.build(spec) == Llama(**SIZES, rope_original_length=64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Llama(features=10, num_heads=3), "num_heads=3 does not divide features=10"),
        (lambda: Llama(num_kv_heads=3), "num_kv_heads=3 does not divide num_heads=32"),
        (lambda: Llama(head_dim=5), "head_dim=5 must be even"),
        (lambda: Llama(window=0), "window=0"),
        (lambda: Llama(activation="sulu"), "sulu"),
        (
            lambda: Llama(**SIZES).init(jax.random.key(0), TOKENS, cache=Llama(**SIZES).empty_cache(3, 4)),
            r"8 tokens.*room for: 4",
        ),
    ],
)
def test_bad_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_with_experts_it_is_mixtral():
    """Logits, the loss of an uneven choice, and the gradient of a router, against transformers."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sizes = transformers.MixtralConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        sliding_window=None,
        router_aux_loss_coef=0.5,
    )
    torch.manual_seed(0)
    theirs = transformers.MixtralForCausalLM(sizes).eval()
    ours = Llama(**SIZES, num_experts=4)
    variables = variables_of(ours, TOKENS)
    params = {"params": from_mixtral(variables["params"], theirs.state_dict())}
    ids = torch.tensor(np.asarray(TOKENS)).long()
    out = theirs(ids, labels=ids, output_router_logits=True)
    out.loss.backward()

    task = LanguageModeling(vocabulary_size=30, balance_factor=0.0)
    batch = {"targets": jnp.roll(TOKENS, -1, axis=1), "token_mask": jnp.ones((3, 8)).at[:, -1].set(0)}

    def loss(params):
        routed = ours.apply(params, TOKENS)
        layers = jax.tree.map(lambda *sums: sum(sums), *routed.routing)  # Theirs is the loss of all layers as one.
        plain, _ = task.score(routed, batch | {"mask": jnp.ones(3)})
        return plain.compute() + 0.5 * load_balance_loss(layers), routed

    (value, routed), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(routed.outputs, out.logits.detach(), atol=2e-5)
    np.testing.assert_allclose(value, out.loss.detach(), rtol=1e-5)
    for index, layer in enumerate(theirs.model.layers):
        found = gradient["params"]["layers"][f"block_{index}"]["experts"]["router"]["kernel"]
        np.testing.assert_allclose(found, layer.mlp.gate.weight.grad.T, atol=1e-5)


def test_experts_are_cached_like_other_layers():
    model = Llama(**SIZES, num_experts=4)
    variables = variables_of(model, TOKENS)

    def step(tokens, token_mask, cache):
        return model.apply(variables, tokens, token_mask=token_mask, cache=cache, train=False)

    def whole(tokens):
        return model.apply(variables, tokens, train=False).outputs

    check_cache(whole, step, model.empty_cache(3, 11), 30)


def test_scanned_experts_route_alike():
    model = Llama(**SIZES, num_experts=4, expert_capacity=1.0)
    variables = variables_of(model, TOKENS)
    one, other = (m.apply(variables, TOKENS) for m in (model, model.clone(scan=True, remat=True)))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), one, other)
    assert sum(layer.dropped.sum() for layer in one.routing) > 0


@pytest.mark.parametrize("options", [{"experts_per_token": 9}, {"feedforward_bias": True}])
def test_bad_experts_are_told(options):
    with pytest.raises(ValueError, match=r"experts_per_token=9 is not from 1 to 4|Experts have no bias"):
        Llama(**SIZES, num_experts=4, **options)


def from_mixtral(params, theirs):
    """Our parameters with their values."""

    def value(name):
        name = name.replace("layers/block_", "model.layers.").replace("/", ".")
        for ours, their in {
            "token_embedding.embedding": "model.embed_tokens.weight",
            "final_norm.scale": "model.norm.weight",
            "head.kernel": "lm_head.weight",
            "attention.query.kernel": "self_attn.q_proj.weight",
            "attention.key.kernel": "self_attn.k_proj.weight",
            "attention.value.kernel": "self_attn.v_proj.weight",
            "attention.out.kernel": "self_attn.o_proj.weight",
            "attention_norm.scale": "input_layernorm.weight",
            "feedforward_norm.scale": "post_attention_layernorm.weight",
            "experts.router.kernel": "mlp.gate.weight",
            "experts.gate.kernel": "mlp.experts.gate_up_proj",
            "experts.up.kernel": "mlp.experts.gate_up_proj",
            "experts.down.kernel": "mlp.experts.down_proj",
        }.items():
            if name.endswith(ours):
                found = theirs[name.removesuffix(ours) + their].numpy()
                half = found.shape[1] // 2 if found.ndim == 3 else None
                if ours == "experts.gate.kernel":
                    found = found[:, :half]
                elif ours == "experts.up.kernel":
                    found = found[:, half:]
                turn = ours.endswith("kernel")
                return jnp.asarray(np.swapaxes(found, -1, -2) if turn else found)
        raise AssertionError(name)

    return trees.map_named(lambda name, _: value(name), params)
