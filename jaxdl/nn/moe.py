"""Mixtures of experts.

Letters: B batch, T tokens, D features, F hidden features, E experts, K experts of a token, G groups of N tokens, whose
A = N K choices are computed in R rows.
"""

import math
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn.activations import Activation, activation
from jaxdl.nn.linear import Dense
from jaxdl.nn.placement import ROWS, constrain

Implementation = Literal["blocks", "ragged", "dense"]
_BLOCK = 64
_EXPERT = "expert"
_OTHERS = tuple(axis for axis in ROWS if axis != _EXPERT)


class Routing(flax.struct.PyTreeNode):
    """What a router did, as float32 sums over the real tokens of each row: the losses are functions of it.

    Sums of rows are sums of a batch, of its parts and of the devices that hold them.

    Attributes:
      assigned: How many tokens chose each expert, (B, E). No gradient.
      probability: Sum of the router's probabilities, (B, E).
      squared_log_partition: Sum of the squared logarithm of the softmax's denominator, (B,).
      tokens: How many tokens are real, (B,).
      dropped: How many choices found their expert full, (B,).
    """

    assigned: jax.Array
    probability: jax.Array
    squared_log_partition: jax.Array
    tokens: jax.Array
    dropped: jax.Array


class Routed(flax.struct.PyTreeNode):
    """What a model with experts gives.

    Attributes:
      outputs: What it would give without.
      routing: Of each layer with experts.
    """

    outputs: Any
    routing: tuple[Routing, ...]


def load_balance_loss(routing: Routing, *, by_row: bool = False) -> jax.Array:
    """E times the sum over experts of its share of the choices times its mean probability (Fedus et al. 2021, eq. 4).

    It is K where the tokens are spread evenly, and grows up to E where one expert has them all and K is 1. Shares and
    means are those of the whole batch, or of each row (B,), which is 0 for a row of padding alone.
    """
    total = routing if by_row else jax.tree.map(lambda x: x.sum(axis=0), routing)
    tokens = jnp.maximum(total.tokens, 1)[..., None]
    return routing.assigned.shape[-1] * ((total.assigned / tokens) * (total.probability / tokens)).sum(axis=-1)


def router_z_loss(routing: Routing, *, by_row: bool = False) -> jax.Array:
    """The mean squared log of the router's softmax denominator (Zoph et al. 2022, eq. 5), of the batch or (B,)."""
    total = routing if by_row else jax.tree.map(lambda x: x.sum(axis=0), routing)
    return total.squared_log_partition / jnp.maximum(total.tokens, 1)


class MixtureOfExperts(nn.Module):
    """Feed-forward layers of which each token takes the K that a router scores best (Shazeer et al. 2017).

    Fedus et al. 2021, "Switch Transformers", is `top_k=1, normalize=False` with a `capacity_factor`; Jiang et al. 2024,
    "Mixtral of Experts", is `top_k=2, gated=True, activation="silu"`. The router is float32.

    Parameters: `router/kernel` (D, E), and of all experts together `up/kernel` (E, D, F), `gate/kernel` (E, D, F) where
    gated, and `down/kernel` (E, F, D): sharding their first axis spreads the experts over devices.

    A call gives the result and a `Routing`, of which `load_balance_loss` and `router_z_loss` make the two losses that
    a mixture is trained with. A model returns it with its outputs; the task adds the losses with their factors.

    Without a capacity every choice is honoured, and no row of the batch depends on another. With one, an expert takes
    `ceil(capacity_factor * K * T / E)` tokens of each row of T: first the best choices of all tokens in their order,
    then the second ones; a choice that comes too late adds nothing. So rows stay independent, but a token depends on
    those before it, and for second choices on those behind.

    Attributes:
      features: Features of the result.
      hidden: F.
      num_experts: E.
      top_k: K.
      activation: Name in `jaxdl.nn.activation`, or a function.
      gated: Whether the hidden features are multiplied by activated ones of their own.
      normalize: Whether the weights of a token's experts are a softmax over those K (Mixtral) or over all E (Switch).
      capacity_factor: See above; None for no limit.
      jitter: The router's input is multiplied by uniform numbers from 1 - jitter to 1 + jitter in training.
      dropout_rate: Probability that a hidden feature is dropped in training.
      implementation: How it runs without a capacity. "blocks" sorts the choices by expert and multiplies blocks of
        tokens, each with a copy of its expert's kernels; "ragged" is `jax.lax.ragged_dot`; "dense" gives every token
        to every expert. None takes blocks on CPU, where the ragged product costs more than the dense one, and the
        ragged product elsewhere.
      dtype: Type of the experts' computation; None promotes the types of input and parameters.
      kernel_init: Initializer of the experts' kernels.
    """

    features: int
    hidden: int
    num_experts: int
    top_k: int = 2
    activation: str | Activation = "gelu"
    gated: bool = False
    normalize: bool = True
    capacity_factor: float | None = None
    jitter: float = 0.0
    dropout_rate: float = 0.0
    implementation: Implementation | None = None
    dtype: Any = None
    kernel_init: initializers.Initializer = initializers.lecun_normal(batch_axis=(0,))

    def __post_init__(self) -> None:
        activation(self.activation)
        if not 1 <= self.top_k <= self.num_experts:
            raise ValueError(f"top_k must be from 1 to num_experts={self.num_experts}, not {self.top_k}.")
        if self.capacity_factor is not None and self.capacity_factor <= 0:
            raise ValueError(f"capacity_factor must be positive, or None for no limit, not {self.capacity_factor}.")
        if self.capacity_factor is not None and self.implementation is not None:
            raise ValueError("An implementation is chosen only where capacity_factor is None.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x_BTD: jax.Array, *, token_mask: jax.Array | None = None, train: bool
    ) -> tuple[jax.Array, Routing]:
        """Maps (B, T, D) to (B, T, features).

        `token_mask` (B, T) is 1 for real tokens and 0 for padding, which takes no room and gives zeros.
        """
        batch, length, width = x_BTD.shape
        real_BT = jnp.ones((batch, length), bool) if token_mask is None else token_mask != 0
        experts_BTK, weights_BTK, routing = self._route(x_BTD, real_BT, train)
        if self.capacity_factor is None:
            flat = (1, batch * length)
            x_GND, experts_GNK = x_BTD.reshape(*flat, width), experts_BTK.reshape(*flat, self.top_k)
            plan = self._without_limit(experts_GNK[0])
        else:
            x_GND, experts_GNK = x_BTD, experts_BTK
            capacity = math.ceil(self.capacity_factor * self.top_k * length / self.num_experts)
            plan = plan_capacity(experts_GNK, self.num_experts, capacity)
            dropped = (plan.rows_GA == plan.tokens_GR.shape[1]).reshape(batch, length, self.top_k) & real_BT[..., None]
            routing = routing.replace(dropped=dropped.sum(axis=(1, 2), dtype=jnp.float32))
        y_GRD = self._experts(_take(x_GND, plan.tokens_GR), plan, train)
        y_BTKD = _take(y_GRD, plan.rows_GA).reshape(batch, length, self.top_k, self.features)
        return (y_BTKD * weights_BTK.astype(y_BTKD.dtype)[..., None]).sum(axis=2), routing

    def _route(self, x_BTD: jax.Array, real_BT: jax.Array, train: bool) -> tuple[jax.Array, jax.Array, Routing]:
        """The experts of each token, best first and E for padding, their weights, and the sums."""
        x_BTD = x_BTD.astype(jnp.float32)
        if train and self.jitter:
            low, high = 1 - self.jitter, 1 + self.jitter
            x_BTD = x_BTD * jax.random.uniform(self.make_rng("dropout"), x_BTD.shape, minval=low, maxval=high)
        router = Dense(self.num_experts, use_bias=False, dtype=jnp.float32, name="router", parent=self)
        logits_BTE = router(x_BTD)
        probability_BTE = jax.nn.softmax(logits_BTE, axis=-1)
        weights_BTK, experts_BTK = jax.lax.top_k(probability_BTE, self.top_k)
        if self.normalize:
            weights_BTK = weights_BTK / weights_BTK.sum(axis=-1, keepdims=True)
        experts_BTK = jnp.where(real_BT[..., None], experts_BTK, self.num_experts)
        partition_BT = jax.nn.logsumexp(logits_BTE, axis=-1)
        return (
            experts_BTK,
            weights_BTK,
            Routing(
                assigned=jax.nn.one_hot(experts_BTK, self.num_experts).sum(axis=(1, 2)),
                probability=jnp.where(real_BT[..., None], probability_BTE, 0).sum(axis=1),
                squared_log_partition=jnp.where(real_BT, partition_BT**2, 0).sum(axis=1),
                tokens=real_BT.sum(axis=1, dtype=jnp.float32),
                dropped=jnp.zeros(len(real_BT), jnp.float32),
            ),
        )

    def _without_limit(self, experts_NK: jax.Array) -> "Plan":
        on_cpu = jax.default_backend() == "cpu"
        chosen = self.implementation or ("blocks" if on_cpu else "ragged")
        make = {"blocks": plan_blocks, "ragged": plan_ragged, "dense": plan_dense}[chosen]
        return make(experts_NK, self.num_experts)

    def _experts(self, x_GRD: jax.Array, plan: "Plan", train: bool) -> jax.Array:
        def kernel(name: str, inputs: int, outputs: int) -> jax.Array:
            shape = (self.num_experts, inputs, outputs)
            return _Kernel(shape, self.kernel_init, name=name, parent=self)().astype(dtype)

        dtype = self.dtype or jnp.promote_types(x_GRD.dtype, jnp.float32)
        act, x_GRD = activation(self.activation), x_GRD.astype(dtype)
        width = x_GRD.shape[-1]
        up = plan.multiply(x_GRD, kernel("up", width, self.hidden))
        hidden = act(plan.multiply(x_GRD, kernel("gate", width, self.hidden))) * up if self.gated else act(up)
        hidden = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout", parent=self)(hidden)
        return plan.multiply(hidden, kernel("down", self.hidden, self.features))


class _Kernel(nn.Module):
    shape: tuple[int, ...]
    init_fn: initializers.Initializer

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("kernel", self.init_fn, self.shape, jnp.float32)


class Plan(flax.struct.PyTreeNode):
    """Which tokens the experts compute, in rows sorted by expert, and where each choice finds its result.

    Attributes:
      tokens_GR: The token in each row; N for none.
      rows_GA: The row of each choice, in the order of (N, K); R for none.
      block_experts: The expert of each equal block of the rows, where the blocks are not one an expert.
      sizes: Number of rows of each expert, where the rows are one after another without gaps.
    """

    tokens_GR: jax.Array
    rows_GA: jax.Array
    block_experts: jax.Array | None = None
    sizes: jax.Array | None = None

    def multiply(self, x_GRD: jax.Array, kernel_EDF: jax.Array) -> jax.Array:
        """Each row times its expert's kernel, (G, R, F)."""
        groups, rows, width = x_GRD.shape
        outputs = kernel_EDF.shape[-1]
        if self.sizes is not None:
            return jax.lax.ragged_dot(x_GRD[0], kernel_EDF, self.sizes)[None]
        if self.block_experts is not None:
            kernel_EDF = kernel_EDF[self.block_experts]
        blocks = len(kernel_EDF)
        x = self._to_experts(x_GRD.reshape(groups, blocks, rows // blocks, width).swapaxes(0, 1))
        y = x.reshape(blocks, -1, width) @ kernel_EDF
        y = self._to_experts(y.reshape(blocks, groups, rows // blocks, outputs))
        return constrain(y.swapaxes(0, 1), ROWS).reshape(groups, rows, outputs)

    def _to_experts(self, x: jax.Array) -> jax.Array:
        """Sends rows (E, G, C, ...) to the devices of their expert, from where they were split by group."""
        return x if self.block_experts is not None else constrain(x, _EXPERT, _OTHERS)


def plan_capacity(experts_GNK: jax.Array, num_experts: int, capacity: int) -> Plan:
    """`capacity` rows an expert in each group; what comes later has no row."""
    groups, count, top_k = experts_GNK.shape
    ordered_GA = experts_GNK.swapaxes(1, 2).reshape(groups, top_k * count)
    chosen_GAE = jax.nn.one_hot(ordered_GA, num_experts, dtype=jnp.int32)
    place_GA = ((jnp.cumsum(chosen_GAE, axis=1) - 1) * chosen_GAE).sum(axis=-1)
    total = num_experts * capacity
    kept_GA = (place_GA < capacity) & (ordered_GA < num_experts)
    rows_GA = jnp.where(kept_GA, ordered_GA * capacity + place_GA, total)
    rows_GA = rows_GA.reshape(groups, top_k, count).swapaxes(1, 2).reshape(groups, count * top_k)
    token_A = jnp.arange(count * top_k) // top_k
    tokens_GR = jax.vmap(lambda rows_A: jnp.full(total, count).at[rows_A].set(token_A, mode="drop"))(rows_GA)
    return Plan(tokens_GR, rows_GA)


def plan_dense(experts_NK: jax.Array, num_experts: int) -> Plan:
    """Every token in the rows of every expert."""
    count = len(experts_NK)
    tokens_R = jnp.tile(jnp.arange(count), num_experts)
    rows_NK = jnp.where(experts_NK < num_experts, experts_NK * count + jnp.arange(count)[:, None], num_experts * count)
    return Plan(tokens_R[None], rows_NK.reshape(1, -1))


def plan_ragged(experts_NK: jax.Array, num_experts: int) -> Plan:
    """The choices sorted by expert; those of padding, which come last, are of no expert."""
    count, top_k = experts_NK.shape
    experts_A = experts_NK.reshape(-1)
    order_R = jnp.argsort(experts_A)
    sizes = jnp.bincount(experts_A, length=num_experts).astype(jnp.int32)
    rows_A = jnp.zeros_like(order_R).at[order_R].set(jnp.arange(len(order_R)))
    rows_A = jnp.where(experts_A < num_experts, rows_A, len(order_R))
    tokens_R = jnp.where(experts_A[order_R] < num_experts, order_R // top_k, count)
    return Plan(tokens_R[None], rows_A[None], sizes=sizes)


def plan_blocks(experts_NK: jax.Array, num_experts: int) -> Plan:
    """The choices sorted by expert, each expert's in blocks of its own of which the last has empty rows."""
    count, top_k = experts_NK.shape
    choices = count * top_k
    block = min(_BLOCK, 2 ** math.ceil(math.log2(max(choices / num_experts, 1))))
    blocks = choices // block + num_experts
    ragged = plan_ragged(experts_NK, num_experts)
    assert ragged.sizes is not None
    own_blocks = -(-ragged.sizes // block)
    shift = (jnp.cumsum(own_blocks) - own_blocks) * block - (jnp.cumsum(ragged.sizes) - ragged.sizes)
    experts_A = experts_NK.reshape(-1)
    shift_A = shift[jnp.minimum(experts_A, num_experts - 1)]
    rows_A = jnp.where(experts_A < num_experts, ragged.rows_GA[0] + shift_A, blocks * block)
    tokens_R = jnp.full(blocks * block, count).at[rows_A].set(jnp.arange(choices) // top_k, mode="drop")
    block_experts = jnp.searchsorted(jnp.cumsum(own_blocks), jnp.arange(blocks), side="right")
    return Plan(tokens_R[None], rows_A[None], block_experts=jnp.minimum(block_experts, num_experts - 1))


def _take(x_GND: jax.Array, index_GR: jax.Array) -> jax.Array:
    """Rows of each group by number, and zeros for N."""
    return jax.vmap(lambda x_ND, index_R: x_ND.at[index_R].get(mode="fill", fill_value=0))(x_GND, index_GR)
