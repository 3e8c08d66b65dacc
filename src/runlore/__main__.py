"""`python -m runlore` is `runlore`."""

from runlore.cli import main

if __name__ == "__main__":
    main()
