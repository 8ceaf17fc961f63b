"""Classifiers made by hand: runs of them, and models over encoders that tests have made.

None has been trained; of one the answer can be worked out by a formula.
"""

from pathlib import Path

import numpy as np
import torch
from encoder_runs import save_run

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.durable import to_json
from minitransfer.text.sample import reviews
from minitransfer.transfer import examples
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")
MAX_TOKENS = 61


def make_transfer(path: Path, encoder: Path) -> Path:
    """A classifier that has learnt nothing, over an encoder."""
    run = load_run(encoder)
    torch.manual_seed(3)
    model = dict(head="mean", pool="mean-max", head_size=5, dropout=0.1)
    classifier = Classifier(load_encoder(run, CPU), **model)
    config = {"kind": "transfer", "model": model, "classes": ["negative", "positive"], "max_tokens": 33,
              "encoder": run.config}
    return save_run(path, config, classifier.state_dict(), {**run.files, "results.json": to_json({"labels": 40})})


def make_bag(path: Path) -> Path:
    """The weights of a bag of three words."""
    files = {"ngrams.txt": "good\nbad\nvery good\n", "results.json": to_json({"labels": 40})}
    return save_run(path, {"kind": "bag", "labels": 40}, {"weights": torch.arange(3.0), "b": torch.zeros(())}, files)


def classifier(encoders: Path, kind: str, head: str) -> Classifier:
    """A classifier with random weights, standardised by a few reviews: large enough for a word to matter."""
    torch.manual_seed(5)
    encoder = load_encoder(load_run(encoders / kind), CPU)
    model = Classifier(encoder, head=head, pool="mean", head_size=5, dropout=0.3).eval()
    with torch.no_grad():
        for p in model.head.parameters():
            p.normal_(std=0.4)
    some = encoder.tokenise([text for text, _ in reviews()[0][:30]], MAX_TOKENS)
    examples.fit_standardise(model, some, np.arange(30))
    return model


def polarity_classifier(encoders: Path) -> Classifier:
    """The oracle's classifier: z_positive − z_negative = 2 tanh(½ mean_t(v_t)) − 0.5, v_t the polarity of a word."""
    model = classifier(encoders, "oracle", "mean")
    model.standardise.mean.zero_(), model.standardise.std.fill_(1)
    with torch.no_grad():
        for p in model.head.parameters():
            p.zero_()
        model.head.W1.weight[0, 0] = 0.5
        model.head.W2.weight[:, 0] = torch.tensor([-1.0, 1.0])
        model.head.W2.bias[0] = 0.5
    return model
