"""One market for all simulated venues: pure functions of market time, nothing is remembered.

Truth is what was planted: ask the market itself what a monitor should have found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from monitor.events import Millis, Position
from monitor.simulated.listings import Listing
from monitor.simulated.noise import draw, heavy, key_of, poisson, smoothstep, waves
from monitor.simulated.scenarios import ASSETS, CALM, Leg, Scenario

HOUR = 3_600_000
START_PRICE = {"BTC": 84_000.0, "ETH": 2_670.0, "PEPE": 0.0000098, "HPOS": 0.03}
"""Dollars per coin."""

# Periods (ms) and heights. Waves of four times the period and twice the height sum to a random walk:
# prices move by about a third a year at every scale from seconds to half an hour, far less than planted.
_PRICE = tuple((int(1000 * period), 9e-5 * math.sqrt(period)) for period in (4.0**n / 2 for n in range(1, 7)))
_PREMIUM = ((HOUR, 0.00008), (60_000, 0.00005), (5000, 0.00002))
_COINS = ((HOUR // 2, 0.0012), (180_000, 0.0005), (15_000, 0.0001))
_FUNDING = ((2 * HOUR, 0.00002), (300_000, 0.000004))
_VOLATILITY = ((HOUR, 0.6), (120_000, 0.15))
_QUOTE = {"USD": 1.0, "USDT": 1.0002, "USDC": 1.0001}
_CALM_LIQUIDATED = 0.0003
_RAMP = 0.15
_ORDER_USD = 20_000.0
_YEAR = 365 * 24 * HOUR


class Forced(msgspec.Struct, frozen=True, gc=False):
    """One liquidation as it happened, before the venue's throttle."""

    listing: Listing
    time: Millis
    position: Position
    price: float
    """Of the fill."""
    amount: float
    """In the listing's unit."""
    usd: float
    number: int
    """Increases with time; one per listing."""


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Where the scenario stands."""

    leg: Leg
    before: Leg
    part: float
    """Of the leg that is over, in [0, 1]."""

    def level(self, start: float, end: float) -> float:
        """A level between that of the leg before and that of this one."""
        return start + (end - start) * smoothstep(self.part)


class Market:
    """The market of one scenario and one seed from a time (milliseconds) on.

    Liquidations are made for stretches of `grain_s` seconds: a market that runs a thousand times faster than
    the wall has no use for single seconds.
    """

    def __init__(self, scenario: Scenario, seed: int, start: Millis, grain_s: int = 1) -> None:
        self.scenario = scenario
        self.seed = seed
        self.start = start
        self._grain_s = grain_s
        last = scenario.legs[-1]
        self._after = msgspec.structs.replace(
            last, name=CALM, liquidated=_CALM_LIQUIDATED, longs=0.5, noise=1.0
        )
        self._rest: Leg = msgspec.structs.replace(
            scenario.legs[0], price=dict.fromkeys(ASSETS, 1.0), coins=dict.fromkeys(ASSETS, 1.0)
        )
        # All listings ask for the same moments, and each listing several times; bounded.
        self._moment = lru_cache(256)(self._find)
        self.index = lru_cache(256)(self._index)
        self.mark = lru_cache(512)(self._mark)
        self._key = lru_cache(256)(self._make_key)

    def _make_key(self, *names: str) -> int:
        return key_of(self.seed, *names)

    def _find(self, now: Millis) -> Moment:
        before, left = self._rest, float(now - self.start)
        for leg in self.scenario.legs:
            if left < leg.hours * HOUR:
                return Moment(leg, before, max(0.0, left) / (leg.hours * HOUR))
            left -= leg.hours * HOUR
            before = leg
        return Moment(self._after, before, min(1.0, left / HOUR))

    def leg(self, now: Millis) -> str:
        """Name of the leg that a time belongs to."""
        return self._moment(now).leg.name

    def _index(self, asset: str, now: Millis) -> float:
        moment = self._moment(now)
        level = moment.level(
            math.log(moment.before.price.get(asset, 1.0)), math.log(moment.leg.price.get(asset, 1))
        )
        nervous = moment.level(moment.before.noise, moment.leg.noise)
        # Assets move together: most of the noise is the market's.
        common = waves(self._key("price"), now, _PRICE)
        own = waves(self._key("price", asset), now, _PRICE)
        return START_PRICE[asset] * math.exp(level + nervous * (0.7 * common + 0.3 * own))

    def index_price(self, listing: Listing, now: Millis) -> float:
        """Index of a listing, in its quote currency per quoted unit."""
        quote = _QUOTE.get(listing.quote, 1.0)
        return self.index(listing.asset, now) * listing.multiplier * quote

    def _mark(self, listing: Listing, now: Millis) -> float:
        moment = self._moment(now)
        premium = 1.2 * (moment.level(moment.before.funding, moment.leg.funding) - 0.0002)
        premium += waves(self._key("premium", listing.venue, listing.symbol), now, _PREMIUM)
        if listing.expiry is not None:
            premium += 0.05 * max(0, listing.expiry - now) / _YEAR
        return self.index_price(listing, now) * (1 + premium)

    def funding(self, listing: Listing, now: Millis) -> float:
        """Predicted rate of the running interval, per interval (Hyperliquid: 1 h; Deribit: 8 h)."""
        moment = self._moment(now)
        rate = moment.level(moment.before.funding, moment.leg.funding)
        rate += waves(self._key("funding", listing.venue, listing.symbol), now, _FUNDING)
        return rate * listing.interval_h / 8

    def next_funding(self, listing: Listing, now: Millis) -> Millis:
        """End of the running funding interval."""
        interval = listing.interval_h * HOUR
        return (now // interval + 1) * interval

    def coins(self, listing: Listing, now: Millis) -> float:
        """Open interest in coins, counted on one side: the same measure for all venues."""
        return self._units(listing, now) * listing.multiplier

    def _units(self, listing: Listing, now: Millis) -> float:
        moment = self._moment(now)
        asset = listing.asset
        level = moment.level(moment.before.coins.get(asset, 1), moment.leg.coins.get(asset, 1))
        level *= 1 + waves(self._key("coins", listing.venue, listing.symbol), now, _COINS)
        return level * self._first_usd(listing) / self._first_price(listing)

    def _first_price(self, listing: Listing) -> float:
        return START_PRICE[listing.asset] * listing.multiplier

    def _first_usd(self, listing: Listing) -> float:
        return self._usd(listing, listing.size / listing.sides, self._first_price(listing))

    def _usd(self, listing: Listing, amount: float, price: float) -> float:
        size = listing.contract_size if listing.unit == "contracts" else 1.0
        return amount * size * (price if listing.margin == "linear" else 1.0)

    def open_interest(self, listing: Listing, now: Millis) -> float:
        """Open interest in the unit and on the sides that the venue reports."""
        if not listing.live:
            return 0.0
        units = self._units(listing, now)
        if listing.margin == "inverse":
            units *= self.mark(listing, now)
        size = listing.contract_size if listing.unit == "contracts" else 1.0
        return units / size * listing.sides

    def open_interest_usd(self, listing: Listing, now: Millis) -> float:
        """Open interest in dollars, counted on one side."""
        amount = self.open_interest(listing, now) / listing.sides
        return self._usd(listing, amount, self.mark(listing, now))

    def volatility(self, asset: str, now: Millis) -> float:
        """Implied volatility index, annualised, in percent."""
        moment = self._moment(now)
        level = moment.level(moment.before.volatility, moment.leg.volatility)
        level += waves(self._key("volatility", asset), now, _VOLATILITY)
        return level * (1.0 if asset == "BTC" else 1.5)

    def liquidations(self, listing: Listing, start: Millis, end: Millis) -> Iterator[Forced]:
        """Liquidations of a listing in [start, end), in order, however the time is cut."""
        if not listing.live or end <= start:
            return
        grain = self._grain_s * 1000
        for stretch in range(start // grain, (end - 1) // grain + 1):
            for forced in self._stretch(listing, stretch):
                if start <= forced.time < end:
                    yield forced

    def _stretch(self, listing: Listing, number: int) -> list[Forced]:
        grain = self._grain_s
        begin = number * grain * 1000
        moment = self._moment(begin)
        ramp = smoothstep(moment.part / _RAMP)
        rate = moment.before.liquidated + (moment.leg.liquidated - moment.before.liquidated) * ramp
        usd = self._first_usd(listing) * rate / 3600 * grain
        # Orders grow in a cascade, as they do; in a long stretch several are told as one.
        mean = _ORDER_USD * (1 + 3 * min(1.0, rate / 0.07)) * math.sqrt(grain)
        key = self._key("liquidations", listing.venue, listing.symbol)
        count = poisson(usd / mean, draw(key, number * 512))
        found = []
        for place in range(count):
            chance = [draw(key, number * 512 + 1 + 5 * place + at) for at in range(5)]
            time = begin + int(chance[0] * 1000 * grain)
            position: Position = "long" if chance[1] < moment.leg.longs else "short"
            price = self.mark(listing, begin) * (1 + 0.0006 * (chance[2] - 0.5))
            value = mean * heavy(chance[3], chance[4])
            steps = max(1, round(value / self._usd(listing, listing.step, price)))
            amount = steps * listing.step
            found.append((time, place, position, price, amount))
        found.sort()
        return [
            Forced(
                listing, time, position, price, amount, self._usd(listing, amount, price),
                number * 64 + place,
            )
            for place, (time, _, position, price, amount) in enumerate(found)
        ]  # fmt: skip
