"""What frames say of a run: its names, its config, and how it stands, in whatever order."""

import itertools
import json
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlore.core.json import JsonObject
from runlore.core.run import RunRef
from runlore.errors import UsageError
from runlore.services.frames import CheckedPiece, check_piece, fold
from runlore.store.runs import SILENCE_NS, RunRecord
from runlore.testing.spools import SECOND_NS, SpoolBuilder, a_run
from runlore.wire import spool

RUN = a_run()
HEARD_NS = 1_800_000_000 * SECOND_NS


def say(builder: SpoolBuilder, kind: int, **content: object) -> None:
    text = json.dumps(content)
    builder.add(spool.frame(bytes([kind]) + text.encode()))


def checked(builder: SpoolBuilder) -> CheckedPiece:
    return check_piece(builder.run, builder.writer, 0, builder.data)


def folded(
    found: RunRecord | None, builder: SpoolBuilder, *, heard_ns: int = HEARD_NS
) -> RunRecord:
    piece = checked(builder)
    return fold(found, RUN, builder.writer, piece.told, heard_ns=heard_ns, last_ns=piece.last_ns)


def a_child(writer: str, *, started_ns: int = SECOND_NS) -> SpoolBuilder:
    builder = SpoolBuilder(RUN, writer, started_ns=started_ns)
    header: JsonObject = {
        "owner": RUN.owner,
        "project": RUN.project,
        "run": RUN.run_id,
        "writer": writer,
        "role": "child",
        "started_ns": started_ns,
    }
    builder.frames[0] = spool.PREAMBLE + spool.frame(spool.encode_json(spool.HEADER, header))
    return builder


def test_a_new_run_has_the_names_and_the_config_that_its_frames_say() -> None:
    builder = SpoolBuilder(RUN)
    say(builder, spool.RUN, name="brave-otter", tags=["a"], notes="n", group="g", program="a.py")
    say(builder, spool.CONFIG, lr=0.1, size={"w": 1})
    say(builder, spool.CONFIG, lr=0.2)
    say(builder, spool.SUMMARY, best=3)
    say(builder, spool.DEFINE, metric="loss", summary="min")
    say(builder, spool.DEFINE, metric="loss", summary="max")
    say(builder, spool.GAP, rows=2, points=20, reason="full")
    record = folded(None, builder)
    assert (record.name, record.tags, record.notes) == ("brave-otter", ("a",), "n")
    assert record.config == {"lr": 0.2, "size": {"w": 1}}
    assert record.summary == {"best": 3}
    assert record.definitions == ({"metric": "loss", "summary": "max"},)
    assert record.gaps == 20
    assert record.created_ns == SECOND_NS
    assert record.state(HEARD_NS) == "running"


def test_frames_that_were_taken_in_are_not_taken_in_again() -> None:
    builder = SpoolBuilder(RUN)
    say(builder, spool.GAP, points=20)
    say(builder, spool.CONFIG, lr=0.1)
    record = replace(folded(None, builder), config={"lr": "by hand"})
    again = folded(record, builder)
    assert again.gaps == 20
    assert again.config == {"lr": "by hand"}


def test_another_program_may_write_values_of_any_kind_into_its_frames() -> None:
    builder = SpoolBuilder(RUN)
    say(builder, spool.RUN, name=5, tags=[1, None], notes={"a": 1}, group=True)
    say(builder, spool.GAP, points="many")
    say(builder, spool.FINISH, exit_code="x", time_ns=9)
    record = folded(None, builder)
    assert record.name == "5"
    assert record.tags == ("1", "None")
    assert record.state(HEARD_NS) == "finished"


@pytest.mark.parametrize(
    ("kind", "content", "state"),
    [
        (spool.FINISH, {"exit_code": 0, "time_ns": 9}, "finished"),
        (spool.FINISH, {"exit_code": 3, "time_ns": 9}, "failed"),
        (spool.LOST, {"signal": 9, "time_ns": 9}, "crashed"),
        (spool.CLOSED, {"time_ns": 9}, "running"),
    ],
)
def test_the_frame_that_ends_the_main_writer_ends_the_run(
    kind: int, content: dict[str, object], state: str
) -> None:
    builder = SpoolBuilder(RUN)
    builder.log({"loss": 1.0}, step=0)
    say(builder, kind, **content)
    record = folded(None, builder)
    assert record.state(HEARD_NS) == state
    assert record.exit_code == content.get("exit_code")
    assert record.signal == content.get("signal")


def test_a_run_that_is_silent_for_five_minutes_has_crashed_and_later_data_revives_it() -> None:
    builder = SpoolBuilder(RUN)
    builder.log({"loss": 1.0}, step=0)
    record = folded(None, builder)
    assert record.state(HEARD_NS + SILENCE_NS) == "crashed"
    later = HEARD_NS + 2 * SILENCE_NS
    builder.log({"loss": 1.0}, step=1)
    assert folded(record, builder, heard_ns=later).state(later) == "running"


def test_a_run_whose_main_writer_is_gone_has_crashed_at_once_until_it_is_heard_of_again() -> None:
    builder = SpoolBuilder(RUN)
    builder.log({"loss": 1.0}, step=0)
    record = folded(folded(None, builder), builder, heard_ns=0)
    assert record.state(HEARD_NS) == "crashed"
    assert folded(record, builder).state(HEARD_NS) == "running"
    brought = folded(None, builder, heard_ns=0)
    assert (brought.state(HEARD_NS), brought.active_ns) == ("crashed", builder.time_ns)
    say(builder, spool.FINISH, exit_code=0, time_ns=9)
    assert folded(brought, builder, heard_ns=0).state(HEARD_NS) == "finished"


def test_a_child_that_is_lost_does_not_end_the_run() -> None:
    record = folded(None, SpoolBuilder(RUN, "main"))
    child = a_child("child")
    say(child, spool.LOST, signal=11, time_ns=5)
    assert folded(record, child).state(HEARD_NS) == "running"


def test_a_resumed_run_runs_again_and_ends_by_its_latest_end() -> None:
    first = SpoolBuilder(RUN, "w-1")
    say(first, spool.LOST, signal=9, time_ns=10 * SECOND_NS)
    second = SpoolBuilder(RUN, "w-2", started_ns=20 * SECOND_NS, resumed=True)
    record = folded(folded(None, first), second)
    assert record.state(HEARD_NS) == "running"
    say(second, spool.FINISH, exit_code=0, time_ns=30 * SECOND_NS)
    record = folded(record, second)
    assert record.state(HEARD_NS) == "finished"
    assert (record.exit_code, record.signal) == (0, None)


@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_lost_that_is_told_late_does_not_undo_the_end_of_the_run_that_went_on(
    exit_code: int,
) -> None:
    first = SpoolBuilder(RUN, "w-1")
    first.log({"loss": 1.0}, step=0, time_ns=10 * SECOND_NS)
    say(first, spool.LOST, signal=None, time_ns=90 * SECOND_NS)
    second = SpoolBuilder(RUN, "w-2", started_ns=20 * SECOND_NS, resumed=True)
    say(second, spool.FINISH, exit_code=exit_code, time_ns=30 * SECOND_NS)
    for order in itertools.permutations([first, second]):
        record: RunRecord | None = None
        for builder in order:
            record = folded(record, builder)
        assert record is not None
        assert record.state(HEARD_NS) == ("failed" if exit_code else "finished")
        assert (record.exit_code, record.end_ns) == (exit_code, 30 * SECOND_NS)


def test_a_writer_that_is_lost_beside_one_that_finished_crashes_the_run() -> None:
    first = SpoolBuilder(RUN, "w-1")
    first.log({"loss": 1.0}, step=0, time_ns=25 * SECOND_NS)
    say(first, spool.LOST, signal=9, time_ns=90 * SECOND_NS)
    second = SpoolBuilder(RUN, "w-2", started_ns=20 * SECOND_NS)
    say(second, spool.FINISH, exit_code=0, time_ns=30 * SECOND_NS)
    record = folded(folded(None, first), second)
    assert record.state(HEARD_NS) == "crashed"


def test_the_state_does_not_depend_on_the_order_in_which_writers_arrive() -> None:
    main = SpoolBuilder(RUN, "main")
    main.log({"loss": 1.0}, step=0)
    say(main, spool.FINISH, exit_code=0, time_ns=50 * SECOND_NS)
    straggler = a_child("child")
    straggler.log({"rank/loss": 1.0}, step=0, time_ns=40 * SECOND_NS)
    earlier = SpoolBuilder(RUN, "earlier")
    say(earlier, spool.LOST, signal=9, time_ns=20 * SECOND_NS)
    for order in itertools.permutations([main, straggler, earlier]):
        record: RunRecord | None = None
        for builder in order:
            record = folded(record, builder)
        assert record is not None
        assert record.state(HEARD_NS) == "finished"


def test_a_child_that_logs_after_the_end_revives_the_run() -> None:
    main = SpoolBuilder(RUN, "main")
    say(main, spool.FINISH, exit_code=0, time_ns=50 * SECOND_NS)
    child = a_child("child")
    child.log({"rank/loss": 1.0}, step=0, time_ns=60 * SECOND_NS)
    record = folded(folded(None, main), child)
    assert record.state(HEARD_NS) == "running"
    say(child, spool.CLOSED, time_ns=61 * SECOND_NS)
    assert folded(record, child).state(HEARD_NS) == "finished"


@pytest.mark.parametrize(
    ("name", "value"),
    [("owner", "other"), ("project", "other"), ("run", "other"), ("writer", "w-2")],
)
def test_a_header_that_names_something_else_is_refused(name: str, value: str) -> None:
    builder = SpoolBuilder(RUN)
    ref = {"owner": RUN.owner, "project": RUN.project, "run": RUN.run_id, "writer": "w-1"}
    ref[name] = value
    sent = RunRef(ref["owner"], ref["project"], ref["run"])
    with pytest.raises(UsageError, match=f"{name} '.*'{value}'"):
        check_piece(sent, ref["writer"], 0, builder.data)


def test_a_stream_that_begins_without_a_header_is_refused() -> None:
    data = spool.PREAMBLE + spool.frame(spool.encode_json(spool.CONFIG, {}))
    with pytest.raises(UsageError, match="header"):
        check_piece(RUN, "w-1", 0, data)


@given(st.data())
def test_a_piece_that_is_damaged_anywhere_keeps_what_stands_before(data: st.DataObject) -> None:
    builder = SpoolBuilder(RUN)
    say(builder, spool.CONFIG, lr=0.1)
    for step in range(5):
        builder.log({"loss": 1.0, "name": "x"}, step=step)
    at = data.draw(st.integers(builder.edges[1], len(builder.data) - 1))
    flipped = bytearray(builder.data)
    flipped[at] ^= data.draw(st.integers(1, 255))
    piece = check_piece(RUN, "w-1", 0, bytes(flipped))
    begin = max(edge for edge in builder.edges if edge <= at)
    assert piece.end == begin
    assert piece.data == builder.data[:begin]
    if piece.damage is not None:
        assert piece.damage.offset == begin


@given(st.data())
def test_a_piece_may_be_cut_anywhere(data: st.DataObject) -> None:
    builder = SpoolBuilder(RUN)
    say(builder, spool.CONFIG, lr=0.1)
    builder.log({"loss": 1.0, "name": "x"}, step=0)
    at = data.draw(st.integers(0, len(builder.data)))
    piece = check_piece(RUN, "w-1", 0, builder.data[:at])
    assert piece.end == max((edge for edge in builder.edges if edge <= at), default=0)
    assert piece.damage is None


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff", b'{"a":' * 100_000])
def test_a_frame_that_is_not_a_json_object_is_damage(text: bytes) -> None:
    builder = SpoolBuilder(RUN)
    builder.add(spool.frame(bytes([spool.CONFIG]) + text))
    piece = checked(builder)
    assert piece.damage is not None
    assert piece.damage.offset == piece.end == builder.edges[-2]


@pytest.mark.parametrize("kind", [spool.FINISH, spool.CLOSED, spool.LOST])
@pytest.mark.parametrize("time_ns", [2**80, -(2**63), 1.5, "soon", None, True])
def test_an_end_at_an_impossible_time_is_damage_and_what_stands_before_it_is_kept(
    kind: int, time_ns: object
) -> None:
    builder = SpoolBuilder(RUN)
    builder.log({"loss": 1.0}, step=0)
    good = len(builder.data)
    say(builder, kind, exit_code=0, time_ns=time_ns)
    builder.log({"loss": 2.0}, step=1)
    piece = checked(builder)
    assert piece.damage is not None
    assert (piece.end, piece.damage.offset) == (good, good)
    assert folded(None, builder).state(HEARD_NS) == "running"


def test_a_second_header_is_damage() -> None:
    builder = SpoolBuilder(RUN)
    good = len(builder.data)
    builder.add(builder.frames[0][len(spool.PREAMBLE) :])
    piece = checked(builder)
    assert piece.damage is not None
    assert (piece.end, piece.damage.offset) == (good, good)


def test_a_row_too_short_for_its_time_is_left_to_the_store() -> None:
    builder = SpoolBuilder(RUN)
    builder.add(spool.frame(struct.pack("<BI", spool.ROW, 0)))
    assert checked(builder).last_ns == 0
