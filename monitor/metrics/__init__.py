"""The metrics of the market there are. The list is explicit."""

from monitor.metrics.deleveraging import DELEVERAGING
from monitor.metrics.leverage import LEVERAGE
from monitor.metrics.macro import MACRO
from monitor.metrics.metric import Metric
from monitor.metrics.volatility import VOLATILITY

METRICS: tuple[Metric, ...] = (*LEVERAGE, *DELEVERAGING, *VOLATILITY, *MACRO)
