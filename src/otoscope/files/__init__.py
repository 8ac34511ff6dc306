"""Files on disk: atomic writes, JSON, JSON lines, cached arrays and downloads."""
