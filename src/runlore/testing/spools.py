"""Spools for tests: a plain builder of one writer's stream, and random ones for hypothesis."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from hypothesis import strategies as st

from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import MAX_STEP, Value
from runlore.core.run import RunRef, run_ref
from runlore.store.metrics import SpoolPiece
from runlore.wire import spool

Form: TypeAlias = Literal["row", "loose", "mixed"]

NO_FORK = object()
SECOND_NS = 1_000_000_000


def a_run(run_id: str = "run-1", *, project: str = "digits") -> RunRef:
    """Address a run of the owner `local`."""
    return run_ref("local", project, run_id)


class SpoolBuilder:
    """One writer's stream, built frame by frame with the encoders of `wire.spool`.

    Args:
        started_ns: when the writer began, by the wall clock.
        boot: the boot id in its header; two writers of one boot are compared by `boot_ns`.
        boot_ns: when it began, by the clock of that boot; None leaves it out.
        program: the main writer of its program; None leaves it out.
        fork: what its header says of being a fork; `NO_FORK` leaves it out.
    """

    def __init__(
        self,
        run: RunRef,
        writer: str = "w-1",
        *,
        started_ns: int = SECOND_NS,
        boot: str = "boot-1",
        boot_ns: int | None = None,
        resumed: bool = False,
        program: str | None = None,
        fork: object = NO_FORK,
    ) -> None:
        self.run = run
        self.writer = writer
        self.time_ns = started_ns
        header: JsonObject = {
            "owner": run.owner,
            "project": run.project,
            "run": run.run_id,
            "writer": writer,
            "boot": boot,
            "boot_ns": boot_ns,
            "started_ns": started_ns,
            "resumed": resumed,
            **({} if program is None else {"program": program}),
            **({} if fork is NO_FORK else {"fork": cast(JsonValue, fork)}),
        }
        self.frames = [spool.PREAMBLE]
        self.edges = [0, len(spool.PREAMBLE)]
        self.frames[0] += self._json(spool.HEADER, header)
        self.edges[1] = len(self.frames[0])
        self._ids: dict[str, int] = {}
        self._sets: dict[tuple[int, ...], int] = {}

    @property
    def data(self) -> bytes:
        """All bytes so far."""
        return b"".join(self.frames)

    def log(
        self,
        values: Mapping[str, Value],
        *,
        step: int,
        time_ns: int | None = None,
        form: Form | None = None,
    ) -> None:
        """Append one row; None chooses `row` for numbers and `mixed` for everything else."""
        self.time_ns = self.time_ns + 1000 if time_ns is None else time_ns
        fresh = [key for key in values if key not in self._ids]
        if fresh:
            self.add(spool.frame(spool.encode_keys(len(self._ids), fresh)))
            self._ids.update({key: i for i, key in enumerate(fresh, len(self._ids))})
        ids = tuple(self._ids[key] for key in values)
        numbers = [v for v in values.values() if not isinstance(v, (bool, str))]
        if form == "mixed" or len(numbers) < len(ids):
            payload = spool.encode_mixed_row(step, self.time_ns, ids, list(values.values()))
        elif form == "loose":
            payload = spool.encode_loose_row(step, self.time_ns, ids, numbers)
        else:
            if ids not in self._sets:
                self._sets[ids] = len(self._sets)
                self.add(spool.frame(spool.encode_key_set(self._sets[ids], ids)))
            layout = spool.row_struct(len(ids))
            payload = layout.pack(spool.ROW, self._sets[ids], step, self.time_ns, *numbers)
        self.add(spool.frame(payload))

    def end(
        self,
        kind: int = spool.FINISH,
        *,
        time_ns: int | None = None,
        boot_ns: int | None = None,
    ) -> None:
        """Append the frame that ends the stream: FINISH, CLOSED or LOST."""
        self.time_ns = self.time_ns + 1000 if time_ns is None else time_ns
        self.add(self._json(kind, {"time_ns": self.time_ns, "boot_ns": boot_ns}))

    def add(self, frame: bytes) -> None:
        """Append any frame as it is."""
        self.frames.append(frame)
        self.edges.append(self.edges[-1] + len(frame))

    def piece(self, first: int = 0, last: int | None = None) -> SpoolPiece:
        """Return the frames from number `first` up to before `last`; number 0 is the header."""
        return SpoolPiece(
            run=self.run,
            writer=self.writer,
            offset=self.edges[first],
            data=b"".join(self.frames[first:last]),
        )

    def _json(self, kind: int, content: JsonObject) -> bytes:
        return spool.frame(spool.encode_json(kind, content))


@dataclass(kw_only=True)
class Delivery:
    """What happens to a store: pieces in the order in which they come, and rewinds between."""

    builders: list[SpoolBuilder] = field(default_factory=list)
    calls: list[list[SpoolPiece]] = field(default_factory=list)
    rewinds: dict[int, int] = field(default_factory=dict)
    """Number of the call before which the run is rewound -> step."""


KEYS = ("loss", "acc", "é/ü", "a\0b", "Loss", "x" * 40, "val/loss", "ok")

numbers = st.floats(width=32) | st.sampled_from(
    [0.0, -0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 5e-324]
)
values = numbers | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=4)
near_steps = st.integers(-4, 12)
any_steps = (
    near_steps
    | st.integers(-1000, 1000)
    | st.integers(1_700_000_000_000, 1_700_000_900_000)
    | st.integers(-MAX_STEP, MAX_STEP)
)


@st.composite
def a_stream(draw: st.DrawFn, run: RunRef, writer: str) -> SpoolBuilder:
    """Draw one writer: a key set or several, steps in and out of order, repeats, an end or none.

    Times are drawn from few, so that writers end before, at and after the begin of others, and
    so are programs, so that one has several writers and perhaps no main one.
    """
    began = draw(st.integers(0, 8))
    builder = SpoolBuilder(
        run,
        writer,
        started_ns=began * 100_000,
        boot=draw(st.sampled_from(["boot-1", "boot-2"])),
        boot_ns=draw(st.none() | st.integers(0, 8)),
        resumed=draw(st.booleans()),
        program=draw(st.sampled_from([None, "w-0", "w-1", "unknown"])),
    )
    key_sets = draw(
        st.lists(
            st.lists(st.sampled_from(KEYS), min_size=0, max_size=4, unique=True),
            min_size=1,
            max_size=3,
        )
    )
    steps = draw(st.sampled_from([near_steps, near_steps, any_steps]))
    step = draw(steps)
    for _ in range(draw(st.integers(0, 14))):
        move = draw(st.integers(0, 9))
        step = draw(steps) if move == 0 else min(step + (move > 2), MAX_STEP)
        keys = draw(st.sampled_from(key_sets))
        plain = draw(st.integers(0, 3)) > 0
        row: dict[str, Value] = {key: draw(numbers if plain else values) for key in keys}
        builder.log(row, step=step, form=draw(st.sampled_from(["row", "row", "loose", "mixed"])))
    if draw(st.booleans()):
        kind = draw(st.sampled_from([spool.FINISH, spool.CLOSED, spool.LOST]))
        ended = builder.time_ns + draw(st.integers(0, 3)) * 100_000
        builder.end(kind, time_ns=ended, boot_ns=draw(st.none() | st.integers(0, 9)))
    return builder


@st.composite
def deliveries(draw: st.DrawFn, run: RunRef) -> Delivery:
    """Draw up to four writers of a run, their pieces cut, repeated, overlapping, interleaved."""
    count = draw(st.integers(1, 4))
    delivery = Delivery(builders=[draw(a_stream(run, f"w-{n}")) for n in range(count)])
    queues: list[list[SpoolPiece]] = []
    for builder in delivery.builders:
        size = len(builder.frames)
        cuts = sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=4))})
        pieces = []
        for first, last in zip(cuts, cuts[1:], strict=False):
            overlap = draw(st.sampled_from([0, 0, 0, 1, 5]))
            pieces += [builder.piece(max(0, first - overlap), last)]
            pieces += [pieces[-1]] * draw(st.sampled_from([0, 0, 0, 1]))
        queues.append(pieces)
    flat: list[SpoolPiece] = []
    while any(queues):
        flat.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    while flat:
        size = draw(st.integers(1, 3))
        delivery.calls.append(flat[:size])
        flat = flat[size:]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        delivery.rewinds[draw(st.integers(0, len(delivery.calls)))] = draw(near_steps)
    return delivery
