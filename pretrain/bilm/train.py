"""Part III, the command: train the bidirectional language model. What does a text teach whoever must predict it?

    python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny      # seconds, offline
    python -m pretrain.bilm --corpus sample --preset tiny --warm-start runs/static-tiny --out runs/bilm-tiny
    python -m pretrain.bilm --warm-start runs/static                                    # WikiText-2, half an hour
    python -m pretrain.bilm --corpus imdb --init-from runs/bilm --epochs 1 --out runs/bilm-imdb
    torchrun --nproc-per-node 2 -m pretrain.bilm --warm-start runs/static               # two processes, one model

Three stages, of which only the second is required: the character CNN learns to spell the static vectors (--warm-start);
the LSTM stacks learn to predict words, in the loop below; both go on with the text of the task (--init-from).

Read next: `minitransfer.bert.masking`, Part IV. Around this file: `pretrain.bilm.text`, `pretrain.bilm.spelling`,
`pretrain.bilm.start`.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import (
    Parser,
    add_precision,
    add_shared,
    directory_name,
    non_negative_int,
    positive_float,
    positive_int,
    probability,
)
from pretrain.shared import (
    add_corpus_and_preset,
    already_complete,
    check_out,
    next_command,
    read_corpus,
    take_preset,
)

if TYPE_CHECKING:  # torch takes seconds to import: a mistyped flag should not have to wait for it
    from minitransfer.apparatus.checkpoint import RunDirectory
    from minitransfer.apparatus.runtime import SideBySide, Stop
    from minitransfer.elmo.bilm import BiLM
    from pretrain.bilm.text import Reader, Text

FILTERS = ((2, 512), (3, 1024), (4, 1536), (5, 2048), (6, 2048), (7, 1024))  # (width in bytes, how many)
PRESETS = {
    # Chosen for its time, and by cosine with the static vectors and perplexity of the sample's held-out text: the
    # sample's labelled reviews cannot choose, since what transfer must bring is in none of those to train on.
    "tiny": dict(hidden_size=64, projection_size=32, filters=((2, 64), (3, 256), (4, 512), (5, 768), (6, 448)),
                 vocab_size=5_000, epochs=2, batch_size=16, window=32, negatives=256, learning_rate=8e-3,
                 dropout=0.0),
    "small": dict(hidden_size=256, projection_size=128, filters=FILTERS, vocab_size=50_000, epochs=4, batch_size=32,
                  window=64, negatives=1024, learning_rate=4e-3, dropout=0.1),
    "base": dict(hidden_size=1024, projection_size=256, filters=FILTERS, vocab_size=200_000, epochs=2, batch_size=128,
                 window=64, negatives=8192, learning_rate=2e-3, dropout=0.1),
}
SIZES = ("hidden_size", "projection_size", "filters")
WARMUP_STEPS = 100  # or half of all steps, if these are fewer
MAX_GRAD_NORM = 1.0
MOST_HIGHWAYS = 8
WEIGHT_DECAY = 0.01

DESCRIPTION = """Train a forward and a backward language model over a character CNN: the encoder of ELMo.

examples:
  python -m pretrain.bilm --corpus sample --preset tiny --warm-start runs/static-tiny --out runs/bilm-tiny
  python -m pretrain.bilm --warm-start runs/static
  python -m pretrain.bilm --corpus imdb --init-from runs/bilm --epochs 1 --out runs/bilm-imdb
  torchrun --nproc-per-node 2 -m pretrain.bilm --warm-start runs/static

writes to --out: config.json, model.safetensors (encoder and softmax), vocab.txt, metrics.jsonl, state/
on 2 cores: tiny half a minute on the sample; small half an hour on WikiText-2; base is for a GPU and WikiText-103"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m pretrain.bilm", description=DESCRIPTION)
    add_corpus_and_preset(parser, PRESETS)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--warm-start", metavar="RUN", type=directory_name,
                       help="a pretrain.static run, whose vectors the character CNN first learns to spell")
    start.add_argument("--init-from", metavar="RUN", type=directory_name,
                       help="a pretrain.bilm run, to go on from with new text; its sizes are taken over, all else is "
                            "the preset's")
    parser.add_argument("--charcnn", choices=("auto", "fixed", "learning"), default="auto",
                        help="whether the language model may change the character CNN; auto fixes one that was "
                             "warm-started, and then each word is spelled only once")
    parser.add_argument("--highways", type=non_negative_int, metavar="N", help="highway layers of a new character CNN; "
                        "the paper has 2 (default: 0)")
    parser.add_argument("--softmax", choices=("sampled", "full"), default="sampled",
                        help="sampled: over the target and --negatives drawn words; full: over all of the vocabulary, "
                             "as every perplexity is")
    group = parser.add_argument_group("training (default: by preset)")
    group.add_argument("--epochs", type=positive_int, metavar="N", help="passes over the text")
    group.add_argument("--batch-size", type=positive_int, metavar="N", help="rows of text read side by side")
    group.add_argument("--window", type=positive_int, metavar="N", help="tokens back-propagated through")
    group.add_argument("--learning-rate", type=positive_float, metavar="X", help="of AdamW, at its highest")
    group.add_argument("--dropout", type=probability, metavar="P", help="share of units dropped")
    group.add_argument("--negatives", type=positive_int, metavar="N", help="words drawn for the sampled softmax")
    group.add_argument("--vocab-size", type=positive_int, metavar="N", help="most words the softmax can predict")
    add_precision(parser)
    add_shared(parser, out="runs/bilm")
    return parser


def train(model: BiLM, reader: Reader, text: Text, arguments: argparse.Namespace, run: RunDirectory,
          state: dict | None, stop: Stop, side_by_side: SideBySide) -> int:
    """Train both directions, each on its own windows; returns the number of steps. Raises: Stopped if asked to stop.

    Order, negatives and dropout follow from seed, epoch and step alone, so a run that goes on from a saved state ends
    with the same weights, bit for bit, as one that was never stopped. Several processes cut the same windows and draw
    the same negatives, and each takes its rows.
    """
    from minitransfer.apparatus import optim
    from minitransfer.apparatus.distributed import average, average_gradients, share_of_rows
    from minitransfer.apparatus.keeper import Keeper
    from minitransfer.apparatus.runtime import generator
    from minitransfer.elmo.softmax import draw
    from minitransfer.text.words import PAD_ID
    from pretrain.bilm.both import CarriedStates, Directions
    from pretrain.bilm.text import epoch_windows

    B, T, seed = arguments.batch_size, arguments.window, arguments.training_seed
    model.charcnn.requires_grad_(not reader.fixed)
    optimizer = optim.adamw(optim.weight_decay_groups(model, arguments.learning_rate, WEIGHT_DECAY))
    carried = CarriedStates(B, reader.device)
    both = Directions(model, reader, arguments.softmax == "sampled", seed, arguments.precision, side_by_side)
    row_length = math.ceil(text.num_tokens / B)
    total = math.ceil(row_length / T) * arguments.epochs
    warmup = min(WARMUP_STEPS, math.ceil(total / 2))
    with Keeper(run, state, stop, steps=total, total=B * row_length * arguments.epochs, unit="words",
                description="bilm", save_every=arguments.save_every, log_every=arguments.log_every,
                model=model, optimizer=optimizer, lstm_states=carried) as keeper:
        for epoch in keeper.epochs(arguments.epochs):
            if keeper.in_epoch == 0:
                carried.begin_text()
            for window in keeper.steps(epoch_windows(text, B, T, generator(seed, "order", epoch))):
                inputs, targets = ([share_of_rows(token_ids) for token_ids in pair] for pair in window)
                rate = optim.set_learning_rate(optimizer, optim.warmup_linear(keeper.step, total, warmup))
                negatives = draw(text.log_q, arguments.negatives, generator(seed, "negatives", keeper.step))
                optimizer.zero_grad()
                losses, states = both.back_propagate(inputs, targets, negatives, carried.states, keeper.step)
                num_targets = int((targets[0] != PAD_ID).sum())  # each direction's loss is a mean over so many words
                forward, backward = average(num_targets, *losses)
                average_gradients(model.parameters(), num_targets)
                loss, norm = (forward + backward) / 2, optim.clip_gradients(model.parameters(), MAX_GRAD_NORM)
                if keeper.may_step(loss, norm):
                    optimizer.step()
                    carried.states = states  # else the new ones are no more finite than the loss: the old ones stay
                keeper.done(B * inputs[0].shape[1], loss=loss, loss_forward=forward, loss_backward=backward,
                            learning_rate=rate, norm=norm)
    return keeper.step


def main(arguments: argparse.Namespace) -> int:
    """Prepare text and network, open the run, and hand over to `learn_and_measure`; returns the exit code."""
    training = take_preset(arguments, PRESETS, SIZES)
    check_vocab_size(arguments)
    check_highways(arguments)
    check_out(arguments, "bilm")

    from minitransfer.apparatus.distributed import check_batch_size, of_processes, open_run
    from minitransfer.apparatus.runtime import (
        SideBySide,
        Stop,
        choose_device,
        choose_precision,
        environment,
        say,
        set_threads,
    )
    from pretrain.bilm.spelling import take_up
    from pretrain.bilm.start import ancestry, build, hidden_size, load_origin, stays_fixed, training_seed
    from pretrain.bilm.text import Reader, read_text

    check_batch_size(arguments.batch_size)
    device, threads = choose_device(arguments.device), set_threads(arguments.threads)
    origin = load_origin(arguments)
    fixed = stays_fixed(arguments, origin)
    arguments.training_seed = training_seed(arguments.seed, origin)
    arguments.precision = choose_precision(arguments.precision, device, hidden_size(arguments, origin))
    known = {"kind": "bilm", "precision": arguments.precision, "training": training, "softmax": arguments.softmax,
             "preset": arguments.preset, "seed": arguments.seed, "charcnn": "fixed" if fixed else "learning",
             "origin": ancestry(origin)}
    if already_complete(arguments, known):
        return 0
    corpus, facts = read_corpus(arguments)
    text = read_text(corpus, arguments.vocab_size, arguments.batch_size)
    model = build(arguments, text, origin)
    config = {**known, "model": model.config.to_dict(), "corpus": facts, "environment": environment()}
    all_there_are = " (all there are)" if text.vocab_size < arguments.vocab_size else ""
    say(f"biLM: {sum(p.numel() for p in model.parameters()):,} parameters, character CNN {config['charcnn']}; "
        f"{text.num_tokens:,} tokens, softmax over {text.vocab_size:,} words{all_there_are}; {device}, "
        f"{of_processes(threads)}, {arguments.precision}; {arguments.out}")
    with (open_run(arguments.out, config, resume=arguments.resume) as run, Stop() as stop,
          SideBySide(2, device) as side_by_side):
        state = run.load_state()
        take_up(state, model, origin, arguments, run, stop)
        reader = Reader(model.to(device), text, fixed)
        return learn_and_measure(model, reader, text, arguments, run, state, stop, side_by_side)


def check_vocab_size(arguments: argparse.Namespace) -> None:
    """Raises: UsageError for a --vocab-size that leaves no room for words."""
    from minitransfer.text.words import SPECIAL_WORDS

    special, asked = len(SPECIAL_WORDS), arguments.vocab_size
    if asked <= special:
        what = f"--vocab-size {asked} leaves no room for words: the first {special} are {', '.join(SPECIAL_WORDS)}"
        raise UsageError(what, "ask for some thousands")


def check_highways(arguments: argparse.Namespace) -> None:
    """Fill in how many there are. Raises: UsageError for too many, or where an earlier run brings its own."""
    if (arguments.highways or 0) > MOST_HIGHWAYS:
        raise UsageError(f"--highways {arguments.highways} is too deep", f"use {MOST_HIGHWAYS} or fewer")
    if arguments.init_from and arguments.highways is not None:
        what = f"--highways {arguments.highways} has no meaning where --init-from brings its own character CNN"
        raise UsageError(what, "leave one out")
    arguments.highways = arguments.highways or 0


def learn_and_measure(model: BiLM, reader: Reader, text: Text, arguments: argparse.Namespace, run: RunDirectory,
                      state: dict | None, stop: Stop, side_by_side: SideBySide) -> int:
    """Train, measure perplexity over the full vocabulary, and leave a finished run; returns the exit code.

    The first of several processes measures and writes, while the others wait.
    """
    from minitransfer.apparatus.distributed import is_first, on_first
    from minitransfer.apparatus.runtime import peak_memory_gib, say
    from pretrain.bilm.text import perplexity

    started = time.monotonic()
    step = train(model, reader, text, arguments, run, state, stop, side_by_side)
    metrics = on_first(stop, lambda: perplexity(model, reader, text, side_by_side, lambda: not stop.requested))
    if not is_first():
        return 0
    run.save_model(model.state_dict(), {"vocab.txt": "\n".join(text.predicted_words) + "\n"})
    run.log_metrics({"step": step, **metrics}, once=True)
    run.mark_complete(step, {**metrics, "seconds": round(time.monotonic() - started, 1)})
    say(f"held-out perplexity over all {text.vocab_size:,} words of {run.config['corpus']['name']}, <eos> counted: "
        f"forward {metrics['perplexity_forward']:.1f}, backward {metrics['perplexity_backward']:.1f}; "
        f"{(time.monotonic() - started) / 60:.1f} minutes, at most {peak_memory_gib():.1f} GiB")
    following = next_command(arguments, "finetune.imdb", "--mode", "frozen", "--encoder", arguments.out)
    say(f"the biLM is in {arguments.out}. Next: {following}")
    return 0
