"""Benchmark: how fast does BERT train, and what is it worth to work out nothing that is not asked for?

    pip install transformers                   # optional: adds the row of its BertForMaskedLM
    python -m tests.benchmarks.bert            # some minutes
    python -m tests.benchmarks.bert --quick    # seconds, to see that it works

Steps of masked language modelling on made-up text, of the network of preset `small`: 4 layers, 256 wide, 16 rows of 128
tokens, a vocabulary of 16,000, dropout 0.1. Only masked pieces are asked for: so ours decodes only these, and in the
last layer, once every token has been looked at, goes on with only these; and it works out the gradient of the loss as
softmax less what was right. The rows below do without the last of these, then without the second, then without all.
That of transformers is its network as it comes, dropout on attention weights included, with the same optimiser. All of
them multiply in bfloat16 where the machine is made for it, and then one more row is ours in float32.

Next: time_to_loss.py, what the steps teach.
"""

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.distributed import average_gradients
from minitransfer.apparatus.optim import adamw, clip_gradients, weight_decay_groups
from minitransfer.apparatus.runtime import (
    autocast,
    choose_precision,
    peak_memory_gib,
    set_threads,
)
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX, PROBABILITY, mask_tokens
from minitransfer.text.wordpiece import SPECIAL_PIECES
from minitransfer.text.words import SPECIAL_WORDS
from pretrain.bert.settings import PRESETS
from pretrain.bert.train import MAX_GRAD_NORM
from pretrain.settings import WEIGHT_DECAY
from tests.benchmarks.synthetic import zipf_stream
from tests.benchmarks.timing import (
    MATRIX,
    flags,
    matrix_product,
    print_table,
    seconds,
    share_of_matrix_rate,
    speed_up,
    take_turns,
)

OURS, TORCHS, THEIRS = "ours", "torch's cross-entropy", "transformers"
LAST, EVERY = "and the last layer in full", "and every token decoded"
FLOAT32 = "ours, in float32"
Loss = Callable[[Tensor, Tensor, torch.Generator], Tensor]  # (inputs, labels, generator of dropout) -> scalar


def training_flop(config: BertConfig, T: int, looked: float = 1.0, decoded: float = 1.0) -> float:
    """One token in training: 3 · (L (8 D² + 4 T D + 4 D I) − (1 − looked) (2 D² + 4 D I) + decoded · 2 D (D + V)).

    `looked`: share of tokens whose state the last layer finishes; `decoded`: share that the head is asked about. 3,
    because the way back costs twice the way forward. Matrix products only, a sum and a product counted as two.
    """
    D, I, V = config.hidden_size, config.intermediate_size, config.vocab_size  # noqa: E741
    blocks = config.num_layers * (8 * D**2 + 4 * T * D + 4 * D * I) - (1 - looked) * (2 * D**2 + 4 * D * I)
    return 3 * (blocks + decoded * 2 * D * (D + V))


def make_rows(V: int, B: int, T: int) -> Tensor:
    """Rows of made-up pieces, none of them a special one: (B, T) int64."""
    more = len(SPECIAL_PIECES) - len(SPECIAL_WORDS)  # zipf_stream knows of the special words only
    return torch.from_numpy(zipf_stream(V - more, B * T, np.random.default_rng(0)) + more).long().view(B, T)


def loss_by_torch(model: MaskedLM) -> Loss:
    """The loss of our network, by torch's cross-entropy."""

    def loss(inputs: Tensor, labels: Tensor, noise: torch.Generator) -> Tensor:
        return F.cross_entropy(*model.decode(inputs, labels, generator=noise))

    return loss


def loss_with_last_layer_in_full(model: MaskedLM) -> Loss:
    """The loss of our network, decoding masked tokens alone."""

    def loss(inputs: Tensor, labels: Tensor, noise: torch.Generator) -> Tensor:
        asked = labels.flatten() != IGNORE_INDEX
        return F.cross_entropy(model.logits(model.bert.layers(inputs, generator=noise)[-1].flatten(0, 1)[asked]),
                               labels.flatten()[asked])

    return loss


def loss_of_everything_decoded(model: MaskedLM) -> Loss:
    """The loss of our network as it would first be written: logits of all tokens, most of which are then ignored."""

    def loss(inputs: Tensor, labels: Tensor, noise: torch.Generator) -> Tensor:
        logits = model.logits(model.bert.layers(inputs, generator=noise)[-1])
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX)

    return loss


def their_model(config: BertConfig, name: str = "BertForMaskedLM") -> torch.nn.Module | None:
    """The class of this name there, of the same sizes, in training; None if transformers is not installed."""
    try:
        import transformers
    except ImportError:
        return None
    shape = transformers.BertConfig(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size, num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads, intermediate_size=config.intermediate_size,
        max_position_embeddings=config.max_positions)
    return getattr(transformers, name)(shape).train()


def make_step(model: torch.nn.Module, loss: Loss, rows: Tensor, V: int, learning_rate: float,
              precision: str) -> Callable[[], None]:
    """A job: one step as in the loop of `pretrain.bert`, with a loss to choose."""
    optimizer = adamw(weight_decay_groups(model, learning_rate, WEIGHT_DECAY))

    def step():
        inputs, labels = mask_tokens(rows, torch.Generator().manual_seed(0), vocab_size=V)
        with autocast(rows.device, precision):
            found = loss(inputs, labels, torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        found.backward()
        average_gradients(model.parameters())
        clip_gradients(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()

    return step


def ways(config: BertConfig, rows: Tensor, learning_rate: float,
         precision: str) -> dict[str, tuple[Callable[[], None], float]]:
    """Of each way: a step, and the FLOP it owes to each token."""
    T, p, V = rows.shape[1], PROBABILITY, config.vocab_size
    models = [MaskedLM(config) for _ in range(5)]
    losses = {
        OURS: (models[0], lambda *batch: models[0].loss(*batch[:2], generator=batch[2]), (p, p)),
        TORCHS: (models[1], loss_by_torch(models[1]), (p, p)),
        LAST: (models[2], loss_with_last_layer_in_full(models[2]), (1, p)),
        EVERY: (models[3], loss_of_everything_decoded(models[3]), (1, 1)),
    }
    if precision != "fp32":
        losses[FLOAT32] = (models[4], lambda *batch: models[4].loss(*batch[:2], generator=batch[2]), (p, p))
    theirs = their_model(config)
    if theirs is not None:
        losses[THEIRS] = (theirs, lambda *batch: theirs(input_ids=batch[0], labels=batch[1]).loss, (1, 1))
    return {name: (make_step(model, loss, rows, V, learning_rate, "fp32" if name == FLOAT32 else precision),
                   training_flop(config, T, *shares)) for name, (model, loss, shares) in losses.items()}


def main(args) -> None:
    """Time a step each way, in turns, and print the table."""
    threads, sizes = set_threads(args.threads), PRESETS["small"] | {"seq_length": 128, "batch_size": 16, "dropout": 0.1}
    if args.quick:
        sizes = PRESETS["tiny"] | {"vocab_size": 300, "seq_length": 16}
    names = ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "dropout")
    config = BertConfig(**{name: sizes[name] for name in names})
    torch.manual_seed(0)
    rows = make_rows(config.vocab_size, sizes["batch_size"], sizes["seq_length"])
    precision = choose_precision(args.precision, rows.device, config.hidden_size)
    product, matrix_flop = matrix_product(256 if args.quick else 2048, precision)
    compared, tokens, table = ways(config, rows, sizes["learning_rate"], precision), rows.numel(), []
    compared[OURS][0]()
    memory = peak_memory_gib()  # before the other ways, which take more
    times = take_turns({MATRIX: product} | {name: step for name, (step, _) in compared.items()}, args.rounds)
    for name, (_, flop) in compared.items():
        beside_theirs = [f"{speed_up(times, name, THEIRS):.2f}"] if THEIRS in compared else []
        table.append([name, f"{tokens / seconds(times, name):,.0f}", f"{speed_up(times, name, EVERY):.2f}",
                      *beside_theirs, f"{flop / 1e6:.1f}",
                      f"{share_of_matrix_rate(times, name, flop * tokens, matrix_flop):.0%}"])
    beside = ["× transformers"] if THEIRS in compared else []
    print_table(["one training step", "tokens/s", "× every token", *beside, "MFLOP/token", "of matrix rate"], table)
    if not beside:
        print("transformers is not installed: `pip install transformers` adds its row")
    print(f"{threads} threads, {precision}, {tokens:,} tokens a step in rows of {rows.shape[1]}, "
          f"{config.vocab_size:,} pieces; matrix rate {matrix_flop / seconds(times, MATRIX) / 1e9:.0f} GFLOP/s; "
          f"peak memory {memory:.1f} GiB after a step of ours, {peak_memory_gib():.1f} GiB after all")


if __name__ == "__main__":
    sys.exit(run_command(main, flags("tests.benchmarks.bert", __doc__)))
