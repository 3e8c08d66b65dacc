"""What each answer of a server means."""

import json
import subprocess
import sys

import pytest

from runlore.sdk.deliver import MAX_RETRY_AFTER_SECONDS, Verdict, judge
from runlore.sdk.http import Answer


def judged(status: int, headers: dict[str, str] | None = None, **body: object) -> Verdict:
    answer = Answer(status, headers or {}, json.dumps(body).encode())
    return judge(answer, url="http://lab:7333", offset=100, length=50, tail=400)


@pytest.mark.parametrize("reached", [101, 150, 400])
def test_next_is_believed_up_to_the_tail_also_beyond_what_was_sent(reached: int) -> None:
    found = judged(200, next=reached, server="s", points=7)
    assert (found.next, found.server, found.points) == (reached, "s", 7)
    assert not found.is_trouble


@pytest.mark.parametrize("reached", [-1, 0, 99, 401, 10**20, "150", 150.5, None, True])
def test_a_next_that_cannot_be_is_trouble_and_moves_nothing(reached: object) -> None:
    found = judged(200, next=reached, server="s")
    assert (found.next, found.is_trouble, found.stop) == (None, True, False)


def test_an_answer_that_takes_nothing_is_trouble() -> None:
    assert judged(200, next=100, server="s").is_trouble


@pytest.mark.parametrize("reached", [0, 60, 300])
def test_a_gap_is_mended_from_where_the_server_says(reached: int) -> None:
    assert judged(409, next=reached, server="s").next == reached


def test_a_refusal_that_changes_nothing_is_not_followed_forever() -> None:
    assert judged(409, next=100, server="s").is_trouble


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0", 0.0), ("99999", MAX_RETRY_AFTER_SECONDS), ("soon", None), ("", None)],
)
def test_retry_after_is_kept_within_bounds(text: str, seconds: float | None) -> None:
    found = judged(503, {"retry-after": text})
    assert (found.wait_seconds, found.is_trouble) == (seconds, True)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_why_a_server_takes_nothing_now_is_passed_on_cut_and_safe_for_a_terminal(
    status: int,
) -> None:
    said = str(judged(status, detail="disk is full\x1b[2J" + "!" * 10_000).error)
    assert f"({status}): disk is full [2J!" in said
    assert len(said) < 400


@pytest.mark.parametrize("detail", ["", "no", "this server asks for a key: set RUNLORE_API_KEY"])
def test_where_a_key_belongs_is_said_once(detail: str) -> None:
    assert str(judged(401, detail=detail).error).count("RUNLORE_API_KEY") == 1


@pytest.mark.parametrize("status", [201, 204, 301, 418, 500, 502, 599])
def test_what_no_runlore_server_answers_is_trouble_that_names_the_server(status: int) -> None:
    found = judged(status)
    assert found.is_trouble
    assert "http://lab:7333" in str(found.error)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff\xfe", b"null", b'"next"'])
def test_a_body_that_is_no_object_is_trouble(body: bytes) -> None:
    found = judge(Answer(200, {}, body), url="http://lab", offset=0, length=9, tail=9)
    assert (found.next, found.is_trouble) == (None, True)


WITHOUT_DESCRIPTORS = """
import os, resource, sys
from runlore.sdk.deliver import Encoder
encoder = Encoder()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, limits[1]))
encoder.load_zstandard()
assert "zstandard" not in sys.modules or not hasattr(sys.modules["zstandard"], "compress")
body, encoding = encoder.encode(bytes(5000))
assert encoding == "deflate" and len(body) < 100, encoding
"""


def test_without_descriptors_left_delivery_goes_on_with_what_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
