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

_INSTEAD = {
    "disabled": "give init(mode='disabled')",
    "ensure_configured": "leave it out: nothing has to be set up",
    "env": "see 'runlore settings list' for the variables",
    "errors": "use runlore.Error, or the module runlore.errors",
    "generate_id": "leave id= out: init() makes one up, and run.id tells it",
    "get_project_url": "use run.url, or cut it behind the project",
    "join": "use finish()",
    "mark_preempting": "leave it out: a run goes on with init(id=..., resume='allow')",
    "mode": "use run.offline, or the setting 'mode'",
    "project_name": "use run.project",
    "project_url": "use run.url, or cut it behind the project",
    "require": "leave it out: there is nothing to be switched on",
    "settings": "use run.project, run.owner, run.id, run.url, run.offline; "
    "'runlore settings list' prints the rest",
    "setup": "leave it out: init() sets up what it needs, also in processes that are spawned",
    "status": "use run.flush(), which tells whether all is delivered",
    "sync": "use the command 'runlore sync'",
    "sync_dir": "'runlore sync' finds the spools by itself",
    "teardown": "use finish()",
    "termerror": "use print(..., file=sys.stderr)",
    "termlog": "use print()",
    "termwarn": "use warnings.warn()",
    "util": "leave id= out: init() makes one up, and run.id tells it",
}
"""Names of wandb that have another way here, and that way."""


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
    if name in _INSTEAD:
        return AttributeError(f"{owner} has no attribute {name!r}; {_INSTEAD[name]}")
    return AttributeError(f"{owner} has no attribute {name!r}")


def ignored(door: str, names: Iterable[str]) -> str:
    """Return the sentence about arguments that are known to wandb alone."""
    return f"runlore: {door} has no use for {', '.join(sorted(names))}; ignored"
