"""``python -m lpk``."""

from lpk.cli import main

main()
