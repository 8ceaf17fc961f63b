"""Small runs of pretrain.bert and pretrain.gpt for tests: sizes odd and unequal, runs to begin with made by hand,
processes that die.

As a script it runs the command and lets it send itself a signal at a certain step:

    python tests/helpers/bert_runs.py bert 17 SIGKILL --out …
"""

import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from encoder_runs import save_run  # noqa: E402
from pretrain_runs import flags_for, signal_at  # noqa: E402

from minitransfer.apparatus.commands import run_command  # noqa: E402
from minitransfer.bert.encoder import BertConfig, MaskedLM  # noqa: E402
from minitransfer.text.wordpiece import WordPiece, train_wordpiece  # noqa: E402
from pretrain.bert import run as bert  # noqa: E402
from pretrain.gpt import run as gpt  # noqa: E402

SHAPE = dict(hidden_size=12, num_layers=2, num_heads=3, intermediate_size=17, max_positions=31, vocab_size=151,
             seq_length=23, epochs=2, batch_size=7, learning_rate=5e-3, dropout=0.2)
PRESET = {**SHAPE, "mask_probability": 0.15}  # of BERT
PRESETS = {"bert": PRESET, "gpt": {**SHAPE, "softmax": "full", "negatives": 37}}
COMMANDS = {"bert": bert, "gpt": gpt}
TEXTS = ["the film was worth watching , and watching again", "nobody watches what was not worth a film"]


def pretrain(data_dir: Path, out: Path, *more: str, command: str = "bert") -> int:
    """Run a command in this process, `--preset tiny` meaning the sizes above; returns its exit code."""
    module = COMMANDS[command]
    before, module.Settings.presets["tiny"] = module.Settings.presets["tiny"], PRESETS[command]
    try:
        return run_command(module.main, module.Settings, flags_for(command, data_dir, out, *more))
    finally:
        module.Settings.presets["tiny"] = before


def die_at(step: int, name: str, data_dir: Path, out: Path, *more: str,
           command: str = "bert") -> subprocess.CompletedProcess:
    """Run a command in a process of its own, which sends itself a signal at this step."""
    argv = [sys.executable, __file__, command, str(step), name, *flags_for(command, data_dir, out, *more)]
    patient = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait do not spin
    return subprocess.run(argv, capture_output=True, text=True, timeout=100, env=patient)


def make_tokenizer(vocab_size: int = 60) -> WordPiece:
    return train_wordpiece(TEXTS, vocab_size)


def make_bert(path: Path, **changes) -> Path:
    """A BERT that has learnt nothing; `changes` replace its "model", "tensors" or "tokenizer"."""
    tokenizer = make_tokenizer()
    shape = BertConfig(tokenizer.vocab_size, hidden_size=10, num_layers=1, num_heads=5, intermediate_size=9,
                       max_positions=27)
    torch.manual_seed(0)
    parts = {"model": asdict(shape), "tensors": MaskedLM(shape).state_dict(), "tokenizer": tokenizer.to_json()}
    parts |= changes
    config = {"kind": "bert", "corpus": {"name": "by hand"}, "model": parts["model"]}
    return save_run(path, config, parts["tensors"], {"tokenizer.json": parts["tokenizer"]})


def make_static_pieces(path: Path, hidden_size: int = 12, **changes) -> Path:
    """Static vectors of pieces, some of which never occurred; `changes` replace a part, as above, or the "unit"."""
    tokenizer, draw = make_tokenizer(), torch.Generator().manual_seed(2)
    counts = torch.randint(0, 4, (tokenizer.vocab_size,), generator=draw)
    counts[:5] = 0
    vectors = 3 * torch.randn(tokenizer.vocab_size, hidden_size, generator=draw) + 1
    parts = {"tensors": {"vectors": vectors, "contexts": vectors, "counts": counts}, "tokenizer": tokenizer.to_json(),
             "unit": "pieces"} | changes
    config = {"kind": "static", "model": {"hidden_size": hidden_size}, "corpus": {"name": "by hand"}}
    return save_run(path, config | {"unit": parts["unit"]}, parts["tensors"], {"tokenizer.json": parts["tokenizer"]})


if __name__ == "__main__":
    asked, count, signal_name, *rest = sys.argv[1:]
    COMMANDS[asked].Settings.presets["tiny"] = PRESETS[asked]
    signal_at(asked, int(count), getattr(signal, signal_name))
    sys.exit(run_command(COMMANDS[asked].main, COMMANDS[asked].Settings, rest))
