"""Recordings at URIs."""

import functools
import http.server
import io
import sys
import threading
import types
import uuid

import fsspec
import pytest
import soundfile
import torch

from otoscope.errors import AudioError, ConfigurationError, DataError, MissingExtraError
from otoscope.recordings import (
    LongOptions,
    Uri,
    explain_recordings,
    find_recordings,
    iterate_results,
    read_manifest,
    split_by_length,
    uris,
)
from otoscope.recordings.uris import local_file, parse_location


@pytest.fixture
def memory(short_clips):
    """A folder in the memory of this process with the clips."""
    files, folder = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    for path in sorted(short_clips.iterdir()):
        files.pipe(f"{folder}/night/{path.name}", path.read_bytes())
    files.pipe(f"{folder}/notes.txt", b"no sound")
    yield f"memory://{folder}"
    files.rm(folder, recursive=True)


@pytest.fixture
def server(short_clips):
    """Address of a web server with the clips."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(short_clips))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(explainer, sources, out, **options):
    options = {"batch_size": 2, "keep": ["mask"], "in_shards": True, **options}
    return explain_recordings(explainer, find_recordings(list(map(str, sources))), out, **options)


def test_masks_are_those_of_the_files(tiny_explainer, short_clips, memory, server, tmp_path):
    run(tiny_explainer, [short_clips], tmp_path / "files")
    outcome = run(tiny_explainer, [f"{memory}/"], tmp_path / "memory")
    assert outcome.explained == 6
    assert list(outcome.failed) == [f"{memory}/night/clip2.wav"]
    assert next(iter(outcome.failed.values())).startswith(f"{memory}/night/clip2.wav: not a sound file")
    addresses = [f"{server}/{path.name}" for path in sorted(short_clips.iterdir())]
    assert run(tiny_explainer, addresses, tmp_path / "web", workers=2).explained == 6
    masks = {name: [row.mask() for row in iterate_results(tmp_path / name)] for name in ("files", "memory", "web")}
    assert len(masks["files"]) == 6
    for name in ("memory", "web"):
        assert all((a == b).all() for a, b in zip(masks["files"], masks[name], strict=True))
    names = [row.name for row in iterate_results(tmp_path / "memory")]
    assert names[0] == "night/clip0"
    source = next(iter(iterate_results(tmp_path / "web"))).content["source"]["recording"]
    assert source["path"] == source["full_path"] == addresses[0]
    assert source["version"].startswith("Last-Modified=")


def test_a_run_resumes_where_the_content_is_the_same(tiny_explainer, memory, tmp_path):
    run(tiny_explainer, [f"{memory}/night/clip[0-3]*.wav"], tmp_path)
    files = fsspec.filesystem("memory")
    path = f"{memory.removeprefix('memory://')}/night/clip0.wav"
    files.pipe(path, files.cat(path.replace("clip0", "clip1")))
    outcome = run(tiny_explainer, [f"{memory}/night/clip[0-3]*.wav"], tmp_path, skip_existing=True)
    assert (outcome.explained, outcome.skipped) == (1, 2)
    assert len(list(iterate_results(tmp_path))) == 3
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 4


def test_without_a_version_the_content_is_compared(memory, monkeypatch):
    uri = Uri(f"{memory}/night/clip0.wav")
    monkeypatch.setattr(uris, "version_of", lambda uri: None)
    assert not uris.has_content(uri, None, "0")
    with local_file(uri) as path:
        digest = uris.hashlib.sha256(path.read_bytes()).hexdigest()
    assert uris.has_content(uri, None, digest)
    assert not uris.has_content(Uri(f"{memory}/absent.wav"), None, digest)


def test_long_recordings_are_refused(tiny_explainer, memory, tmp_path):
    recordings = find_recordings([f"{memory}/night/clip0.wav"])
    assert split_by_length(recordings, tiny_explainer, LongOptions(start_s=1)) == (recordings, [])
    outcome = run(tiny_explainer, [recordings[0].path], tmp_path, longest_remote_s=0.1)
    [message] = outcome.failed.values()
    assert message.startswith(f"{memory}/night/clip0.wav: is 0 s long")
    assert "download it first" in message


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("htps://example.org/a.wav", AudioError, ["unknown scheme", "did you mean 'https'"]),
        ("s3://bucket/a.wav", MissingExtraError, ["s3fs", "not installed"]),
        ("memory://absent/a.wav", AudioError, ["no such file"]),
        ("http://127.0.0.1:9/a.wav", AudioError, ["cannot be read", "check the address"]),
        ("dataset://owner/birds?splt=test", DataError, ["'splt'", "split"]),
        ("dataset://owner/birds", MissingExtraError, ["pip install datasets"]),
    ],
)
def test_errors_name_the_address(address, error, words, monkeypatch):
    for module in ("s3fs", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(uris, "_PAUSE_S", 0)
    with pytest.raises(error) as caught, local_file(Uri(address)):
        pass
    assert str(caught.value).startswith(address.partition("?")[0])
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_server_without_an_answer_is_reported(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        monkeypatch.setattr(uris, "_TIMEOUT_S", 0.1)
        monkeypatch.setattr(uris, "_TRIES", 1)
        # It listens, but nothing serves.
        uri = Uri(f"http://127.0.0.1:{server.server_port}/a.wav")
        with pytest.raises(AudioError, match="no answer within"), local_file(uri):
            pass


def test_a_failure_that_passes_is_tried_again(memory, monkeypatch):
    failures = [ConnectionResetError("reset"), FileNotFoundError("gone")]
    fetch = uris._fetch

    def fail_first(uri, path):
        if failures:
            raise failures.pop(0)
        fetch(uri, path)

    monkeypatch.setattr(uris, "_fetch", fail_first)
    monkeypatch.setattr(uris, "_PAUSE_S", 0)
    uri = Uri(f"{memory}/night/clip0.wav")
    with pytest.raises(AudioError, match="no such file"), local_file(uri):
        pass
    with local_file(uri) as path:
        assert path.stat().st_size > 0
        assert soundfile.info(path).frames == 4000
    assert not path.exists()


def test_locations(tmp_path):
    assert parse_location("a/b.wav") == parse_location("a/b.wav").with_name("b.wav")
    assert parse_location(f"file://{tmp_path}/a%20b.wav") == tmp_path / "a b.wav"
    assert parse_location("s3://bucket/a.wav") == Uri("s3://bucket/a.wav")
    with pytest.raises(AudioError, match="holds no sound file"):
        find_recordings([f"memory://{uuid.uuid4().hex}/"])


def test_rows_of_a_data_set_are_recordings(tiny_explainer, tmp_path, monkeypatch):
    """With a module in the place of `datasets` that has its interface as far as it is used."""
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * torch.randn(4000).numpy(), 16_000, format="WAV")
    (tmp_path / "clip.wav").write_bytes(buffer.getvalue())

    class Rows(list):
        column_names = ("sound", "label")

        def select_columns(self, names):
            assert names == ["sound"]
            return self

        def cast_column(self, name, feature):
            assert feature == ("audio", False)
            return self

    values = [{"bytes": buffer.getvalue()}, {"bytes": None, "path": str(tmp_path / "clip.wav")}, None]
    rows = Rows({"sound": value} for value in values)
    module = types.SimpleNamespace(
        load_dataset=lambda source, config, split, revision: {("owner/birds-of-a-test", "test"): rows}[
            source, split
        ],
        Audio=lambda decode: ("audio", decode),
    )
    monkeypatch.setitem(sys.modules, "datasets", module)
    address = "dataset://owner/birds-of-a-test?split=test&column=sound"
    outcome = run(tiny_explainer, [address], tmp_path / "out")
    assert outcome.explained == 2
    assert list(outcome.failed) == [f"{address}#2"]
    stored = list(iterate_results(tmp_path / "out"))
    assert [each.name for each in stored] == [f"birds-of-a-test/test-{number:06d}" for number in range(2)]
    assert (stored[0].mask() == stored[1].mask()).all()
    assert run(tiny_explainer, [f"{address}#1"], tmp_path / "out", skip_existing=True).skipped == 1
    with pytest.raises(DataError, match="no column 'audio'"):
        find_recordings(["dataset://owner/birds-of-a-test?split=test"])


def test_the_memory_of_this_process_is_not_that_of_a_cluster(tiny_explainer, memory, tmp_path):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from otoscope.recordings import ray_actors

    with pytest.raises(ConfigurationError, match="use --backend local"):
        run(tiny_explainer, [f"{memory}/night/clip0.wav"], tmp_path, backend=ray_actors(2))
