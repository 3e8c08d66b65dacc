"""Runlore keeps everything that machine-learning people try, and lets them ask it questions."""

from runlore.version import __version__

__all__ = ["__version__"]
