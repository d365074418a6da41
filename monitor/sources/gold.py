"""Gold in dollars per troy ounce: London's daily price, live spot, the COMEX future, the operator's table.

Spot gold rests from Friday 17:00 to Sunday 18:00 in New York. What a feed tells meanwhile is Friday's last
price again, so it is dated as that: a weekend is a gap, never a return of zero.
Formats: venues.md section 18.6. The London price: methodology section 1.6 (first number, dollars).
"""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from monitor.events import Millis
from monitor.sources.body import (
    column_of,
    csv_of,
    dates_of,
    finite,
    is_json,
    json_of,
    moments,
    number_of,
    times_of,
)
from monitor.sources.source import (
    DAY,
    HOUR,
    Parser,
    Rubbish,
    Source,
    dated,
    newest_within,
    steady,
    unique,
    within,
)

SCHEMA = pl.Schema({"time": pl.Datetime("ms", "UTC"), "price_usd_oz": pl.Float64(), "source": pl.String()})

LOW, HIGH = 10.0, 100_000.0
"""USD/oz that gold has ever cost or may; the newest price not less than `NEWEST_LOW`."""
NEWEST_LOW = 500.0
STEP = 1.5
"""No day of gold since 1968 comes near it; a kilogram is 32 ounces, an ounce 31 grams."""
SPREAD = 0.02

CLOCK: Millis = HOUR
"""How far a feed's clock may be ahead of ours."""
TABLE_OLDEST = 40 * DAY
LIVE_OLDEST = 7 * DAY

_MONDAY, _FRIDAY = 1, 5
_NEW_YORK = pl.col("time").dt.convert_time_zone("America/New_York")
_RESTS = (
    ((_NEW_YORK.dt.weekday() == 5) & (_NEW_YORK.dt.hour() >= 17))  # noqa: PLR2004 -- Friday's close
    | (_NEW_YORK.dt.weekday() == 6)  # noqa: PLR2004 -- Saturday
    | ((_NEW_YORK.dt.weekday() == 7) & (_NEW_YORK.dt.hour() < 18))  # noqa: PLR2004 -- before Sunday's opening
)
_CLOSE = (
    (_NEW_YORK.dt.truncate("1d") - pl.duration(days=_NEW_YORK.dt.weekday().cast(pl.Int64) - 5))
    .dt.replace_time_zone(None)
    .dt.truncate("1d")
    .dt.offset_by("17h")
    .dt.replace_time_zone("America/New_York")
    .dt.convert_time_zone("UTC")
)
_CHRISTMAS, _NEW_YEAR = (12, 25), (1, 1)


def closed(now: Millis) -> bool:
    """Whether spot gold rests: at a weekend, on Good Friday, at Christmas, on New Year's Day.

    A day of gold begins at 18:00 in New York the evening before and ends at 17:00. A Christmas on a Saturday
    is kept on the Friday before; one on a Sunday, as New Year's Day, on the Monday after. That is all that
    is known of holidays: of 2020 to 2025 spot gold traded on every other weekday, on some until 13:00 only.
    """
    at = pl.DataFrame({"time": moments([now])})
    if at.select(_RESTS).item():
        return True
    # The hour between 17:00 and 18:00 belongs to the day before and to the day after.
    days = at.select(_NEW_YORK.dt.replace_time_zone(None).alias("time")).select(
        (pl.col("time") + pl.duration(hours=hours)).dt.date().alias(f"{hours}") for hours in (6, 7)
    )
    return any(_holiday(day.year, day.month, day.day, day.isoweekday()) for day in days.row(0))


def _holiday(year: int, month: int, day: int, weekday: int) -> bool:
    if (month, day) in ((12, 24), (12, 26)):
        return weekday == (_FRIDAY if day < _CHRISTMAS[1] else _MONDAY)
    if (month, day) == (1, 2):
        return weekday == _MONDAY
    return (month, day) in (_CHRISTMAS, _NEW_YEAR, _good_friday(year))


def _good_friday(year: int) -> tuple[int, int]:
    """Month and day, two days before Easter (the anonymous Gregorian computus; Meeus 1991, chapter 8)."""
    century, of_century = divmod(year, 100)
    golden = year % 19
    corrected = century - century // 4 - (8 * century + 13) // 25 + 15
    epact = (19 * golden + corrected) % 30
    epact -= (golden + 11 * epact) // 319
    weekday = (2 * (century % 4) + 2 * (of_century // 4) - of_century % 4 + 32 - epact) % 7
    month, day = divmod(epact + weekday + 114 - 2, 31)
    return month, day + 1


def _frame(time: pl.Series, prices: list[float], source: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"time": time, "price_usd_oz": pl.Series(prices, dtype=pl.Float64), "source": source},
        schema=SCHEMA,
    )


def _checked(frame: pl.DataFrame, now: Millis, oldest: Millis) -> pl.DataFrame:
    frame = dated(frame, now, oldest=oldest, ahead=CLOCK)
    within(frame, "price_usd_oz", LOW, HIGH, "USD/oz")
    within(frame.tail(1), "price_usd_oz", NEWEST_LOW, HIGH, "USD/oz")
    unique(frame, "time")
    steady(frame, "price_usd_oz", STEP)
    return frame


def _live(time: Millis, price: float, source: str, now: Millis, oldest: Millis) -> pl.DataFrame:
    if not 0 <= time <= now + CLOCK:
        raise Rubbish(f"time {time} is in the future")
    frame = _frame(moments([time]), [price], source)
    frame = frame.with_columns(pl.when(_RESTS).then(_CLOSE).otherwise(pl.col("time")).alias("time"))
    return _checked(frame, now, oldest)


# London.


class Fix(msgspec.Struct):
    """A row of LBMA's feed: day, and the price in dollars, pounds and euros; 0 or null: none."""

    d: str
    v: list[float | None]


_fixes = msgspec.json.Decoder(list[Fix])


def _london(dates: pl.Series, hour: str) -> pl.Series:
    """The moment of an auction, which keeps London's time."""
    return (
        dates.cast(pl.Datetime("ms"))
        .dt.offset_by(hour)
        .dt.replace_time_zone("Europe/London")
        .dt.convert_time_zone("UTC")
    )


def _lbma(hour: str, source: str) -> Parser:
    def parse(body: bytes, now: Millis) -> pl.DataFrame:
        rows = [(row.d, row.v[0]) for row in json_of(body, _fixes) if row.v and row.v[0]]
        dates = dates_of([day for day, _ in rows], "%Y-%m-%d")
        frame = _frame(_london(dates, hour), [price for _, price in rows if price is not None], source)
        return _checked(_without_rest(frame), now, TABLE_OLDEST)

    return parse


def _without_rest(frame: pl.DataFrame) -> pl.DataFrame:
    """A table whose weekends were filled forward has gaps there again."""
    return frame.filter(~_RESTS)


lbma_pm = _lbma("15h", "lbma_pm")
"""`[{"d":"2026-09-28","v":[USD,GBP,EUR]},…]`, the auction of 15:00 London time."""
lbma_am = _lbma("10h30m", "lbma_am")
"""The same of 10:30."""


# Live.


class Quote(msgspec.Struct):
    """gold-api.com's answer."""

    price: float
    symbol: str
    updatedAt: str  # noqa: N815 -- as on the wire
    currency: str = "USD"


_quote = msgspec.json.Decoder(Quote, strict=False)


def gold_api(body: bytes, now: Millis) -> pl.DataFrame:
    """`{"name":"Gold","price":4152.4,"symbol":"XAU","updatedAt":"2026-09-28T12:00:00Z",…}`."""
    said = json_of(body, _quote)
    if said.symbol != "XAU" or said.currency != "USD":
        raise Rubbish(f"the price of {said.symbol[:12]} in {said.currency[:12]} instead of XAU in USD")
    time = times_of([said.updatedAt]).cast(pl.Int64)[0]
    return _live(time, said.price, "gold_api", now, LIVE_OLDEST)


class Profile(msgspec.Struct):
    """One of Swissquote's price tiers."""

    spreadProfile: str  # noqa: N815 -- as on the wire
    bid: float
    ask: float


class Platform(msgspec.Struct):
    """One of Swissquote's servers."""

    ts: int
    spreadProfilePrices: list[Profile]  # noqa: N815 -- as on the wire


_platforms = msgspec.json.Decoder(list[Platform])


def swissquote(body: bytes, now: Millis) -> pl.DataFrame:
    """`[{"ts":…,"spreadProfilePrices":[{"spreadProfile":"standard","bid":…,"ask":…}]}]`: the middle."""
    quotes = [
        (platform.ts, tier.bid, tier.ask)
        for platform in json_of(body, _platforms)
        for tier in platform.spreadProfilePrices
        if tier.spreadProfile == "standard"
    ]
    if not quotes:
        raise Rubbish("no rows of the profile 'standard'")
    time, bid, ask = max(quotes)
    if not (finite(bid) and finite(ask) and 0 < bid <= ask <= bid * (1 + SPREAD)):
        raise Rubbish(f"bid {bid} and ask {ask} are no market")
    return _live(time, (bid + ask) / 2, "swissquote", now, LIVE_OLDEST)


# The future.


class Closes(msgspec.Struct):
    """Closes of Yahoo's bars; null where there was no trade."""

    close: list[float | None]


class Indicators(msgspec.Struct):
    """Holds them."""

    quote: list[Closes]


class Meta(msgspec.Struct):
    """What Yahoo's chart is of."""

    currency: str
    symbol: str


class Bars(msgspec.Struct):
    """One chart: seconds, and the closes beside them."""

    meta: Meta
    indicators: Indicators
    timestamp: list[int] = []


class Results(msgspec.Struct):
    """Charts, or an error instead."""

    result: list[Bars] | None = None
    error: dict[str, Any] | None = None


class Chart(msgspec.Struct):
    """Yahoo's answer."""

    chart: Results


_chart = msgspec.json.Decoder(Chart)


def yahoo_future(body: bytes, now: Millis) -> pl.DataFrame:
    """Yahoo's chart of `GC=F`, the front COMEX future: about 0.8 % above spot, never mixed with it."""
    said = json_of(body, _chart).chart
    if not said.result:
        raise Rubbish(f"refused: {(said.error or {}).get('description')}")
    bars = said.result[0]
    if bars.meta.symbol != "GC=F" or bars.meta.currency != "USD":
        raise Rubbish(f"the price of {bars.meta.symbol[:12]} in {bars.meta.currency[:12]} instead of GC=F")
    closes = bars.indicators.quote[0].close if bars.indicators.quote else []
    if len(closes) != len(bars.timestamp):
        raise Rubbish(f"{len(bars.timestamp)} times and {len(closes)} closes")
    known = [(time, close) for time, close in zip(bars.timestamp, closes, strict=True) if close is not None]
    if any(not 0 <= time <= (now + CLOCK) // 1000 for time, _ in known):
        raise Rubbish("a time is in the future")
    frame = _frame(moments([time * 1000 for time, _ in known]), [close for _, close in known], "yahoo_gc")
    return _checked(_without_rest(frame), now, TABLE_OLDEST)


# The operator's own.


class Row(msgspec.Struct):
    """A price of the operator's JSON: with a time, or with a day, which means 15:00 in London."""

    price_usd_oz: float
    time: str | None = None
    date: str | None = None


_rows = msgspec.json.Decoder(Row | list[Row])


def own(body: bytes, now: Millis) -> pl.DataFrame:
    """CSV or JSON with `price_usd_oz` and either `time` (with its zone) or `date` (15:00 in London)."""
    if is_json(body):
        said = json_of(body, _rows)
        if isinstance(said, Row):
            if said.time is None:
                raise Rubbish("column 'time' is missing")
            time = times_of([said.time]).cast(pl.Int64)[0]
            return _live(time, said.price_usd_oz, "gold_own", now, TABLE_OLDEST)
        name = "date" if all(row.time is None for row in said) else "time"
        texts = [getattr(row, name) for row in said]
        if None in texts:
            raise Rubbish(f"column {name!r} is missing in row {texts.index(None) + 1}")
        prices = [row.price_usd_oz for row in said]
    else:
        header, rows = csv_of(body)
        place, price = column_of(header, "time", "date"), column_of(header, "price_usd_oz")
        name = header[place].lower()
        texts = [row[place] for row in rows]
        prices = [number_of(row[price], "price_usd_oz") for row in rows]
    time = times_of(texts) if name == "time" else _london(dates_of(texts, "%Y-%m-%d"), "15h")
    frame = _without_rest(_frame(time, prices, "gold_own"))
    return _checked(frame, now, TABLE_OLDEST)


_SPOT = newest_within(1.25, ["price_usd_oz"])

SOURCES = (
    Source(
        name="gold_api", kind="gold", title="Spot gold, live", parse=gold_api, default=True,
        url="https://api.gold-api.com/price/XAU", every_s=300, max_age=4 * DAY,
        continuous=_SPOT, forget=7 * DAY,
    ),
    Source(
        name="lbma_pm", kind="gold", title="London gold price, afternoon", parse=lbma_pm, default=True,
        url="https://prices.lbma.org.uk/json/gold_pm.json", every_s=3 * 3600, max_age=6 * DAY,
        continuous=_SPOT, forget=30 * DAY,
    ),
    Source(
        name="lbma_am", kind="gold", title="London gold price, morning", parse=lbma_am,
        url="https://prices.lbma.org.uk/json/gold_am.json", every_s=3 * 3600, max_age=6 * DAY,
        continuous=_SPOT, forget=30 * DAY,
    ),
    Source(
        name="swissquote", kind="gold", title="Spot gold, live", parse=swissquote,
        url="https://forex-data-feed.swissquote.com/public-quotes/bboquotes/instrument/XAU/USD",
        every_s=300, max_age=4 * DAY, continuous=_SPOT, forget=7 * DAY,
    ),
    Source(
        name="yahoo_gc", kind="gold_future", title="COMEX gold future, front month", parse=yahoo_future,
        url="https://query1.finance.yahoo.com/v8/finance/chart/GC=F?interval=1d&range=1y",
        every_s=3600, max_age=5 * DAY, continuous=_SPOT, forget=30 * DAY,
    ),
    Source(
        name="gold_own", kind="gold", title="The operator's gold price", parse=own,
        every_s=300, max_age=6 * DAY, continuous=_SPOT, forget=30 * DAY,
        key="optional",
    ),
)  # fmt: skip
