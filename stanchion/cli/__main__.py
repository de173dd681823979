"""`python -m stanchion.cli` is `stanchion`."""

from stanchion.cli import main

main()
