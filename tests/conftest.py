"""One thread for the tests and the commands they start: their tensors are small, and waiting threads only spin.

And signals as in a terminal: what is started in the background, or by nohup, is told to ignore some, and so would all
commands be that the tests stop by them.
"""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and inherited by child processes

import torch  # noqa: E402

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
