"""Options that commands share."""

from typing import Annotated

import typer

Url = Annotated[str, typer.Option(envvar="ERRATA_URL", help="Where the server is.")]
Key = Annotated[
    str | None, typer.Option(envvar="ERRATA_API_KEY", help="API key, if the server wants one.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for machines.")]
