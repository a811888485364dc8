"""jaxdl inspect."""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdl.cli.environment import allowed, use_cpu_devices
from jaxdl.cli.flags import add_code, positive
from jaxdl.errors import ConfigError

TAKES_OVERRIDES = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Subject:
    """What there is to look at: the model is None where a whole learner hides it."""

    params: Any
    model_state: Any
    frozen: Sequence[str]
    model: Any
    inputs: Mapping[str, Any]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--config", metavar="FILE[:ARG]", help="the model that this config would train, where it would"
    )
    subject.add_argument("--workdir", "--model", dest="workdir", metavar="RUN", help="or at what this run folder holds")
    parser.add_argument("--layers", action="store_true", help="layers with output shapes and FLOPs for one example")
    parser.add_argument("--depth", type=positive, metavar="N", help="no deeper than N parts of a name")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--step", metavar="STEP", help="of a run: best, last or a number")
    parser.add_argument("--cpu-devices", type=positive, metavar="N", help="pretend that the CPU is N devices")
    add_code(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the parameters of a model, and its layers where asked for."""
    use_cpu_devices(options.cpu_devices)
    from jaxdl import trees
    from jaxdl.inspection import grouped, parameters

    subject = _of_config(options) if options.config else _of_run(options)
    rows = parameters(subject.params, subject.frozen)
    layers = _layers(subject) if options.layers else None
    if options.json:
        found: dict[str, Any] = {
            "parameters": [{**dataclasses.asdict(row), "count": row.count} for row in rows],
            "groups": [dataclasses.asdict(group) for group in grouped(rows, options.depth or 1)],
            "total": sum(row.count for row in rows),
            "trainable": sum(row.count for row in rows if row.trainable),
            "bytes": sum(row.bytes for row in rows),
            "model_state": trees.count(subject.model_state),
        }
        print(json.dumps(found if layers is None else {**found, "layers": dataclasses.asdict(layers)}))
    else:
        print(layers.text(options.depth) if layers is not None else _text(rows, subject, options.depth))
    return 0


def _text(rows: Sequence[Any], subject: _Subject, depth: int | None) -> str:
    from jaxdl import trees
    from jaxdl.inspection import group_table, parameter_table

    parts = [group_table(rows, depth or 1)] if depth else [parameter_table(rows), group_table(rows)]
    if state := trees.count(subject.model_state):
        parts.append(f"and {state:,} running statistics in {', '.join(subject.model_state)}")
    return "\n\n".join(parts)


def _layers(subject: _Subject) -> Any:
    from jaxdl.inspection import summary

    if subject.model is None:
        raise ConfigError("The config has a whole `learner`, whose layers cannot be told apart: leave --layers out.")
    return summary(subject.model, subject.inputs, frozen=subject.frozen)


def _of_config(options: argparse.Namespace) -> _Subject:
    """The state that training would begin with, as shapes on the config's mesh."""
    if options.step is not None:
        raise ConfigError("--step goes with --workdir: a config has no steps to choose from.")
    from jaxdl.cli.train import build_experiment, resolve
    from jaxdl.train import Experiment

    config, allow = resolve(options, Experiment)
    import jax

    from jaxdl.parallel import abstract_state, make_mesh
    from jaxdl.train.experiment import assemble

    experiment = build_experiment(config, allow)
    mesh = make_mesh(experiment.mesh)
    plain = dataclasses.replace(experiment, mapping="jit")
    example = dataclasses.replace(experiment.train, batch_size=1)[0]
    batch = _shapes({name: (x.shape[1:], x.dtype) for name, x in example.items()})
    state = abstract_state(assemble(plain), jax.random.key(0), batch, mesh, experiment.rules)
    inputs = _inputs(experiment.task, batch) if experiment.model is not None else {}
    return _Subject(
        params=state.params,
        model_state=state.model_state,
        frozen=experiment.frozen,
        model=experiment.model,
        inputs=inputs,
    )


def _of_run(options: argparse.Namespace) -> _Subject:
    """The parameters of a trained model, as they were saved."""
    if options.overrides:
        raise ConfigError("--config.key=value flags go with --config: what a run folder holds is settled.")
    from jaxdl import config as configs
    from jaxdl.cli.evaluate import step_choice
    from jaxdl.inference import load

    allow = allowed(options)
    loaded = load(options.workdir, step=step_choice(options.step), allow=allow)
    whole = "learner" in loaded.config and loaded.config["learner"] is not None
    model = None if whole else configs.build(loaded.config["model"], allow=allow)
    example = {name: (about["shape"], about["dtype"]) for name, about in loaded.facts["example"].items()}
    return _Subject(
        params=loaded.state.params,
        model_state=loaded.state.model_state,
        frozen=tuple(loaded.config["frozen"]) if "frozen" in loaded.config else (),
        model=model,
        inputs={} if model is None else _inputs(loaded.task, _shapes(example)),
    )


def _shapes(example: Mapping[str, tuple[Sequence[int], Any]]) -> dict[str, Any]:
    """The shapes of a batch of one example."""
    import jax

    return {
        name: jax.ShapeDtypeStruct((1, *shape), jax.dtypes.canonicalize_dtype(dtype))
        for name, (shape, dtype) in example.items()
    }


def _inputs(task: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    import jax

    return dict(jax.eval_shape(task.inputs, batch))
