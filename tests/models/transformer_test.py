import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config, trees
from jaxdl.models.transformer import Transformer
from jaxdl.nn import sinusoids
from tests.models.contract import check_contract
from tests.models.decoding import check_cache, check_scan, variables_of

SIZES = {"vocab_size": 30, "features": 16, "num_layers": 2, "num_heads": 2, "hidden": 24}
RANDOM = np.random.default_rng(0)
TOKENS, TARGETS = (jnp.asarray(RANDOM.integers(0, 30, (3, count)), jnp.int32) for count in (12, 9))
MASK = jnp.asarray((np.arange(12)[None] < np.array([12, 5, 1])[:, None]).astype(np.int32))
INPUTS = {"tokens": TOKENS, "targets": TARGETS, "token_mask": MASK}


@pytest.mark.parametrize(
    "model",
    [
        Transformer(**SIZES, attention_dropout_rate=0.1),
        Transformer(**SIZES, order="pre", scan=True, remat=True, dropout_rate=0.0, use_bias=False),
    ],
    ids=["post", "pre"],
)
def test_the_contract(model):
    # The same number on every key's score changes no softmax.
    exempt = {r".*attention/key/bias": "adds as much to every score"} if model.use_bias else {}
    inputs = {"tokens": ((3, 12), "int32"), "targets": ((3, 9), "int32"), "token_mask": MASK}
    check_contract(model, inputs, vocabulary=30, exempt=exempt)


@pytest.mark.parametrize("options", [{}, {"order": "pre", "num_decoder_layers": 1}])
def test_the_cache_gives_what_is_had_without_it(options):
    model = Transformer(**SIZES, **options, scan=True)
    variables = variables_of(model, TOKENS, TARGETS)
    encode = jax.jit(lambda: model.apply(variables, TOKENS, token_mask=MASK, method="encode"))
    context = encode()

    def whole(targets):
        return model.apply(variables, TOKENS, targets, token_mask=MASK, train=False)

    def step(targets, target_mask, cache):
        first = context if cache.layers[0].context is None else None
        others = {"token_mask": MASK, "target_mask": target_mask, "cache": cache}
        return model.apply(variables, targets, first, **others, method="decode")

    _, cache = jax.jit(step)(TARGETS[:, :1], jnp.zeros((3, 1)), model.empty_cache(3, 11))
    check_cache(whole, step, cache, 30)


@pytest.mark.parametrize("order", ["post", "pre"])
def test_it_equals_the_one_of_pytorch(order):
    torch = pytest.importorskip("torch")
    model = Transformer(**SIZES, order=order, norm_epsilon=1e-5)
    variables = variables_of(model, TOKENS, TARGETS)
    params = {name: np.asarray(leaf) for name, leaf in trees.flatten(variables["params"]).items()}
    reference = torch_transformer(torch, params, order)
    target_mask = jnp.asarray((np.arange(9)[None] < np.array([9, 4, 6])[:, None]).astype(np.int32))
    found = jax.jit(model.apply)(variables, **INPUTS, target_mask=target_mask)
    table = torch.tensor(params["token_embedding/embedding"])

    def embedded(tokens):
        places = torch.tensor(sinusoids(tokens.shape[1], 16))
        return table[torch.tensor(np.asarray(tokens), dtype=torch.long)] * math.sqrt(16) + places

    hidden = reference(
        embedded(TOKENS),
        embedded(TARGETS),
        tgt_mask=torch.triu(torch.ones(9, 9, dtype=torch.bool), diagonal=1),
        src_key_padding_mask=torch.tensor(np.asarray(MASK) == 0),
        memory_key_padding_mask=torch.tensor(np.asarray(MASK) == 0),
        tgt_key_padding_mask=torch.tensor(np.asarray(target_mask) == 0),
    )
    real = np.asarray(target_mask) != 0
    np.testing.assert_allclose(found[real], (hidden @ table.T).detach().numpy()[real], rtol=0, atol=1e-5)


def torch_transformer(torch, params, order):
    """`torch.nn.Transformer` with our parameters."""
    options = {"nhead": 2, "dim_feedforward": 24, "dropout": 0.0, "batch_first": True, "norm_first": order == "pre"}
    encoder = torch.nn.TransformerEncoderLayer(16, **options)
    decoder = torch.nn.TransformerDecoderLayer(16, **options)
    norm = torch.nn.LayerNorm(16) if order == "pre" else None
    model = torch.nn.Transformer(
        16,
        custom_encoder=torch.nn.TransformerEncoder(encoder, 2, norm=norm, enable_nested_tensor=False),
        custom_decoder=torch.nn.TransformerDecoder(decoder, 2, norm=None if norm is None else torch.nn.LayerNorm(16)),
        batch_first=True,
    ).eval()
    parts = {
        "encoder": (("attention", "self_attn", "norm1"), ("feedforward", "linear", "norm2")),
        "decoder": (
            ("attention", "self_attn", "norm1"),
            ("cross_attention", "multihead_attn", "norm2"),
            ("feedforward", "linear", "norm3"),
        ),
    }
    state = {}
    for side, names in parts.items():
        if order == "pre":
            state |= mapped(params, f"{side}/final_norm", f"{side}.norm", "scale")
        for index in range(2):
            ours, theirs = f"{side}/layers/block_{index}", f"{side}.layers.{index}"
            for part, module, norm in names:
                state |= mapped(params, f"{ours}/{part}_norm", f"{theirs}.{norm}", "scale")
                if part == "feedforward":
                    state |= mapped(params, f"{ours}/{part}/up", f"{theirs}.linear1", "kernel")
                    state |= mapped(params, f"{ours}/{part}/down", f"{theirs}.linear2", "kernel")
                    continue
                state |= mapped(params, f"{ours}/{part}/out", f"{theirs}.{module}.out_proj", "kernel")
                projections = [f"{ours}/{part}/{name}" for name in ("query", "key", "value")]
                state[f"{theirs}.{module}.in_proj_weight"] = np.concatenate(
                    [params[f"{name}/kernel"].T for name in projections]
                )
                state[f"{theirs}.{module}.in_proj_bias"] = np.concatenate(
                    [params[f"{name}/bias"] for name in projections]
                )
    model.load_state_dict({name: torch.tensor(np.array(leaf)) for name, leaf in state.items()})
    return model


def mapped(params, ours, theirs, weight):
    return {f"{theirs}.weight": params[f"{ours}/{weight}"].T, f"{theirs}.bias": params[f"{ours}/bias"]}


def test_padding_changes_nothing():
    model = Transformer(**SIZES)
    variables = variables_of(model, TOKENS, TARGETS)
    target_mask = (jnp.arange(9)[None] < jnp.array([[9], [4], [2]])).astype(jnp.int32)
    apply = jax.jit(model.apply)
    found = apply(variables, **INPUTS, target_mask=target_mask)
    for row, (source, target) in enumerate(((12, 9), (5, 4), (1, 2))):
        alone = apply(variables, TOKENS[row : row + 1, :source], TARGETS[row : row + 1, :target])
        np.testing.assert_allclose(found[row, :target], alone[0], rtol=0, atol=1e-5)


def test_scanning_and_recomputing_change_nothing():
    check_scan(Transformer(**SIZES), INPUTS)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (Transformer(), 63_082_496),
        (Transformer(features=1024, num_heads=16, hidden=4096), 214_245_376),
    ],
    ids=["base", "big"],
)
def test_the_sizes_of_the_paper(model, count):
    made = jax.eval_shape(lambda: model.init(jax.random.key(0), TOKENS, TARGETS))
    assert trees.count(made["params"]) == count


def test_a_config_makes_it():
    spec = config.spec(Transformer, **SIZES)
    config.check(spec)
    assert config.build(spec) == Transformer(**SIZES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 10, "num_heads": 3}, "features=10 must be even and a multiple of num_heads=3"),
        ({"features": 9, "num_heads": 3}, "features=9 must be even"),
        ({"order": "middle"}, "'middle'"),
        ({"activation": "gelo"}, "gelo"),
    ],
)
def test_bad_choices_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Transformer(**options)
