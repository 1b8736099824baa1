"""Which database a test is for, where it is not for both."""

import pytest

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
