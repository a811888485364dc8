"""jaxdl evaluate."""

import argparse
import dataclasses
import json
from typing import Any

from jaxdl.cli.environment import allowed, use_compile_cache
from jaxdl.cli.flags import add_model, natural
from jaxdl.errors import ConfigError

TAKES_OVERRIDES = True


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    add_model(parser)
    parser.add_argument("--split", metavar="NAME", help="evaluate only this one of the config's evals")
    parser.add_argument(
        "--replicates", type=natural, default=200, metavar="N", help="bootstrap replicates (default 200)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Evaluates a trained model on the evaluations of its config."""
    use_compile_cache()
    from jaxdl import config as configs
    from jaxdl.inference import load

    allow = allowed(options)
    loaded = load(options.workdir, step=step_choice(options.step), allow=allow)
    config = configs.override(loaded.config, options.overrides, allow=allow)
    names = sorted(config["evals"]) if "evals" in config else []
    if not names:
        raise ConfigError(f"The config of {options.workdir} has no evals.")
    if options.split is not None and options.split not in names:
        raise ConfigError(f"There is no evaluation {options.split!r}; there are {', '.join(names)}.")
    known = () if loaded.tokenizer is None else ((loaded.config["tokenizer"], loaded.tokenizer),)
    for name in names if options.split is None else [options.split]:
        evaluation = configs.build(config["evals"][name], allow=allow, known=known)
        _show(name, loaded.step, _measure(loaded, evaluation, options.replicates), as_json=options.json)
    return 0


def step_choice(text: str | None) -> int | str | None:
    """The step that a flag names.

    Raises:
      ConfigError: it is none.
    """
    if text is not None and text not in ("best", "last") and not text.isdecimal():
        raise ConfigError(f"--step must be 'best', 'last' or a number, not {text!r}.")
    return int(text) if text is not None and text.isdecimal() else text


def _measure(loaded: Any, evaluation: Any, replicates: int) -> dict[str, Any]:
    import jax

    from jaxdl.parallel import make_mesh
    from jaxdl.train.evaluation import RESAMPLED, Pass, evaluate, intervals, numbered, read, resampled

    pipeline = evaluation.data
    devices = jax.devices() if pipeline.batch_size % jax.device_count() == 0 else jax.devices()[:1]
    mesh = make_mesh({"data": -1}, devices)
    pipeline = dataclasses.replace(pipeline, check=pipeline.check or getattr(loaded.task, "check", None))
    learner = resampled(loaded.learner, replicates) if replicates else loaded.learner
    learner = learner._replace(evaluate=jax.jit(learner.evaluate))
    batches = Pass(pipeline=pipeline, mesh=mesh)
    metrics = evaluate(learner, loaded.state, numbered(batches) if replicates else batches)
    plain = {name: metric for name, metric in metrics.items() if not name.endswith(RESAMPLED)}
    found = {"examples": len(pipeline.source), "values": read(plain), "intervals": intervals(metrics)}
    return found if evaluation.report is None else _reported(loaded, evaluation.report, batches, replicates, found)


def _reported(loaded: Any, report: Any, batches: Any, replicates: int, found: dict[str, Any]) -> dict[str, Any]:
    """What was found, with what a report makes of all predictions together."""
    import jax

    from jaxdl.train.report import Resampling, bootstrap, predictions

    if not hasattr(loaded.task, "decode"):
        raise ConfigError("The report of an evaluation needs a task with `decode`.")
    learner = loaded.learner._replace(predict=jax.jit(loaded.learner.predict))
    pairs = predictions(learner, loaded.task.decode, loaded.state, batches)
    intervals = found["intervals"]
    if isinstance(report, Resampling):
        statistics = report.statistics(pairs)
        values = report.values(statistics.sum(axis=0))
        intervals = intervals | bootstrap(report, statistics, replicates=replicates)
    else:
        values = report(pairs)
    values = found["values"] | {name: float(value) for name, value in values.items()}
    signatures = dict(report.signatures) if hasattr(report, "signatures") else {}
    return {**found, "values": values, "intervals": intervals, "signatures": signatures}


def _show(name: str, step: int, found: dict[str, Any], *, as_json: bool) -> None:
    from jaxdl.train.writers import plain

    values = {key: value if isinstance(value, float) else value.tolist() for key, value in found["values"].items()}
    if as_json:
        numbers = {key: plain(value) for key, value in values.items()}
        intervals = {key: plain(ends) for key, ends in found["intervals"].items()}
        row = {"split": name, "step": step, "examples": found["examples"], **numbers, "intervals_95": intervals}
        row |= {"signatures": found["signatures"]} if "signatures" in found else {}
        print(json.dumps(row, allow_nan=False))
        return
    print(f"{name}: {found['examples']:,} examples, parameters of step {step:,}")
    for key, value in sorted(values.items()):
        if isinstance(value, float):
            low, high = found["intervals"].get(key, (None, None))
            print(f"  {key:20} {value:.4f}" + ("" if low is None else f"   95 % interval {low:.4f} to {high:.4f}"))
        else:
            print(f"  {key}:")
            for row in value:
                print("    " + " ".join(f"{cell:6g}" for cell in (row if isinstance(row, list) else [row])))
    for key, signature in sorted(found["signatures"].items()) if "signatures" in found else ():
        print(f"  {key} is {signature}")
