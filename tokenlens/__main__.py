"""`python -m tokenlens`."""

from .cli import main

main()
