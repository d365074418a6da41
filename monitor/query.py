"""How the queries of a tick are run: small tables, many times."""

from __future__ import annotations

import polars as pl

_AS_WRITTEN = pl.QueryOptFlags.none()


def at_once(query: pl.LazyFrame) -> pl.DataFrame:
    """Runs a query of a tick, as it is written.

    Its tables are small: to look for a better order takes as long as the query, and to start the engine for
    large ones twice as long. So steps that follow each other are one query, in the order that is best (no
    filter before it is known which columns are wanted), and the columns of a step are computed in turn
    (`…_seq`), for to hand them to another thread costs more than they do.
    """
    return query.collect(engine="in-memory", optimizations=_AS_WRITTEN)
