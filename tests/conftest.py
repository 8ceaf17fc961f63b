"""One thread for the tests and the commands they start: their tensors are small, and waiting threads only spin."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and inherited by child processes

import torch  # noqa: E402

torch.set_num_threads(1)
