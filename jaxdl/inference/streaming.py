"""Text that grows token by token: which part of it is certain, and whether a stop string has come."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxdl.data.text import Tokenizer

_BROKEN = "\ufffd"
"""What a decoder of bytes gives for a character that is not whole, or none at all."""

Finish = Literal["end", "stop", "length"]


class Generated(NamedTuple):
    """A continuation.

    Attributes:
      text: Without the prompt, the end token and the stop string.
      tokens: How many were drawn, those of the stop string included.
      finish: Whether the end token, a stop string or the number of tokens ended it.
      score: Sum of the log-probabilities of the tokens and of the end; of beams, divided by the length penalty.
    """

    text: str
    tokens: int
    finish: Finish
    score: float


def settled(text: str, stop: Sequence[str] = (), *, final: bool = False) -> tuple[str, bool]:
    r"""The part of a growing text that more text cannot change, and whether a stop string has ended it.

    Of several stop strings the one counts that is whole first. A character at the end that is not whole is left out.

    >>> settled("To be, or n", ["\n\n", "not"])
    ('To be, or ', False)
    >>> settled("To be, or not", ["not"])
    ('To be, or ', True)
    """
    places = [(text.find(one) + len(one), text.find(one)) for one in stop if one and one in text]
    if places:
        return text[: min(places)[1]], True
    text = text.rstrip(_BROKEN)
    if final:
        return text, False
    begun = (length for one in stop for length in range(1, len(one)) if text.endswith(one[:length]))
    return text[: len(text) - max(begun, default=0)], False


class Row:
    """The text of one row while it grows."""

    def __init__(self, tokenizer: Tokenizer, prompt: np.ndarray, stop: tuple[str, ...]) -> None:
        self.tokenizer, self.prompt, self.stop = tokenizer, [int(one) for one in prompt], stop
        self.ids: list[int] = []
        self.chances: list[float] = []
        self.text, self.stopped, self.ended = "", False, False
        self._taken = 0
        self._begin = len(tokenizer.decode(self.prompt))

    def add(self, ids: Any, *, final: bool) -> str:
        """Takes tokens; gives the text that is certain now and was not before."""
        if self.stopped:
            return ""
        self._taken = len(self.ids)
        self.ids.extend(int(one) for one in ids)
        # Decoded after the prompt: some tokenizers write a first word differently.
        whole = self.tokenizer.decode(self.prompt + self.ids)[self._begin :]
        sure, self.stopped = settled(whole, self.stop, final=final)
        if self.stopped:
            self._leave_out(sure)
        piece = sure[len(self.text) :]
        self.text = sure
        return piece

    def _leave_out(self, text: str) -> None:
        """Drops the tokens behind those that complete the stop string."""
        for count in range(self._taken + 1, len(self.ids)):
            if settled(self.tokenizer.decode(self.prompt + self.ids[:count])[self._begin :], self.stop) == (text, True):
                del self.ids[count:]
                return

    def generated(self) -> Generated:
        """What became of the row."""
        finish: Finish = "stop" if self.stopped else "end" if self.ended else "length"
        counted = self.chances[: len(self.ids)] if self.stopped else self.chances
        return Generated(self.text, len(self.ids), finish, math.fsum(counted))
