"""What a second says: tables of the newest readings, which of them are believed, windows, every metric.

Pure: events and the time go in; nothing here waits.
"""
