"""Version of the package, in a module that imports nothing, for every layer."""

__version__ = "0.1.0"
