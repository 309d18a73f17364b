"""When no interval is stated: "not identified", and why, rather than one that is too narrow."""

from __future__ import annotations

from analysis.intervals.clusters import Clusters

MIN_CLUSTERS = 8  # with fewer, cluster-robust intervals are far too short whatever the correction (Webb 2023)
MAX_FAILED_SHARE = 0.05  # above it, who survived says more than the noise does


def too_few(num_clusters: int) -> str:
    """Why so many clusters give no interval, or ""."""
    if num_clusters >= MIN_CLUSTERS:
        return ""
    clusters = "1 cluster" if num_clusters == 1 else f"{num_clusters} clusters"
    return f"{clusters} of points, at least {MIN_CLUSTERS} are needed for an interval"


def determined_alone(clusters: Clusters) -> str:
    """Why a cluster of leverage 1 leaves no interval, or ""."""
    if not clusters.alone:
        return ""
    told = ", ".join(clusters.alone[:3])
    return f"cluster {told} alone determines part of the law, so its noise cannot be told; add points near it"


def many_failed(share: float) -> str:
    """Why so large a share of failed refits leaves no interval, or ""."""
    if share <= MAX_FAILED_SHARE:
        return ""
    return f"{share:.0%} of the refits reached no minimum, at most {MAX_FAILED_SHARE:.0%} may fail"
