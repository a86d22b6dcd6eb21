"""`python -m simulator.cli`: the command line without the installed script."""

from __future__ import annotations

from simulator.cli import main

if __name__ == "__main__":
    main()
