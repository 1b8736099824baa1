import socket

import pytest

from app.client import Errata, ServerAway


def test_a_server_that_is_away_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses connections
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Errata(url) as errata:
            assert not errata.is_ready()
            with pytest.raises(ServerAway, match="errata serve") as away:
                errata.verify()
    assert url in str(away.value)
