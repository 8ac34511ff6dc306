"""Clusters of profiles."""

import sys

import numpy as np
import pytest

from otoscope.audit.clusters import (
    FEWEST_CLIPS,
    count_clusters,
    group_profiles,
    profile_distances,
    similarity_graph,
)
from otoscope.errors import MissingExtraError

BANDS = 40


def around(band, clips, rng):
    """Return profiles with a large share of the evidence in a band."""
    return rng.dirichlet(1 + 25 * np.eye(BANDS)[band], clips)


def times(clips, rng):
    return rng.dirichlet(np.ones(20), clips)


@pytest.mark.parametrize("sizes", [(12, 8), (20, 10), (16, 14, 10)])
def test_clips_that_listen_to_different_bands_are_separated(sizes):
    rng = np.random.default_rng(sum(sizes))
    order = rng.permutation(sum(sizes))
    rows = np.concatenate([around(8 * (place + 1), size, rng) for place, size in enumerate(sizes)])
    truth = np.repeat(np.arange(len(sizes)), sizes)
    grouping = group_profiles(rows[order], times(len(rows), rng))
    assert [len(members) for members in grouping.clusters] == sorted(sizes, reverse=True)
    for members, medoid in zip(grouping.clusters, grouping.medoids, strict=True):
        assert len({truth[order][position] for position in members}) == 1
        assert medoid in members


@pytest.mark.parametrize("clips", [12, 20, 40])
def test_similar_clips_are_one_cluster(clips):
    counts = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        counts.append(len(group_profiles(around(5, clips, rng), times(clips, rng)).clusters))
    assert counts.count(1) >= 5, counts


def test_small_differences_divide_nothing():
    rows = np.exp(-np.square(np.arange(BANDS) - 5 - 0.1 * (np.arange(16)[:, None] % 4)))
    grouping = group_profiles(rows / rows.sum(1, keepdims=True), np.full((16, 20), 0.05))
    assert len(grouping.clusters) == 1


def test_few_clips_are_never_divided():
    rng = np.random.default_rng(0)
    half = FEWEST_CLIPS // 2
    rows = np.concatenate([around(5, half, rng), around(30, half - 1, rng)])
    assert len(group_profiles(rows, times(len(rows), rng)).clusters) == 1


def test_the_same_profiles_give_the_same_clusters():
    rng = np.random.default_rng(1)
    rows, parts = np.concatenate([around(5, 12, rng), around(30, 8, rng)]), times(20, rng)
    first, second = (group_profiles(rows, parts, seed=3).clusters for _ in range(2))
    assert first == second


def test_equal_profiles_are_no_error():
    rows = np.tile(np.eye(BANDS)[3], (12, 1))
    grouping = group_profiles(rows, np.tile(np.full(20, 0.05), (12, 1)))
    assert sorted(position for members in grouping.clusters for position in members) == list(range(12))
    assert grouping.distances.max() == pytest.approx(0, abs=1e-6)


def test_distances_lie_between_0_and_1():
    rng = np.random.default_rng(0)
    distances = profile_distances(rng.dirichlet(np.ones(5), 6), rng.dirichlet(np.ones(5), 6))
    assert (distances == distances.T).all()
    assert not distances.diagonal().any()
    apart = profile_distances(np.eye(2), np.eye(2))
    assert apart[0, 1] == pytest.approx(1)
    assert ((distances >= 0) & (distances <= 1)).all()


def test_the_eigengap_counts_the_parts_of_a_graph():
    for parts in (1, 2, 3, 4):
        block = np.ones((5, 5)) - np.eye(5)
        graph = np.kron(np.eye(parts), block) + 0.001
        assert count_clusters(graph) == parts


def test_the_graph_is_symmetric_and_connected():
    rng = np.random.default_rng(0)
    graph = similarity_graph(profile_distances(rng.dirichlet(np.ones(9), 15), times(15, rng)))
    assert (graph == graph.T).all()
    assert not graph.diagonal().any()
    assert (graph[~np.eye(15, dtype=bool)] > 0).all()


def test_outliers_are_ranked_by_the_distance_from_all_medoids():
    rng = np.random.default_rng(2)
    rows = np.concatenate([around(5, 19, rng), around(35, 1, rng)])
    grouping = group_profiles(rows, times(20, rng), divide=False)
    assert grouping.outliers()[0] == 19
    assert set(grouping.outliers()) == set(range(20)) - set(grouping.medoids)
    assert grouping.cluster_of(19) == 0


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    rng = np.random.default_rng(0)
    rows = np.concatenate([around(5, 10, rng), around(30, 10, rng)])
    with pytest.raises(MissingExtraError, match=r"otoscope\[audit\]"):
        group_profiles(rows, times(20, rng))
    assert len(group_profiles(rows, times(20, rng), divide=False).clusters) == 1
