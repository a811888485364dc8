"""The translation config beside PyTorch's nn.Transformer and beside baselines without a network.

python -m benchmarks.translation baselines FOLDER
python -m benchmarks.translation speed FOLDER --steps 30 --rounds 3
python -m benchmarks.translation quality FOLDER --steps 4000

FOLDER is that of configs/language/translation.py. Each peer runs in a fresh process, the peers of a round one after
another; the batches of the PyTorch model are those of the config, token for token.
"""

import argparse
import collections
import json
import re
import statistics
import subprocess
import sys
import time
from typing import Any

CONFIG = "configs/language/translation.py"
PEERS = ("jaxdl", "jaxdl_one_width", "torch", "torch_one_width")
WORD = re.compile(r"\w+|[^\w\s]")


def main() -> None:
    """Measures and prints JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("baselines", "speed", "quality", "peer"))
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument("--quality", action="store_true", help="of a peer: translate the test set at the end")
    options = parser.parse_args()
    match options.what:
        case "baselines":
            baselines(options.folder)
        case "speed":
            speed(options.folder, options.steps, options.rounds)
        case "quality":
            for peer in ("jaxdl", "torch"):
                print(json.dumps(run(peer, options.folder, options.steps, "--quality")), flush=True)
        case "peer":
            model = (Torch if options.peer.startswith("torch") else Jaxdl)(options.folder, "one" in options.peer)
            print(json.dumps(measure(options.peer, model, options.steps, options.quality)))


def run(peer: str, folder: str, steps: int, *flags: str) -> dict[str, Any]:
    """What a peer measures in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.translation", "peer", folder, "--peer", peer, "--steps", str(steps)]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def speed(folder: str, steps: int, rounds: int) -> None:
    """Steps per second of each peer, the median of the rounds, with all of them."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    for _ in range(rounds):
        for peer in PEERS:
            found[peer].append(run(peer, folder, steps)["steps_per_second"])
    for peer, rates in found.items():
        print(json.dumps({"peer": peer, "steps_per_second": statistics.median(rates), "rounds": rates}), flush=True)


def measure(name: str, model: Any, steps: int, quality: bool) -> dict[str, Any]:
    """Speed after the first batch of each width, or the scores after all steps."""
    batches = (model.pipeline[number] for number in range(steps + 20))
    if quality:
        began = time.perf_counter()
        for _ in range(steps):
            model.step(next(batches))
        seconds = time.perf_counter() - began
        return {"peer": name, "steps": steps, "seconds": seconds, **model.scores()}
    for _ in range(20):  # All widths come up, and are compiled.
        model.step(next(batches))
    model.wait()
    began = time.perf_counter()
    for _ in range(steps):
        model.step(next(batches))
    model.wait()
    return {"peer": name, "steps_per_second": steps / (time.perf_counter() - began)}


def parts(folder: str, one_width: bool) -> tuple[Any, Any]:
    """The config and its training pipeline, in batches of one width where asked."""
    import dataclasses

    from jaxdl import config

    tree = config.load(f"{CONFIG}:{folder}")
    pipeline = config.build(tree.train)
    return tree, dataclasses.replace(pipeline, window=None) if one_width else pipeline


class Jaxdl:
    """The config's model, task and optimizer; greedy translation."""

    def __init__(self, folder: str, one_width: bool) -> None:
        import dataclasses

        import jax

        from jaxdl import config
        from jaxdl.learners import supervised

        self.tree, self.pipeline = parts(folder, one_width)
        self.task = dataclasses.replace(config.build(self.tree.task), beams=1)
        self.learner = supervised(config.build(self.tree.model), self.task, config.build(self.tree.optimizer))
        self.state = self.learner.init(jax.random.key(0), self.pipeline[0])
        self._step = jax.jit(self.learner.step, donate_argnums=0)

    def step(self, batch: Any) -> None:
        """Trains on a batch."""
        self.state, self.metrics = self._step(self.state, batch)

    def wait(self) -> None:
        """Until the last step is done."""
        import jax

        jax.block_until_ready(self.metrics)

    def scores(self) -> dict[str, float]:
        """BLEU and chrF of greedy translations of the test set."""
        import jax

        from jaxdl import config
        from jaxdl.data import once

        evaluation = config.build(self.tree.evals.test)
        predict = jax.jit(lambda state, batch: self.task.decode(self.learner.predict(state, batch)))
        pairs = []
        for batch in once(evaluation.data):
            real = batch["mask"] != 0
            decoded = jax.device_get(predict(self.state, batch))
            pairs.append(tuple({key: x[real] for key, x in one.items()} for one in (decoded, batch)))
        return dict(evaluation.report(pairs))


class Torch:
    """nn.Transformer of the same sizes, with the embedding tied on both sides and to the output."""

    def __init__(self, folder: str, one_width: bool) -> None:
        import math

        import torch

        torch.manual_seed(0)
        torch.set_num_threads(2)
        self.torch = torch
        self.tree, self.pipeline = parts(folder, one_width)
        sizes = self.tree.model
        self.features = sizes.features
        self.embedding = torch.nn.Embedding(sizes.vocab_size, sizes.features)
        torch.nn.init.normal_(self.embedding.weight, std=sizes.features**-0.5)
        self.model = torch.nn.Transformer(
            sizes.features,
            sizes.num_heads,
            sizes.num_layers,
            sizes.num_layers,
            sizes.hidden,
            sizes.dropout_rate,
            batch_first=True,
            norm_first=sizes.order == "pre",
        )
        places = torch.arange(256)[:, None] * torch.exp(
            -math.log(10_000) * torch.arange(0, sizes.features, 2) / sizes.features
        )
        self.places = torch.stack([places.sin(), places.cos()], dim=-1).reshape(256, sizes.features)
        self.dropout = torch.nn.Dropout(sizes.dropout_rate)
        self.parameters = [self.embedding.weight, *self.model.parameters()]
        rule, rate = self.tree.optimizer.rule, self.tree.optimizer.learning_rate
        self.optimizer = torch.optim.Adam(self.parameters, lr=1.0, betas=(rule.b1, rule.b2), eps=rule.eps)
        warmup = rate.warmup_steps

        def schedule(step: int) -> float:
            return rate.peak * min(step / warmup, (warmup / max(step, warmup)) ** 0.5)

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule)
        self.loss = torch.nn.CrossEntropyLoss(label_smoothing=self.tree.task.label_smoothing, ignore_index=-1)

    def embed(self, tokens: Any) -> Any:
        """Tokens and positions."""
        x = self.embedding(tokens) * self.features**0.5 + self.places[: tokens.shape[1]]
        return self.dropout(x)

    def encode(self, tokens: Any, padding: Any) -> Any:
        """The memory that the targets attend to."""
        return self.model.encoder(self.embed(tokens), src_key_padding_mask=padding)

    def decode(self, memory: Any, padding: Any, targets: Any) -> Any:
        """What the decoder makes of each target."""
        return self.model.decoder(
            self.embed(targets),
            memory,
            tgt_mask=self.torch.nn.Transformer.generate_square_subsequent_mask(targets.shape[1]) != 0,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )

    def logits(self, found: Any) -> Any:
        """Of the token after each target."""
        return found @ self.embedding.weight.T

    def step(self, batch: Any) -> None:
        """Trains on a batch."""
        torch = self.torch
        self.model.train()
        tokens, targets_in, targets = (
            torch.from_numpy(batch[name]).long() for name in ("tokens", "targets_in", "targets")
        )
        padding, mask = torch.from_numpy(batch["token_mask"]) == 0, torch.from_numpy(batch["target_mask"])
        wanted = torch.where(mask != 0, targets, -1)
        found = self.decode(self.encode(tokens, padding), padding, targets_in)
        loss = self.loss(self.logits(found).flatten(0, 1), wanted.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.tree.optimizer.clip_norm)
        self.optimizer.step()
        self.schedule.step()

    def wait(self) -> None:
        """A step ends when it returns."""

    def scores(self) -> dict[str, float]:
        """BLEU and chrF of greedy translations of the test set."""
        import numpy as np

        from jaxdl import config
        from jaxdl.data import once

        torch, task = self.torch, self.tree.task
        evaluation = config.build(self.tree.evals.test)
        self.model.eval()
        self.dropout.eval()
        pairs = []
        for batch in once(evaluation.data):
            real = batch["mask"] != 0
            batch = {name: value[real] for name, value in batch.items()}
            width = int(batch["token_mask"].sum(axis=1).max())
            tokens = torch.from_numpy(batch["tokens"][:, :width]).long()
            padding = torch.from_numpy(batch["token_mask"][:, :width]) == 0
            made = torch.full((len(tokens), 1), task.begin)
            done = torch.zeros(len(tokens), dtype=torch.bool)
            with torch.no_grad():
                memory = self.encode(tokens, padding)
                while made.shape[1] < 1.5 * width + 10 and not done.all():
                    following = self.logits(self.decode(memory, padding, made)[:, -1]).argmax(-1)
                    done |= following == task.end
                    made = torch.cat([made, torch.where(done, task.pad, following)[:, None]], dim=1)
            rows = made[:, 1:].numpy()
            lengths = np.where((rows == task.pad).any(1), (rows == task.pad).argmax(1), rows.shape[1])
            pairs.append(({"tokens": rows, "length": lengths}, batch))
        return dict(evaluation.report(pairs))


def baselines(folder: str) -> None:
    """The source as it is, and word by word with the German word that goes with each English one most."""
    from jaxdl import config
    from jaxdl.metrics.translation import TranslationScores

    tree = config.load(f"{CONFIG}:{folder}")
    train, test = (config.build(part.source.records) for part in (tree.train, tree.evals.test.data))
    sources, references = list(test.fields["source"]), list(test.fields["target"])
    scores = TranslationScores()
    print(json.dumps({"baseline": "copy", **scores.compute(sources, references)}))
    dictionary = learn_dictionary(list(zip(train.fields["source"], train.fields["target"])))
    found = [re.sub(r" ([.,!?])", r"\1", " ".join(dictionary.get(w, w) for w in WORD.findall(s))) for s in sources]
    print(json.dumps({"baseline": "dictionary", **scores.compute(found, references), "is": scores.signatures}))


def learn_dictionary(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """For each word of the source the one of the target with the highest Dice coefficient over sentences."""
    counts = [collections.Counter[str](), collections.Counter[str]()]
    together: collections.Counter[tuple[str, str]] = collections.Counter()
    for pair in pairs:
        left, right = (set(WORD.findall(text)) for text in pair)
        counts[0].update(left)
        counts[1].update(right)
        together.update((one, other) for one in left for other in right)
    best: dict[str, tuple[float, str]] = {}
    for (one, other), count in together.items():
        score = 2 * count / (counts[0][one] + counts[1][other])
        best[one] = max(best.get(one, (0.0, "")), (score, other))
    return {one: other for one, (_, other) in best.items()}


if __name__ == "__main__":
    main()
