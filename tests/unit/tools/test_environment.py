"""The setup translates what pip was told, and takes only a Node.js that fits."""

from pathlib import Path

import pytest

from tools.environment import uv_environment
from tools.lock import block_of
from tools.node import is_suitable
from tools.paths import LOCK


def test_uv_is_told_the_index_and_certificates_that_pip_was_told() -> None:
    pip = {"index-url": "https://mirror.example/simple", "cert": "/etc/mine.pem"}

    told = uv_environment(pip, {})

    assert told["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert told["SSL_CERT_FILE"] == "/etc/mine.pem"
    assert "UV_INDEX" not in told


def test_what_uv_was_told_by_its_user_stays() -> None:
    pip = {"index-url": "https://mirror.example/simple"}
    told = uv_environment(pip, {"UV_DEFAULT_INDEX": "https://other.example/simple"})
    assert "UV_DEFAULT_INDEX" not in told


def test_folders_that_do_not_exist_are_left_out_as_pip_does(tmp_path: Path) -> None:
    pip = {
        "extra-index-url": f"file://{tmp_path} file:///no/such/folder https://more.example/simple",
        "find-links": f"/no/such/folder {tmp_path}",
    }

    told = uv_environment(pip, {})

    assert told["UV_INDEX"] == f"file://{tmp_path} https://more.example/simple"
    assert told["UV_FIND_LINKS"] == str(tmp_path)
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v18.20.4", False),
        ("v20.18.1", False),
        ("v20.19.0\n", True),
        ("v21.7.3", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v23.1.0", True),
        ("v24.19.0", True),
        ("", False),
        ("command not found", False),
    ],
)
def test_only_a_node_that_the_bundler_supports_is_taken(version: str, expected: bool) -> None:
    assert is_suitable(version) is expected


def test_a_package_is_cut_out_of_the_lock_with_all_its_hashes() -> None:
    lock = (
        "typer==0.29.2 \\\n    --hash=sha256:aa\n    # via runlore\n"
        "uv==0.13.9 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n    # via runlore\n"
        "uvicorn==0.54.0 \\\n    --hash=sha256:dd\n"
    )
    assert block_of("uv", lock) == (
        "uv==0.13.9 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    )


def test_a_package_that_is_not_locked_is_named_with_the_way_out() -> None:
    with pytest.raises(LookupError, match=r"'uv'.*\./dev lock"):
        block_of("uv", "typer==0.29.2\n")


def test_the_projects_own_lock_pins_uv_with_hashes() -> None:
    assert block_of("uv", LOCK.read_text()).count("--hash=sha256:") > 5
