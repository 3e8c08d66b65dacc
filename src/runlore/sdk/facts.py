"""What is known of a run from its beginning on."""

import time
from typing import Literal, NamedTuple

from runlore.core.json import JsonObject
from runlore.core.run import Fork, RunRef
from runlore.settings import Settings


class Origin(NamedTuple):
    """Where a run goes and which part of it this process is.

    In a child, `program` is the id of the main writer, whose process called `init`. `fork` tells
    where the run was forked off another one.
    """

    ref: RunRef
    settings: Settings
    name: str
    role: Literal["main", "child"]
    is_resumed: bool
    program: str = ""
    fork: Fork | None = None


class Facts:
    """The part of a run that only tells: whose it is, where it goes and how it began."""

    __slots__ = ("_began", "_origin", "_told")

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._told: JsonObject = {}
        self._began = time.time()

    @property
    def id(self) -> str:
        """The run's id, unique in its project."""
        return self._origin.ref.run_id

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return self._origin.ref.project

    @property
    def owner(self) -> str:
        """Whose project it is."""
        return self._origin.ref.owner

    @property
    def entity(self) -> str:
        """Another word for `owner`."""
        return self.owner

    @property
    def path(self) -> str:
        """The address for `Api().run()`: owner, project and id."""
        return "/".join(self._origin.ref)

    @property
    def url(self) -> str | None:
        """The run's page; None when it is offline or disabled."""
        ref, settings = self._origin.ref, self._origin.settings
        if settings.mode != "online":
            return None
        return f"{settings.url}/{ref.owner}/{ref.project}/runs/{ref.run_id}"

    def get_url(self) -> str | None:
        """Return the run's page, as `url` does."""
        return self.url

    @property
    def group(self) -> str | None:
        """What the runs of one experiment share."""
        return self._told_text("group")

    @property
    def job_type(self) -> str | None:
        """What kind of work the run is."""
        return self._told_text("job_type")

    @property
    def offline(self) -> bool:
        """Whether the run stays on this machine until somebody syncs it."""
        return self._origin.settings.mode == "offline"

    @property
    def start_time(self) -> float:
        """When this process began the run, in seconds since 1970."""
        return self._began

    @property
    def resumed(self) -> bool:
        """Whether this process continues a run that was there before."""
        return self._origin.is_resumed

    @property
    def is_child(self) -> bool:
        """Whether this is a copy in a forked or spawned process, which cannot end the run."""
        return self._origin.role == "child"

    def _told_text(self, what: str) -> str | None:
        text = self._told.get(what)
        return text if isinstance(text, str) else None
