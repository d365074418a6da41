"""Real market history as daily closes; it lies beside the repository and is only read."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from monitor.deleveraging.aggregate import CLOSES

HISTORY = Path(__file__).parents[2].parent / "shared" / "history"
_EPOCH = date(1970, 1, 1).toordinal()


def day(text: str) -> int:
    """Days from 1970-01-01 to a date."""
    return date.fromisoformat(text).toordinal() - _EPOCH


def text(of: float) -> str:
    """The date of a day."""
    return date.fromordinal(int(of) + _EPOCH).isoformat()


def _read(name: str) -> pl.DataFrame:
    frame = pl.read_parquet(HISTORY / f"{name}.parquet")
    return frame.with_columns(day=pl.col("date").cast(pl.Int32)) if "date" in frame.columns else frame


def _closes(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in CLOSES.items() if name not in frame]
    return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in CLOSES.items())


def vendor() -> pl.DataFrame:
    """The CryptoQuant-type series of bitcoin, with Coin Metrics prices and supply, funding, liquidations."""
    market = _read("marketcap_btc_coinmetrics_daily").select("day", price="price_usd", supply="supply_btc")
    funding = _read("funding_btc_cryptoquant_daily").select("day", funding_8h=pl.col("funding_pct") / 100)
    return _closes(
        _read("oi_btc_cryptoquant_daily")
        .select("day", usd="oi_usd", asset=pl.lit("BTC"), venue=pl.lit("vendor"), symbol=pl.lit(""))
        .join(market, on="day", how="left")
        .join(funding, on="day", how="left")
        .join(liquidations().filter(asset="BTC").drop("asset"), on="day", how="left")
    )


def liquidations() -> pl.DataFrame:
    """Liquidations on Binance, in two regimes: throttled from 2021-04-27."""
    return _read("liq_binance_coinglass_daily").select(
        "day", "asset", long_usd="long_liq_usd", short_usd="short_liq_usd"
    )


def venues() -> pl.DataFrame:
    """Bybit's linear and Binance's coin-margined contracts, and the vendor's series as a third venue."""
    spot = _read("ohlcv_binance_spot_daily").select("day", "asset", price="close")
    bitcoin = _read("marketcap_btc_coinmetrics_daily").select("day", asset=pl.lit("BTC"), supply="supply_btc")
    ether = _read("marketcap_cmc_monthly").filter(asset="ETH").select("day", "asset", "supply")
    bybit = (
        pl.read_parquet(HISTORY / "oi_bybit_hourly.parquet")
        .filter(pl.col("ts").dt.hour() == 23)  # the last reading of a day
        .select("asset", day=pl.col("ts").dt.date().cast(pl.Int32), coins="oi_coin",
                venue=pl.lit("bybit"), margin=pl.lit("linear"))
    )  # fmt: skip
    inverse = {"venue": pl.lit("binance"), "margin": pl.lit("inverse")}
    binance = _read("oi_binance_coinm_coinalyze_daily").filter(contract="BTCUSD_PERP")
    binance_ether = _read("oi_eth_binance_coinm_coinglass_daily")
    rows = pl.concat(
        [
            bybit,
            binance.select("day", asset=pl.lit("BTC"), usd="oi_close_usd", **inverse),
            binance_ether.select("day", asset=pl.lit("ETH"), usd="oi_close_usd", **inverse),
            vendor().select("day", "asset", "venue", "usd"),
        ],
        how="diagonal",
    ).with_columns(symbol=pl.lit(""))
    supply = pl.concat([bitcoin, ether]).sort("day")
    return _closes(
        rows.join(spot, on=["day", "asset"]).sort("day").join_asof(
            supply, on="day", by="asset", strategy="backward", check_sortedness=False
        )
    )  # fmt: skip
