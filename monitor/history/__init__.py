"""What is kept for years: bars in Parquet files that are whole or absent, whenever the power fails."""


class HistoryError(Exception):
    """The store cannot be used; the text is one line that says why and what to do."""
