"""Error against steps of every sampler on every schedule where the answer is known; advice held against it."""
