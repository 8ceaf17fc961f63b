"""One thread for the tests: their tensors are small, and threads that wait for one another only spin."""

import torch

torch.set_num_threads(1)
