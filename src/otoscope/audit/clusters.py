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
_FAINT = 0.01


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

    Neighbours in a graph are the clips of the most similar profiles. The number of clusters is that of the largest
    gap between the first eigenvalues of the graph's normalised Laplacian; without a clear gap, or with fewer than
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
        graph = neighbour_graph(distances)
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


def neighbour_graph(distances: Array) -> Array:
    """Return the graph in which each clip is connected with its most similar ones, symmetric, with weights up to 1.

    Args:
        distances: Distances of the clips. Shape (clips, clips).
    """
    count = len(distances)
    # The logarithm of the number of clips keeps a cluster connected (von Luxburg 2007, arXiv 0711.0189).
    neighbours = min(max(3, round(np.log(count)) + 1), count - 1)
    order = np.argsort(distances + np.diag(np.full(count, np.inf)), axis=1, kind="stable")[:, :neighbours]
    graph = np.zeros((count, count))
    np.put_along_axis(graph, order, 1.0, axis=1)
    # mutual neighbours weigh 1, others 0.5; a faint weight between all clips keeps the graph connected, because the
    # eigenvectors of several parts are not unique
    return np.asarray((graph + graph.T) / 2 + _FAINT / count * (1 - np.eye(count)))


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
