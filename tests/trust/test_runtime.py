"""Claims about the machine: seeds that depend on their parts alone, stopping by signal, and progress that lasts.

Signals are sent to real processes, terminals are real pseudo-terminals, and pipes really lose their readers.
"""

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from minitransfer.apparatus import progress, runtime
from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import Stopped, UsageError
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.options import Parser

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str, **settings) -> subprocess.CompletedProcess:
    """Run a program in a new Python that can import this project."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, **settings)


def test_progress_needs_no_torch():
    done = run_python(
        "import sys; from minitransfer.apparatus.progress import Progress;"
        "Progress(3, 'steps', description='x').close();"
        "print({'torch', 'numpy', 'tqdm'} & sys.modules.keys())"
    )
    assert done.stdout == "set()\n"


def test_asking_for_an_absent_gpu_is_refused_and_auto_does_without(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.choose_device("auto") == runtime.choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="--device cuda.*Fix: use --device cpu"):
        runtime.choose_device("cuda")


def test_auto_takes_a_gpu_that_is_there_unless_the_cpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.choose_device("auto").type == runtime.choose_device("cuda").type == "cuda"
    assert runtime.choose_device("cpu").type == "cpu"


def test_threads_are_set_and_absurd_counts_are_refused():
    before = torch.get_num_threads()
    try:
        assert runtime.set_threads(None) == before
        assert runtime.set_threads(1) == torch.get_num_threads() == 1
        with pytest.raises(UsageError, match="--threads 1000000"):
            runtime.set_threads(1_000_000)
    finally:
        torch.set_num_threads(before)


def test_a_derived_seed_is_the_first_63_bits_of_the_hash_of_its_parts():
    bits = "".join(f"{byte:08b}" for byte in hashlib.sha256(b'[5, "masks", 17]').digest())
    assert runtime.derived_seed(5, "masks", 17) == int(bits[:63], 2)


def test_a_derived_seed_is_the_same_in_another_process_with_another_hash_seed():
    code = "from minitransfer.apparatus import runtime; print(runtime.derived_seed(3, 'Übung', -4))"
    printed = run_python(code, env={**os.environ, "PYTHONHASHSEED": "77"}).stdout
    assert int(printed) == runtime.derived_seed(3, "Übung", -4)


def test_parts_that_look_alike_give_other_seeds():
    parts = [(), (1,), ("1",), (1, 2), (12,), ("1, 2",), ("1", "2"), (2, 1), ("a", "b"), ("ab",), ("", "ab"), (-1,)]
    assert len({runtime.derived_seed(*p) for p in parts}) == len(parts)


def test_whole_numbers_of_any_type_are_parts_and_fractions_are_not():
    assert runtime.derived_seed(np.int64(7), torch.tensor(8)) == runtime.derived_seed(7, 8)
    with pytest.raises(TypeError):
        runtime.derived_seed(0.5)


def test_a_generator_draws_by_its_parts_and_not_by_what_was_drawn_before():
    first = torch.rand(5, generator=runtime.generator(0, "order", 1))
    torch.rand(11)
    assert torch.equal(torch.rand(5, generator=runtime.generator(0, "order", 1)), first)
    assert not torch.equal(torch.rand(5, generator=runtime.generator(0, "order", 2)), first)


LOOP = """
import sys, time
from minitransfer.apparatus.runtime import Stop
with Stop() as stop:
    print("ready", flush=True)
    for step in range(2_000):
        time.sleep(0.01)
        if stop.requested and {grants}:
            print("saved", flush=True)
            sys.exit(128 + stop.requested)
"""


def signalled(*numbers: int, grants: bool = True, before=None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a training loop that these signals are sent to, one after the other."""
    process = subprocess.Popen([sys.executable, "-u", "-c", LOOP.format(grants=grants)], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=before)
    told = process.stdout.readline()
    process.send_signal(numbers[0])
    if not grants:
        while "stopping after this step" not in process.stderr.readline():
            pass  # two signals at once may arrive as one, so the first must have been noted before the second is sent
    for number in numbers[1:]:
        process.send_signal(number)
    out, err = process.communicate(timeout=20)
    return process.returncode, told + out, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_lets_the_step_finish_and_the_state_be_saved(number, code):
    # The tests themselves may run under nohup, or in the background, and their children would ignore what they do.
    returned, out, err = signalled(number, before=lambda: signal.signal(number, signal.SIG_DFL))
    assert (returned, out) == (code, "ready\nsaved\n")
    assert "stopping after this step" in err


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_first_request_stops_at_once(first):
    returned, out, err = signalled(first, signal.SIGINT, grants=False)
    assert "saved" not in out and "KeyboardInterrupt" in err
    assert returned in (130, -signal.SIGINT)


def test_under_nohup_a_hang_up_stops_nothing():
    returned, out, _ = signalled(signal.SIGHUP, signal.SIGTERM,
                                 before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert (returned, out) == (143, "ready\nsaved\n")


def test_a_repeated_request_to_terminate_keeps_waiting_for_the_save():
    with runtime.Stop() as stop:
        assert stop.requested is None
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested == signal.SIGTERM
        with pytest.raises(Stopped, check=lambda end: end.signal == signal.SIGTERM):
            stop.check()


def test_the_handlers_from_before_come_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(ZeroDivisionError), runtime.Stop():
        assert [signal.getsignal(number) for number in numbers] != before
        1 // 0  # noqa: B018
    assert [signal.getsignal(number) for number in numbers] == before


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    monkeypatch.setattr(progress, "time", clock := Clock())
    return clock


def test_off_a_terminal_lines_tell_count_percent_rate_and_time_left(capsys, clock):
    bar = progress.Progress(2000, "steps", description="bilm", log_every=10)
    for step in range(50):
        clock.now += 0.25
        bar.advance(1, loss=4.21 - step, lr=1e-3)
    lines = capsys.readouterr().err.splitlines()
    # After 10 s 40 steps are done, 4 a second; the other 1,960 take 490 s, about 8 minutes.
    assert lines == ["bilm: 40/2,000 steps (2 %), 4 steps/s, 8 min left, loss=-34.79, lr=0.001"]


def test_closing_tells_the_last_count_once(capsys, clock):
    with progress.Progress(3, "batches", description="frozen pass", log_every=10) as bar:
        clock.now += 2
        bar.advance(3)
    bar.close()
    assert capsys.readouterr().err == "frozen pass: 3/3 batches (100 %), 1.5 batches/s, 0 s left\n"


def test_a_resumed_run_counts_what_was_done_before_but_not_in_its_rate(capsys, clock):
    bar = progress.Progress(100, "steps", description="bert", log_every=1, done=90)
    clock.now += 5
    bar.advance(5)
    assert capsys.readouterr().err == "bert: 95/100 steps (95 %), 1 steps/s, 5 s left\n"


@pytest.mark.parametrize("total", [0, 1])
def test_work_that_is_empty_or_overrun_divides_by_nothing(capsys, clock, total):
    bar = progress.Progress(total, "steps", description="x", log_every=0.1)
    clock.now += 1
    bar.advance(0)
    bar.advance(7)
    bar.close()


def test_of_several_processes_only_the_first_speaks(capsys, clock, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    progress.say("alone, whatever RANK is")
    assert "alone" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    bar = progress.Progress(5, "steps", description="x", log_every=0.1)
    clock.now += 1
    bar.advance(5)
    progress.say("hello")
    assert capsys.readouterr().err == ""


def test_a_torch_that_is_too_old_is_refused_before_anything_is_computed(monkeypatch):
    for version, fine in [("2.9.1+cpu", False), ("1.13.1", False), ("2.10.0", True), ("3.0.0.dev2", True)]:
        monkeypatch.setattr(torch, "__version__", version)
        if fine:
            assert runtime.choose_device("cpu").type == "cpu"
        else:
            with pytest.raises(UsageError, match=f"torch 2.10 or newer is needed, and this is {re.escape(version)}"):
                runtime.choose_device("auto")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_where_there_is_nothing_to_save_a_signal_ends_the_work_at_once_and_says_how_to_go_on(capsys, number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def read(arguments):
        with runtime.interruptible():
            os.kill(os.getpid(), number)
            time.sleep(5)

    assert run_command(read, Parser(prog="python -m finetune.imdb"), []) == 128 + number
    told = capsys.readouterr().err
    assert "to go on: python -m finetune.imdb --resume" in told and "Traceback" not in told
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_the_loss_that_progress_shows_is_the_mean_per_unit_over_the_last_steps(tmp_path, capsys):
    """A last batch of one row, with a loss far from the others', is a single row among many."""
    losses, units = [float(n) for n in range(25)] + [100.0], [6] * 25 + [1]
    config, settings = {"kind": "static"}, SimpleNamespace(save_every=1e9, log_every=1e9)
    with RunDirectory.create(tmp_path / "run", config, resume=False) as run, runtime.Stop() as stop:
        with Keeper(run, stop, settings, steps=26, total=151, unit="rows", description="x") as keeper:
            for step, n in zip(keeper.steps(losses), units):
                keeper.done(n, loss=step)
    expected = (6 * sum(range(6, 25)) + 100) / (6 * 19 + 1)
    assert f"loss={expected:.4g}" in capsys.readouterr().err
    logged = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert logged == losses


WORK = """
import sys
from minitransfer.apparatus.progress import Progress, say
bar = Progress(500, "steps", description="bilm", log_every=1e-9)
for step in range(500):
    bar.advance(1, loss=2.5)
    say("noted") if step % 100 == 0 else None
bar.close()
print("trained")
"""


def test_a_pipe_without_reader_silences_the_run_but_does_not_end_it():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, timeout=30)
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"trained\n")


def test_a_closed_stderr_does_not_end_the_run():
    shell = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, WORK]
    done = subprocess.run(shell, cwd=ROOT, stdout=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"trained\n")


@pytest.mark.parametrize("columns", [100, 0])
def test_a_terminal_with_room_shows_a_bar_and_one_without_shows_lines(columns):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, columns))
    shown = []

    def read():
        try:
            while data := os.read(ours, 4096):
                shown.append(data)
        except OSError:  # the other end was closed
            pass

    reading = threading.Thread(target=read)
    reading.start()
    done = subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, timeout=30)
    os.close(theirs)
    reading.join(timeout=10)
    os.close(ours)
    text = b"".join(shown).decode()
    assert done.stdout == b"trained\n"
    assert text.count("noted\r\n") == 5
    assert bool(re.search(r"\rbilm: 100%.*\| 500/500 .*loss=2\.5", text)) == (columns > 0)
    assert bool(re.search(r"\nbilm: 500/500 steps \(100 %\), .*, loss=2\.5\r\n", text)) == (columns == 0)


def test_a_terminal_that_goes_away_does_not_end_the_run():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    waiting = WORK.replace("for step in range(500):", "for step in range(500):\n    sys.stdin.readline()")
    process = subprocess.Popen([sys.executable, "-c", waiting], cwd=ROOT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    process.stdin.write(b"go\n")
    process.stdin.flush()
    assert b"bilm" in os.read(ours, 4096)  # the bar is there …
    os.close(ours)  # … and from here on, writing to its terminal fails
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"trained\n")


def test_the_environment_names_what_exact_numbers_depend_on():
    found = runtime.environment()
    assert found["torch"] == str(torch.__version__) and found["numpy"] == np.__version__
    assert found["threads"] == torch.get_num_threads() and found["python"] == sys.version.split()[0]
    assert set(found) == {"python", "torch", "numpy", "processes", "threads", "machine"}


def test_peak_memory_grows_by_what_is_held():
    before = runtime.peak_memory_gib()
    held = bytearray(os.urandom(2**16)) * 2**11  # 128 MiB, touched
    assert 0.01 < before < runtime.peak_memory_gib() < before + 1
    assert len(held) == 2**27


def test_peak_memory_is_this_program_s_own_and_not_that_of_the_one_that_started_it():
    held = bytearray(b"x") * (900 * 2**20)  # torch alone takes some 200 MiB
    program = "from minitransfer.apparatus.runtime import peak_memory_gib; print(peak_memory_gib())"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0.005 < float(told.stdout) < 0.6 and len(held) / 2**30 > 0.85


def test_where_the_system_tells_no_peak_memory_it_is_not_a_number(monkeypatch):
    def refuse(*arguments, **settings):
        raise FileNotFoundError

    monkeypatch.setattr(runtime, "open", refuse, raising=False)  # as where there is no /proc
    assert 0.01 < runtime.peak_memory_gib() < 1000
    monkeypatch.setattr(runtime, "resource", None)
    assert np.isnan(runtime.peak_memory_gib())
