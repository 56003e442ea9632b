"""Every setting: what pg_settings says of it, its bounds, who may change it and when."""

import psycopg
import pytest
from conftest import connect

# name: type, unit, default, smallest, largest, who may set it
SETTINGS = {
    "cvx.model_mismatch": ("enum", None, "error", None, None, "superuser"),
    "cvx.alignment_max_pairs": ("integer", None, "20000", "100", "10000000", "user"),
    "cvx.projection_cache_size": ("integer", "kB", "65536", "0", "2147483647", "user"),
    "cvx.workers": ("bool", None, "on", None, None, "sighup"),
    "cvx.ingest_memory": ("integer", "kB", "131072", "8192", "2147483647", "sighup"),
    "cvx.source_environment": ("string", None, "CVX_*", None, None, "sighup"),
    "cvx.webhook_allowed_hosts": ("string", None, "", None, None, "sighup"),
    "cvx.monitor_timeout": ("integer", "ms", "30000", "100", "2147483647", "sighup"),
    "cvx.superuser_monitors": ("bool", None, "off", None, None, "sighup"),
    "cvx.webhook_timeout": ("integer", "ms", "10000", "100", "300000", "sighup"),
}
LOAD = "LOAD 'cvx'"


@pytest.fixture
def loaded(conn):
    conn.execute(LOAD)
    return conn


@pytest.fixture
def plain_role(conn):
    name = "cvx_py_plain"
    conn.execute(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN")
    yield name
    conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_all_settings_are_these(loaded):
    rows = loaded.execute(
        "SELECT name, vartype, unit, boot_val, min_val, max_val, context FROM pg_settings WHERE name LIKE 'cvx.%'"
    ).fetchall()
    assert {row[0]: row[1:] for row in rows} == SETTINGS


def test_each_is_described(loaded):
    rows = loaded.execute(
        "SELECT name, short_desc, extra_desc, setting, boot_val, pending_restart FROM pg_settings WHERE name LIKE 'cvx.%'"
    ).fetchall()
    for name, short, long, setting, default, pending in rows:
        assert short.endswith(".") and long.endswith("."), name
        assert setting == default and not pending, name
    assert len(rows) == len(SETTINGS)


def test_the_enum_has_three_values(loaded):
    (values,) = loaded.execute("SELECT enumvals FROM pg_settings WHERE name = 'cvx.model_mismatch'").fetchone()
    assert values == ["error", "warning", "ignore"]
    for value in values + ["ERROR", "Warning"]:
        loaded.execute(f"SET cvx.model_mismatch = '{value}'")
        assert loaded.execute("SHOW cvx.model_mismatch").fetchone() == (value.lower(),)


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row[0] == "integer" and row[-1] != "sighup"])
def test_bounds_hold(loaded, name):
    _, unit, default, least, most, _ = SETTINGS[name]
    for value in (least, most, default):
        loaded.execute(f"SET {name} = {value}")
        assert loaded.execute("SELECT setting FROM pg_settings WHERE name = %s", (name,)).fetchone() == (value,)
    for value in (int(least) - 1, int(most) + 1, "many", "''", "'1.5GBs'"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            loaded.execute(f"SET {name} = {value}")
    if unit == "kB":
        loaded.execute(f"SET {name} = '1MB'")
        assert loaded.execute(f"SHOW {name}").fetchone() == ("1MB",)


def test_no_other_name_is_taken(loaded):
    for name in ("cvx.model_mismatches", "cvx.x"):
        with pytest.raises(psycopg.errors.InvalidName):
            loaded.execute(f"SET {name} = 1")


def test_who_may_set_what(conn, database, plain_role):
    with connect(database, user=plain_role) as plain:
        plain.execute("SELECT cvx.drift('{}')")
        for name, (*_, default, _, _, context) in SETTINGS.items():
            if context == "superuser":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    plain.execute(f"SET {name} = {default}")
            elif context == "sighup":
                with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
                    plain.execute(f"SET {name} = '{default}'")
            else:
                plain.execute(f"SET {name} = {default}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            plain.execute(f"ALTER ROLE {plain_role} SET cvx.model_mismatch = 'ignore'")
    conn.execute("SELECT cvx.grant_admin(%s::regrole)", (plain_role,))
    with connect(database, user=plain_role) as admin:
        admin.execute("SET cvx.model_mismatch = 'ignore'")
        admin.execute("SELECT set_config('cvx.model_mismatch', 'warning', true)")


def mode(conn) -> str:
    conn.execute("SELECT cvx.drift('{}')")
    return conn.execute("SHOW cvx.model_mismatch").fetchone()[0]


def test_a_setting_from_before_the_library_is_loaded_needs_the_same_right(unloaded):
    """Until then the server knows no bounds and no context of it; a plain role's choice is dropped at the load."""
    with connect(**unloaded) as superuser:
        superuser.execute("DROP ROLE IF EXISTS cvx_py_plain; CREATE ROLE cvx_py_plain LOGIN")
    plain_role = {**unloaded, "user": "cvx_py_plain"}
    notices = []
    with connect(**plain_role) as plain:
        plain.add_notice_handler(lambda it: notices.append(it.message_primary))
        plain.execute("SET cvx.model_mismatch = 'ignore'")
        plain.execute("SET cvx.projection_cache_size = '3MB'")
        assert mode(plain) == "error"
        assert plain.execute("SHOW cvx.projection_cache_size").fetchone() == ("3MB",)
    assert any("permission denied to set parameter" in it for it in notices)
    options = "-c cvx.model_mismatch=ignore -c cvx.alignment_max_pairs=500"
    with connect(**plain_role, options=options) as plain:
        assert mode(plain) == "error"
        assert plain.execute("SHOW cvx.alignment_max_pairs").fetchone() == ("500",)
    with connect(**unloaded, options=options) as superuser:
        assert mode(superuser) == "ignore"


def test_a_wrong_value_from_before_is_dropped(unloaded):
    with connect(**unloaded) as conn:
        conn.execute("SET cvx.alignment_max_pairs = 5")
        conn.execute("SET cvx.nonsense = 1")
        assert mode(conn) == "error"
        assert conn.execute("SHOW cvx.alignment_max_pairs").fetchone() == ("20000",)
        with pytest.raises(psycopg.errors.UndefinedObject):
            conn.execute("SHOW cvx.nonsense")


def test_set_for_a_database_a_role_and_a_function(conn, database, plain_role):
    conn.execute(f"ALTER DATABASE {database} SET cvx.model_mismatch = 'warning'")
    conn.execute(f"ALTER ROLE {plain_role} SET cvx.projection_cache_size = '1MB'")
    try:
        with connect(database, user=plain_role) as plain:
            assert mode(plain) == "warning"
            assert plain.execute("SHOW cvx.projection_cache_size").fetchone() == ("1MB",)
    finally:
        conn.execute(f"ALTER DATABASE {database} RESET cvx.model_mismatch")
    conn.execute("""
        CREATE FUNCTION pg_temp.mode() RETURNS text LANGUAGE sql SET cvx.model_mismatch = 'ignore'
            AS 'SELECT current_setting(''cvx.model_mismatch'')'""")
    assert conn.execute("SELECT pg_temp.mode()").fetchone() == ("ignore",)
    assert mode(conn) == "error"
