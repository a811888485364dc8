"""What the devices of a compiled program send each other, read out of its text."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
_OPERATION = re.compile(rf"= (?P<type>.+?) (?P<kind>{'|'.join(_KINDS)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+[0-9]+[a-z0-9]*)\[([0-9,]*)\]")
_BODY = re.compile(r"\bwhile\(.*body=%?(?P<name>[\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_CALLS = re.compile(r"\b(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_GROUPS = re.compile(r"replica_groups=\{\{([0-9,]+)\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]")
_MESH = re.compile(r"replica_groups=mesh\[(?P<axes>[^\]]*)\].*?\{(?P<among>'[^}]*)\}")
_AXIS = re.compile(r"'(?P<name>\w+)'=(?P<size>\d+)")
_AMONG = re.compile(r"'(?P<name>\w+)'(?::\(\d+\)(?P<part>\d+))?")
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{$")
_PARTITIONS = re.compile(r"num_partitions=(\d+)")
_BITS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
    """A kind of communication among groups of devices of one size.

    Attributes:
      kind: Such as "all-reduce".
      devices: How many devices take part in a group, of a permutation all.
      count: How often it runs, bodies of loops as often as the loop is known to run, else once.
      bytes: The size of the whole array of one group, all calls together.
    """

    kind: str
    devices: int
    count: int
    bytes: int

    @property
    def sent(self) -> float:
        """The bytes that a device sends at least, all calls together, as the ring algorithms do."""
        share = (self.devices - 1) / self.devices
        return self.bytes * {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.kind, share)


def collectives(text: str) -> tuple[Collective, ...]:
    """The communication of a compiled program, by kind and size of the groups.

    Args:
      text: `jax.jit(...).lower(...).compile().as_text()`, in which every device's program is the same.
    """
    blocks = dict(_blocks(text))
    partitions = _PARTITIONS.search(text)
    all_devices = int(partitions[1]) if partitions else 1
    counts: Counter[tuple[str, int]] = Counter()
    sizes: Counter[tuple[str, int]] = Counter()
    for (kind, devices, size), number in _found(blocks, blocks[""][0], all_devices).items():
        counts[kind, devices] += number
        sizes[kind, devices] += number * size
    return tuple(Collective(kind=kind, devices=n, count=counts[kind, n], bytes=sizes[kind, n]) for kind, n in counts)


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """The lines of each computation by its name, and under "" the name of the first one to run."""
    name, entry = "", ""
    lines: list[str] = []
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name, lines = found["name"], []
            entry = name if found["entry"] else entry
        elif line.startswith("}"):
            yield name, lines
        else:
            lines.append(line)
    yield "", [entry]


def _found(blocks: Mapping[str, list[str]], name: str, partitions: int) -> Counter[tuple[str, int, int]]:
    """How often each `(kind, devices, bytes)` runs in a computation."""
    found: Counter[tuple[str, int, int]] = Counter()
    for line in blocks.get(name, ()):
        if operation := _OPERATION.search(line):
            found[_described(operation, line, partitions)] += 1
            continue
        for inner, times in _inner(line):
            for one, number in _found(blocks, inner, partitions).items():
                found[one] += times * number
    return found


def _inner(line: str) -> Iterator[tuple[str, int]]:
    """The computations that an operation runs, and how often."""
    if body := _BODY.search(line):
        trips = _TRIPS.search(line)
        yield body["name"], int(trips[1]) if trips else 1
        return
    for called in _CALLS.findall(line):
        yield called, 1
    if branches := _BRANCHES.search(line):
        for called in branches[1].split(","):
            yield called.strip().removeprefix("%"), 1


def _described(operation: re.Match[str], line: str, partitions: int) -> tuple[str, int, int]:
    kind, sizes = operation["kind"], [_bytes(dtype, shape) for dtype, shape in _ARRAY.findall(operation["type"])]
    if operation["start"] and kind == "all-gather":
        sizes = sizes[len(sizes) // 2 :]  # The operands come first.
    if operation["start"] and kind == "collective-permute":
        sizes = sizes[:1]
    devices = _devices(line, partitions)
    return kind, devices, sum(sizes) * (devices if kind == "reduce-scatter" else 1)


def _devices(line: str, partitions: int) -> int:
    if groups := _GROUPS.search(line):
        return len(groups[1].split(","))
    if iota := _IOTA.search(line):
        return int(iota[2])
    if mesh := _MESH.search(line):
        sizes = {axis["name"]: int(axis["size"]) for axis in _AXIS.finditer(mesh["axes"])}
        return math.prod(int(axis["part"] or sizes[axis["name"]]) for axis in _AMONG.finditer(mesh["among"]))
    return partitions


def _bytes(dtype: str, shape: str) -> int:
    bits = 8 if dtype == "pred" else int(_BITS.search(dtype)[0])  # type: ignore[index]  # the pattern has digits
    return math.prod(int(size) for size in shape.split(",") if size) * max(1, bits // 8)
