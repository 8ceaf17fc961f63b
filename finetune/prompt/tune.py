"""Part VI, prompting: tuning. What do a few labels bring to a network that has an answer already?

**Pattern-exploiting training** (PET; Schick and Schütze 2021, section 3.1) keeps the question. Network and head learn
to give the word of the right class y rather than that of the other,

    L = −log (exp(z_{w_y}) / (exp(z_{w⁺}) + exp(z_{w⁻}))),   z the logits in the gap, as `word_logits` gives them

so that a label need only move what pretraining has taught, where the head at [CLS] of `finetune.imdb` begins at zero.

Dropout is as it was in pretraining: none by the preset `small`.

Differs: Schick and Schütze tune a network for each template, with a masked-LM loss beside, and have them label more
text, which a last classifier learns from. Here one network learns, by one template and pair, from the labels alone.

Read next: `minitransfer.bert.distillation`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from finetune.prompt.settings import Settings
from minitransfer.apparatus import optim
from minitransfer.apparatus.progress import Progress
from minitransfer.apparatus.runtime import generator
from minitransfer.bert.encoder import MaskedLM
from minitransfer.transfer.examples import minibatches
from minitransfer.transfer.heads import cross_entropy
from minitransfer.transfer.labels import split_validation
from minitransfer.transfer.prompts import scores, word_logits
from minitransfer.transfer.stopping import EarlyStopping, TrainableState, loss_and_accuracy

MAX_GRAD_NORM, WARMUP, WEIGHT_DECAY = 1.0, 0.05, 0.01  # as in `finetune.imdb`; dropout, batch and epochs are not
PATIENCE = 4  # epochs without a lower validation loss


def tune(model: MaskedLM, questions: Sequence[np.ndarray], labels: np.ndarray, pair: Sequence[int],
         settings: Settings, precision: str) -> dict[str, Any]:
    """Train the whole network; it is left with the weights of its lowest validation loss. Returns what came of it.

    A slice of the questions, by `split_validation`, is not learned from: it tells when to stop.
    Shapes: questions int64 (T_i,) each; labels (n,) int64 of 0, negative, and 1; pair (2,) token ids, the positive word
    first.
    Raises: NumericsError if no epoch ends with a finite loss, or five steps in a row have none; UsageError if a class
    has fewer than two reviews.
    """
    train_rows, validation_rows = split_validation(np.arange(len(labels)), labels, settings.seed)
    device, lengths, y = model.bias.device, np.array(list(map(len, questions))), torch.from_numpy(labels)
    words = torch.tensor(pair[::-1], device=device)  # in the order of the classes
    model.requires_grad_(True)
    optimizer = optim.adamw(optim.weight_decay_groups(model, settings.learning_rate, WEIGHT_DECAY))
    stopping, step = EarlyStopping(TrainableState(model), PATIENCE), 0
    guard = optim.FiniteGuard(fix="use a smaller --learning-rate")
    total = settings.epochs * math.ceil(len(train_rows) / settings.batch_size)
    with Progress(total, "steps", description="tuning") as progress:
        for epoch in range(settings.epochs):
            for rows in minibatches(train_rows, lengths, settings.batch_size, generator(settings.seed, "order", epoch)):
                optim.set_learning_rate(optimizer, optim.warmup_linear(step, total, math.ceil(WARMUP * total)))
                noise = generator(settings.seed, "dropout", step, device=device)
                z = word_logits(model, [questions[i] for i in rows], words, precision, noise)
                loss = cross_entropy(z, y[rows].to(device))
                optimizer.zero_grad()
                loss.backward()
                if guard.ok(loss.item(), optim.clip_gradients(model.parameters(), MAX_GRAD_NORM)):
                    optimizer.step()
                step += 1
                progress.advance(1, loss=loss.item(), **stopping.shown)
            s = scores(model, [questions[i] for i in validation_rows], [pair], precision)
            logits = torch.cat([-s, s], dim=1) / 2  # they have the softmax of the pair's own logits
            stopping.end_epoch(epoch + 1, *loss_and_accuracy(logits, y[validation_rows]))
            if stopping.is_over:
                break
    stopping.take_best("use a smaller --learning-rate")
    return {"epochs": stopping.best_epoch, "epochs_run": epoch + 1, "validation_loss": stopping.best_loss,
            "validation_accuracy": stopping.best_accuracy}
