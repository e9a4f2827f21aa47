"""Pictures for the fmnist networks where any will do."""

import numpy as np


def blobs(count: int, seed: int) -> np.ndarray:
    """Smooth blobs of differing place, size and brightness, scaled as the networks were trained: f32 [count, 1, 28, 28]."""
    generator = np.random.default_rng(seed)
    row, column = np.mgrid[0:28, 0:28].astype(np.float32)
    result = []
    for _ in range(count):
        y, x, size, height = generator.uniform([8, 8, 4, 0.5], [20, 20, 10, 1])
        result.append((height * np.exp(-((row - y) ** 2 + (column - x) ** 2) / size**2) - 0.286) / 0.353)
    return np.stack(result).astype(np.float32)[:, None]
