"""What the commands do; `monitor.__main__` only reads their arguments."""
