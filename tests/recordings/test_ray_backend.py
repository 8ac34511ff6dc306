"""Explaining recordings on a Ray cluster: one cluster of this machine, with two cores, for all tests."""

import functools
import http.server
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import soundfile
import torch
from tests.recordings.written import contents

from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.explain import Explainer
from otoscope.interpreters import PIQInterpreter
from otoscope.recordings import explain_recordings, find_recordings, iterate_results, ray_actors, read_manifest
from otoscope.recordings import ray_backend as module
from otoscope.recordings.plan import Plan

FAST = ["json", "recording", "evidence", "mask"]
BROKEN = "clip2.wav"


@pytest.fixture(scope="module")
def cluster():
    """Address of a cluster that this process is connected to."""
    ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_worker_niceness", "0")  # tests share the machine
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            object_store_memory=100 << 20,
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def run(explainer, sources, out, **options):
    options = {"batch_size": 2, "keep": FAST, **options}
    return explain_recordings(explainer, find_recordings(list(map(str, sources))), out, **options)


def test_results_are_those_of_the_local_backend(cluster, tiny_explainer, short_clips, tmp_path):
    run(tiny_explainer, [short_clips], tmp_path / "local", in_shards=True)
    outcome = run(tiny_explainer, [short_clips], tmp_path / "ray", backend=ray_actors(2), in_shards=True)
    assert outcome.explained == 6
    assert list(outcome.failed) == [str(short_clips / BROKEN)]
    expected = contents(tmp_path / "local")
    assert list(expected) == ["manifest.jsonl", "shard-00000.parquet"]
    assert contents(tmp_path / "ray") == expected


def test_a_worker_that_is_killed_costs_its_recording_at_most(cluster, experienced, short_clips, tmp_path):
    """The actor dies of the first batch, and that of its first recording again; the second is tried alone."""
    counter = tmp_path / "deaths"
    counter.touch()
    driver = os.getpid()

    class Deadly(Conv2dClassifier):  # defined here, so that its code is sent
        def forward(self, log_magnitude, frames=None):
            if os.getpid() != driver and counter.stat().st_size < 2:
                with counter.open("a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            return super().forward(log_magnitude, frames)

    torch.manual_seed(0)
    classifier = experienced(Deadly(["dog", "rain"], width=4, head_width=5))
    explainer = Explainer(classifier, PIQInterpreter(classifier, codes=8))
    outcome = run(explainer, [short_clips], tmp_path / "out", backend=ray_actors(1), in_shards=True)
    assert counter.stat().st_size == 2
    assert outcome.explained == 5
    assert list(outcome.failed) == [str(short_clips / "clip0.wav"), str(short_clips / BROKEN)]
    assert "died twice" in outcome.failed[str(short_clips / "clip0.wav")]
    names = [row.name for row in iterate_results(tmp_path / "out")]
    assert names == ["clip1", "clip3", "clip4", "clip5", "clip6"]


def test_a_killed_driver_loses_no_recording(cluster, tiny_explainer, tmp_path):
    model = tiny_explainer.save_pretrained(tmp_path / "model")
    folder = tmp_path / "clips"
    folder.mkdir()
    for index in range(16):
        soundfile.write(folder / f"{index:02}.wav", 0.1 * torch.randn(4000).numpy(), 16_000)
    arguments = ["explain", folder, "--model", model, "--out", tmp_path / "out", "--shards", "--keep", "mask"]
    options = ["--backend", "ray", "--workers", "1", "--batch_size", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "otoscope", *map(str, arguments), *options],
        env={**os.environ, "RAY_ADDRESS": cluster},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    manifest = tmp_path / "out" / "manifest.jsonl"
    while process.poll() is None and not (manifest.exists() and manifest.stat().st_size):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    lines = len(read_manifest(manifest))
    assert 1 <= lines < 16

    settings = {"keep": ["mask"], "in_shards": True}
    explainer = tiny_explainer
    resumed = run(explainer, [folder], tmp_path / "out", backend=ray_actors(1), skip_existing=True, **settings)
    assert resumed.skipped >= lines
    assert resumed.skipped + resumed.explained == 16
    run(explainer, [folder], tmp_path / "whole", **settings)
    rows = {row.name: row.mask() for row in iterate_results(tmp_path / "whole")}
    stored = list(iterate_results(tmp_path / "out"))
    assert [row.name for row in stored] == list(rows)
    assert all((row.mask() == rows[row.name]).all() for row in stored)
    files = [line["file"] for line in read_manifest(manifest)]
    assert sorted(files) == sorted(set(files))
    assert len(files) == 16


def test_workers_read_from_a_web_server(cluster, tiny_explainer, short_clips, tmp_path):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(short_clips))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        addresses = [f"{address}/{path.name}" for path in sorted(short_clips.iterdir())]
        addresses.append(f"{address}/absent.wav")
        outcome = run(tiny_explainer, addresses, tmp_path / "ray", backend=ray_actors(1))
        run(tiny_explainer, addresses, tmp_path / "local", workers=2)
        server.shutdown()
        thread.join()
    assert outcome.explained == 6
    assert "no such file" in outcome.failed[f"{address}/absent.wav"]
    expected = contents(tmp_path / "local")
    assert len(expected) == 6 * 4 + 1
    assert contents(tmp_path / "ray") == expected


def test_a_folder_that_workers_do_not_see_ends_the_run(tiny_explainer, short_clips, tmp_path):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    model = module.packed(tiny_explainer)
    worker = module._Explaining(model, Plan(tmp_path / "absent"), str(Path.cwd()), [], "cpu")
    error = worker.explain(find_recordings([str(short_clips)]))
    assert isinstance(error, ConfigurationError)
    assert "does not see this folder; use --shards" in str(error)


def test_a_model_that_cannot_be_sent_is_reported(tiny_explainer, short_clips, tmp_path):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    tiny_explainer.classifier.lock = threading.Lock()
    with pytest.raises(ConfigurationError, match="cannot be sent to other processes"):
        run(tiny_explainer, [short_clips], tmp_path / "out", backend=ray_actors(1))


def test_without_ray_the_extra_is_named(short_clips, tmp_path):
    code = "import sys; sys.modules['ray'] = None; from otoscope.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["explain", str(short_clips), "--out", str(tmp_path / "out"), "--backend", "ray"]
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.strip().endswith(
        "--backend ray needs Ray; install it with pip install 'otoscope[cluster]'"
    )
    assert not (tmp_path / "out").exists()
