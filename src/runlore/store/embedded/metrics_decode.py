"""Pieces of spools to blocks of columns, many frames at a time."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from runlore.core.json import JsonObject
from runlore.core.metric import MAX_STEP, Kind, kind_of
from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import Floats, Ints
from runlore.store.embedded.metrics_piece import (
    ROW_HEAD_BYTES,
    WIDE_BYTES,
    PieceReader,
    end_of,
    walk,
)
from runlore.store.embedded.metrics_programs import Progress, Token
from runlore.wire import spool

MAX_TIME_NS = 2**63 - 1
_LENGTH = struct.Struct("<I")
_MANY_SIGNATURES = 16
_HARDLY = 8
_KNOWN_SIGNATURES = 1024


class Columns:
    """The columns of a block: keys with the kind of their values, each key once.

    Attributes:
        slots: per column, its place among the numbers (bools included) or among the texts.
        place: key -> column.
    """

    __slots__ = ("cells", "kinds", "keys", "number_columns", "place", "slots", "text_columns")

    def __init__(self, cells: Sequence[tuple[str, Kind]]) -> None:
        self.cells = tuple(cells)
        self.keys = [key for key, _ in self.cells]
        self.kinds = [kind for _, kind in self.cells]
        self.place = {key: column for column, key in enumerate(self.keys)}
        self.text_columns = [c for c, kind in enumerate(self.kinds) if kind == "string"]
        self.number_columns = [c for c, kind in enumerate(self.kinds) if kind != "string"]
        self.slots = [0] * len(self.cells)
        for columns in (self.number_columns, self.text_columns):
            for slot, column in enumerate(columns):
                self.slots[column] = slot

    def slot_of(self, key: str) -> int | None:
        """Return the place of a key among the numbers; None where it is none of them."""
        column = self.place.get(key)
        if column is None or self.kinds[column] == "string":
            return None
        return self.slots[column]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Frames of one writer with the same columns, in the order of the stream.

    `back` and `late` lead from a frame's offset and time back to those of its row.
    """

    columns: Columns
    steps: Ints
    offsets: Ints
    times: Ints
    back: Ints
    late: Ints
    numbers: Floats
    texts: list[list[str]]

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(kw_only=True)
class Decoded:
    """What a piece held: its blocks, the frames that declare keys, and damage behind them."""

    blocks: list[Block] = field(default_factory=list)
    declared: bytearray = field(default_factory=bytearray)
    damage: DamageError | None = None


class StreamDecoder:
    """Decodes one writer's stream, piece by piece; `progress` says how far it came."""

    def __init__(self, progress: Progress, declared: Iterable[bytes] = ()) -> None:
        self.progress = progress
        self._table = spool.KeyTable()
        self._sets: dict[int, Columns | None] = {}
        self._signatures: dict[tuple[tuple[str, Kind], ...], Columns] = {}
        for frames in declared:
            for frame in spool.whole_frames(frames, offset=len(spool.PREAMBLE)):
                self._table.declare(frame.payload)

    def decode(self, data: bytes) -> Decoded:
        """Decode frames that begin at byte `progress.next` of the stream.

        Stops before a frame that cannot be decoded and says so in `damage`.
        """
        decoded = Decoded()
        at = 0
        if self.progress.next == 0:
            if len(data) < len(spool.PREAMBLE):
                return decoded
            at = len(spool.PREAMBLE)
        reader = PieceReader(data, self.progress.next)
        if len(data) - at < WIDE_BYTES and len(data) == end_of(data, at):
            # A live run sends a row at a time: arrays would cost more than the row.
            self._one(reader, at, len(data) - at - 8, decoded)
            return decoded
        starts, lengths = walk(data, at)
        if not len(starts):
            return decoded
        kinds = reader.bytes[starts + 8]
        is_row = (kinds >= spool.ROW) & (kinds <= spool.MIXED_ROW)
        begin = 0
        for stop in [*np.flatnonzero(~is_row).tolist(), len(starts)]:
            if begin < stop and decoded.damage is None:
                self._rows(reader, starts[begin:stop], lengths[begin:stop], decoded)
            if stop < len(starts) and decoded.damage is None:
                self._other(reader, int(starts[stop]), int(lengths[stop]), decoded)
            if decoded.damage is not None:
                return decoded
            begin = stop + 1
        return decoded

    def _one(self, reader: PieceReader, start: int, length: int, into: Decoded) -> None:
        """Take in a frame that stands alone."""
        is_row = spool.ROW <= reader.view[start + 8] <= spool.MIXED_ROW
        if is_row and reader.base + start > len(spool.PREAMBLE):
            self._one_row(reader, start, length, into)
        else:
            self._other(reader, start, length, into)

    def _other(self, reader: PieceReader, start: int, length: int, into: Decoded) -> None:
        """Take in a frame that is no row."""
        offset = reader.base + start
        payload = reader.view[start + 8 : start + 8 + length]
        kind = payload[0]
        progress = self.progress
        try:
            if (offset == len(spool.PREAMBLE)) != (kind == spool.HEADER):
                raise ValueError("a stream begins with its only header")
            if kind == spool.HEADER:
                header = spool.decode_json(payload)
                progress = replace(
                    progress,
                    started_ns=_time(header, "started_ns"),
                    boot=_text(header, "boot"),
                    boot_ns=_whole(header, "boot_ns"),
                    resumed=header.get("resumed") is True,
                    program=_name(header, "program"),
                )
            elif kind in spool.ENDS:
                end = spool.decode_json(payload)
                progress = replace(
                    progress,
                    ended_ns=_time(end, "time_ns"),
                    ended_boot_ns=_whole(end, "boot_ns"),
                )
            elif kind in spool.DECLARING:
                self._table.declare(payload)
                into.declared += reader.view[start : start + 8 + length]
        except (ValueError, struct.error) as error:
            into.damage = _damage(offset, error)
            return
        self.progress = replace(progress, next=offset + 8 + length)

    def _rows(self, reader: PieceReader, starts: Ints, lengths: Ints, into: Decoded) -> None:
        """Take in consecutive frames that are rows."""
        if reader.base + int(starts[0]) == len(spool.PREAMBLE):
            into.damage = _damage(
                len(spool.PREAMBLE), ValueError("a stream begins with its header")
            )
            return
        if len(starts) == 1 and lengths[0] < WIDE_BYTES:
            self._one_row(reader, int(starts[0]), int(lengths[0]), into)
            return
        good = self._count_good(reader, starts, lengths, into)
        if good == 0:
            return
        end = reader.base + int(starts[good - 1]) + 8 + int(lengths[good - 1])
        starts, lengths = starts[:good], lengths[:good]
        groups, tokens, blocks = self._grouped(reader, starts, lengths)
        steps, times = reader.int64(starts + 13), reader.int64(starts + 21)
        offsets = starts + reader.base
        filled = np.array([bool(self._ids(token)) for token in tokens])[groups]
        if not filled.all():
            groups, steps, times, offsets = (
                column[filled] for column in (groups, steps, times, offsets)
            )
        if not len(groups):
            self.progress = replace(self.progress, next=end)
            return
        back, late, row = self._merge(groups, tokens, steps, times, offsets)
        points = 0
        where = np.cumsum(filled) - 1
        for columns, members, numbers, texts in blocks:
            picked = where[members]
            points += len(members) * len(columns.cells)
            into.blocks.append(
                Block(
                    columns=columns,
                    steps=steps[picked],
                    offsets=offsets[picked],
                    times=times[picked],
                    back=back[picked],
                    late=late[picked],
                    numbers=numbers,
                    texts=texts,
                )
            )
        self.progress = replace(row, next=end, points=row.points + points, last_ns=int(times[-1]))

    def _one_row(self, reader: PieceReader, start: int, length: int, into: Decoded) -> None:
        """Take in a row that stands alone."""
        offset = reader.base + start
        payload = reader.view[start + 8 : start + 8 + length]
        try:
            row = self._table.row(payload)
        except (ValueError, struct.error) as error:
            into.damage = _damage(offset, error)
            return
        last = self.progress
        after = offset + 8 + length
        if not row.keys:
            self.progress = replace(last, next=after)
            return
        (count,) = _LENGTH.unpack_from(payload, 1)
        token: Token = count
        if payload[0] != spool.ROW:
            token = struct.unpack_from(f"<{count}I", payload, ROW_HEAD_BYTES - 8)
        row_offset, row_ns = offset, row.time_ns
        tokens: tuple[Token, ...] = (token,)
        if row.step == last.row_step and self._names(last.row_tokens).isdisjoint(row.keys):
            row_offset, row_ns = last.row_offset, last.row_ns
            tokens = (*last.row_tokens, token)
        columns = self._columns(
            [(key, kind_of(value)) for key, value in zip(row.keys, row.values, strict=True)]
        )
        into.blocks.append(
            Block(
                columns=columns,
                steps=np.array([row.step]),
                offsets=np.array([offset]),
                times=np.array([row.time_ns]),
                back=np.array([offset - row_offset]),
                late=np.array([row.time_ns - row_ns]),
                numbers=np.array(
                    [[row.values[c] for c in columns.number_columns]], dtype=np.float64
                ),
                texts=[[str(row.values[c])] for c in columns.text_columns],
            )
        )
        self.progress = replace(
            last,
            next=after,
            points=last.points + len(row.keys),
            last_ns=row.time_ns,
            row_step=row.step,
            row_offset=row_offset,
            row_ns=row_ns,
            row_tokens=tokens,
        )

    def _count_good(self, reader: PieceReader, starts: Ints, lengths: Ints, into: Decoded) -> int:
        """Count the frames before the first that cannot be decoded; usually all."""
        if (lengths >= ROW_HEAD_BYTES - 8).all():
            kinds = reader.bytes[starts + 8]
            steps = reader.int64(starts + 13)
            good = (kinds == spool.ROW) & (steps <= MAX_STEP) & (steps >= -MAX_STEP)
            sets = reader.uint32(starts + 9)
            known, which = np.unique(sets[good], return_inverse=True)
            found = [self._set(set_id) for set_id in known.tolist()]
            sizes = [-1 if columns is None else 21 + 8 * len(columns.cells) for columns in found]
            good[good] = lengths[good] == np.array(sizes, dtype=np.int64)[which]
        else:
            good = np.zeros(len(starts), dtype=bool)
        for index in np.flatnonzero(~good).tolist():
            start = int(starts[index])
            payload = reader.view[start + 8 : start + 8 + int(lengths[index])]
            try:
                reader.rows[start] = self._table.row(payload)
            except (ValueError, struct.error) as error:
                into.damage = _damage(reader.base + start, error)
                return int(index)
        return len(starts)

    def _set(self, set_id: int) -> Columns | None:
        """Return the columns of a declared key set; None if rows of it cannot be decoded."""
        if set_id not in self._sets:
            ids = self._table.sets.get(set_id)
            if ids is None:
                return None
            keys = [self._table.keys[key_id] for key_id in ids]
            unique = len(set(keys)) == len(keys)
            self._sets[set_id] = self._columns([(k, "number") for k in keys]) if unique else None
        return self._sets[set_id]

    def _columns(self, cells: Sequence[tuple[str, Kind]]) -> Columns:
        signature = tuple(cells)
        if len(self._signatures) > _KNOWN_SIGNATURES:
            self._signatures.clear()
        if signature not in self._signatures:
            self._signatures[signature] = Columns(signature)
        return self._signatures[signature]

    def _ids(self, token: Token) -> tuple[int, ...]:
        return self._table.sets[token] if isinstance(token, int) else token

    def _grouped(
        self, reader: PieceReader, starts: Ints, lengths: Ints
    ) -> tuple[Ints, list[Token], list[tuple[Columns, Ints, Floats, list[list[str]]]]]:
        """Group frames by their keys; per group of numbers and kinds, gather the values."""
        groups = np.zeros(len(starts), dtype=np.int64)
        tokens: list[Token] = []
        blocks: list[tuple[Columns, Ints, Floats, list[list[str]]]] = []
        is_set = reader.bytes[starts + 8] == spool.ROW
        in_sets = np.flatnonzero(is_set)
        sets = reader.uint32(starts + 9)[in_sets]
        in_sets = in_sets[np.argsort(sets, kind="stable")]
        sets = np.sort(sets)
        edges = [0, *(np.flatnonzero(sets[1:] != sets[:-1]) + 1).tolist(), len(sets)]
        for begin, end in zip(edges, edges[1:], strict=False):
            if begin == end:
                continue
            members, set_id = in_sets[begin:end], int(sets[begin])
            groups[members] = len(tokens)
            tokens.append(set_id)
            columns = self._set(set_id)
            if columns is not None and columns.cells:
                values = reader.floats(starts[members], int(lengths[members[0]]))
                blocks.append((columns, members, values, []))
        if len(blocks) > _MANY_SIGNATURES:
            blocks = self._by_key(blocks)
        if not is_set.all():
            blocks += self._loose(reader, starts, np.flatnonzero(~is_set), groups, tokens)
        return groups, tokens, blocks

    def _by_key(
        self, blocks: Sequence[tuple[Columns, Ints, Floats, list[list[str]]]]
    ) -> list[tuple[Columns, Ints, Floats, list[list[str]]]]:
        """Make a block per key of those whose sets of keys hardly repeat."""
        kept = [block for block in blocks if len(block[1]) > _HARDLY]
        apart: dict[str, list[tuple[Ints, Floats]]] = {}
        for columns, members, values, _ in blocks:
            if len(members) <= _HARDLY:
                for column, key in enumerate(columns.keys):
                    apart.setdefault(key, []).append((members, values[:, column]))
        for key, parts in apart.items():
            members = np.concatenate([part for part, _ in parts])
            numbers = np.concatenate([part for _, part in parts])
            order = np.argsort(members)
            one = self._columns([(key, "number")])
            kept.append((one, members[order], numbers[order, np.newaxis], []))
        return kept

    def _loose(
        self,
        reader: PieceReader,
        starts: Ints,
        members: Ints,
        groups: Ints,
        tokens: list[Token],
    ) -> list[tuple[Columns, Ints, Floats, list[list[str]]]]:
        """Group frames that carry their own keys, or bools and strings."""
        known: dict[tuple[int, ...], int] = {}
        found: dict[tuple[tuple[str, Kind], ...], list[tuple[int, spool.Row]]] = {}
        for index in members.tolist():
            start = int(starts[index])
            row = reader.rows[start]
            (count,) = _LENGTH.unpack_from(reader.view, start + 9)
            ids = struct.unpack_from(f"<{count}I", reader.view, start + ROW_HEAD_BYTES)
            if ids not in known:
                known[ids] = len(tokens)
                tokens.append(ids)
            groups[index] = known[ids]
            cells = tuple((k, kind_of(v)) for k, v in zip(row.keys, row.values, strict=True))
            if cells:
                found.setdefault(cells, []).append((index, row))
        if len(found) > _MANY_SIGNATURES:
            # Sets of keys that hardly repeat: a block per key rather than one per set.
            apart: dict[tuple[tuple[str, Kind], ...], list[tuple[int, spool.Row]]] = {}
            for cells, rows in found.items():
                for index, row in rows:
                    for cell, value in zip(cells, row.values, strict=True):
                        one = spool.Row(row.step, row.time_ns, [cell[0]], [value])
                        apart.setdefault((cell,), []).append((index, one))
            found = {cells: sorted(rows, key=_index) for cells, rows in apart.items()}
        blocks = []
        for cells, rows in found.items():
            columns = self._columns(cells)
            numbers = np.array(
                [[row.values[c] for c in columns.number_columns] for _, row in rows],
                dtype=np.float64,
            ).reshape(len(rows), -1)
            texts = [[str(row.values[c]) for _, row in rows] for c in columns.text_columns]
            picked = np.array([index for index, _ in rows], dtype=np.int64)
            blocks.append((columns, picked, numbers, texts))
        return blocks

    def _merge(
        self, groups: Ints, tokens: Sequence[Token], steps: Ints, times: Ints, offsets: Ints
    ) -> tuple[Ints, Ints, Progress]:
        """Join consecutive frames of a step into rows; return the ways back and the last row."""
        last = self.progress
        begins = np.ones(len(steps), dtype=bool)
        begins[1:] = (steps[1:] != steps[:-1]) | (groups[1:] == groups[:-1])
        carried: set[str] = set()
        if last.row_step is not None and int(steps[0]) == last.row_step:
            carried = self._names(last.row_tokens)
            begins[0] = not carried.isdisjoint(self._names([tokens[groups[0]]]))
        row: set[str] = set()
        previous = -1
        for index in (np.flatnonzero(~begins[1:]) + 1).tolist():
            if index - 1 != previous:
                row = self._names([tokens[groups[index - 1]]])
                if index == 1 and not begins[0]:
                    row |= carried
            names = self._names([tokens[groups[index]]])
            if row.isdisjoint(names):
                row |= names
            else:
                begins[index] = True
                row = names
            previous = index
        first = np.maximum.accumulate(np.where(begins, np.arange(len(steps)), -1))
        row_offsets = np.where(first >= 0, offsets[first], last.row_offset)
        row_times = np.where(first >= 0, times[first], last.row_ns)
        start = int(first[-1])
        fresh = [tokens[group] for group in groups[max(start, 0) :].tolist()]
        progress = replace(
            last,
            row_step=int(steps[-1]),
            row_offset=int(row_offsets[-1]),
            row_ns=int(row_times[-1]),
            row_tokens=tuple(fresh) if start >= 0 else (*last.row_tokens, *fresh),
        )
        return offsets - row_offsets, times - row_times, progress

    def _names(self, tokens: Iterable[Token]) -> set[str]:
        return {self._table.keys[key_id] for token in tokens for key_id in self._ids(token)}


def _damage(offset: int, error: Exception) -> DamageError:
    return DamageError(
        f"frame at byte {offset} cannot be decoded: {error}; what stands before it is stored",
        offset=offset,
    )


def _time(content: JsonObject, name: str) -> int:
    value = _whole(content, name)
    if value is None:
        raise ValueError(f"expected whole nanoseconds as {name!r}, got {content.get(name)!r}")
    return value


def _whole(content: JsonObject, name: str) -> int | None:
    value = content.get(name)
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_TIME_NS
    return value if fits and isinstance(value, int) else None


def _text(content: JsonObject, name: str) -> str | None:
    value = content.get(name)
    return value if isinstance(value, str) and value.isascii() else None


def _name(content: JsonObject, name: str) -> str | None:
    value = content.get(name)
    return value if isinstance(value, str) and value else None


def _index(item: tuple[int, spool.Row]) -> int:
    return item[0]
