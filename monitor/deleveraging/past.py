"""What years of bars say at an instant: averages, phases, verdicts of the running day.

Holds the daily bars of the scope, the hours of today and the minutes of this hour, and nothing else. When a
day closes, the daily series and the state machine are computed anew from the bars; at a tick one more step is
made from the state of the last close with what is known now, so that the state of an instant is a function
of stored history and of that instant. A purge that began today is provisional until the day closes.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from monitor.bars import BAR, roll, unique
from monitor.deleveraging.aggregate import CLOSES, DAYS, calm, contradicts, days
from monitor.deleveraging.average import YEAR
from monitor.deleveraging.phases import (
    FUNDING_ENOUGH,
    PHASES,
    RELAPSE,
    VERDICTS,
    Machine,
    State,
    Thresholds,
    Verdict,
    confidence,
    features,
    stretch_of,
    verdict,
)
from monitor.events import Millis
from monitor.ladder import DAY, HOUR
from monitor.query import at_once
from monitor.volatility.realized import Realized, reference as reference_price

Supply = Callable[[str, Millis], float | None]
"""Coins of an asset at a time; None if unknown."""

HISTORY_DAYS = 3 * YEAR + 60
"""Daily bars that the average and what it needs reach back to."""

CONDITIONS: Mapping[str, tuple[float, float]] = {
    "funding_high": (0.95, 0.90),
    "funding_low": (-0.05, -0.10),
    "liquidation_burst": (0.01, 0.003),
}
"""A condition holds from the first value on until under the second; `funding_low` is of the percentile
below zero. The burst is of liquidated over open interest in an hour: 10 October 2025 liquidated a tenth
of it in a day, seventy per cent of that in forty minutes (methodology 3.5)."""
IMPLIED_FACTOR = 5.0
IMPLIED_USD = 1e8
"""Open interest that fell by both, dollars and multiples of what was liquidated, contradicts the feeds."""


_Over = Mapping[str, Mapping[str, float | None]]
"""Window → column → what an asset's changes say; nothing if the window is missing."""
_TOLD = ("growth", "position_usd", "price_usd", "liquidated_usd", "implied_liquidation_usd",
         "liquidation_intensity")  # fmt: skip
_SILENT: Mapping[str, float | None] = dict.fromkeys(_TOLD)


class _Asset(msgspec.Struct):
    """What the days before say about one asset."""

    row: dict[str, Any]
    """Features of a day without readings after the last close: statistics of the days before."""
    last: dict[str, Any]
    """Features of the last close."""
    state: State
    levels: Sequence[float]
    """Logs of the chained level of three years, sorted."""
    fundings: Sequence[float]
    """Means of seven days, of a year, sorted."""
    liquidations: Sequence[float]
    funding_6d: Sequence[float]
    prices: Sequence[float | None]
    """Of the last closes, newest last."""
    peak_level: float | None
    """Highest chained level of the 30 days before the purge that is under way or over."""
    aside: Sequence[str]


class Looked(msgspec.Struct, frozen=True):
    """What the past adds to the views of an instant."""

    asset: pl.DataFrame
    """A row for each row of `Views.asset`, in its order."""
    frames: Mapping[str, pl.DataFrame]


class Kept(msgspec.Struct, frozen=True):
    """What bars do not tell, so that the next process goes on where this one was."""

    running: Mapping[str, tuple[int, int, State]] = {}
    """By asset: the last day that closed, the hour of the last step since, and the state."""
    held: Sequence[tuple[str, str, bool, Millis]] = ()
    """Asset, condition, whether it holds, and when it was last known."""


class Past:
    """Bars of the past, and what follows from them. One thread at a time."""

    def __init__(
        self, scope: frozenset[str], rule: Thresholds, supply: Supply,
        daily: pl.DataFrame | None = None, hourly: pl.DataFrame | None = None,
        minutes: pl.DataFrame | None = None, recent: pl.DataFrame | None = None,
        reference: pl.DataFrame | None = None, kept: Kept | None = None,
    ) -> None:  # fmt: skip
        """Bars: of closed days, of the hours of the open day, of the minutes of the open hour.

        For the realised volatility also the hours of the last days (`recent`), and the minutes of the last
        day of the assets' reference prices (`realized.REFERENCE`). `kept`: of the process before.
        """
        empty = pl.DataFrame(schema=BAR)
        self._scope = scope
        self._machine = Machine(rule)
        self._limits = _thresholds(rule)
        self._supply = supply
        self._daily = self._mine(empty if daily is None else daily)
        self._hourly = self._mine(empty if hourly is None else hourly)
        self._minutes: list[pl.DataFrame] = []
        self._hour: int | None = None
        self._assets: dict[str, _Asset] = {}
        self._conditions: dict[tuple[str, str], tuple[bool, Millis]] = {}
        """Whether each condition holds, and when it was last known."""
        self._running: dict[str, tuple[int, State]] = {}
        """State of each asset since the last close, and the hour of its last step."""
        self._then: tuple[object, pl.DataFrame] | None = None
        self._version = 0
        self.assessed = pl.DataFrame(schema=DAYS)
        """Features of the closed days of all assets."""
        self._compute()
        mine = empty if minutes is None else self._mine(minutes)
        hours = self._hourly if recent is None else self._mine(recent)
        before = [reference_price(mine)] if reference is None else [reference, reference_price(mine)]
        self._realized = Realized(self._daily, hours, pl.concat(before))
        if minutes is not None:
            self._take(minutes)
        if kept is not None:
            self._restore(kept)

    def _restore(self, kept: Kept) -> None:
        for name, (day, hour, state) in kept.running.items():
            if (of := self._assets.get(name)) is not None and of.last["day"] == day:
                self._running[name] = hour, state
        self._conditions |= {(name, kind): (held, at) for name, kind, held, at in kept.held}

    def follow(self, other: Past) -> None:
        """Goes on where another stands, which has seen what was read since this one's bars were."""
        closed = self._daily["time"].max()
        more = other._daily if closed is None else other._daily.filter(pl.col("time") > closed)
        if more.height:
            self._daily = unique(pl.concat([self._daily, more]))
            self._compute()
        if other._hour is not None:
            self._hour, self._minutes = other._hour, [*other._minutes]
            today = other._hour * HOUR // DAY * DAY
            hours = unique(pl.concat([self._hourly, other._hourly]))
            self._hourly = hours.filter(pl.col("time").is_between(today, other._hour * HOUR, closed="left"))
        self._realized.follow(other._realized)
        self._restore(other.kept())

    def kept(self) -> Kept:
        """What the next process needs to go on from here, besides the bars."""
        return Kept(
            {name: (self._assets[name].last["day"], *of) for name, of in self._running.items()},
            [(*key, *of) for key, of in self._conditions.items()],
        )

    @property
    def days_known(self) -> dict[str, float]:
        """Days of open interest behind the averages, by asset."""
        return {name: float(of.row["days_before"]) for name, of in self._assets.items()}

    def _mine(self, bars: pl.DataFrame) -> pl.DataFrame:
        return bars.filter(pl.col("venue").is_in(sorted(self._scope)))

    def add(self, minutes: pl.DataFrame) -> None:
        """Takes the closed bars of one minute; when they begin a new hour or day, the old one is closed."""
        if self._take(minutes):
            self._realized.minute(self._minutes[-1], int(minutes["time"][0]))

    def _take(self, minutes: pl.DataFrame) -> bool:
        if minutes.is_empty():
            return False
        hour = int(minutes["time"][0]) // HOUR
        if self._hour is not None and hour > self._hour:
            self._close_hour(hour)
        self._hour = hour
        self._minutes.append(self._mine(minutes))
        return True

    def _close_hour(self, hour: int) -> None:
        last = self._hour or hour
        closed = roll(pl.concat(self._minutes), "hour")
        self._realized.hour(closed, last * HOUR)
        self._hourly = pl.concat([self._hourly, closed])
        self._minutes.clear()
        if hour * HOUR // DAY > last * HOUR // DAY:
            day = roll(self._hourly, "day")
            self._realized.day(day, last * HOUR // DAY * DAY)
            oldest = (hour * HOUR // DAY - HISTORY_DAYS) * DAY
            self._daily = pl.concat([self._daily, day]).unique(
                ["time", "venue", "asset", "symbol"], keep="last", maintain_order=True
            ).filter(pl.col("time") >= oldest)  # fmt: skip
            self._hourly = self._hourly.clear()
            self._compute()

    def _closes(self) -> pl.DataFrame:
        """The daily bars as `aggregate.CLOSES`."""
        daily = self._daily
        keys = daily.select("asset", "time").unique(maintain_order=True)
        supplies = [self._supply(asset, time + DAY) for asset, time in keys.rows()]
        known = keys.with_columns(supply=pl.Series(supplies, dtype=pl.Float64))
        # Names as numbers: what follows groups by them a dozen times.
        names = {name: pl.Enum(daily[name].unique().sort()) for name in ("asset", "venue", "symbol")}
        rows = daily.join(known, on=["asset", "time"], how="left", maintain_order="left")
        return rows.with_columns(pl.col(name).cast(of) for name, of in names.items()).select(
            **{
                "day": (pl.col("time") // DAY).cast(pl.Int32),
                **{name: pl.col(name) for name in CLOSES if name not in ("day", "price")},
                "price": pl.col("close"),
            }
        ).select(*CLOSES)  # fmt: skip

    def _compute(self) -> None:
        """Everything that only a close of a day changes."""
        self._version += 1
        self._running.clear()
        self._assets.clear()
        if self._daily.is_empty():
            return
        series = days(self._closes())
        ahead = series.group_by("asset", maintain_order=True).agg(pl.col("day").max() + 1)
        series = pl.concat([series, ahead], how="diagonal").with_columns(pl.col("coverage").fill_null(0.0))
        for (name,), frame in features(series).group_by("asset", maintain_order=True):
            closed = frame.head(-1)
            states = list(self._machine.run(closed.iter_rows(named=True)))
            self._assets[str(name)] = _asset(frame, states[-1])
        self.assessed = series

    def look(self, now: Millis, version: int, instrument: pl.DataFrame, asset: pl.DataFrame,
             changes: pl.DataFrame, supplies: Mapping[str, float] | None = None) -> Looked:  # fmt: skip
        """What the past says of an instant, given the views of that instant.

        `supplies`: coins that sources told; shown with levels of now. The series of the past stands on the
        estimates that need no source, so that it is the same after a restart.
        """
        since = self._since_close(version, instrument)
        told = _told(changes)
        rows, names, horizons, aside = [], [], [], []
        phases: list[float] = []
        verdicts: list[float] = []
        kinds: list[tuple[float | None, ...]] = []
        for level in asset.select(_LEVEL).iter_rows(named=True):
            name = level["asset"]
            over = told.get(name, {})
            found = self._row(now, level, since.get(level["asset_id"]), over)
            state, row = self._state(name, found, over.get("4h", _SILENT)["growth"])
            said = verdict(state, row, row["day"], self._machine.thresholds)
            supply = self._supply(name, now) if supplies is None or name not in supplies else supplies[name]
            rows.append(self._shown(level, state, row, supply, said))
            names.append(name)
            phases += _ONE_OF[state.phase]
            verdicts += _ONE_OF_VERDICTS[said]
            kinds += self._kinds(now, name, state, row, over)
            known = RELAPSE.get(state.phase, {})
            horizons += [(name, f"{length}d", count / of) for length, (count, of) in known.items()]
            if (of := self._assets.get(name)) is not None:
                aside += [(name, venue.partition(":")[0], 1.0) for venue in of.aside]
        moved, jumps = self._realized.shown(now)
        return Looked(
            _frame(rows, SHOWN),
            {
                "phase": _each(names, "phase", PHASES).with_columns(value=_floats(phases)),
                "verdict": _each(names, "verdict", VERDICTS).with_columns(value=_floats(verdicts)),
                "asset_kind": pl.concat(
                    [_each(names, "kind", KINDS), _frame(kinds, _OF_KIND)], how="horizontal"
                ),
                "asset_horizon": pl.concat([_frame(horizons, _named("window")), jumps], how="diagonal"),
                "asset_window_estimator": pl.concat([_of_ticks(changes), moved]),
                "asset_venue": _frame(aside, _named("venue")),
                "kind": self._limits,
            },
        )

    def _since_close(self, version: int, instrument: pl.DataFrame) -> dict[int, dict[str, Any]]:
        """Changes of each asset since the last close, over what is fresh now and took part then.

        A venue that contradicts the others since then takes no part: `aggregate.py` has the rule.
        """
        key = version, self._version, instrument.height
        if self._then is None or self._then[0] != key:
            last = self._last_closes()
            then = instrument.select("venue", "symbol", "asset").join(
                last, on=["venue", "asset", "symbol"], how="left", maintain_order="left"
            ).select("native_then", "coins_then", "usd_then")  # fmt: skip
            self._then = key, then
        venues = (
            pl.concat([instrument.select(_COMPARED), self._then[1]], how="horizontal")
            .lazy()
            .select_seq(_SINCE)
            .filter(pl.col("known").is_not_null())
            .group_by("asset_id", "part_id", maintain_order=True)
            .agg(pl.all().sum())
            .with_columns(change=pl.when(pl.col("weight") > 0).then(pl.col("growth") / pl.col("weight")))
            .pipe(at_once)
        )
        if not calm(venues["change"]):
            part = ~contradicts(pl.col("change"), ["asset_id"])
            told = ("growth", "weight", "coins", "coins_then")
            venues = venues.with_columns(pl.when(part).then(name).alias(name) for name in told)
        sums = venues.lazy().group_by("asset_id", maintain_order=True).agg(pl.col(_SUMMED).sum())
        return {row["asset_id"]: row for row in sums.pipe(at_once).iter_rows(named=True)}

    def _last_closes(self) -> pl.DataFrame:
        """Instruments at the last close, of venues that took part."""
        aside = {(name, venue.partition(":")[0]) for name, of in self._assets.items() for venue in of.aside}
        bars = self._daily
        if not bars.is_empty():
            bars = bars.filter((pl.col("time") == pl.col("time").max()) & pl.col("native").is_not_null())
        if aside:
            bars = bars.filter([(a, v) not in aside for a, v in bars.select("asset", "venue").rows()])
        return bars.select(
            "venue", "asset", "symbol", native_then="native", coins_then="coins", usd_then="usd"
        )

    def _row(
        self, now: Millis, level: Mapping[str, Any], since: Mapping[str, Any] | None, over: _Over
    ) -> dict[str, Any]:
        """The features of this instant: statistics of the days before, values of now."""
        of = self._assets.get(level["asset"])
        row: dict[str, Any] = _UNKNOWN.copy()
        covered = level["coverage"] or 0.0
        row |= {"day": now / DAY - 1, "coverage": covered, "believed": covered, "days_before": 0}
        row |= {"usd": level["usd"], "price": level["reference"], "funding_8h": level["rate_8h"]}
        day, growth_3d, growth_14d = (over.get(window, _SILENT)["growth"] for window in ("24h", "72h", "14d"))
        row |= {"growth": day, "growth_3d": growth_3d, "growth_14d": growth_14d}
        row["liquidation_intensity"] = over.get("24h", _SILENT)["liquidation_intensity"]
        if of is None:
            return row
        before = of.row
        row |= {name: before[name] for name in _LAGGED}
        row["cusum"], row["aside"] = of.last["cusum"], of.aside
        row["index"] = self._index(of, since, row)
        scale = row["growth_scale"]
        if scale is not None:
            row["z_growth"] = None if day is None else day / scale
            row["z_growth_3d"] = None if growth_3d is None else growth_3d / (scale * math.sqrt(3))
        if row["index"] is not None and row["log_average"] is not None:
            row["deviation"] = row["index"] - row["log_average"]
            row["percentile"] = _rank(row["index"], of.levels)
            if row["scale"] is not None:
                row["z"] = row["deviation"] / row["scale"]
        if row["funding_8h"] is not None and len(of.funding_6d) >= 3:  # noqa: PLR2004 -- four with today, as in features
            mean = (sum(of.funding_6d) + row["funding_8h"]) / (len(of.funding_6d) + 1)
            row["funding_7d"], row["funding_percentile"] = mean, _rank(mean, of.fundings)
        if row["liquidation_intensity"] is not None:
            row["liquidation_percentile"] = _rank(row["liquidation_intensity"], of.liquidations)
        if row["funding_percentile"] is not None or len(of.fundings) < FUNDING_ENOUGH:
            # Where funding is silent for a while, what is left of the score is another score.
            row["stretch"] = stretch_of(row["percentile"], row["funding_percentile"])
        for of_days, back in (("return_1d", 1), ("return_3d", 3)):
            then = of.prices[-back] if len(of.prices) >= back else None
            if then and row["price"]:
                row[of_days] = math.log(row["price"] / then)
        return row

    def _index(self, of: _Asset, since: Mapping[str, Any] | None, row: dict[str, Any]) -> float | None:
        """The chained level now; also puts open interest at constant price into the row."""
        if since is None or not since["known"] or of.last["index"] is None:
            return None
        if since["weight"] < self._machine.thresholds.min_coverage * since["known"]:
            return None
        row["open_interest"] = of.last["open_interest"] + since["growth"] / since["weight"]
        row["peak"] = max(of.row["peak"], row["open_interest"])
        row["before"], row["before_usd"] = of.last["open_interest"], of.last["usd"]
        return float(of.last["index"] + math.log(since["coins"] / since["coins_then"]))

    def _state(self, name: str, row: dict[str, Any], growth_4h: float | None) -> tuple[State, dict[str, Any]]:
        of = self._assets.get(name)
        if of is None:
            return State(), row
        hour = int((row["day"] + 1) * 24)
        stepped, state = self._running.get(name, (-1, of.state))
        blind = state.seen is not None and row["day"] - state.seen > self._machine.thresholds.blind_days
        if self._provisional(of, state) and not blind:
            state = self._machine.follow(state, row)
        elif hour != stepped:
            state = self._machine.step(state, row, growth_4h)
        else:
            state = self._machine.shocked(state, row, growth_4h)
        self._running[name] = hour, state
        if self._machine.sees(row):
            state = msgspec.structs.replace(state, seen=row["day"])
        return state, row

    @staticmethod
    def _provisional(of: _Asset, state: State) -> bool:
        """Whether this is a purge that began today: it is confirmed or withdrawn when the day closes."""
        return state.phase == "purge" and state.purged != of.state.purged

    def _shown(
        self, level: Mapping[str, Any], state: State, row: Mapping[str, Any],
        supply: float | None, said: Verdict,
    ) -> tuple[Any, ...]:  # fmt: skip
        ratio = level["coins"] / supply if level["coins"] is not None and supply else None
        of = self._assets.get(level["asset"])
        price = level["reference"]

        def against(log: float | None) -> float | None:
            if ratio is None or log is None or row["index"] is None:
                return None
            return float(ratio * math.exp(log - row["index"]))

        purged = state.depth is not None
        complete = None
        if purged and of is not None and row["index"] is not None and row["log_average"] is not None:
            complete = _completeness(of.peak_level, row["index"], row["log_average"])
        return (
            supply, None if supply is None or price is None else supply * price, ratio,
            against(row["log_average"]), against(row["log_mean"]), row["z"], row["percentile"],
            row["funding_percentile"], row["liquidation_percentile"], row["stretch"],
            (state.since + 1) * DAY / 1000 if state.since else None,
            confidence(state, row, row["day"], self._machine.thresholds),
            float(of is not None and self._provisional(of, state)), state.depth, complete,
            state.destroyed_usd, None if state.calm is None else (state.calm + 1) * DAY / 1000,
            row["days_before"] * DAY / 1000.0,
            "; ".join(str(reason) for reason in state.reasons), state.phase, said,
        )  # fmt: skip

    def _kinds(
        self, now: Millis, name: str, state: State, row: Mapping[str, Any], over: _Over
    ) -> list[tuple[float | None, ...]]:  # fmt: skip
        """Rows of `_OF_KIND`, in the order of `KINDS`."""
        percentile, day = row["funding_percentile"], over.get("24h", _SILENT)
        values = {
            "funding_high": percentile,
            "funding_low": None if percentile is None else -percentile,
            "liquidation_burst": over.get("1h", _SILENT)["liquidation_intensity"],
        }
        found: list[tuple[float | None, ...]] = []
        for kind, (begins, ends) in CONDITIONS.items():
            value = values[kind]
            if value is None:
                found.append(_NO_KIND)
                continue
            held, at = self._conditions.get((name, kind), (False, now))
            lately = now - at <= self._machine.thresholds.blind_days * DAY
            held = value >= (ends if held and lately else begins)
            self._conditions[name, kind] = held, now
            found.append((float(held), None, None))
        liquidated, implied = day["liquidated_usd"], day["implied_liquidation_usd"]
        told = None
        if liquidated is not None and implied is not None:
            told = float(implied >= IMPLIED_USD and implied > IMPLIED_FACTOR * liquidated)
        disagree = None
        if None not in (row["index"], row["log_average"], row["log_mean"]):
            disagree = float((row["index"] > row["log_average"]) != (row["index"] > row["log_mean"]))
        sides = (None if state.depth is None else float(state.side == side) for side in SIDES)
        effects = day["position_usd"], day["price_usd"]
        return [
            *found, (told, None, None), (disagree, None, None),
            *((None, side, None) for side in sides), *((None, None, effect) for effect in effects),
        ]  # fmt: skip


_FEATURES = (
    "day", "coverage", "believed", "days_before", "usd", "price", "funding_8h", "growth", "growth_3d",
    "growth_14d",
    "z_growth", "z_growth_3d", "growth_percentile", "growth_3d_percentile", "index", "log_average",
    "log_mean", "growth_scale", "scale", "deviation", "z", "percentile", "funding_7d", "funding_percentile",
    "liquidation_intensity", "liquidation_percentile", "stretch", "open_interest", "peak", "before",
    "before_usd", "cusum", "aside",
    "return_1d", "return_3d", "dispersion",
)  # fmt: skip

_UNKNOWN = dict.fromkeys(_FEATURES)
_WINDOWS = ("1h", "4h", "24h", "72h", "14d")
"""Of the changes over windows, those that are looked at here."""

_LAGGED = ("days_before", "log_average", "log_mean", "growth_scale", "scale")
"""Features of a day that are of the days before it."""

SHOWN = {
    "supply": pl.Float64, "market_cap": pl.Float64, "oi_to_market_cap": pl.Float64, "average": pl.Float64,
    "mean": pl.Float64, "z": pl.Float64, "percentile": pl.Float64, "funding_percentile": pl.Float64,
    "liquidation_percentile": pl.Float64, "stretch": pl.Float64, "since_s": pl.Float64,
    "confidence": pl.Float64, "provisional": pl.Float64, "depth": pl.Float64, "completeness": pl.Float64,
    "destroyed_usd": pl.Float64, "at_average_s": pl.Float64, "history_s": pl.Float64,
    "reasons": pl.String, "phase": pl.String, "verdict": pl.String,
}  # fmt: skip
SIDES = ("long_flush", "short_squeeze")
KINDS = (*CONDITIONS, "liquidation_contradiction", "average_disagreement", *SIDES, "position_effect",
         "price_effect")  # fmt: skip
_OF_KIND = {"condition": pl.Float64, "side": pl.Float64, "effect_usd": pl.Float64}
_NO_KIND = (None, None, None)
_ONE_OF = {one: [float(other == one) for other in PHASES] for one in PHASES}
_ONE_OF_VERDICTS = {one: [float(other == one) for other in VERDICTS] for one in VERDICTS}
_LEVEL = ("asset", "asset_id", "coverage", "usd", "coins", "reference", "rate_8h")
"""What is looked at of `Views.asset`."""

_COMPARED = ("asset_id", "part_id", "fresh", "scope", "margin", "usd", "coins")
_BOTH = pl.col("fresh") & pl.col("scope") & pl.col("native_then").is_not_null()
_NATIVE = pl.when(pl.col("margin") == "inverse").then("usd").otherwise("coins")
_WEIGHT = pl.when(_BOTH).then("usd_then")
_SINCE = (
    pl.col("asset_id", "part_id"),
    (_WEIGHT * (_NATIVE / pl.col("native_then")).log()).alias("growth"),
    pl.when(_NATIVE > 0).then(_WEIGHT).alias("weight"),
    pl.col("usd_then").alias("known"),
    pl.when(_BOTH).then(pl.col("coins", "coins_then")),
)
"""What an instrument adds to its asset's change since the last close."""
_SUMMED = ("growth", "weight", "known", "coins", "coins_then")


def _asset(frame: pl.DataFrame, state: State) -> _Asset:
    """What is looked up at every tick, of the features of one asset whose last row is the day to come."""
    closed, ahead = frame.head(-1), frame.row(-1, named=True)
    last = closed.row(-1, named=True)

    def values(name: str, length: int) -> list[float]:
        return sorted(closed[name].tail(length).drop_nulls().to_list())

    peak_level = None
    if state.purged is not None:
        before = closed.filter(pl.col("day").is_between(state.purged - 30, state.purged))
        peak_level = before["index"].max()
    return _Asset(
        row=ahead, last=last, state=state,
        levels=values("index", 3 * YEAR), fundings=values("funding_7d", YEAR),
        liquidations=values("liquidation_intensity", YEAR),
        funding_6d=closed["funding_8h"].tail(6).drop_nulls().to_list(),
        prices=closed["price"].tail(3).to_list(),
        peak_level=None if peak_level is None else float(peak_level),  # type: ignore[arg-type]
        aside=last["aside"] or [],
    )  # fmt: skip


def _rank(value: float, ordered: Sequence[float]) -> float | None:
    """Mid-rank percentile of a value among sorted ones; None among too few, as in `features`."""
    if len(ordered) < FUNDING_ENOUGH:
        return None
    return (bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 / len(ordered)


def _completeness(peak: float | None, now: float, average: float) -> float | None:
    """How far the way from the peak back to the average was gone, in [0, 1.5]: methodology 3.4.

    None where the peak was not above the average.
    """
    if peak is None or peak <= average:
        return None
    high, level, base = math.exp(peak), math.exp(now), math.exp(average)
    return min(1.5, max(0.0, (high - level) / (high - base)))


def _told(changes: pl.DataFrame) -> Mapping[str, _Over]:
    """Asset → window → column → what the changes say."""
    told: dict[str, dict[str, Mapping[str, float | None]]] = {}
    wanted = changes.filter(pl.col("window").is_in(_WINDOWS)).select("asset", "window", *_TOLD)
    for row in wanted.iter_rows(named=True):
        told.setdefault(row["asset"], {})[row["window"]] = row
    return told


def _each(names: Sequence[str], label: str, values: Sequence[str]) -> pl.DataFrame:
    """A row for each name and value of a label."""
    of = pl.int_range(len(names) * len(values), eager=True)
    return pl.DataFrame(
        {
            "asset": pl.Series(names, dtype=pl.String).gather(of // len(values)),
            label: pl.Series(values).gather(of % len(values)),
        }
    )


def _floats(values: Sequence[float]) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64)


def _named(label: str) -> dict[str, type[pl.DataType]]:
    return {"asset": pl.String, label: pl.String, "value": pl.Float64}


def _frame(rows: Sequence[tuple[Any, ...]], schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """A table of rows; by columns, which is several times as fast as by rows."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    return pl.DataFrame(dict(zip(schema, columns, strict=True)), schema=schema)


def _of_ticks(changes: pl.DataFrame) -> pl.DataFrame:
    """Realised variance of the marks themselves, of the windows over which the ladder sums them."""
    return changes.filter(pl.col("realized_volatility").is_not_null()).select(
        "asset", "window", estimator=pl.lit("realized_variance"), value="realized_volatility"
    )


def _thresholds(rule: Thresholds) -> pl.DataFrame:
    values = {
        "purge_growth_1d": rule.purge_growth, "purge_growth_3d": rule.purge_growth_3d,
        "purge_growth_4h": rule.purge_growth_4h, "purge_z_1d": rule.purge_z, "purge_z_3d": rule.purge_z_3d,
        "reset_z": rule.reset_z, "build_up_z": rule.build_up_z, "stretched": rule.stretched,
        "unstretched": rule.unstretched, "min_coverage": rule.min_coverage,
        **{kind: begins for kind, (begins, _) in CONDITIONS.items()},
        **{f"{kind}_clear": ends for kind, (_, ends) in CONDITIONS.items()},
    }  # fmt: skip
    values = {kind: abs(value) if kind.startswith("funding_low") else value for kind, value in values.items()}
    return pl.DataFrame({"kind": list(values), "value": list(values.values())})
