"""Every error that Runlore raises.

RunloreError
├── UsageError        (ValueError)       a call, a value or a setting is wrong
│   └── ExpressionError                  a filter or a sort order cannot be read
├── NotFoundError     (LookupError)      the named thing does not exist
├── ConflictError                        the thing is in another state than the call needs
├── DeletedError      (LookupError)      the named thing existed and was deleted
├── AccessError       (PermissionError)  who asks may not do this
├── DamageError       (ValueError)       stored or received bytes are not what was written
└── UnavailableError  (ConnectionError)  the other side does not answer, or not now
"""


class RunloreError(Exception):
    """The root of all errors raised by Runlore; `runlore.Error` is another word for it.

    Example:
        try:
            runlore.init(project="no/such name")
        except runlore.Error as error:
            print(error)
    """


class UsageError(RunloreError, ValueError):
    """A call, a value or a setting is wrong; the message names the way out."""


class ExpressionError(UsageError):
    """A filter or a sort order cannot be read, or does not fit its table.

    Attributes:
        at: the character of its text, from 0, at which it goes wrong.
    """

    def __init__(self, message: str, *, at: int) -> None:
        super().__init__(f"{message} (at character {at + 1})")
        self.at = at


class NotFoundError(RunloreError, LookupError):
    """The named thing does not exist."""


class ConflictError(RunloreError):
    """The thing is in another state than the call needs."""


class DeletedError(RunloreError, LookupError):
    """The named thing existed and was deleted."""


class AccessError(RunloreError, PermissionError):
    """Who asks may not do this."""


class DamageError(RunloreError, ValueError):
    """Bytes are not what was written.

    Attributes:
        offset: the byte at which the damage begins, in the file or stream.
    """

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class UnavailableError(RunloreError, ConnectionError):
    """The other side does not answer, or not now."""
