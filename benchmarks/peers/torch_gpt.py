"""A GPT in PyTorch with the sizes of `configs/language/char_gpt.py`, trained by a plain loop such as nanoGPT's."""

import math
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LENGTH, BATCH, FEATURES, LAYERS, HEADS = 64, 12, 128, 4, 4
PEAK, END_FRACTION, WEIGHT_DECAY, CLIP = 1e-3, 0.1, 0.1, 1.0


class Block(nn.Module):
    """Causal attention and a feed-forward layer, each normalized before."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(FEATURES), nn.LayerNorm(FEATURES)
        self.qkv, self.out = nn.Linear(FEATURES, 3 * FEATURES), nn.Linear(FEATURES, FEATURES)
        self.up, self.down = nn.Linear(FEATURES, 4 * FEATURES), nn.Linear(4 * FEATURES, FEATURES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, T, D) to (B, T, D)."""
        rows, length, _ = x.shape
        heads = self.qkv(self.attention_norm(x)).view(rows, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, length, -1))
        return x + self.down(functional.gelu(self.up(self.feedforward_norm(x)), approximate="tanh"))


class GPT(nn.Module):
    """Logits (B, T, V) of tokens (B, T)."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary_size, FEATURES), nn.Embedding(LENGTH, FEATURES)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(FEATURES)
        for name, parameter in self.named_parameters():
            last = name.endswith(("out.weight", "down.weight"))
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS) if last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of what follows each token."""
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tokens.weight.T


def rate(step: int, steps: int) -> float:
    """The learning rate: a linear warm-up of a twentieth, then half a cosine."""
    warmup = steps // 20
    if step < warmup:
        return PEAK * step / warmup
    progress = (step - warmup) / (steps - warmup)
    return PEAK * (END_FRACTION + (1 - END_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress)))


def run(
    train: np.ndarray, val: np.ndarray, vocabulary_size: int, steps: int, seed: int, *, compiled: bool
) -> dict[str, Any]:
    """Trains, and measures each stretch of steps and the loss of the whole validation text."""
    torch.manual_seed(seed)
    model = GPT(vocabulary_size)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=PEAK,
        betas=(0.9, 0.99),
    )
    called = torch.compile(model) if compiled else model
    text = torch.from_numpy(train.astype(np.int64))
    times = [(0, (time.perf_counter(), time.process_time()))]
    for step in range(steps):
        starts = torch.randint(len(text) - LENGTH, (BATCH,))
        rows = torch.stack([text[start : start + LENGTH + 1] for start in starts])
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        logits = called(rows[:, :-1])
        loss = functional.cross_entropy(logits.view(-1, logits.shape[-1]), rows[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if (step + 1) % 50 == 0:
            loss.item()
            times.append((step + 1, (time.perf_counter(), time.process_time())))
    return {"times": times, "val_nll": evaluate(model, val), "parameters": parameters}


def evaluate(model: GPT, val: np.ndarray) -> float:
    """Nats per token over rows end to end."""
    text = torch.from_numpy(val.astype(np.int64))
    count = (len(text) - 1) // LENGTH
    tokens = text[: count * LENGTH].view(count, LENGTH)
    targets = text[1 : count * LENGTH + 1].view(count, LENGTH)
    total = 0.0
    with torch.no_grad():
        for first in range(0, count, 64):
            logits = model(tokens[first : first + 64])
            part = functional.cross_entropy(
                logits.flatten(0, 1), targets[first : first + 64].flatten(), reduction="sum"
            )
            total += part.item()
    return total / (count * LENGTH)
