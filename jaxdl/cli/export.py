"""jaxdl export."""

import argparse
from pathlib import Path

from jaxdl.cli.environment import allowed
from jaxdl.cli.evaluate import step_choice
from jaxdl.cli.flags import add_model
from jaxdl.errors import ConfigError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    add_model(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument(
        "--merge-lora", action="store_true", help="write the model inside a LoRA, its adapters merged into its kernels"
    )


def run(options: argparse.Namespace) -> int:
    """Writes a trained model into one file."""
    from jaxdl.inference import export, load, merge_lora

    output = Path(options.output)
    if output.suffix != ".safetensors":
        raise ConfigError(f"--output must end in .safetensors, not {output.name!r}.")
    allow = allowed(options)
    loaded = load(options.workdir, step=step_choice(options.step), allow=allow)
    if options.merge_lora:
        loaded = merge_lora(loaded, allow=allow)
    export(loaded, output)
    print(f"{output}: step {loaded.step}, {output.stat().st_size:,} bytes")
    return 0
