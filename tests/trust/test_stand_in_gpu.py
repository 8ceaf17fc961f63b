"""Every command puts its tensors where a GPU wants them, as far as a machine without one can tell.

The commands run one after another in one folder, each on what those before it have left there.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.utils import backend_registration

from minitransfer.text.sample import articles, reviews

ROOT = Path(__file__).resolve().parents[2]
SET_UP = "_setup_privateuseone_for_python_backend"
TEXT = "--corpus text.txt --preset tiny --epochs 1 --threads 1"
NEW = f"{TEXT} --precision fp32 --warm-start"
LABELS = "--data train.csv test.csv --max-tokens 24 --epochs 1 --threads 1 --precision fp32"
COMMANDS = {
    "pieces": f"pretrain.static {TEXT} --pieces 2000 --out pieces",
    "words": f"pretrain.static {TEXT} --out words",
    "glove": f"pretrain.static {TEXT} --method glove --out glove",
    "bert": f"pretrain.bert {NEW} pieces --out bert",
    "bert by other flags": f"pretrain.bert {NEW} pieces --dropout 0.1 --optimizer muon --average-weights 0.5 "
                           "--whole-words --mask-probability-end 0.1 --out bert2",
    "gpt": f"pretrain.gpt {NEW} pieces --softmax full --dropout 0.1 --out gpt",
    "gpt, sampled softmax": f"pretrain.gpt {NEW} pieces --softmax sampled --out gpt2",
    "bilm": f"pretrain.bilm {NEW} words --out bilm",
    "bilm that goes on": f"pretrain.bilm {TEXT} --precision fp32 --init-from bilm --softmax-optimizer adamw "
                         "--out bilm2",
    "bilm whose character CNN learns": f"pretrain.bilm {NEW} none --out bilm3",
    "student": f"pretrain.distil bert {TEXT} --precision fp32 --out student",
    "frozen bilm": f"finetune.imdb --mode frozen --encoder bilm {LABELS} --pool concat --out frozen-bilm",
    "frozen bert, BiLSTM head": f"finetune.imdb --mode frozen --head bilstm --encoder bert {LABELS} --out frozen-bert",
    "fine-tuned words": f"finetune.imdb --mode finetune --encoder words {LABELS} --out tuned-words",
    "fine-tuned bilm": f"finetune.imdb --mode gradual --encoder bilm {LABELS} --out tuned-bilm",
    "fine-tuned bert": f"finetune.imdb --mode finetune --head cls --encoder bert {LABELS} --adversarial 0.1 "
                       "--out tuned-bert",
    "fine-tuned gpt": f"finetune.imdb --mode finetune --head last --encoder gpt {LABELS} --lm-weight 0.5 "
                      "--measure-forgetting --out tuned-gpt",
    "bilm with both losses": f"finetune.imdb --mode finetune --encoder bilm {LABELS} --lm-weight 0.5 "
                             "--measure-forgetting --out both-bilm",
    "from scratch": f"finetune.imdb --mode scratch --encoder bert {LABELS} --out scratch",
    "prompt": "finetune.prompt bert --data sample --reviews 20 --threads 1",
    "prompt of a gpt, examples": "finetune.prompt gpt --data sample --reviews 20 --examples 2 --threads 1",
    "prompt that learns": "finetune.prompt bert --data sample --reviews 20 --labels 10 --epochs 1 --threads 1",
    "predict": "finetune.predict tuned-bert --words film",
    "average": "finetune.average tuned-bert tuned-gpt --out average",
    "inspect, agreement": "pretrain.inspect bert gpt bilm --agreement",
    "inspect, writing": "pretrain.inspect gpt --write film --length 5",
}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(backend_registration, SET_UP),
                                                   reason="this torch has no devices written in Python")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a little text, and reviews of two classes."""
    path = tmp_path_factory.mktemp("gpu")
    labelled, asked, unlabelled = reviews()
    texts = [*articles()[0][:20], *(text for text, _ in labelled[:30]), *unlabelled[:30]]
    (path / "text.txt").write_text("\n".join(texts))
    for name, rows in (("train", labelled[:30]), ("test", asked[:12])):
        with open(path / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    return path


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    """`python -m` these in a folder."""
    return subprocess.run([sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs_where_tensors_of_two_devices_are_refused(name, folder):
    done = run("tests.helpers.stand_in_gpu", *COMMANDS[name].split(), folder=folder)
    assert done.returncode == 0, done.stderr


def test_a_bert_learns_the_same_there(folder):
    done = run("pretrain.bert", *NEW.split(), "pieces", "--device", "cpu", "--out", "bert-cpu", folder=folder)
    assert done.returncode == 0, done.stderr
    here, there = (load_file(folder / name / "model.safetensors") for name in ("bert-cpu", "bert"))
    assert here.keys() == there.keys()
    assert all(here[name].allclose(there[name], atol=1e-4) for name in here)  # attention is written out in other ways


@pytest.mark.parametrize("line, why", [
    ("torch.ones(3, device='gpu') + torch.ones(3)", "same device"),
    ("torch.ones(3)[torch.tensor([0], device='gpu')]", "same device"),
    ("torch.nn.Linear(2, 3).to('gpu')(torch.ones(1, 2))", "same device"),
    ("torch.rand(3, generator=torch.Generator(), device='gpu')", "generator"),
    ("torch.ones(3, device='gpu').numpy()", "numpy"),
])
def test_it_refuses_what_cuda_refuses(line, why, folder):
    program = ("import torch\nfrom tests.helpers.stand_in_gpu import *\n"
               f"with Watch(), AtTheDoor():\n    {line}\n")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and why in done.stderr.splitlines()[-1]
