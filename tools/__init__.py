"""The repository's own machinery, behind `./dev`.

It runs on a bare Python before anything is installed, so it imports the standard library alone.
"""
