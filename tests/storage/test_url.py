"""What a database URL names, and what is wrong with one."""

import pytest

from coordinator.core.errors import InvalidRequest
from coordinator.storage.sql import url as urls
from coordinator.storage.sql.url import Kind, parse_url


@pytest.mark.parametrize(
    ("url", "kind", "place"),
    [
        ("postgresql://u:p@db/t", Kind.POSTGRESQL, "db:5432"),
        ("postgres://u:p@db:1/t", Kind.POSTGRESQL, "db:1"),
        ("mysql://u:p@db/t", Kind.MYSQL, "db:3306"),
        ("mariadb://u@db:2/t", Kind.MYSQL, "db:2"),
    ],
)
def test_servers_are_named_by_their_usual_urls(
    url: str, kind: Kind, place: str
) -> None:
    """With the port that everybody knows where none stands."""
    where = parse_url(url)
    assert kind is where.kind
    assert where.place.endswith(place)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:s3cret@/t", "no host"),
        ("postgresql://u:s3cret@db", "no database"),
        ("mysql://db/t", "no username"),
        ("mysql://u:s3cret@db/t?charset=latin1", "'charset'"),
        ("postgresql://u:s3cret@db/t?sslmode=maybe", "sslmode"),
        ("postgresql://u:s3cret@db/t?sslrootcert=/nowhere.pem", "PEM"),
        ("postgresql://u:s3cret@db:port/t", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_url_is_named(url: str, said: str) -> None:
    """In one line, without its password."""
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_url(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.field == "database_url"


def test_a_missing_driver_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the command that brings it."""
    monkeypatch.setattr(urls, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequest, match=r"pip install 'tercet\[mysql\]'"):
        parse_url("mysql://u:p@db/t")


def test_tls_verifies_the_name_unless_told_less() -> None:
    """``require`` encrypts, ``verify-ca`` knows who signed, the rest is verified."""
    assert parse_url("mysql://u:p@db/t").tls is None
    modes = {"require": (False, 0), "verify-ca": (False, 2), "verify-full": (True, 2)}
    for mode, expected in modes.items():
        tls = parse_url(f"postgresql://u:p@db/t?sslmode={mode}").tls
        assert tls is not None
        assert expected == (tls.check_hostname, tls.verify_mode)
    assert "p@" not in repr(parse_url("mysql://u:p@db/t"))
