"""How every connection to a ledger on a database server is opened, and what its errors mean.

PostgreSQL through psycopg, MySQL and MariaDB through PyMySQL.  Nothing here tries a statement again: a
connection that failed is dropped, and whoever asked is told what is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ...ports.ledger import LedgerDamaged, LedgerError, LedgerInDoubt, LedgerUnavailable, LedgerUnusable
from .schema import METADATA, SCHEMA_VERSION
from .slowness import watch

CONNECT_S = 3
LOCK_S = 3
"""How long a batch waits for the one before it, which takes milliseconds."""
STATEMENT_S = 10
"""What the largest export page or count may take; a claim's statement takes milliseconds."""
POOL_SIZE = 4
"""Connections that one process may hold: its threads, each with one at a time."""
POOL_WAIT_S = 3

SEQ = "claim.seq"
"""The row of `counter` that numbers claims."""

VERSIONS_WANTED = {"postgresql": (14,), "mariadb": (10, 6), "mysql": (8, 0, 16)}
"""PostgreSQL as far back as its project keeps it up; the others since they do what a CHECK says."""

_LOSES = "a confirmed claim would be lost in a crash; set it to {}"
_REPLICA = "it takes no writes, and may be a replica; name the primary instead"
_SETTINGS_WANTED = {
    "postgresql": (("fsync", "on", _LOSES.format("on")), ("transaction_read_only", "off", _REPLICA)),
    "mysql": (
        ("innodb_flush_log_at_trx_commit", "1", _LOSES.format(1)),
        ("read_only", "0", _REPLICA),
    ),
}
_SETTINGS_WANTED["mariadb"] = _SETTINGS_WANTED["mysql"]

LOCK = (
    "SELECT alembic_version.version_num FROM counter CROSS JOIN alembic_version"  # noqa: S608 -- of a constant
    f" WHERE counter.name = '{SEQ}' FOR UPDATE"
)
"""Locks the row that orders all writers; its answer is for `check_schema`."""

_POSTGRESQL_OPTIONS = {
    "statement_timeout": STATEMENT_S * 1000,
    "lock_timeout": LOCK_S * 1000,
    # A program that was stopped in the middle of a transaction must not keep the others waiting.
    "idle_in_transaction_session_timeout": STATEMENT_S * 1000,
    # The server may have another default, with which a confirmed claim could be lost in a crash.
    "synchronous_commit": "on",
}
_STEADY = {
    "plan_cache_mode": "force_generic_plan",
    # A plan outlives the moment in which it was made.  By all that is known of an empty table, reading all of it is the
    # best way; an hour later, for each person of a batch, it is the end of a sale.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    # What is off and cannot be avoided counts as very dear, and what is dear would be compiled each time.
    "jit": "off",
}
_MYSQL_INIT = f"SET SESSION innodb_lock_wait_timeout = {LOCK_S}, sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES'"

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_READ_ONLY_SQLSTATES = {"25006"}
_FORBIDDEN_SQLSTATE = "42501"
_INTEGRITY_CLASS = "23"
# https://mariadb.com/kb/en/mariadb-error-code-reference/
_READ_ONLY_NUMBERS = {1290, 1792, 1836}
_FORBIDDEN_NUMBERS = {1044, 1142, 1143, 1227, 1370}
# PyMySQL does not know that a failed CHECK is a matter of integrity.
_CHECK_NUMBERS = {3819, 4025}

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}


def server_url(text: str) -> sa.URL:
    """The URL of a database server with the driver that is used for it."""
    url = sa.make_url(text)
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


def shown(url: sa.URL) -> str:
    """The URL as messages may show it: without its password, and without those among its options."""
    hidden = {name: "***" for name in url.query if "pass" in name.lower()}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def check_server(connection: sa.Connection) -> str:
    """Whether this server keeps what a ledger promises; raises LedgerUnusable.  Its name and version."""
    dialect, url = connection.dialect, connection.engine.url
    name, version = _kind(connection)
    found = server_name(connection)
    if version < VERSIONS_WANTED[name]:
        wanted = ".".join(map(str, VERSIONS_WANTED[name]))
        raise LedgerUnusable(f"the ledger {shown(url)} is on {found}; at least {wanted} is needed, upgrade the server")
    for setting, right, why in _SETTINGS_WANTED[dialect.name]:
        question = f"SHOW {setting}" if dialect.name == "postgresql" else f"SELECT @@{setting}"
        value = str(connection.exec_driver_sql(question).scalar_one())
        if value != right:
            raise LedgerUnusable(f"the ledger {shown(url)} is on a server with {setting} = {value}: {why}")
    return found


def check_can_make(connection: sa.Connection) -> None:
    """Whether this account may make tables, as far as the server says so beforehand; raises LedgerUnavailable."""
    if connection.dialect.name != "postgresql":
        return
    if not connection.exec_driver_sql("SELECT has_schema_privilege(current_schema(), 'CREATE')").scalar_one():
        url = connection.engine.url
        raise LedgerUnavailable(f"the ledger {shown(url)} is not there yet, and cannot be made: {_remedy(url)}")


def check_rights(connection: sa.Connection) -> None:
    """Whether this account may write every table; raises LedgerUnavailable.  Nothing is written."""
    for table in METADATA.sorted_tables:
        connection.execute(sa.insert(table).from_select(table.columns.keys(), sa.select(table).where(sa.false())))
        first = next(iter(table.columns))
        connection.execute(sa.update(table).where(sa.false()).values({first.name: first}))


def server_name(connection: sa.Connection) -> str:
    """What kind of server it is, and its version."""
    name, version = _kind(connection)
    return f"{name} {'.'.join(map(str, version))}"


def _kind(connection: sa.Connection) -> tuple[str, tuple[Any, ...]]:
    dialect = connection.dialect
    name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
    return name, tuple(dialect.server_version_info or ())


def open_server_engine(url: sa.URL, *, steady: bool, **options: Any) -> sa.Engine:
    """Connects when it is used; `options` go to the engine.

    With `steady` PostgreSQL plans a statement once, not for what it is given each time, and always by keys.
    """
    if url.get_backend_name() == "postgresql":
        settings = _POSTGRESQL_OPTIONS | (_STEADY if steady else {})
        # Behind those of the URL, which may name a schema, so that ours hold.
        own = [f"-c {name}={value}" for name, value in settings.items()]
        said = " ".join([*url.normalized_query.get("options", ()), *own])
        arguments: dict[str, Any] = {"connect_timeout": CONNECT_S, "options": said}
    else:
        arguments = {
            "connect_timeout": CONNECT_S, "read_timeout": STATEMENT_S, "write_timeout": STATEMENT_S,
            "init_command": _MYSQL_INIT, "charset": "utf8mb4",
        }  # fmt: skip
    engine = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        connect_args=arguments,
        **options,
    )
    watch(engine, shown(url))

    _connect_in_our_way(engine)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("immediate", False):
            lock_writers(connection)

    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: sa.engine.ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if isinstance(error, sa.exc.DBAPIError) and context.connection is None:
            raise LedgerUnavailable(
                f"the ledger {shown(url)} cannot be reached: {str(error.orig).strip()}; "
                "look whether the server runs, and at host, port, names, password and options in its URL"
            ) from context.original_exception
        # What remains is a mistake in a statement, or an answer, such as that a table is not there yet.
        if isinstance(error, sa.exc.DBAPIError) and (
            _is_forbidden(error.orig) or not isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError)
        ):
            committing = context.statement is None
            # Whatever came of it, the next transaction gets another connection: this one may be in the middle of it.
            context.is_disconnect = context.is_disconnect or committing
            raise server_meaning(error.orig, url, committing=committing) from context.original_exception

    return engine


def _connect_in_our_way(engine: sa.Engine) -> None:
    url = engine.url
    if url.get_backend_name() == "postgresql":
        # Its driver takes a tenth of a second to import, and other ledgers do without it.
        from .bounded import BoundedConnection  # noqa: PLC0415 -- see above

        @sa.event.listens_for(engine, "do_connect")
        def _connect(
            _dialect: sa.Dialect, _record: Any, positional: Sequence[Any], named: dict[str, Any]
        ) -> BoundedConnection:
            return BoundedConnection.connect(*positional, **named)

        @sa.event.listens_for(engine, "checkout")
        def _look_at(connection: BoundedConnection, _record: Any, _proxy: Any) -> None:
            if connection.is_over():
                # The pool opens another.
                raise sa.exc.DisconnectionError("the server has closed it")
    else:

        @sa.event.listens_for(engine, "do_connect")
        def _connect_mysql(dialect: sa.Dialect, _record: Any, positional: Sequence[Any], named: dict[str, Any]) -> Any:
            try:
                return dialect.connect(*positional, **named)
            except TypeError as error:
                # PyMySQL takes options as a function takes arguments.
                raise LedgerUnavailable(
                    f"the ledger {shown(url)} cannot be reached: {error}; look at the options in its URL"
                ) from error


def lock_writers(connection: sa.Connection) -> None:
    """Lock the row that orders all writers; raises LedgerUnavailable where another program has changed the schema."""
    check_schema(connection.exec_driver_sql(LOCK).one_or_none(), connection.engine.url)


def check_schema(locked: Sequence[Any] | None, url: sa.URL) -> None:
    """`locked` is the answer to LOCK; raises LedgerUnavailable where another program has changed the schema."""
    found = None if locked is None else locked[0]
    if found != SCHEMA_VERSION:
        raise LedgerUnavailable(
            f"the ledger {shown(url)} has schema {found}, and this program writes {SCHEMA_VERSION}; "
            "upgrade this node, nothing was written"
        )


def server_time(dialect: str) -> sa.ColumnElement[Any]:
    """The server's clock (s), now and not when the transaction began.

    With many programs none of their clocks can decide when a campaign opens.
    """
    if dialect == "postgresql":
        return sa.extract("epoch", sa.func.clock_timestamp())
    # Written out, because SQLAlchemy leaves out the argument, and with it what is less than a second.
    return sa.literal_column("unix_timestamp(sysdate(6))")


def server_now_ms(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(server_time(connection.dialect.name))).scalar_one() * 1000)


def server_meaning(error: BaseException | None, url: sa.URL, *, committing: bool) -> LedgerError:
    """What an error of a database server means for a claim; `error` is the driver's.

    A commit that was not answered may have happened; before it nothing has.
    """
    said = f"the ledger {shown(url)} answered: {str(error).strip()}"
    if str(getattr(error, "sqlstate", None)).startswith(_INTEGRITY_CLASS) or _number(error) in _CHECK_NUMBERS:
        return LedgerDamaged(f"{said}; stop, and run `headgate audit` on its campaigns")
    if committing:
        return LedgerInDoubt(f"{said}; whether the last commit happened is not known")
    if _is_forbidden(error):
        return LedgerUnavailable(f"{said}; nothing was written: {_remedy(url)}")
    if _is_read_only(error):
        return LedgerUnavailable(f"{said}; this server takes no writes, it may be a replica: name the primary instead")
    return LedgerUnavailable(f"{said}; nothing was written")


def _remedy(url: sa.URL) -> str:
    return (
        f"give the account {url.username!r} all rights on the tables of its database, and the right to make them, "
        "or make it the owner of the database"
    )


def _is_forbidden(error: BaseException | None) -> bool:
    return getattr(error, "sqlstate", None) == _FORBIDDEN_SQLSTATE or _number(error) in _FORBIDDEN_NUMBERS


def _is_read_only(error: BaseException | None) -> bool:
    return getattr(error, "sqlstate", None) in _READ_ONLY_SQLSTATES or _number(error) in _READ_ONLY_NUMBERS


def _number(error: BaseException | None) -> object:
    """The error number of MySQL and MariaDB."""
    return error.args[0] if error is not None and error.args else None
