"""The tables of the baselines on servers, and how they are made before a run."""

from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, Table, Text, create_engine, insert, text

UNITS = 1_000_000
"""More than any run gives away."""

METADATA = MetaData()
POOL = Table(
    "baseline_pool",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("remaining", Integer, CheckConstraint("remaining >= 0"), nullable=False),
)
CLAIM = Table(
    "baseline_claim", METADATA, Column("person", Text, primary_key=True), Column("pool", Text, nullable=False)
)
UNIT = Table(
    "baseline_unit",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("pool", Text, nullable=False),
    Column("person", Text, unique=True),
)
Index("baseline_unit_free", UNIT.c.pool, postgresql_where=UNIT.c.person.is_(None))
"""Only rows that nobody has, so that a free one is found at once."""

MADE = 200_000
"""Unit rows, which the pattern that needs them gives away in minutes."""


def prepare(url):
    """Fresh tables with one pool."""
    engine = create_engine(url)
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(POOL).values(id="central", remaining=UNITS))
        connection.execute(
            text(
                "INSERT INTO baseline_unit (id, pool) SELECT number, 'central' FROM generate_series(1, :made) AS number"
            ),
            {"made": MADE},
        )
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()
