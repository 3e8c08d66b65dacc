"""What `runlore.login` gave: it holds for the rest of this process, for runs and for `Api`."""

from runlore import settings
from runlore.settings import Settings

_given: dict[str, str] = {}


def log_in(**texts: str) -> Settings:
    """Use these settings from now on, beside those of earlier calls; return what is in force.

    Raises:
        UsageError: one of them cannot be; nothing is kept then.
    """
    found = settings.load(**{**_given, **texts})
    _given.update(texts)
    return found


def load(**arguments: str | None) -> Settings:
    """Read the settings as `settings.load` does; what `login` gave stands behind arguments."""
    given = {name: text for name, text in arguments.items() if text is not None}
    return settings.load(**{**_given, **given})
