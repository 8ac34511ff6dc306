"""Files on disk: atomic writes, JSON, JSON lines and cached arrays."""
