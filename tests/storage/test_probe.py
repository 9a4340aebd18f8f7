"""Which settings are refused, and which servers."""

import pytest

from coordinator.core.errors import PreconditionFailed
from coordinator.storage.sql.probe import check_server, refuse, unsafe_settings
from coordinator.storage.sql.url import Kind

POSTGRESQL = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
    "server_version_num": "150018",
}
MYSQL = {
    "innodb_flush_log_at_trx_commit": "1",
    "sync_binlog": "0",
    "log_bin": "OFF",
    "innodb_doublewrite": "ON",
    "innodb_flush_method": "fsync",
    "wsrep_on": "OFF",
    "version": "10.11.19-MariaDB-log",
}


def test_what_servers_come_with_is_safe() -> None:
    """Debian's PostgreSQL and MariaDB as they are."""
    assert unsafe_settings(Kind.POSTGRESQL, POSTGRESQL) == ()
    assert unsafe_settings(Kind.MYSQL, MYSQL) == ()


@pytest.mark.parametrize(
    ("kind", "changed", "named"),
    [
        (Kind.POSTGRESQL, {"fsync": "off"}, ["fsync"]),
        (Kind.POSTGRESQL, {"full_page_writes": "off"}, ["full_page_writes"]),
        (Kind.POSTGRESQL, {"synchronous_commit": "off"}, ["synchronous_commit"]),
        (Kind.POSTGRESQL, {"synchronous_commit": "remote_write"}, []),
        (Kind.POSTGRESQL, {"synchronous_commit": "local"}, []),
        (
            Kind.POSTGRESQL,
            {"synchronous_commit": "local", "synchronous_standby_names": "*"},
            ["synchronous_commit"],
        ),
        (
            Kind.MYSQL,
            {"innodb_flush_log_at_trx_commit": "2"},
            ["innodb_flush_log_at_trx_commit"],
        ),
        (Kind.MYSQL, {"log_bin": "ON"}, ["sync_binlog"]),
        (Kind.MYSQL, {"log_bin": "ON", "sync_binlog": "1"}, []),
        (Kind.MYSQL, {"innodb_doublewrite": "OFF"}, ["innodb_doublewrite"]),
        (Kind.MYSQL, {"innodb_flush_method": "nosync"}, ["innodb_flush_method"]),
        (Kind.MYSQL, {"wsrep_on": "ON"}, ["wsrep_on"]),
        (
            Kind.MYSQL,
            {
                "group_replication_single_primary_mode": "OFF",
                "group_replication_group_name": "x",
            },
            ["group_replication_single_primary_mode"],
        ),
        (
            Kind.MYSQL,
            {
                "group_replication_single_primary_mode": "OFF",
                "group_replication_group_name": "",
            },
            [],
        ),
    ],
)
def test_a_setting_that_forgets_is_named(
    kind: Kind, changed: dict[str, str], named: list[str]
) -> None:
    """T7: with its value, what it would cost and what to set."""
    settings = {**(POSTGRESQL if kind is Kind.POSTGRESQL else MYSQL), **changed}
    findings = unsafe_settings(kind, settings)
    assert named == [finding.name for finding in findings]
    refusal = str(refuse(findings))
    assert all(f"{name}={settings[name]}" in refusal for name in named)
    assert "--unsafe-database-settings" in refusal


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (Kind.POSTGRESQL, {"server_version_num": "130023"}, "too old"),
        (Kind.MYSQL, {"version": "10.5.12-MariaDB"}, "too old"),
        (Kind.MYSQL, {"version": "8.0.18"}, "too old"),
        (Kind.MYSQL, {"version": "8.4.1", "read_only": "ON"}, "read only"),
        (
            Kind.POSTGRESQL,
            {"server_version_num": "150001", "transaction_read_only": "on"},
            "read only",
        ),
    ],
)
def test_a_server_that_cannot_serve_is_told_why(
    kind: Kind, settings: dict[str, str], said: str
) -> None:
    """No flag overrides that."""
    with pytest.raises(PreconditionFailed, match=said):
        check_server(kind, settings)


def test_servers_that_are_new_enough_are_taken() -> None:
    """The first of each that are."""
    check_server(Kind.POSTGRESQL, {"server_version_num": "140000"})
    check_server(Kind.MYSQL, {"version": "10.6.0-MariaDB"})
    check_server(Kind.MYSQL, {"version": "8.0.19"})
