"""Where history comes from without a key. The list is explicit: nothing registers itself.

Written from the venues' documents of 2026 and checked against servers that speak the same formats, not
against the venues themselves.
"""

from monitor.archives.binance import COINM, USDM
from monitor.archives.bitfinex import BITFINEX_PAST
from monitor.archives.bybit import BYBIT_PAST
from monitor.archives.deribit import DERIBIT_PAST
from monitor.archives.dydx import DYDX_PAST
from monitor.archives.gate import GATE_PAST
from monitor.archives.hyperliquid import HYPERLIQUID_PAST
from monitor.archives.kraken import KRAKEN_PAST
from monitor.archives.kucoin import KUCOIN_PAST
from monitor.archives.okx import OKX_PAST
from monitor.archives.source import Source

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        USDM, COINM, BYBIT_PAST, OKX_PAST, DERIBIT_PAST, HYPERLIQUID_PAST, KRAKEN_PAST, DYDX_PAST,
        KUCOIN_PAST, GATE_PAST, BITFINEX_PAST,
    )
}  # fmt: skip
