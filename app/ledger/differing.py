"""Where the database and the ledger do not agree."""


class RowDiffers(Exception):
    """A row is not what the ledger says of it.

    Attributes:
        table: Where it is, or should be.
        id: Which it is.
        what: How it differs.
        index: The ledger entry that says so.
    """

    def __init__(self, table: str, id: object, what: str, index: int | None) -> None:
        super().__init__(f"{table} {id}: {what}")
        self.table, self.id, self.what, self.index = table, str(id), what, index
