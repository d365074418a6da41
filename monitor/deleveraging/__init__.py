"""Whether the market has deleveraged: aggregates that a venue cannot fool, averages, phases.

Pure: closes, ticks and the time go in.
"""
