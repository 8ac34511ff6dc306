"""Clusters of clips whose evidence lies at similar places: spectral clustering (SpRAy).

Reference:
    Lapuschkin et al. 2019, Unmasking Clever Hans predictors and assessing what machines really learn, Nature
    Communications 10, arXiv 1902.10178. Departures: profiles over frequency and time take the place of shrunken
    heat maps, because an event may lie anywhere in a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import scipy.linalg

from otoscope.audit.profiles import Array
from otoscope.errors import MissingExtraError

FEWEST_CLIPS = 10
"""Number of clips from which on clusters are looked for."""
MOST_CLUSTERS = 5
SMALLEST_GAP = 0.1
"""Least gap between eigenvalues, which lie in [0, 2], that divides the clips."""
_WIDTH, _LEAST_WIDTH = 0.4, 0.2
_FAINT = 1e-4


@dataclass(frozen=True)
class Grouping:
    """Clusters of clips.

    Attributes:
        clusters: Positions of the clips of each cluster, the largest cluster first.
        medoids: Position of the clip in the middle of each cluster.
        distances: Distance between the profiles of each two clips, from 0 to 1. Shape (clips, clips).
    """

    clusters: list[list[int]]
    medoids: list[int]
    distances: Array

    def cluster_of(self, position: int) -> int:
        """Return the number of the cluster that a clip belongs to, from 0."""
        return next(number for number, members in enumerate(self.clusters) if position in members)

    def outliers(self) -> list[int]:
        """Return the positions of the clips that are no medoids, the farthest from all medoids first."""
        nearest = self.distances[:, self.medoids].min(1)
        order = np.argsort(-nearest, kind="stable").tolist()
        return [position for position in order if position not in self.medoids]


def group_profiles(frequency: Array, time: Array, seed: int = 0, divide: bool = True) -> Grouping:
    """Divide clips into clusters of similar evidence.

    The clips are a graph whose weights are similarities. The number of clusters is that of the largest gap between
    the first eigenvalues of its normalised Laplacian; without a clear gap, or with fewer than
    10 clips, there is one cluster.

    Args:
        frequency: Share of the evidence in each band, for each clip. Shape (clips, bands).
        time: Share of the evidence in each part of the clip. Shape (clips, parts).
        seed: Seed of the division.
        divide: Whether to look for clusters; False: all clips are one cluster, and scikit-learn is not needed.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> low, high = (rng.dirichlet(1 + 20 * np.eye(30)[row], clips) for row, clips in ((3, 12), (20, 6)))
        >>> groups = group_profiles(np.concatenate([low, high]), rng.dirichlet(np.ones(40), 18))
        >>> [len(members) for members in groups.clusters]
        [12, 6]
    """
    distances = profile_distances(frequency, time)
    clusters = [list(range(len(distances)))]
    if divide and len(distances) >= FEWEST_CLIPS:
        graph = similarity_graph(distances)
        number = count_clusters(graph)
        if number > 1:
            assigned = _assign(graph, number, seed)
            clusters = [np.flatnonzero(assigned == label).tolist() for label in np.unique(assigned)]
            clusters.sort(key=lambda members: (-len(members), members[0]))
    medoids = [_medoid(distances, members) for members in clusters]
    return Grouping(clusters, medoids, distances)


def profile_distances(frequency: Array, time: Array) -> Array:
    """Return the distances between profiles: the root of the mean of two squared Hellinger distances.

    Args:
        frequency: Shares of the evidence over frequency. Shape (clips, bands).
        time: Shares of the evidence over time. Shape (clips, parts).

    Returns:
        Distances, 0 for equal profiles and 1 if evidence is nowhere both present. Shape (clips, clips).

    Example:
        >>> profile_distances(np.eye(2), np.full((2, 2), 0.5)).round(2)
        array([[0.  , 0.71],
               [0.71, 0.  ]])
    """
    # squared Hellinger distance of two profiles with the sum 1: 1 minus the scalar product of their roots
    products = [np.sqrt(np.maximum(values, 0)) for values in (frequency, time)]
    squares = [1 - np.clip(roots @ roots.T, 0, 1) for roots in products]
    distances = np.sqrt((squares[0] + squares[1]) / 2)
    np.fill_diagonal(distances, 0.0)
    return np.asarray(distances)


def similarity_graph(distances: Array) -> Array:
    """Return the similarities of clips: a Gaussian of their distances, whose width is a part of the usual distance.

    Args:
        distances: Distances of the clips. Shape (clips, clips).

    Returns:
        Similarities in (0, 1], 0 of a clip with itself. Shape (clips, clips).
    """
    count = len(distances)
    # As many neighbours as the logarithm of the number of clips (von Luxburg 2007, arXiv 0711.0189). The width has
    # a lower limit, because tight clusters would be divided by differences that mean nothing.
    neighbours = min(max(3, round(np.log(count)) + 1), count - 1)
    usual = np.median(np.sort(distances + np.diag(np.full(count, np.inf)), axis=1)[:, neighbours - 1])
    width = max(_LEAST_WIDTH, _WIDTH * float(usual))
    # a faint weight keeps the graph connected, because the eigenvectors of several parts are not unique
    graph = np.exp(-np.square(distances / width)) + _FAINT / count
    np.fill_diagonal(graph, 0.0)
    return np.asarray(graph)


def count_clusters(graph: Array) -> int:
    """Return the number of clusters by the largest gap between eigenvalues of the normalised Laplacian.

    Args:
        graph: Weights of a graph, symmetric. Shape (clips, clips).

    Example:
        >>> count_clusters(np.kron(np.eye(2), np.ones((4, 4)) - np.eye(4)))
        2
    """
    scale = 1 / np.sqrt(graph.sum(1))
    laplacian = np.eye(len(graph)) - scale[:, None] * graph * scale
    most = min(MOST_CLUSTERS, len(graph) // 3)
    values = scipy.linalg.eigh(laplacian, eigvals_only=True, subset_by_index=(0, most))
    gaps = np.diff(values)
    best = int(np.argmax(gaps))
    return best + 1 if gaps[best] >= SMALLEST_GAP else 1


def require_clustering() -> ModuleType:
    """Return the module of scikit-learn that clusters.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        import sklearn.cluster
    except ImportError as error:
        raise MissingExtraError(
            "clusters of evidence need scikit-learn; install it with: pip install 'otoscope[audit]'"
        ) from error
    module: ModuleType = sklearn.cluster
    return module


def _assign(graph: Array, number: int, seed: int) -> Array:
    method = require_clustering().SpectralClustering(
        number, affinity="precomputed", assign_labels="cluster_qr", random_state=seed, eigen_solver="arpack"
    )
    return np.asarray(method.fit_predict(graph))


def _medoid(distances: Array, members: Sequence[int]) -> int:
    """Return the clip with the smallest sum of distances from the others of its cluster."""
    return members[int(distances[np.ix_(members, members)].sum(1).argmin())]
