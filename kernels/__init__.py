"""Arrays in, samples out: the network's step, slow and obvious, and fast."""
