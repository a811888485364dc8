"""The errors that jaxdl raises for its users, and the exit code of each."""


class JaxdlError(Exception):
    """An error whose message says what happened, where, and what to do next.

    The command line prints the message alone, without a traceback, and exits with `exit_code`.
    """

    exit_code = 1


class ConfigError(JaxdlError, ValueError):
    """A config that cannot be loaded, overridden, checked or built."""

    exit_code = 2


class DataError(JaxdlError, ValueError):
    """Data that is missing, corrupt, or not what the task needs."""

    exit_code = 65


class CheckpointError(JaxdlError, RuntimeError):
    """A checkpoint that is missing, corrupt, or of another shape than the model."""

    exit_code = 66


class NonFiniteError(JaxdlError, ArithmeticError):
    """A loss, gradient or parameter that stayed NaN or infinite."""

    exit_code = 70


class WorkdirError(JaxdlError, OSError):
    """A run folder that cannot be written, or that another run is using."""

    exit_code = 74


class Preempted(JaxdlError):
    """Training was asked to stop and has saved; the same command resumes."""

    exit_code = 75
