"""Where program and sender meet: a folder of this user alone, shared by all of a program."""

import os
from pathlib import Path

import pytest

from runlore import settings
from runlore.errors import UsageError
from runlore.sdk import names, tree


def open_in(folder: Path) -> str:
    return tree.open_tree(
        settings.load(home=str(folder / "home"), staging=str(folder / "staging"))
    )


def test_the_tree_is_named_after_the_process_and_found_again(tmp_path: Path) -> None:
    path = open_in(tmp_path)
    pid = os.getpid()
    assert Path(path).name == f"{pid}-{tree.process_start(pid)}"
    assert Path(path).parent.name == f"runlore-{os.getuid()}"
    assert open_in(tmp_path) == path
    assert {
        mode & 0o777 for mode in (Path(path).stat().st_mode, Path(path).parent.stat().st_mode)
    } == {0o700}
    assert Path(path, "wake").is_fifo()


def test_a_tree_of_an_ancestor_is_joined(tmp_path: Path) -> None:
    parent = os.getppid()
    root = tmp_path / "staging" / f"runlore-{os.getuid()}"
    theirs = root / f"{parent}-{tree.process_start(parent)}"
    theirs.mkdir(parents=True)
    root.chmod(0o700)
    assert open_in(tmp_path) == str(theirs)


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "staging" / f"runlore-{os.getuid()}"
    root.mkdir(parents=True)
    root.chmod(0o755)
    with pytest.raises(UsageError, match="must belong to you alone, with mode 0700.*RUNLORE_STAG"):
        open_in(tmp_path)


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "staging" / f"runlore-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is not a folder"):
        open_in(tmp_path)


def test_a_file_in_place_of_staging_is_refused(tmp_path: Path) -> None:
    (tmp_path / "staging").write_text("")
    with pytest.raises(UsageError, match="cannot stage what is logged in .*staging"):
        open_in(tmp_path)


def test_nobody_listens_to_a_wake_without_a_sender(tmp_path: Path) -> None:
    assert not tree.wake(open_in(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"next": "x"}'])
def test_a_damaged_ack_counts_as_none_or_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "ack").write_text(content)
    ack = tree.read_ack(str(tmp_path))
    assert ack is None or ack == tree.Ack(0, 0, 0, None, None, False, False, False)


def test_made_up_names_and_ids_have_their_shape() -> None:
    mood, being = names.run_name().split("-")
    assert mood in names.MOODS.split()
    assert being in names.BEINGS.split()
    ids = {names.run_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(one) for one in ids} == {8}
    assert set("".join(ids)) <= set("abcdefghijklmnopqrstuvwxyz234567")
    writers = [names.writer_id() for _ in range(50)]
    assert len(set(writers)) == 50
    assert {(one[14], one[19] in "89ab", len(one)) for one in writers} == {("7", True, 36)}
