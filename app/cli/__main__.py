"""`python -m app.cli` is `errata`."""

from app.cli.main import main

main()
