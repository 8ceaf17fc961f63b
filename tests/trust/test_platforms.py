"""Claims about other systems than Linux, as far as Linux can play them: what Windows lacks is taken away.

An interpreter first imports the libraries, whose business their own platforms are, then loses every module and name
that Windows does not have, and only then meets this project.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for part in ("minitransfer", "pretrain", "finetune") for path in sorted((ROOT / part).rglob("*.py"))}
MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix")
NAMES = {
    "os": ("fork", "forkpty", "register_at_fork", "wait", "killpg", "setsid", "nice", "getuid", "geteuid", "getpgid",
           "uname", "sysconf", "statvfs", "sched_getaffinity", "mkfifo", "chown", "fchown", "pread", "pwrite", "sync",
           "fdatasync", "posix_fadvise", "posix_fallocate", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"),
    "signal": ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGQUIT", "SIGTSTP", "SIGCHLD",
               "alarm", "setitimer", "pthread_sigmask", "sigwait", "pause"),
}
OF_FILELOCK = ("O_NONBLOCK", "geteuid")  # by which filelock takes its locks here, and has others for Windows
WITHOUT = f"""
import importlib, os, signal, sys
import filelock, numpy, safetensors.torch, tokenizers, torch, tqdm
for name in {MODULES!r}:
    sys.modules[name] = None
for module, names in {NAMES!r}.items():
    for name in set(names) - set({OF_FILELOCK!r}):
        delattr(sys.modules[module], name)
"""


def run_without(code: str, *arguments: str) -> str:
    """What a program prints where the modules and names are taken away."""
    done = subprocess.run([sys.executable, "-c", WITHOUT + code, *arguments], cwd=ROOT, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_can_be_imported():
    assert {"minitransfer", "pretrain.bilm.__main__", "finetune.predict"} <= OURS.keys()
    program = "for name in sys.argv[1:]: importlib.import_module(name)\nprint('all')"
    assert run_without(program, *OURS) == "all\n"


def test_a_run_is_locked_logged_saved_and_gone_on_with(tmp_path):
    program = """
from pathlib import Path
from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.runtime import Stop, interruptible
path = Path(sys.argv[1])
with RunDirectory.create(path, {"kind": "bilm"}, resume=False) as run, Stop() as stop:
    for step in (1, 2):
        run.log_metrics({"step": step})
    run.save_state(2, {"model": {"w": torch.ones(3)}})
    try:
        RunDirectory.create(path, {"kind": "bilm"}, resume=True)
    except UsageError as refusal:
        print(f"in use by process {os.getpid()} on " in str(refusal))
    signal.raise_signal(signal.SIGTERM)
    print(stop.requested == signal.SIGTERM)
with interruptible(), RunDirectory.create(path, {"kind": "bilm"}, resume=True) as run:
    print(run.load_state()["step"], run.read_metrics())
"""
    told = run_without(program, str(tmp_path / "run")).splitlines()
    assert told == ["True", "True", "2 [{'step': 1}, {'step': 2}]"]


@pytest.mark.parametrize("module", NAMES)
def test_no_line_uses_a_name_that_windows_lacks(module):
    """Only as a string, for getattr: also in functions that no test calls without these names."""
    used = [(name, node.lineno, node.attr) for name, path in OURS.items()
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            and node.value.id == module and node.attr in NAMES[module]]
    assert used == []
