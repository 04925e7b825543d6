"""The sending side of a call: capture, face crop, encode, link."""

import os

# Before NumPy is loaded: its OpenBLAS keeps a thread for every core, and after each product that was large enough to be
# shared those spin for some 80 ms. On two cores that is three frames' time in which the other end cannot run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
