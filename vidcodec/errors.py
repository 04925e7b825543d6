"""Errors: one hierarchy, each with the exit status a command ends with.

Library code raises these with one line that says what failed, where, and what to do; only commands print them.
"""


class VidcodecError(Exception):
    """Base of every error that a user of this package is expected to meet."""

    exit_status = 1


class UsageError(VidcodecError):
    """An option or argument that does not make sense."""

    exit_status = 2


class MissingExtra(UsageError):
    """What was asked for needs packages that an extra of this project installs."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what}: pip install -e '.[{extra}]' in the project's folder")


class InputError(VidcodecError):
    """A camera, file or weights file that cannot be read or written."""

    exit_status = 3


class PeerError(VidcodecError):
    """The other side of a call cannot be reached, refused us, or does not fit (other weights, other version)."""

    exit_status = 4


class DamagedPacket(VidcodecError):
    """Bytes that are no packet of this codec: truncated, flipped, random or hostile.

    Recoverable: the codec and the state passed in are unharmed, and the next good packet decodes.
    """

    exit_status = 5


class MissingReference(DamagedPacket):
    """A sound packet whose reference frame is not the one of the state passed in.

    The receiver lost (or never had) that frame: try another retained state, or ask for a refresh.
    """


def reason_of(error: BaseException, otherwise: str = "") -> str:
    """Why something failed, in a few words for an error's line: the system's own, without the number and the file's
    name that Python puts around them; of errors that have none `otherwise`, or the first line of what they say."""
    said = getattr(error, "strerror", None) or otherwise or str(error).strip()
    return str(said).splitlines()[0] if said else type(error).__name__
