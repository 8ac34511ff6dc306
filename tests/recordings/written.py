"""What runs have written, to compare them."""

import soundfile


def contents(folder):
    """Everything that a run has written, without its own path and without the time that libsndfile writes."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = soundfile.read(path)[0].tobytes() if path.suffix == ".wav" else path.read_bytes()
        files[str(path.relative_to(folder))] = data.replace(str(folder).encode(), b"")
    return files
