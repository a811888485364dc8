"""Kills: which, when and of whom, drawn at random; and what they did to a run."""

import dataclasses
import random
import signal
from collections.abc import Sequence
from typing import Literal

from jaxdl.errors import Preempted
from jaxdl.train.survival.watch import PHASES, Aim, Phase

Kind = Literal["SIGKILL", "SIGTERM", "exception"]
KINDS: tuple[Kind, ...] = ("SIGKILL", "SIGTERM", "exception")
_OFTEN = {"SIGKILL": 0.6, "SIGTERM": 0.2, "exception": 0.2}
_SHARES: dict[Phase, float] = {"start": 0.1, "restore": 0.1, "step": 0.4, "evaluation": 0.15, "save": 0.25}
_PAUSE = 0.05  # Seconds after an event, in which the files and the steps that Python does not see are hit.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """What an uninterrupted run is made of, from which kills are drawn.

    Attributes:
      steps: How many it takes.
      checkpoints: How many it saves.
      events: Of each phase.
    """

    steps: int
    checkpoints: int
    events: dict[Phase, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kill:
    """A kill to come.

    Attributes:
      kind: How.
      aim: When.
      pause: Seconds after the event aimed at; None on the spot, by the run itself.
      watched: The process whose events count, and which is always hit.
      victims: The processes that are hit.
    """

    kind: Kind
    aim: Aim
    pause: float | None
    watched: int
    victims: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hit:
    """A kill that happened.

    Attributes:
      kill: What was to come.
      phase: What the run was at; a save that was under way counts before what the main thread did.
      began: The step that it had gone on from, if it had begun.
      reached: The steps it had taken, those of earlier runs too, if it had begun.
      codes: The exit codes of all processes.
      ended: The processes that did not end by themselves when others were gone.
    """

    kill: Kill
    phase: Phase
    began: int | None
    reached: int | None
    codes: tuple[int, ...]
    ended: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = "before the first step" if self.reached is None else f"at step {self.reached} (from {self.began})"
        others = f" of process {', '.join(map(str, self.kill.victims))}" if len(self.codes) > 1 else ""
        exact = "on the spot" if self.kill.pause is None else f"{self.kill.pause * 1e3:.0f} ms after an event"
        codes = ", ".join(map(str, self.codes))
        late = f"; ended by us: {', '.join(map(str, self.ended))}" if self.ended else ""
        return f"{self.kill.kind}{others} in {self.phase}, {exact}, {where}; exit {codes}{late}"


def draw(generator: random.Random, profile: Profile, *, kinds: Sequence[Kind], processes: int, kills: int) -> Kill:
    """Draws a kill.

    Args:
      generator: Of the random choices.
      profile: Of the uninterrupted run.
      kinds: Which may be drawn.
      processes: How many take part.
      kills: How many there are to be in all: few are spread over the whole run, of many each comes a few saves after
        the one before.
    """
    kind = generator.choices(kinds, [_OFTEN[kind] for kind in kinds])[0]
    # An error is raised by the events of Python alone; while starting there may be none.
    phases = [phase for phase in PHASES if phase == "restore" or profile.events[phase]]
    phase = generator.choices(phases, [_SHARES[phase] for phase in phases])[0]
    span = max(1, min(profile.steps, 2 * profile.steps // min(kills, profile.checkpoints)))
    on_the_spot = kind == "exception" or (kind == "SIGKILL" and generator.random() < 0.5)
    act: Literal["tell", "stop", "raise"] = "tell"
    if on_the_spot:
        act = "raise" if kind == "exception" else "stop"
    steps = 0 if phase in ("start", "restore") else generator.randint(0, span)
    watched = 0 if phase == "save" else generator.randrange(processes)  # Process 0 writes most.
    alone = kind == "exception" or generator.random() < 0.5
    return Kill(
        kind=kind,
        aim=Aim(phase=phase, steps=steps, count=_count(generator, profile, phase), latest=steps + span, act=act),
        pause=None if on_the_spot else generator.uniform(0, _PAUSE),
        watched=watched,
        victims=(watched,) if alone else tuple(range(processes)),
    )


def _count(generator: random.Random, profile: Profile, phase: Phase) -> int:
    """Which event of a phase: of as many as there may be at a time."""
    if phase == "step":
        return 1
    times = profile.checkpoints if phase in ("save", "evaluation") else 1
    return generator.randint(1, max(1, profile.events[phase] // max(1, times)))


def unexpected(hit: Hit) -> str | None:
    """What is wrong with how the processes of a run ended after a kill, or None.

    SIGKILL ends a process by that signal, an error as a crash. After SIGTERM all exit with 75, but for several
    processes of which one was hit before they had met: it alone must.
    """
    if hit.kill.kind == "exception" and set(hit.kill.victims) & set(hit.ended):
        return "A process with an error must end by itself"
    own = [hit.codes[number] for number in hit.kill.victims if number not in hit.ended]
    if hit.kill.kind == "SIGKILL":
        wrong = [code for code in own if code != -signal.SIGKILL]
    elif hit.kill.kind == "exception":
        wrong = [code for code in own if code in (0, Preempted.exit_code) or code < 0]
    else:
        of = own if hit.phase == "start" else hit.codes
        wrong = [code for code in of if code != Preempted.exit_code]
    return f"{hit.kill.kind} must not end a process with {wrong[0]}" if wrong else None
