"""Part VI, the command: transfer. How much does a pretrained encoder know about a task it was never trained for?

    python -m finetune.imdb --mode frozen                                  # on runs/bilm: the lecture's recipe
    python -m finetune.imdb --mode frozen --encoder runs/static --labels 500 --out runs/static-500
    python -m finetune.imdb --mode scratch --labels 500 --out runs/scratch-500    # the control: no pretraining
    python -m finetune.imdb --data sample --encoder runs/bilm-tiny --out runs/sample    # seconds, offline
    torchrun --nproc-per-node 2 -m finetune.imdb --mode finetune --out runs/finetuned   # two processes, one model

Reviews in, positive or negative out (lecture 5). The labelled reviews are chosen, a slice of them held out; a frozen
encoder encodes each review once, or the model encodes them again in every epoch; the loop below trains, as much of the
encoder as the mode says; and only then is the test half scored, once.

Around this file: `settings`, `model`, `data`, `run`, `forgetting`, `auxiliary`, `adversarial`.

Read next: `finetune.labelled`.
"""

import math

import numpy as np
import torch
from torch import Tensor

from finetune.imdb.adversarial import adversarial_loss
from finetune.imdb.auxiliary import LMLoss
from finetune.imdb.data import LabelledExamples
from finetune.imdb.model import parameter_groups, unfreeze
from finetune.imdb.settings import Settings
from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.distributed import average_gradients, rank_seed
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.runtime import Stop, derived_seed, generator
from minitransfer.transfer import heads
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.examples import Examples, TokenExamples, classify, fit_standardise, minibatches
from minitransfer.transfer.stopping import EarlyStopping, Outcome, TrainableState, loss_and_accuracy

MAX_GRAD_NORM = 1.0
WARMUP = 0.05  # of all steps
STANDARDISED_BY = 500  # training texts at most, by which the pooled layers of an encoder that learns are standardised


def train(model: Classifier, labelled: LabelledExamples, settings: Settings, run: RunDirectory, stop: Stop,
          lm_loss: LMLoss | None = None) -> Outcome:
    """Train what learns in `model`; it is left with the weights of its lowest validation loss, or its last ones.

    Order and dropout follow from seed, epoch and step alone, so a run that goes on from a saved state ends as if it had
    never been stopped. Of several processes each encodes its share of a batch, and all have the logits, and so the
    loss, of the whole of it.
    lm_loss: what is asked beside the task, for --lm-weight; the losses that are told are those of the task alone.
    Raises: Stopped if asked to stop.
    """
    examples, train_rows = labelled.examples, labelled.train_rows
    optimizer = optim.adamw(parameter_groups(model, settings))
    learning = [p for p in model.parameters() if p.requires_grad]  # in one epoch or another
    trainable = TrainableState(model)
    stopping = EarlyStopping(trainable, settings.patience)
    total = settings.epochs * math.ceil(len(train_rows) / settings.batch_size)
    with Keeper(run, stop, settings, steps=total, total=total, unit="steps", description="training", model=trainable,
                optimizer=optimizer, stopping=stopping) as keeper:
        for epoch in keeper.epochs(settings.epochs):
            if stopping.is_over:
                break
            model.train()
            unfreeze(model.encoder, settings, epoch)
            order = generator(settings.seed, "order", epoch)
            for rows in keeper.steps(minibatches(train_rows, examples.lengths, settings.batch_size, order)):
                torch.manual_seed(derived_seed(settings.seed, "dropout", keeper.step, *rank_seed()))
                optim.set_learning_rate(optimizer, optim.warmup_linear(keeper.step, total, math.ceil(WARMUP * total)))
                loss, objective = losses(model, examples, rows, settings, lm_loss)
                optimizer.zero_grad()
                objective.backward()
                average_gradients(learning)
                norm = optim.clip_gradients(learning, MAX_GRAD_NORM)
                if keeper.may_step(loss.item(), norm):
                    optimizer.step()
                    keeper.add(loss=loss.item() * len(rows), texts=len(rows))
                keeper.done(1, loss=loss.item(), shown=stopping.shown, norm=norm,
                            learning_rate=optimizer.param_groups[0]["lr"])  # the head's
            model.eval()
            if isinstance(examples, TokenExamples):
                fit_standardise(model, examples.texts, train_rows[:: math.ceil(len(train_rows) / STANDARDISED_BY)])
            validate(model, labelled, stopping, keeper, run, optimizer)
    stopping.take_best("begin again with a smaller --learning-rate or --encoder-rate, and another --out")
    model.eval()
    return Outcome(keeper.step, keeper.epoch, keeper.seconds, stopping.best_epoch, stopping.best_loss,
                   stopping.best_accuracy)


def losses(model: Classifier, examples: Examples, rows: np.ndarray, settings: Settings,
           lm_loss: LMLoss | None) -> tuple[Tensor, Tensor]:
    """The loss of the task, in nats, and the objective, which has the auxiliary losses added that the settings ask for.

    Shapes: rows (B,) int64 of `examples` -> two scalars.
    """
    batch, labels = examples.batch(rows), examples.labels[rows].to(model.device)
    objective = loss = heads.cross_entropy(model(batch), labels)
    if lm_loss is not None:
        objective = objective + settings.lm_weight * lm_loss(model, batch)
    if settings.adversarial:
        objective = objective + adversarial_loss(model, batch, labels, settings.adversarial)
    return loss, objective


def validate(model: Classifier, labelled: LabelledExamples, stopping: EarlyStopping, keeper: Keeper,
             run: RunDirectory, optimizer: torch.optim.Optimizer) -> None:
    """Score the validation set, and tell what the epoch has come to. Raises: Stopped if asked to stop."""
    logits = classify(model, labelled.examples, labelled.validation_rows, keeper.save_or_stop)
    loss, accuracy = loss_and_accuracy(logits, labelled.examples.labels[labelled.validation_rows])
    stopping.end_epoch(keeper.epoch + 1, loss, accuracy)
    epoch_loss = keeper.sums.get("loss", 0.0) / max(1, keeper.sums.get("texts", 0))
    row = {"step": keeper.step, "epoch": keeper.epoch + 1, "validation_loss": loss, "validation_accuracy": accuracy,
           "epoch_loss": epoch_loss, "skipped": keeper.skipped, "seconds": keeper.seconds,
           "learning_rate": optimizer.param_groups[0]["lr"]}
    run.log_metrics(row, once=True)  # a run that was killed before its next state comes here twice
