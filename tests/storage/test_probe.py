"""Which settings are refused, and which servers."""

import pytest

from coordinator.core.errors import PreconditionFailed
from coordinator.storage.sql.flavour import Flavour, named_by
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
    assert unsafe_settings(Flavour.POSTGRESQL, POSTGRESQL) == ()
    assert unsafe_settings(Flavour.MYSQL, MYSQL) == ()


@pytest.mark.parametrize(
    ("flavour", "changed", "named"),
    [
        (Flavour.POSTGRESQL, {"fsync": "off"}, ["fsync"]),
        (Flavour.POSTGRESQL, {"full_page_writes": "off"}, ["full_page_writes"]),
        (Flavour.POSTGRESQL, {"synchronous_commit": "off"}, ["synchronous_commit"]),
        (Flavour.POSTGRESQL, {"synchronous_commit": "remote_write"}, []),
        (Flavour.POSTGRESQL, {"synchronous_commit": "local"}, []),
        (
            Flavour.POSTGRESQL,
            {"synchronous_commit": "local", "synchronous_standby_names": "*"},
            ["synchronous_commit"],
        ),
        (
            Flavour.MYSQL,
            {"innodb_flush_log_at_trx_commit": "2"},
            ["innodb_flush_log_at_trx_commit"],
        ),
        (Flavour.MYSQL, {"log_bin": "ON"}, ["sync_binlog"]),
        (Flavour.MYSQL, {"log_bin": "ON", "sync_binlog": "1"}, []),
        (Flavour.MYSQL, {"innodb_doublewrite": "OFF"}, ["innodb_doublewrite"]),
        (Flavour.MYSQL, {"innodb_flush_method": "nosync"}, ["innodb_flush_method"]),
        (Flavour.MYSQL, {"wsrep_on": "ON"}, ["wsrep_on"]),
        (
            Flavour.MYSQL,
            {
                "group_replication_single_primary_mode": "OFF",
                "group_replication_group_name": "x",
            },
            ["group_replication_single_primary_mode"],
        ),
        (
            Flavour.MYSQL,
            {
                "group_replication_single_primary_mode": "OFF",
                "group_replication_group_name": "",
            },
            [],
        ),
    ],
)
def test_a_setting_that_forgets_is_named(
    flavour: Flavour, changed: dict[str, str], named: list[str]
) -> None:
    """T7: with its value, what it would cost and what to set."""
    settings = {**(POSTGRESQL if flavour is Flavour.POSTGRESQL else MYSQL), **changed}
    findings = unsafe_settings(flavour, settings)
    assert named == [finding.name for finding in findings]
    refusal = str(refuse(findings))
    assert all(f"{name}={settings[name]}" in refusal for name in named)
    assert "--unsafe-database-settings" in refusal


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("PostgreSQL 13.23", "130023"),
        ("10.5.12-MariaDB", ""),
        ("8.0.18", ""),
        ("CockroachDB CCL v23.1.28 (x86_64-pc-linux-gnu, built 2024/09/23)", "130000"),
        ("PostgreSQL 11.2-YB-2.20.1.3-b0 on x86_64-pc-linux-gnu", "110002"),
        ("8.0.11-TiDB-v7.1.5", ""),
        ("PostgreSQL 9.2.4 (openGauss 5.0.0 build a07d57c3)", "90204"),
    ],
)
def test_a_server_that_is_too_old_is_told_so(version: str, number: str) -> None:
    """With its version and those that are expected; no flag overrides that."""
    kind = Kind.POSTGRESQL if number else Kind.MYSQL
    settings = {"version": version, "server_version_num": number}
    with pytest.raises(PreconditionFailed, match="too old; expected PostgreSQL 14"):
        check_server(named_by(kind, version), settings)


@pytest.mark.parametrize(
    ("version", "number", "flavour"),
    [
        ("PostgreSQL 14.0 on x86_64", "140000", Flavour.POSTGRESQL),
        ("PostgreSQL 15.18 (Debian 15.18-0+deb12u1)", "150018", Flavour.POSTGRESQL),
        ("PostgreSQL 19beta1 on x86_64", "190000", Flavour.POSTGRESQL),
        ("PostgreSQL 14.1-other", "140001", Flavour.POSTGRESQL_LIKE),
        ("CockroachDB CCL v23.2.0 (x86_64)", "130000", Flavour.COCKROACHDB),
        ("CockroachDB CCL v24.3.1 (x86_64)", "130000", Flavour.COCKROACHDB),
        ("PostgreSQL 11.2-YB-2024.1.0.0-b0 on", "110002", Flavour.YUGABYTEDB),
        ("PostgreSQL 15.2-YB-2025.1.0.0-b0 on", "150002", Flavour.YUGABYTEDB),
        ("10.6.0-MariaDB", "", Flavour.MYSQL),
        ("8.0.19", "", Flavour.MYSQL),
        ("8.0.11-TiDB-v7.5.0", "", Flavour.TIDB),
        ("8.0.11-TiDB-v8.5.1-serverless", "", Flavour.TIDB),
    ],
)
def test_servers_that_are_new_enough_are_taken_for_what_they_are(
    version: str, number: str, flavour: Flavour
) -> None:
    """Whatever language they speak, and whichever version of it they claim."""
    kind = Kind.POSTGRESQL if number else Kind.MYSQL
    assert named_by(kind, version) is flavour
    check_server(flavour, {"version": version, "server_version_num": number})


@pytest.mark.parametrize(
    ("flavour", "settings"),
    [
        (Flavour.MYSQL, {"version": "8.4.1", "read_only": "ON"}),
        (
            Flavour.POSTGRESQL,
            {
                "version": "PostgreSQL 15.1",
                "server_version_num": "150001",
                "transaction_read_only": "on",
            },
        ),
    ],
)
def test_a_server_that_is_read_only_is_told_so(
    flavour: Flavour, settings: dict[str, str]
) -> None:
    """No flag overrides that."""
    with pytest.raises(PreconditionFailed, match="read only"):
        check_server(flavour, settings)


@pytest.mark.parametrize(
    "flavour", [Flavour.COCKROACHDB, Flavour.YUGABYTEDB, Flavour.TIDB]
)
def test_settings_that_a_database_only_shows_mean_nothing(flavour: Flavour) -> None:
    """None refuses it, whether it is missing or set to what others must not have."""
    shown = {"fsync": "off", "sync_binlog": "0", "log_bin": "ON"}
    assert unsafe_settings(flavour, shown) == ()
    assert unsafe_settings(flavour, {}) == ()
