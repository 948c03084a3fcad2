"""Run the command line as `python -m modernir`."""

from .cli import main

main()
