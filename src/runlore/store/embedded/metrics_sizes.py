"""Sizes that trade one cost of the metric store for another; tests make them small."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is gathered before it is moved on, counted in frames and buckets.

    Attributes:
        pack_frames: a writer's tail is packed when it has as many.
        block_frames: a block has at most as many.
        small_frames: a writer's last block is joined with what comes until it has as many.
        raise_frames: blocks of a running writer go into towers when they have as many together.
        finest_level: no level has buckets of fewer than 2**finest_level steps.
        long_points: a tower of as many points has no level with more than a 32nd of them.
        leaf_buckets: a leaf of a tower has at most as many.
        top_buckets: a level with more of them gets another one above it.
    """

    pack_frames: int = 4096
    block_frames: int = 8192
    small_frames: int = 1024
    raise_frames: int = 8192
    finest_level: int = 4
    long_points: int = 65_536
    leaf_buckets: int = 512
    top_buckets: int = 128
