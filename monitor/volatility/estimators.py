"""How much prices moved, from bars: one set of sums per window gives every estimator.

Every estimator is a function of sums over bars, so a tick adds the open bar to what the closed ones sum
up to, and the same sums over a whole table are the batch. Only the EWMA is a state, carried beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from monitor.events import Millis

LEAST = 20
"""Bars under which there is no estimate (methodology §9.7)."""
DECAY = 0.94
"""Weight of the past in the EWMA (RiskMetrics)."""
ESTIMATORS = (
    "close_to_close", "close_to_close_zero_mean", "ewma", "parkinson", "garman_klass", "rogers_satchell",
    "yang_zhang", "realized_variance", "bipower",
)  # fmt: skip

_SUMS = (
    "bars", "range_squares", "body_squares", "rogers",
    "returns", "change", "squares", "gap", "gap_squares", "body", "gapped_body_squares", "gapped_rogers",
    "product",
)  # fmt: skip
"""Columns that add up. From `returns` on they need the bar before; `product` is told apart by it."""

By = Sequence[str]
"""Columns that name what the bars are of."""


def terms(bars: pl.DataFrame, by: By = ("asset",)) -> pl.DataFrame:
    """What each bar adds to the sums (methodology §2), a row per valid bar, sorted by `by` and `time`.

    A bar that contradicts itself (a price that is not positive, a high below the close) is no bar.

    Args:
        bars: `time` (opening, milliseconds), `open`, `high`, `low`, `close`, and the columns of `by`.
        by: Columns that name what the bars are of.
    """
    same = pl.all_horizontal(pl.col(key) == pl.col(key).shift() for key in by)
    return (
        bars.lazy()
        .filter(_VALID)
        .sort(*by, "time")
        .with_columns(same=same)
        .with_columns(
            before=pl.when("same").then(pl.col("time").shift()),
            previous_close=pl.when("same").then(pl.col("close").shift()),
        )
        .with_columns(size=_log("close", "previous_close").abs())
        .with_columns(previous_size=pl.when("same").then(pl.col("size").shift()))
        .select(*by, "time", "before", "close", "size", *_TERMS)
        .collect()
    )


def _log(above: str, below: str) -> pl.Expr:
    return (pl.col(above) / pl.col(below)).log()


_VALID = (
    (pl.col("low") > 0)
    & (pl.col("low") <= pl.min_horizontal("open", "close"))
    & (pl.col("high") >= pl.max_horizontal("open", "close"))
    & pl.col("high").is_finite()
)
_BODY, _GAP, _CHANGE = _log("close", "open"), _log("open", "previous_close"), _log("close", "previous_close")
_UP, _DOWN = _log("high", "open"), _log("low", "open")
_ROGERS = _UP * (_UP - _BODY) + _DOWN * (_DOWN - _BODY)
_FOLLOWS = pl.col("previous_close").is_not_null()
_TERMS = (
    pl.lit(1.0).alias("bars"),
    (_log("high", "low") ** 2).alias("range_squares"),
    (_BODY**2).alias("body_squares"),
    _ROGERS.alias("rogers"),
    _FOLLOWS.cast(pl.Float64).alias("returns"),
    _CHANGE.alias("change"),
    (_CHANGE**2).alias("squares"),
    _GAP.alias("gap"),
    (_GAP**2).alias("gap_squares"),
    pl.when(_FOLLOWS).then(_BODY).alias("body"),
    pl.when(_FOLLOWS).then(_BODY**2).alias("gapped_body_squares"),
    pl.when(_FOLLOWS).then(_ROGERS).alias("gapped_rogers"),
    (pl.col("size") * pl.col("previous_size")).alias("product"),
)


def sums(
    of: pl.DataFrame, windows: Mapping[str, Millis], last: Millis, by: By = ("asset",),
) -> pl.DataFrame:  # fmt: skip
    """Sums of terms over the bars that open in (last - window, last]; a row per `by` and window.

    Bars of a day or longer are what windows of weeks are made of; bars of minutes those of hours.

    Args:
        of: Terms, sorted by `by` and `time`.
        windows: Name to length.
        last: Opening time of the newest bar of the window.
        by: As in `terms`.
    """
    return pl.concat(pl.collect_all([
        of.lazy().filter(pl.col("time") > last - length, pl.col("time") <= last)
        .with_columns(product=pl.when(pl.col("before") > last - length).then("product"))
        .group_by(by, maintain_order=True)
        .agg(
            pl.col(*_SUMS).sum(),
            pl.col("squares").ewm_mean(alpha=1 - DECAY, adjust=False, ignore_nulls=True).last()
            .alias("ewma"),
        )
        .with_columns(pl.lit(window).alias("window"))
        for window, length in windows.items()
    ]))  # fmt: skip


def from_terms(of: pl.DataFrame, least: int = LEAST) -> pl.DataFrame:
    """Variance of a bar by each estimator, from sums; and what share of it was jumps.

    Null under `least` bars (of returns, for those that need them). A variance below zero stays, for
    `annualised` to clamp and flag. On the same bars `realized_variance` is `close_to_close_zero_mean`:
    it is meant for bars of minutes over windows of days.

    Args:
        of: Columns of `sums`; others are kept.
        least: Bars that are needed.

    Returns:
        The columns of `of` that are no sums, one per name in `ESTIMATORS`, and `jump_share` (a fraction of
        the realised variance, Barndorff-Nielsen and Shephard 2004).
    """
    bars, n = pl.col("bars"), pl.col("returns")
    kept = [name for name in of.columns if name not in (*_SUMS, "ewma")]
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    continuous = math.pi / 2 * n / (n - 1) * pl.col("product")
    over_returns = {
        "close_to_close": _variance("change", "squares", n),
        "close_to_close_zero_mean": pl.col("squares") / n,
        "ewma": pl.col("ewma"),
        "yang_zhang": _variance("gap", "gap_squares", n)
        + k * _variance("body", "gapped_body_squares", n)
        + (1 - k) * pl.col("gapped_rogers") / n,
        "realized_variance": pl.col("squares") / n,
        "bipower": continuous / n,
        "jump_share": (pl.col("squares") - continuous).clip(0) / pl.col("squares"),
    }
    over_bars = {
        "parkinson": pl.col("range_squares") / (4 * math.log(2) * bars),
        "garman_klass": (pl.col("range_squares") / 2 - (2 * math.log(2) - 1) * pl.col("body_squares")) / bars,
        "rogers_satchell": pl.col("rogers") / bars,
    }
    enough = {name: pl.when(n >= max(least, 2)).then(value) for name, value in over_returns.items()}
    enough |= {name: pl.when(bars >= max(least, 1)).then(value) for name, value in over_bars.items()}
    return of.select(*kept, **{name: enough[name] for name in (*ESTIMATORS, "jump_share")})


def _variance(total: str, squares: str, n: pl.Expr) -> pl.Expr:
    """Sample variance (ddof=1) from a sum and a sum of squares."""
    return (pl.col(squares) - pl.col(total) ** 2 / n) / (n - 1)


def annualised(variances: pl.DataFrame, bars_per_year: float | pl.Expr) -> pl.DataFrame:
    """One row per estimator: `estimator`, `volatility` (a fraction a year), `clamped`.

    Args:
        variances: As of `from_terms`.
        bars_per_year: By the asset's own clock: days 365 for a coin, 252 for gold (methodology §2); an
            expression where it differs by row.

    Returns:
        The other columns of `variances`, repeated; `clamped` is true where a variance below zero was taken
        for zero.
    """
    kept = [name for name in variances.columns if name not in (*ESTIMATORS, "jump_share")]
    per_year = pl.lit(float(bars_per_year)) if isinstance(bars_per_year, int | float) else bars_per_year
    return (
        variances.lazy()
        .with_columns(per_year.alias("per_year"))
        .unpivot(
            ESTIMATORS, index=[*kept, "per_year"], variable_name="estimator", value_name="variance"
        )
        .select(
            *kept, "estimator",
            (pl.col("variance").clip(0) * pl.col("per_year")).sqrt().alias("volatility"),
            (pl.col("variance") < 0).alias("clamped"),
        )
        .collect()
    )  # fmt: skip


def volatilities(
    bars: pl.DataFrame, windows: Mapping[str, Millis], bars_per_year: float | pl.Expr, last: Millis,
    by: By = ("asset",), least: int = LEAST,
) -> pl.DataFrame:  # fmt: skip
    """Batch: `by`, `window`, `estimator`, `volatility`, `clamped`, up to the bar that opens at `last`."""
    return annualised(from_terms(sums(terms(bars, by), windows, last, by), least), bars_per_year)


class Closed(msgspec.Struct, frozen=True):
    """What the closed bars leave to every tick of the open one."""

    windows: Mapping[str, Millis]
    by: By
    opens: Millis
    """Opening time of the bar that is open."""
    sums: pl.DataFrame
    """Over the closed bars that will still be in the window when it is."""
    newest: pl.DataFrame
    """Per `by`: `before` (opening time), `previous_close`, `previous_size` of its newest closed bar."""


def closed(
    of: pl.DataFrame, windows: Mapping[str, Millis], opens: Millis, by: By = ("asset",),
) -> Closed:  # fmt: skip
    """Sums up the terms of the bars that open before `opens`: once a bar, its cost grows with the windows."""
    past = of.filter(pl.col("time") < opens)
    newest = past.group_by(by, maintain_order=True).agg(
        pl.col("time").last().alias("before"),
        pl.col("close").last().alias("previous_close"),
        pl.col("size").last().alias("previous_size"),
    )
    return Closed(windows, tuple(by), opens, sums(past, windows, opens, by), newest)


def streaming(
    past: Closed, open_bars: pl.DataFrame, bars_per_year: float | pl.Expr, least: int = LEAST
) -> pl.DataFrame:
    """What `volatilities` gives over the closed bars and the open ones, at the cost of the open ones.

    Args:
        past: Of the closed bars.
        open_bars: At most one row per `by`, `time` all `past.opens`: the bar as far as it has come.
        bars_per_year: As in `annualised`.
        least: As in `from_terms`.
    """
    by = list(past.by)
    added = (
        open_bars.lazy()
        .filter(_VALID)
        .join(past.newest.lazy(), on=by, how="left")
        .with_columns(size=_log("close", "previous_close").abs())
        .select(*by, "before", *_TERMS)
    )
    lengths = pl.LazyFrame(
        {"window": list(past.windows), "start": [past.opens - length for length in past.windows.values()]},
        schema={"window": pl.String, "start": pl.Int64},
    )
    more = added.join(lengths, how="cross").with_columns(
        product=pl.when(pl.col("before") > pl.col("start")).then("product")
    )
    square = pl.col("squares_right")
    decayed = pl.when(square.is_null()).then("ewma").otherwise(DECAY * pl.col("ewma") + (1 - DECAY) * square)
    total = (
        past.sums.lazy()
        .join(more, on=[*by, "window"], how="full", coalesce=True)
        .select(
            *by, "window",
            *[pl.col(name).fill_null(0) + pl.col(f"{name}_right").fill_null(0) for name in _SUMS],
            pl.coalesce(decayed, square).alias("ewma"),
        )
    )  # fmt: skip
    return annualised(from_terms(total.collect(), least), bars_per_year)


def jump_share(returns: pl.Series) -> float:
    """Share of the realised variance of a series of log returns that is jumps; of 20 at least."""
    sizes = returns.abs()
    row = pl.DataFrame({
        **dict.fromkeys(_SUMS, 0.0), "bars": float(len(returns)), "returns": float(len(returns)),
        "squares": (returns**2).sum(), "product": (sizes * sizes.shift()).sum(), "ewma": 0.0,
    })  # fmt: skip
    return float(from_terms(row)["jump_share"][0])
