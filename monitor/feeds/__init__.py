"""The shells that ask and listen: sockets and REST of the venues, and slow sources."""
