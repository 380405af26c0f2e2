"""Every test process computes on one thread: as many processes as cores run side by side."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
