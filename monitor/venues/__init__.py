"""The venues there are. The list is explicit: nothing registers itself."""

from monitor.venue import Venue
from monitor.venues.binance_coinm import BINANCE_COINM
from monitor.venues.binance_usdm import BINANCE_USDM
from monitor.venues.bybit import BYBIT
from monitor.venues.deribit import DERIBIT
from monitor.venues.hyperliquid import HYPERLIQUID
from monitor.venues.okx import OKX

VENUES: dict[str, Venue] = {
    venue.name: venue
    for venue in (BINANCE_USDM, BINANCE_COINM, BYBIT, OKX, DERIBIT, HYPERLIQUID)
}  # fmt: skip
