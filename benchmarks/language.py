"""The character GPT of configs/language beside PyTorch: training, and writing with a cache.

python -m benchmarks.language train CORPUS.txt --steps 2000 --rounds 1
python -m benchmarks.language write --rounds 3

Every peer runs in a fresh process on `--threads` cores, the peers of a round one after another. The second ratio is of
tokens per second of processor time, which other programs on the machine hardly disturb; compare it with one thread, as
threads that wait for each other may spin.
"""

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

CONFIG = "configs/language/char_gpt.py"
TOKENS_A_STEP = 12 * 64
PROMPT, NEW = 16, 256
SPEEDS = ("tokens_per_second", "tokens_per_processor_second")
SIZES = {
    "char": {"vocab_size": 83, "features": 128, "num_layers": 4, "num_heads": 4},
    "small": {"vocab_size": 50_257, "features": 768, "num_layers": 12, "num_heads": 12},
}


def main() -> None:
    """Measures and prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    train = verbs.add_parser("train")
    train.add_argument("corpus", help="a text file")
    train.add_argument("--steps", type=int, default=2000)
    write = verbs.add_parser("write")
    write.add_argument("--sizes", nargs="*", choices=list(SIZES), default=["char"])
    write.add_argument("--rows", nargs="*", type=int, default=[1, 8])
    for verb in (train, write):
        verb.add_argument("--rounds", type=int, default=1)
        verb.add_argument("--threads", type=int, default=2, help="processor cores of each peer (default 2)")
        verb.add_argument("--compile", action="store_true", help="torch.compile as one more peer")
    one = verbs.add_parser("one")  # A peer's own process.
    one.add_argument("peer")
    one.add_argument("threads", type=int)
    one.add_argument("settings", type=json.loads)
    options = parser.parse_args()
    if options.verb == "one":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
        print(json.dumps(PEERS[options.peer](**options.settings)))
    elif options.verb == "train":
        _train_table(options)
    else:
        _write_tables(options)


def _train_table(options: argparse.Namespace) -> None:
    peers = ["train_jaxdl", "train_torch", *(["train_torch_compiled"] if options.compile else [])]
    found = _rounds(peers, options, lambda number: {
        "corpus": options.corpus, "steps": options.steps, "seed": number,
    })  # fmt: skip
    print(
        "| | tokens/s | jaxdl / this | by processor time | seconds in all | val loss, nats |\n|---|---|---|---|---|---|"
    )
    for peer, rows in found.items():
        losses = ", ".join(f"{row['val_nll']:.4f}" for row in rows)
        print(f"| {peer} | {_speeds(rows, found[peers[0]])} | {_median(rows, 'seconds'):.0f} | {losses} |")


def _write_tables(options: argparse.Namespace) -> None:
    for size in options.sizes:
        print(f"\n{size}, {NEW} tokens after {PROMPT}\n")
        print("| | rows | tokens/s | jaxdl / this | by processor time |\n|---|---|---|---|---|")
        for count in options.rows:
            peers = ["write_jaxdl", "write_torch", *(["write_torch_compiled"] if options.compile else [])]
            found = _rounds(peers, options, lambda _, size=size, count=count: {
                "size": size, "rows": count,
            })  # fmt: skip
            for peer, rows in found.items():
                print(f"| {peer} | {count} | {_speeds(rows, found['write_jaxdl'])} |", flush=True)


def _speeds(rows: Sequence[Mapping[str, float]], own: Sequence[Mapping[str, float]]) -> str:
    """Three cells: tokens per second, and the speed of jaxdl as a multiple of it by both clocks."""
    ratios = (_median(own, name) / _median(rows, name) for name in SPEEDS)
    return " | ".join((f"{_median(rows, 'tokens_per_second'):,.0f}", *(f"{ratio:.2f}" for ratio in ratios)))


def _rounds(peers: Sequence[str], options: argparse.Namespace, settings: Any) -> dict[str, list[Mapping[str, float]]]:
    """What each peer measured in each round; a round goes through all peers in turn."""
    found: dict[str, list[Mapping[str, float]]] = {peer: [] for peer in peers}
    threads = str(options.threads)
    for number in range(options.rounds):
        for peer in peers:
            command = [sys.executable, "-m", "benchmarks.language", "one", peer, threads, json.dumps(settings(number))]
            environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": threads}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
            found[peer].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def _median(rows: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _speed(times: Sequence[tuple[int, tuple[float, float]]]) -> dict[str, float]:
    """Tokens per second by both clocks: the median of the stretches after the first."""
    pairs = list(itertools.pairwise(times[1:]))
    return {
        name: statistics.median((b[0] - a[0]) * TOKENS_A_STEP / (b[1][clock] - a[1][clock]) for a, b in pairs)
        for clock, name in enumerate(SPEEDS)
    }


def train_jaxdl(corpus: str, steps: int, seed: int) -> dict[str, Any]:
    """The config as a user trains it, with a run folder."""
    import tempfile

    from jaxdl.cli.environment import keep_freed_memory

    keep_freed_memory()
    import jax

    from jaxdl import config as configs
    from jaxdl.train import train

    began, times = time.perf_counter(), []

    def clock(moment: Any) -> None:
        if moment.step % 50 == 0 or not times:
            jax.block_until_ready(moment.metrics)
            times.append((moment.step, _clocks()))

    tree = configs.override(
        configs.load(f"{CONFIG}:{corpus}"), [f"steps={steps}", f"seed={seed}", "evals.val.every=None"]
    )
    experiment = configs.build(tree)
    experiment = dataclasses.replace(experiment, hooks=(clock,), tensorboard=False)
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(experiment, folder, quiet=True)
    seconds = time.perf_counter() - began
    return {**_speed(times), "val_nll": outcome.results["val/nll"], "seconds": seconds}


def train_torch(corpus: str, steps: int, seed: int, *, compiled: bool = False) -> dict[str, Any]:
    """The same model, data and settings in PyTorch."""
    began = time.perf_counter()
    from benchmarks.peers import torch_gpt
    from jaxdl import config as configs

    torch_gpt.torch.set_num_threads(len(os.sched_getaffinity(0)))
    tree = configs.load(f"{CONFIG}:{corpus}")
    parts = [configs.build(tree.train.source.stream), configs.build(tree.evals.val.data.source.stream)]
    made = torch_gpt.run(*(part.tokens for part in parts), parts[0].vocabulary_size, steps, seed, compiled=compiled)
    seconds = time.perf_counter() - began
    return {**_speed(made["times"]), "val_nll": made["val_nll"], "seconds": seconds}


def train_torch_compiled(corpus: str, steps: int, seed: int) -> dict[str, Any]:
    """The same through `torch.compile`."""
    return train_torch(corpus, steps, seed, compiled=True)


def write_jaxdl(size: str, rows: int) -> dict[str, float]:
    """Greedy decoding with the cache, compiled."""
    import jax
    import jax.numpy as jnp

    from jaxdl.decoding import generate
    from jaxdl.models.gpt2 import GPT2

    model = GPT2(max_length=PROMPT + NEW, **SIZES[size])
    prompt = jnp.ones((rows, PROMPT), jnp.int32)
    variables = jax.jit(lambda key: model.init(key, prompt))(jax.random.key(0))
    run = jax.jit(lambda variables: generate(model, variables, prompt, key=jax.random.key(0), count=NEW).tokens)
    return _timed(lambda: run(variables).block_until_ready(), rows)


def write_torch(size: str, rows: int, *, compiled: bool = False) -> dict[str, float]:
    """`generate` of transformers with its cache; compiled, with one of a fixed size."""
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    sizes = SIZES[size]
    config = transformers.GPT2Config(
        vocab_size=sizes["vocab_size"],
        n_positions=PROMPT + NEW,
        n_embd=sizes["features"],
        n_layer=sizes["num_layers"],
        n_head=sizes["num_heads"],
        eos_token_id=None,
        bos_token_id=None,
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    options = {"cache_implementation": "static"} if compiled else {}
    if compiled:
        model.forward = torch.compile(model.forward)
    prompt = torch.ones((rows, PROMPT), dtype=torch.long)
    mask = torch.ones_like(prompt)

    def run() -> None:
        with torch.inference_mode():
            made = model.generate(
                prompt,
                attention_mask=mask,
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                pad_token_id=0,
                **options,
            )
        assert made.shape == (rows, PROMPT + NEW)

    return _timed(run, rows)


def write_torch_compiled(size: str, rows: int) -> dict[str, float]:
    """The same through `torch.compile`."""
    return write_torch(size, rows, compiled=True)


def _timed(run: Any, rows: int) -> dict[str, float]:
    """Tokens per second by both clocks, of the fastest of several calls after the first."""
    run()
    times = []
    while len(times) < 3 or (sum(wall for wall, _ in times) < 8 and len(times) < 20):
        began = _clocks()
        run()
        times.append(tuple(now - then for now, then in zip(_clocks(), began)))
    return {name: rows * NEW / min(time[clock] for time in times) for clock, name in enumerate(SPEEDS)}


PEERS = {
    function.__name__: function
    for function in (train_jaxdl, train_torch, train_torch_compiled, write_jaxdl, write_torch, write_torch_compiled)
}


if __name__ == "__main__":
    main()
