"""What scripts written for wandb name and Runlore does not have: how it is told."""

from collections.abc import Iterable

_LATER = {
    "media": ("Audio Histogram Html Image Molecule Object3D Plotly Table Video plot plot_table"),
    "files": "dir log_code restore save",
    "artifacts": (
        "Artifact link_artifact link_model log_artifact log_model use_artifact use_model"
    ),
    "sweeps": "agent controller sweep",
    "alerts": "AlertLevel alert",
    "gradients of models": "unwatch watch",
}


class Settings(dict[str, object]):
    """Settings for `init(settings=...)`; those that only wandb knows are named once and ignored.

    Example:
        runlore.init(settings=runlore.Settings(finish_timeout=10))
    """

    def __init__(self, **values: object) -> None:
        super().__init__(values)


def missing(owner: str, name: str) -> AttributeError:
    """Return the error for a name that is not there; it tells of those that will be."""
    for what, names in _LATER.items():
        if name in names.split():
            return AttributeError(
                f"runlore has no {name!r} yet: {what} come with a later version; leave it out "
                "until then, log() takes numbers, bools and strings"
            )
    return AttributeError(f"{owner} has no attribute {name!r}")


def ignored(door: str, names: Iterable[str]) -> str:
    """Return the sentence about arguments that are known to wandb alone."""
    return f"runlore: {door} has no use for {', '.join(sorted(names))}; ignored"
