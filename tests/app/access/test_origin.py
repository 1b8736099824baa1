"""Where a request comes from, by what it says itself."""

import pytest
from starlette.types import Scope

from app.access.origin import check_host, check_local
from app.errors import ErrataError, ForeignHost, ForeignRequest

_HOME = ("host", "127.0.0.1:8000")


def _request(*headers: tuple[str, str], peer: tuple[str, int] | None = ("127.0.0.1", 1)) -> Scope:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "headers": raw, "client": peer}


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.9.8.7:80",
        "[::1]",
        "[::1]:8000",
        "[0:0:0:0:0:0:0:1]:8000",
        "[::ffff:127.0.0.1]:8000",
    ],
)
def test_these_names_are_of_this_machine_alone(host: str) -> None:
    check_local(_request(("host", host)))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "127.0.0.1, evil.example",
        "127.0.0.1:8000:8000",
        "127.0.0.1:port",
        "0.0.0.0:8000",
        "[::]:8000",
        "192.168.0.1",
        "[::1",
        "2130706433",
        "127.1",
        "１27.0.0.1".encode().decode("latin-1"),
        "localhost.",
    ],
)
def test_every_other_name_is_refused(host: str) -> None:
    with pytest.raises(ForeignHost):
        check_local(_request(("host", host)))


@pytest.mark.parametrize("hosts", [(), ("localhost", "localhost"), ("localhost", "evil.example")])
def test_there_is_one_host(hosts: tuple[str, ...]) -> None:
    with pytest.raises(ForeignHost, match=f"{len(hosts)} Host headers"):
        check_local(_request(*(("host", host) for host in hosts)))


@pytest.mark.parametrize(
    "header",
    [
        ("forwarded", "for=127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
        ("origin", "null"),
        ("origin", "http://evil.example:8000"),
        ("origin", "http://127.0.0.1:8001"),
        ("origin", "http://localhost:8000"),
        ("origin", "https://127.0.0.1"),
        ("origin", "127.0.0.1:8000"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "something newer"),
    ],
)
def test_a_request_that_a_proxy_or_another_site_sent_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(ForeignRequest, match="errata keys create --scope admin") as refused:
        check_local(_request(_HOME, header))
    assert refused.value.field is not None
    assert refused.value.field.lower() == header[0]


@pytest.mark.parametrize(
    "header",
    [
        ("origin", "http://127.0.0.1:8000"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("user-agent", "curl/8"),
    ],
)
def test_a_page_of_the_service_itself_is_let_in(header: tuple[str, str]) -> None:
    check_local(_request(_HOME, header))


def test_the_port_that_a_scheme_implies_need_not_be_said() -> None:
    check_local(_request(("host", "localhost"), ("origin", "http://localhost:80")))


def test_one_foreign_header_among_several_is_enough() -> None:
    own = ("origin", "http://127.0.0.1:8000")
    with pytest.raises(ForeignRequest):
        check_local(_request(_HOME, own, ("origin", "http://evil.example")))


@pytest.mark.parametrize("peer", [("192.0.2.1", 1), ("testclient", 1), ("", 0), None])
def test_another_machine_and_a_socket_without_address_are_refused(
    peer: tuple[str, int] | None,
) -> None:
    with pytest.raises(ForeignRequest):
        check_local(_request(_HOME, peer=peer))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
def test_every_loopback_address_is_this_machine(peer: str) -> None:
    check_local(_request(_HOME, peer=(peer, 1)))


def test_names_that_the_operator_lists_are_accepted_beside_this_machine() -> None:
    for host in ("errata.example.org", "Errata.Example.Org:443", "localhost:8000"):
        check_host(_request(("host", host)), ["errata.example.org"])
    for host in ("example.org", "evil.example", ""):
        with pytest.raises(ErrataError, match=r"accepted: errata\.example\.org, localhost"):
            check_host(_request(("host", host)), ["errata.example.org"])
