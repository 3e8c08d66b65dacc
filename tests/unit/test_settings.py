"""The table of settings: what cannot be meant is refused where it is read."""

from pathlib import Path

import pytest

from runlore import settings
from runlore.errors import UsageError


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:7333",
        "http://[::1]:7333",
        "https://lore.example/tracker/",
        "http://localhost",
    ],
)
def test_an_address_of_a_server_is_taken(url: str) -> None:
    assert settings.load(url=url).url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "lore.example",
        "http://",
        "http:///",
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1:abc",
        "http://lore.example/a b",
        "http://lore.example/?a=b",
        "http://lore.example\r\nX: y",
        "ftp://lore.example",
        "http://bücher.example",
    ],
)
def test_an_address_that_can_be_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="url must be like http://host:7333") as raised:
        settings.load(url=url)
    assert repr(url.rstrip("/")) in str(raised.value)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="a key goes into RUNLORE_API_KEY") as raised:
        settings.load(url="http://ann:secret@lore.example")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("key", ["two\nlines", "cut off\r", "ключ", "tab\t", "\x00"])
def test_a_key_that_no_header_can_carry_is_refused_at_once_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no key has .from argument.; copy it again") as raised:
        settings.load(api_key=key)
    assert key not in str(raised.value)
    if "\x00" not in key:
        monkeypatch.setenv("RUNLORE_API_KEY", key)
        with pytest.raises(UsageError, match="from environment variable RUNLORE_API_KEY"):
            settings.load()


def test_the_key_of_wandb_counts_where_ours_says_nothing_and_its_origin_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLORE_HOME", str(tmp_path))
    monkeypatch.delenv("RUNLORE_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "theirs")
    found = settings.origins()["api_key"]
    assert found == ("theirs", "environment variable WANDB_API_KEY")
    (tmp_path / "settings.toml").write_text('api_key = "filed"')
    assert settings.load().api_key == "filed"
    monkeypatch.setenv("RUNLORE_API_KEY", "ours")
    assert settings.load().api_key == "ours"
    assert settings.load(api_key="given").api_key == "given"


def test_a_name_in_the_file_that_is_no_setting_is_told_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLORE_HOME", str(tmp_path))
    (tmp_path / "settings.toml").write_text('urll = "http://127.0.0.1:7333"')
    with pytest.raises(
        UsageError, match=r"no setting 'urll', which the file .* there are api_key"
    ):
        settings.load()
