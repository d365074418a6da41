"""What slow sources would tell of a simulated market: gold, heights, supply, CME, funds, GVZ.

A function of the seed and the time, in the frames that the sources' parsers give. None of it is real.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import exp

import polars as pl

from monitor.events import Millis
from monitor.ladder import DAY, HOUR
from monitor.macro.valuation import bitcoin_height
from monitor.simulated.market import Market
from monitor.simulated.noise import key_of, waves
from monitor.sources import SOURCES, cftc, etf, etf_assets, gold, gold_proxy, gvz, supply
from monitor.sources.source import as_of
from monitor.weigh import Told

SINCE = timedelta(days=760)
SOURCE = "simulated"

_OUNCE_USD = 4150.0
_OUNCE = ((120 * DAY, 0.05), (6 * DAY, 0.018), (DAY, 0.016))
_PROXIES = {"binance_xau": ("XAUUSDT", 1.0), "okx_xaut": ("XAUT-USDT-SWAP", 1.001)}
"""Symbol, and what a token stands above spot (venues.md section 17: 5 to 20 bps)."""
_CME = {"133741": 25_000.0, "133742": 30_000.0, "146021": 40_000.0, "146022": 90_000.0}
"""Contracts."""
_OPEN = ((150 * DAY, 0.25), (21 * DAY, 0.10), (7 * DAY, 0.03))
_SPREADS = 0.03
"""Of open interest, in the hands of each class of traders."""
_FLOWS = {"BTC": (2.2e8, 1.1e11), "ETH": (7e7, 1.6e10)}
"""Dollars: how large a day's flow is, and assets of the funds."""
_FLOW = ((45 * DAY, 0.9), (5 * DAY, 0.7), (DAY, 0.6))
_DRIFT = 0.9
"""More comes than goes, over the years."""
_GVZ = ((60 * DAY, 0.25), (7 * DAY, 0.08))
_FRIDAY = 4
_SUNDAY = 6
_CLOSES, _OPENS = 21, 22
"""Hours of Friday and Sunday, UTC, between which gold rests."""


def told(market: Market, now: Millis) -> Mapping[str, Told]:
    """The answers, by the name of the source, as they were at the beginning of the hour."""
    return _told(market.seed, now // HOUR * HOUR)


@lru_cache(maxsize=1)
def _told(seed: int, now: Millis) -> Mapping[str, Told]:
    today = datetime.fromtimestamp(now / 1000, UTC)
    frames = {
        "lbma_pm": _prices(seed, _fixings(today)),
        "gold_api": _prices(seed, [_traded(today)]),
        **{name: _proxy(seed, now, *of) for name, of in _PROXIES.items()},
        **dict.fromkeys(("mempool", "blockstream"), _height(now, today.date())),
        "ultrasound": _at(now, "supply_coins", 120.7e6).cast(supply.ETHER),
        "cftc": _reports(seed, today),
        "etf_btc": _flows(seed, today.date(), "BTC"),
        "etf_eth": _flows(seed, today.date(), "ETH"),
        "etf_assets": _assets(seed, today.date()),
        "gvz": _implied(seed, today.date()),
    }
    return {name: Told(frame, as_of(SOURCES[name], frame, now)) for name, frame in frames.items()}


def _millis(day: date, hour: int = 0) -> Millis:
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=UTC).timestamp() * 1000)


def _weekdays(until: date) -> Iterator[date]:
    """The weekdays until one, that one included."""
    days = (until - timedelta(days=n) for n in range(SINCE.days, -1, -1))
    return (day for day in days if day.weekday() <= _FRIDAY)


def _noise(seed: int, name: str, time: Millis, octaves: tuple[tuple[int, float], ...]) -> float:
    return waves(key_of(seed, "macro", name), time, octaves)


def _fixings(today: datetime) -> list[Millis]:
    times = (_millis(day, 15) for day in _weekdays(today.date()))
    return [time for time in times if time <= today.timestamp() * 1000]


def _traded(now: datetime) -> Millis:
    """When gold was last traded."""
    day, hour = now.weekday(), now.hour
    if day < _FRIDAY or (day == _FRIDAY and hour < _CLOSES) or (day == _SUNDAY and hour >= _OPENS):
        return int(now.timestamp() * 1000)
    return _millis(now.date() - timedelta(days=day - _FRIDAY), _CLOSES)


def _ounce(seed: int, time: Millis) -> float:
    return _OUNCE_USD * exp(_noise(seed, "gold", time, _OUNCE))


def _proxy(seed: int, now: Millis, symbol: str, premium: float) -> pl.DataFrame:
    """Traded also while gold is not."""
    frame = _at(now, "proxy_usd_oz", _ounce(seed, now) * premium)
    return frame.with_columns(symbol=pl.lit(symbol)).cast(gold_proxy.SCHEMA)


def _prices(seed: int, times: list[Millis]) -> pl.DataFrame:
    prices = [_ounce(seed, time) for time in times]
    frame = pl.DataFrame({"time": times, "price_usd_oz": prices, "source": SOURCE})
    return frame.with_columns(_UTC).cast(gold.SCHEMA)


_UTC = pl.from_epoch("time", time_unit="ms").dt.replace_time_zone("UTC")


def _at(now: Millis, name: str, value: float) -> pl.DataFrame:
    return pl.DataFrame({"time": [now], name: [value]}).with_columns(_UTC)


def _height(now: Millis, today: date) -> pl.DataFrame:
    blocks = (bitcoin_height(today) or 0.0) + (now % DAY) / 600_000
    return _at(now, "height", int(blocks)).cast(supply.HEIGHT)


def _reports(seed: int, today: datetime) -> pl.DataFrame:
    """Tuesdays' reports that were released."""
    tuesdays = [day for day in _weekdays(today.date()) if day.weekday() == 1]
    rows = []
    for day in tuesdays:
        for code, contracts in _CME.items():
            asset = cftc.CONTRACTS[code][0]
            level = contracts * exp(_noise(seed, f"cme {asset}", _millis(day), _OPEN))
            spread = level * _SPREADS * (1 + 0.3 * _noise(seed, f"spread {code}", _millis(day), _FLOW))
            rows.append((day, code, round(level), *[round(spread)] * len(cftc.SPREADS)))
    names = ("report_date", "code", "open_interest", *cftc.SPREADS)
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(cftc.released())
    return frame.cast(cftc.SCHEMA).filter(pl.col("released") <= today)


def _flows(seed: int, today: date, asset: str) -> pl.DataFrame:
    """Two funds and their sum, until the day before."""
    size, _ = _FLOWS[asset]
    rows: list[tuple[date, str, str, float]] = []
    for day in _weekdays(today - timedelta(days=1)):
        flow = round(size * (_DRIFT + _noise(seed, f"flow {asset}", _millis(day), _FLOW)), -5)
        rows += [
            (day, asset, "SIMA", 0.6 * flow), (day, asset, "SIMB", 0.4 * flow), (day, asset, etf.TOTAL, flow),
        ]  # fmt: skip
    return pl.DataFrame(rows, schema=dict(etf.SCHEMA), orient="row")


def _assets(seed: int, today: date) -> pl.DataFrame:
    """Assets of all funds together, until the day before."""
    rows = [
        (day, asset, assets * (1 + 0.1 * _noise(seed, f"held {asset}", _millis(day), _FLOW)))
        for asset, (_, assets) in _FLOWS.items()
        for day in _weekdays(today - timedelta(days=1))
    ]
    return pl.DataFrame(rows, schema=dict(etf_assets.SCHEMA), orient="row")


def _implied(seed: int, today: date) -> pl.DataFrame:
    days = list(_weekdays(today - timedelta(days=1)))
    values = [0.19 * exp(_noise(seed, "gvz", _millis(day), _GVZ)) for day in days]
    return pl.DataFrame({"date": days, "value": values}, schema=dict(gvz.SCHEMA))
