"""What the terminal says, to the letter."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlore.sdk import terminal
from runlore.sdk.terminal import Curve, Ending

SPOOL = "/home/ann/.runlore/spool/gpu1/local/digits/k3f9x2ab"
FALLING = [(step, 2.31 * 0.97**step) for step in range(100)]


def an_ending(
    *,
    exit_code: int = 0,
    seconds: float = 192.0,
    points: int = 48_000,
    delivered: int | None = 48_000,
    lost: int = 0,
    is_offline: bool = False,
    trouble: str | None = None,
    spool: str = SPOOL,
    is_settled: bool = True,
    is_interrupted: bool = False,
) -> Ending:
    return Ending(
        exit_code,
        seconds,
        points,
        delivered,
        lost,
        is_offline,
        trouble,
        spool,
        is_settled,
        is_interrupted=is_interrupted,
    )


def test_a_run_begins_with_its_name_and_address() -> None:
    url = "http://127.0.0.1:7333/local/digits/runs/k3f9x2ab"
    assert terminal.started("brave-otter", url) == f"runlore: brave-otter · {url}"
    assert terminal.started("brave-otter", None) == "runlore: brave-otter · offline"
    assert terminal.started("\x1b[31ma\nb", None) == "runlore: �[31ma�b · offline"


def test_a_delivered_run_ends_with_its_most_telling_curves() -> None:
    curves = [
        Curve("lr", [(0, 0.1), (1, 0.1)], 0.1),
        Curve("phase", [], "cool-down"),
        Curve("loss", FALLING, 0.12),
        Curve("val/acc", [(0, 0.1), (14, 0.974)], 0.974, best=0.974, best_of=14),
        Curve("test/f1", [], 0.8, best=0.91, best_of=1400),
    ]
    assert terminal.ended(an_ending(), curves) == (
        "runlore: finished in 3m 12s · 48,000 of 48,000 points delivered\n"
        "  val/acc  0.974, best of 14            test/f1  0.8, best 0.91 of 1,400\n"
        "  loss     2.31 █▆▄▃▂▂▁▁ 0.12           lr       0.1 ▄▄ 0.1\n"
        "  phase    'cool-down'"
    )


def test_a_failed_run_says_so_with_its_exit_code() -> None:
    assert terminal.ended(an_ending(exit_code=3, seconds=4.25), []) == (
        "runlore: failed with exit code 3 in 4.2s · 48,000 of 48,000 points delivered"
    )


def test_without_a_server_it_says_where_the_rest_is_and_how_it_goes_out() -> None:
    trouble = "cannot reach http://127.0.0.1:7333: Connection refused"
    assert terminal.ended(an_ending(delivered=0, trouble=trouble), []) == (
        "runlore: finished in 3m 12s · 0 of 48,000 points delivered\n"
        f"runlore: {trouble}; the rest is in {SPOOL} and goes out with 'runlore sync' or the "
        "next 'runlore serve' on this machine"
    )


def test_with_a_slow_server_it_says_the_same_without_a_reason() -> None:
    assert terminal.ended(an_ending(delivered=40_000), []) == (
        "runlore: finished in 3m 12s · 40,000 of 48,000 points delivered\n"
        f"runlore: the rest is in {SPOOL} and goes out with 'runlore sync' or the next "
        "'runlore serve' on this machine"
    )


def test_offline_it_says_how_to_deliver_it() -> None:
    assert terminal.ended(an_ending(is_offline=True, delivered=0), []) == (
        "runlore: finished in 3m 12s · 48,000 points kept offline\n"
        f"runlore: deliver it with: runlore sync {SPOOL}"
    )


@pytest.mark.parametrize("is_offline", [False, True])
def test_what_no_disk_took_is_said_to_be_in_staging(is_offline: bool) -> None:
    folder = "/dev/shm/runlore-1000/71-2034/0190a7b2-0000-7000-8000-000000000000"
    ending = an_ending(
        delivered=0,
        is_offline=is_offline,
        trouble="cannot write /home/ann/.runlore/spool: No space left on device",
        spool=folder,
        is_settled=False,
    )
    assert terminal.ended(ending, []).split("\n")[1:] == [
        "runlore: cannot write /home/ann/.runlore/spool: No space left on device; the rest is "
        f"not on the disk yet but in {folder}, which a restart of this machine empties; "
        "'runlore sync' brings it out"
    ]


def test_what_is_delivered_is_not_guessed_where_it_cannot_be_read() -> None:
    assert terminal.ended(an_ending(delivered=None, is_settled=False), []) == (
        "runlore: finished in 3m 12s · 48,000 points logged\n"
        "runlore: how much of it is delivered cannot be read here, where no more files may be "
        "opened; the sender goes on with the rest, and 'runlore sync' delivers what it leaves"
    )


@pytest.mark.parametrize("is_settled", [False, True])
def test_who_does_not_wait_is_told_who_goes_on(is_settled: bool) -> None:
    trouble = "http://127.0.0.1:7333 answered 503"
    ending = an_ending(
        exit_code=130,
        delivered=40_000,
        trouble=trouble,
        is_settled=is_settled,
        is_interrupted=True,
    )
    assert terminal.ended(ending, []) == (
        "runlore: failed with exit code 130 in 3m 12s · 40,000 of 48,000 points delivered, "
        "interrupted while it waited\n"
        f"runlore: {trouble}; the sender goes on bringing the rest to the server without this "
        "program; what it leaves goes out with 'runlore sync' or the next 'runlore serve' on "
        "this machine"
    )


def test_who_does_not_wait_offline_is_told_so_too() -> None:
    ending = an_ending(delivered=0, is_offline=True, is_settled=False, is_interrupted=True)
    assert terminal.ended(ending, []) == (
        "runlore: finished in 3m 12s · 48,000 points kept offline, interrupted while it waited\n"
        "runlore: the sender goes on bringing the rest to the disk without this program; what it "
        "leaves goes out with 'runlore sync' or the next 'runlore serve' on this machine"
    )


def test_a_gap_is_counted_aloud() -> None:
    assert terminal.ended(an_ending(points=47_000, delivered=47_000, lost=1000), []) == (
        "runlore: finished in 3m 12s · 47,000 of 47,000 points delivered\n"
        "runlore: 1,000 points could not be kept: nothing took them over in time"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (9.96, "10.0s"),
        (12.4, "12s"),
        (59.6, "1m 0s"),
        (3599.6, "1h 0m"),
        (7500, "2h 5m"),
        (360_000, "4d 4h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([1.0, 2.0, 3.0, 4.0], "▁▃▆█"),
        ([0.1] * 30, "▄▄▄▄▄▄▄▄"),
        ([1.0], ""),
        ([math.nan, math.inf], ""),
        ([0.0, math.nan, 1.0], "▁█"),
        ([-1e308, 1e308], ""),
    ],
)
def test_a_sparkline_shows_the_shape(values: list[float], bars: str) -> None:
    assert terminal.sparkline(list(enumerate(values)), 8) == bars


@given(
    st.lists(st.tuples(st.integers(-(2**53), 2**53), st.floats()), max_size=40),
    st.integers(1, 20),
)
def test_a_sparkline_is_never_wider_than_asked(
    points: list[tuple[int, float]], width: int
) -> None:
    assert len(terminal.sparkline(points, width)) <= width


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.974, "0.974"),
        (2.306, "2.31"),
        (12.0, "12"),
        (1e-7, "1e-07"),
        (123456789.0, "1.23e+08"),
        (math.nan, "nan"),
        (True, "True"),
        ("a" * 30, "'aaaaaaaaaaaaaaaaaaa…'"),
        ("a\nb", "'a\\nb'"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | str, text: str) -> None:
    assert terminal.number(value) == text


def test_a_key_cannot_move_the_cursor() -> None:
    assert terminal.short_key("a\x1b[2Jb\n") == "a�[2Jb�"
    assert terminal.short_key("k" * 100) == "…" + "k" * 27


def test_nothing_is_said_without_a_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    terminal.say("hello")
