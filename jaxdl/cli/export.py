"""jaxdl export."""

import argparse
from pathlib import Path

from jaxdl.cli.environment import allowed
from jaxdl.cli.evaluate import step_choice
from jaxdl.errors import ConfigError


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
