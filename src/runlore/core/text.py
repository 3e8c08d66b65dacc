"""Text that somebody else wrote, on its way to a terminal."""


def printable(text: str) -> str:
    """Return a text in which whatever a terminal would obey, line breaks too, is a `�`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def printable_lines(text: str) -> str:
    """Return some lines, each of them printable."""
    return "\n".join(map(printable, text.split("\n")))
