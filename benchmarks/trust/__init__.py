"""The table of trust: every method on several classifiers and kinds of data. See `__main__`."""
