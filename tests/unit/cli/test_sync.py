"""What `runlore sync` says, as golden text."""

from runlore.cli.sync import summary
from runlore.core.run import RunRef
from runlore.sdk.sync import Delivery

URL = "http://127.0.0.1:7333"


def a_delivery(
    run: str = "k3f9x2ab",
    *,
    points: int | None = None,
    sent: int = 0,
    notice: str | None = None,
    trouble: str | None = None,
    is_deleted: bool = False,
) -> Delivery:
    return Delivery(
        path=f"/spool/{run}/w1.rlspool",
        run=RunRef("local", "digits", run),
        writer="w1",
        size=9000,
        points=points,
        sent=sent,
        notice=notice,
        trouble=trouble,
        is_deleted=is_deleted,
    )


def test_everything_delivered() -> None:
    said = summary(
        [
            (URL, a_delivery(points=47_000, sent=1_200_000)),
            (URL, a_delivery(points=1_000, sent=34_567)),
            (URL, a_delivery("p2m4c7q", points=1)),
        ],
        ["/spool"],
    )
    assert said == (
        "runlore: 2 runs for http://127.0.0.1:7333\n"
        "  local/digits/k3f9x2ab  48,000 points · 2 writers · 1.2 MB delivered\n"
        "  local/digits/p2m4c7q   1 point · nothing new\n"
        "runlore: everything is delivered"
    )


def test_a_file_that_is_cut_off_is_named_with_its_byte() -> None:
    notice = "cut off at byte 4,096: 12 bytes of an unfinished frame left out"
    said = summary([(URL, a_delivery(points=40, sent=4096, notice=notice))], ["/spool"])
    assert said == (
        "runlore: 1 run for http://127.0.0.1:7333\n"
        "  local/digits/k3f9x2ab  40 points · 4.1 kB delivered\n"
        "    w1.rlspool: cut off at byte 4,096: 12 bytes of an unfinished frame left out\n"
        "runlore: everything else is delivered"
    )


def test_what_stays_in_memory_is_not_called_delivered() -> None:
    trouble = "/dev/shm/w1 stays in memory: cannot write /home/me/.runlore"
    said = summary([(URL, a_delivery(points=40, sent=4096))], ["/spool"], troubles=[trouble])
    assert said.splitlines()[2:] == [
        f"runlore: {trouble}",
        "runlore: everything else is delivered",
    ]


def test_a_server_that_did_not_take_everything() -> None:
    trouble = f"cannot reach {URL}: Connection refused"
    said = summary(
        [
            (URL, a_delivery(trouble=trouble)),
            (URL, a_delivery(trouble=trouble)),
            (URL, a_delivery("p2m4c7q", points=5)),
        ],
        ["/spool"],
    )
    assert said == (
        "runlore: 2 runs for http://127.0.0.1:7333\n"
        "  local/digits/k3f9x2ab  2 writers · nothing delivered\n"
        "    cannot reach http://127.0.0.1:7333: Connection refused\n"
        "  local/digits/p2m4c7q   5 points · nothing new\n"
        "runlore: 1 of 2 runs not delivered whole; what is missing waits for the next "
        "'runlore sync'"
    )


def test_nothing_to_deliver() -> None:
    said = summary([], ["/home/ada/.runlore/spool"])
    assert said == "runlore: nothing to deliver in /home/ada/.runlore/spool"


def test_spools_of_another_server_are_left_out_and_counted() -> None:
    said = summary([], ["/spool"], elsewhere=["http://lab:7333", "http://lab:7333"])
    assert said == (
        "runlore: 2 spools left out, begun by another server at http://lab:7333; "
        "to deliver such here too, name the folder"
    )


def test_a_run_that_was_deleted_on_the_server_is_not_called_delivered() -> None:
    notice = f"the run was deleted on {URL}; remove this file"
    said = summary(
        [
            (URL, a_delivery(points=40, notice=notice, is_deleted=True)),
            (URL, a_delivery("p2m4c7q", points=5)),
        ],
        ["/spool"],
    )
    assert said == (
        "runlore: 2 runs for http://127.0.0.1:7333\n"
        "  local/digits/k3f9x2ab  deleted on the server\n"
        "    w1.rlspool: the run was deleted on http://127.0.0.1:7333; remove this file\n"
        "  local/digits/p2m4c7q   5 points · nothing new\n"
        "runlore: everything else is delivered"
    )
