"""Claims about docs/format.md: its program reads a biLM, and it leaves out no file and no tensor of a run."""

import re

import numpy as np
import pytest
import torch
from encoder_runs import make_bilm, save_run
from huggingface_folders import (
    CPU,
    ROOT,
    make_classifier,
    make_others,
    make_runs,
    stirred,
)

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.transfer.loading import load_encoder

FORMAT = ROOT / "docs" / "format.md"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


def test_the_program_in_the_description_of_the_format_reads_a_bilm(tmp_path):
    program = re.search("```python\n(.*?)```", FORMAT.read_text("utf-8"), re.DOTALL)[1]
    names = {}
    exec(program, names)
    make_bilm(tmp_path / "new")
    whole = load_run(tmp_path / "new")
    tensors = stirred(whole.tensors)
    tensors["charcnn.chars.weight"][0] = 0  # as training leaves it
    save_run(tmp_path / "run", whole.config, tensors, whole.files)
    words = ["the", "ça", "unbelievableness-of-it-all", "film", "."]
    encoder = load_encoder(load_run(tmp_path / "run"), CPU)
    expected = encoder.encode(encoder.token_table(words)[None], torch.ones(1, 5, dtype=torch.bool))[:, 0]
    assert np.allclose(names["layers"](tmp_path / "run", words), expected.detach().numpy(), atol=1e-5)


def test_the_description_of_the_format_names_every_tensor_and_file(runs, tmp_path):
    described = FORMAT.read_text("utf-8")
    make_others(tmp_path, runs / "bert")
    make_classifier(tmp_path / "bilstm", runs / "bert", head="bilstm", pool="mean")
    made = [runs / "bert", runs / "classifier", *(tmp_path / name for name in ("bilm", "static", "mean", "bilstm"))]
    for path in made:
        for name in load_run(path).tensors:
            if not name.startswith("encoder."):
                general = re.sub(r"\.\d+\.", ".{i}.", name).replace("backward_stack", "forward_stack")
                assert f"`{general}`" in described
        for entry in path.iterdir():
            assert f"`{entry.name}`" in described
