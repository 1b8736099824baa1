"""One service for everything that is thrown at it."""

from collections.abc import Iterator

import pytest

from tests.fuzz.contract_site import Site, site


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("contract")) as found:
        yield found
