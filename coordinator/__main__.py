"""``tercet``, and the same as ``python -m coordinator``."""

from coordinator.cli.app import main

if __name__ == "__main__":
    main()
