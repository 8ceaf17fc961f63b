"""Kills every training command at random moments and at each stage of a save, and compares what comes of it.

    python -m tests.harness                          # 50 kills of each command
    python -m tests.harness --kills 200 --only finetune-gradual --out harness.txt

A command runs once without being stopped, in an interpreter of its own. Then it runs again, is killed (SIGKILL), goes
on with --resume in a new process, is killed again, and so on to its end; and again from the beginning, until it was
killed as often as asked. At each end weights, metrics and results are compared with those of the run that was never
stopped: weights bit for bit, the rest but for what it says of time. A line per command tells how it went; the exit
code is 1 if anything differs, or a process ended in another way than it should.

Half of the deaths come after a random time; the others at a call that a save depends on (fsync, rename, replacing or
deleting a file, some with half of the file written), amid a row of metrics, or while the trained weights are saved.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "helpers"))

from launcher import launch, make_small  # noqa: E402

STAGES = 20  # calls of a process that resumes and saves once: its test file, the metrics it cuts, and the state
LAST_STAGES = 22  # calls from the first file of a finished run to the last
LAUNCHER = Path(__file__).parent / "helpers" / "launcher.py"
TRANSFER = ("--data", "sample", "--labels", "24", "--batch-size", "7")

# Each command: its module, its flags; {encoders} is where `make_encoders` has put some.
COMMANDS = {
    "static": ("pretrain.static", "--corpus", "sample", "--preset", "tiny"),
    "glove": ("pretrain.static", "--corpus", "sample", "--preset", "tiny", "--method", "glove"),
    "bilm": ("pretrain.bilm", "--corpus", "sample", "--preset", "tiny", "--warm-start", "{encoders}/vectors"),
    "bert": ("pretrain.bert", "--corpus", "sample", "--preset", "tiny"),
    "gpt": ("pretrain.gpt", "--corpus", "sample", "--preset", "tiny", "--softmax", "sampled"),
    "distil": ("pretrain.distil", "{encoders}/bert", "--corpus", "sample", "--preset", "tiny"),
    "frozen": ("finetune.imdb", *TRANSFER, "--encoder", "{encoders}/bilm", "--epochs", "4"),
    "finetune": ("finetune.imdb", *TRANSFER, "--encoder", "{encoders}/bilm", "--mode", "finetune", "--epochs", "2"),
    "gradual": ("finetune.imdb", *TRANSFER, "--encoder", "{encoders}/bilm", "--mode", "gradual", "--epochs", "4"),
    "cls": ("finetune.imdb", *TRANSFER, "--encoder", "{encoders}/bert", "--mode", "finetune", "--head", "cls",
            "--epochs", "2"),
    "last": ("finetune.imdb", *TRANSFER, "--encoder", "{encoders}/gpt", "--mode", "finetune", "--head", "last",
             "--lm-weight", "0.5", "--epochs", "2"),
    "bag": ("finetune.bag", "--data", "sample", "--labels", "40", "--strengths", "10", "1", "0.3"),
    "compare": ("finetune.compare", "--data", "sample", "--labels", "12", "--seeds", "3", "--modes", "frozen",
                "--encoders", "{encoders}/oracle", "{encoders}/bilm", "--epochs", "2", "--no-plots"),
}


def make_encoders(path: Path) -> None:
    """Pretraining runs to begin with."""
    import torch
    from encoder_runs import WORDS, make_bert, make_bilm, make_gpt, make_oracle, make_static

    make_bilm(path / "bilm"), make_bert(path / "bert"), make_gpt(path / "gpt"), make_oracle(path / "oracle")
    make_static(path / "vectors", WORDS, torch.rand(len(WORDS), 12, generator=torch.Generator().manual_seed(1)))


def flags_of(name: str, encoders: Path) -> list[str]:
    """All flags of a command; rows are logged at every step, states saved every few."""
    log_every = "1e-9" if COMMANDS[name][0].startswith("pretrain") else "1000"
    every = [] if name == "bag" else ["--save-every", "0.02", "--log-every", log_every]  # a bag saves only its end
    asked = [flag.format(encoders=encoders) for flag in COMMANDS[name][1:]]
    return [*asked, "--offline", "--out", "out", *every]


def begin_whole(name: str, encoders: Path, folder: Path) -> subprocess.Popen:
    """Begin the run that will not be stopped; its interpreter hashes strings in another way than ours."""
    folder.mkdir()
    with open(folder / "log.txt", "wb") as log:
        return subprocess.Popen([sys.executable, LAUNCHER, "{}", COMMANDS[name][0], *flags_of(name, encoders)],
                                cwd=folder, stdout=log, stderr=log)


def run(name: str, encoders: Path, folder: Path, fatal: dict) -> int:
    """Run a command in a process of its own, which goes on with what is there; returns its exit code, or −9."""
    found = "results.jsonl" if name == "compare" else "config.json"
    flags = flags_of(name, encoders) + ["--resume"] * (folder / "out" / found).is_file()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        with contextlib.suppress(BaseException), open(folder / "log.txt", "ab", buffering=0) as log:
            os.chdir(folder)
            os.dup2(log.fileno(), 1), os.dup2(log.fileno(), 2)
            code = launch(COMMANDS[name][0], flags, fatal)
        os._exit(code)
    return ended(child, time.monotonic() + fatal["seconds"] if fatal.get("kind") == "time" else None)


def ended(child: int, deadline: float | None) -> int:
    """Wait for a process, which is killed when its time has come; returns its exit code, or −9."""
    while deadline is not None and time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    if deadline is not None:
        os.kill(child, signal.SIGKILL)  # not yet waited for, so the number is still its own
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def draw_death(rng: random.Random, i: int, seconds: float) -> dict:
    """The i-th death: every other one after a random time, the rest at the stages of a save in turn."""
    if i % 2:
        return {"kind": "time", "seconds": rng.uniform(0, seconds)}
    i //= 2
    if i % 4 == 3:
        return {"kind": "row", "calls": rng.randrange(4)}
    if i % 4 == 1:
        return {"kind": "end", "calls": rng.randrange(LAST_STAGES), "cut": rng.random() < 0.3}
    return {"kind": "save", "calls": (i // 2 * 7 + 9) % STAGES, "cut": rng.random() < 0.3}


def traces(path: Path) -> dict:
    """What a command has left in each of its run directories, without what it says of time."""
    found = {}
    for file in sorted(path.rglob("*")):
        told = str(file.relative_to(path))
        if file.name in ("config.json", "results.json", "complete.json"):
            found[told] = timeless(json.loads(file.read_text()))
        elif file.name in ("metrics.jsonl", "results.jsonl"):
            found[told] = [timeless(json.loads(line)) for line in file.read_text().splitlines()]
        elif file.name in ("model.safetensors", "logits.safetensors", "vocab.txt", "tokenizer.json", "ngrams.txt"):
            found[told] = file.read_bytes()
    return found


def timeless(value: dict) -> dict:
    """A JSON object without its seconds."""
    return {name: entry for name, entry in value.items() if "seconds" not in name}


def compare(whole: Path, cut: Path) -> list[str]:
    """What differs between two runs, and what the second alone has complained of."""
    first, second = traces(whole / "out"), traces(cut / "out")
    problems = [f"{name} differs" for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
    usual = {nameless(line, whole) for line in (whole / "log.txt").read_text().splitlines()}
    lines = [line for line in (cut / "log.txt").read_text().splitlines() if nameless(line, cut) not in usual]
    return sorted(problems) + [line for line in lines if line.startswith(("warning:", "error:", "Traceback"))]


def nameless(line: str, folder: Path) -> str:
    """A line of a log without the name of the folder that it tells of."""
    return line.replace(str(folder), "")


def torment(name: str, kills: int, seed: int, folder: Path, encoders: Path) -> tuple[str, bool]:
    """Kill a command until it has died `kills` times; returns what is to be said of it, and whether all was equal."""
    rng, seconds = random.Random(f"{seed} {name}"), 1.0
    whole = begin_whole(name, encoders, folder / "whole")
    died, ends, problems = 0, [], []
    while died < kills and not problems or not ends:
        cut = folder / f"cut-{len(ends)}"
        cut.mkdir()
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            begun = time.monotonic()
            code = run(name, encoders, cut, draw_death(rng, died, seconds) if died < kills else {})
            died += code == -signal.SIGKILL
        seconds = min(max(0.3, time.monotonic() - begun), 5.0)  # roughly what a run takes; a machine may be busy
        ends.append(cut)
        problems += [f"ended with {code}"] if code else []
    if whole.wait():
        log = (folder / "whole" / "log.txt").read_text()
        problems.append(f"not stopped, it ended with {whole.returncode}: {log[-900:]}")
    for cut in ends:
        problems += [f"{cut.name}: {problem}" for problem in compare(folder / "whole", cut)]
    equal = "equal" if not problems else "NOT EQUAL: " + "; ".join(problems[:6])
    return f"{name}: {died} kills survived in {len(ends)} runs, {died} resumes, {equal}", not problems


def harness(names: list[str], kills: int, seed: int, folder: Path, out) -> bool:
    """Torment these commands one after the other; returns whether all ended as if never stopped."""
    make_encoders(folder / "encoders")
    make_small()
    all_equal = True
    for name in names:
        (folder / name).mkdir()
        line, equal = torment(name, kills, seed, folder / name, folder / "encoders")
        print(line, file=out, flush=True)
        all_equal &= equal
        if equal:
            shutil.rmtree(folder / name)
    return all_equal


def main() -> int:
    """Read the flags; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--seed", type=int, default=0, help="decides when they come")
    parser.add_argument("--only", choices=COMMANDS, help="one command")
    parser.add_argument("--out", metavar="FILE", help="where to write the lines (default: stdout)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="harness-"))
    with open(arguments.out, "w") if arguments.out else contextlib.nullcontext(sys.stdout) as out:
        names = [arguments.only] if arguments.only else list(COMMANDS)
        equal = harness(names, arguments.kills, arguments.seed, folder, out)
    shutil.rmtree(folder) if equal else print(f"what differs is in {folder}", file=sys.stderr)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
