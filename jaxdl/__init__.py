"""jaxdl: a JAX-based functional deep-learning research framework."""

__version__ = "0.1.0"
