"""Parts II to V, the command: look into runs. What is in a word, a gap, a mix of layers, a training?

    python -m pretrain.inspect runs/bilm --word bank                     # one word in many sentences (lecture 2.2)
    python -m pretrain.inspect runs/bert --fill "the film was [MASK] ."  # what is thought to be missing
    python -m pretrain.inspect runs/frozen-500 --mix                     # which layers a task reads (lecture 2.4)
    python -m pretrain.inspect --curves runs/bilm runs/bilm-imdb         # how they got there

Nothing is trained, and nothing is written but a picture, if matplotlib is there to draw one.

Read next: `pretrain.inspect.occurrences`, the first of the files around this one.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.apparatus.options import Parser, directory_name, non_negative_int, one_line, positive_int
from minitransfer.text import CORPORA
from minitransfer.text.cleaning import clean_text
from minitransfer.text.words import tokenize

if TYPE_CHECKING:  # torch takes seconds to import: a mistyped flag should not have to wait for it
    import torch

MODES = ("word", "fill", "mix", "curves")
ONLY_WORD = ("layer", "occurrences", "corpus", "data_dir", "offline")
MOST_RUNS = 7  # as many colours as can be told apart
MOST_OCCURRENCES = 2_000  # all pairs of them are compared
OCCURRENCES = 200
GUESSES = 10

DESCRIPTION = """Look into finished runs: a word in many sentences, a gap in a text, a mix of layers, a training.

examples:
  python -m pretrain.inspect runs/bilm --word bank
  python -m pretrain.inspect runs/bert --word bank --layer 2 --corpus wikitext-2 imdb --out bank.png
  python -m pretrain.inspect runs/bert --fill "the film was [MASK] ."
  python -m pretrain.inspect runs/frozen-500 --mix
  python -m pretrain.inspect --curves runs/bilm runs/bilm-imdb

prints to stdout; --word, --mix and --curves also draw a picture, which needs `pip install -e ".[plot]"`
on 2 cores: --word some 20 seconds with IMDB, which must be read; all else a few seconds"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m pretrain.inspect", description=DESCRIPTION)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=directory_name,
                        help="the directory of a run; several for --curves")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--word", metavar="WORD",
                      help="compare the occurrences of a word, as a pretrain.bilm or bert run reads them")
    what.add_argument("--fill", metavar="TEXT", help="guess each [MASK] in a text, by a pretrain.bert run")
    what.add_argument("--mix", action="store_true", help="show how a finetune.imdb run weighs the encoder's layers")
    what.add_argument("--curves", action="store_true",
                      help="draw loss, perplexity, accuracy and learning rate of runs, finished or not; a biLM's "
                           "training loss is of its sampled softmax, so its perplexity is not e to that power")
    group = parser.add_argument_group("for --word")
    group.add_argument("--layer", metavar="K", type=non_negative_int,
                       help="the layer to compare occurrences by; 0 is below all context (default: the uppermost)")
    group.add_argument("--occurrences", metavar="N", type=positive_int,
                       help=f"lines with the word to look at, at most (default: {OCCURRENCES})")
    group.add_argument("--corpus", metavar="NAME", nargs="+", choices=CORPORA,
                       help=f"text to find them in, what is held out first: of {', '.join(CORPORA[1:])} (default: what "
                            "the run was trained on)")
    group.add_argument("--data-dir", metavar="DIR", type=directory_name,
                       help="where corpora are, or are downloaded to (default: $MINITRANSFER_DATA, else ./data)")
    group.add_argument("--offline", action="store_true", default=None,  # None: whether it was given at all
                       help="never download; say what is missing instead")
    parser.add_argument("--out", metavar="FILE", type=directory_name,
                        help="the picture to write, or write anew: a .png (default: runs/inspect-RUN-….png)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto",
                        help="where to compute; auto takes a CUDA GPU if there is one")
    parser.add_argument("--threads", metavar="N", type=positive_int, help="CPU threads (default: all cores)")
    return parser


def check(arguments: argparse.Namespace) -> None:
    """Fill in defaults. Raises: UsageError for flags that contradict each other, or ask for nothing possible."""
    mode = next(f"--{name}" for name in MODES if getattr(arguments, name) not in (None, False))
    most = MOST_RUNS if mode == "--curves" else 1
    if len(arguments.runs) > most:
        what = f"{mode} looks into {most} run{'s' * (most > 1)} at most, and {len(arguments.runs)} are given"
        raise UsageError(what, "give fewer")
    given = [name for name in ONLY_WORD if getattr(arguments, name) is not None]
    if given and mode != "--word":
        raise UsageError(f"--{given[0].replace('_', '-')} has no meaning with {mode}", "leave it out, or use --word")
    if mode == "--word":
        check_word(arguments)
    if mode == "--fill" and "[MASK]" not in arguments.fill:
        raise UsageError("--fill: there is no [MASK] in the text", "write [MASK] for what is to be guessed")
    if mode == "--fill" and arguments.out is not None:
        raise UsageError("--out has no meaning with --fill, which draws no picture", "leave it out")
    if arguments.out is not None and Path(arguments.out).suffix.lower() != ".png":
        raise UsageError(f"--out {arguments.out[:300]} does not end in .png", "name a file that does")


def check_word(arguments: argparse.Namespace) -> None:
    """Bring --word into the form that words of a corpus have. Raises: UsageError if it is not a single one."""
    word = clean_text(arguments.word, Counter())
    tokens = tokenize(word)
    if len(tokens) != 1:
        found = f"{len(tokens)} words to an encoder: {', '.join(tokens[:5])}" if tokens else "no word"
        raise UsageError(f"--word {one_line(word[:40])!r} is {found}", "give a single one")
    arguments.word = tokens[0]
    arguments.occurrences = arguments.occurrences or OCCURRENCES
    if not 2 <= arguments.occurrences <= MOST_OCCURRENCES:
        what = f"--occurrences {arguments.occurrences} is outside 2 to {MOST_OCCURRENCES:,}"
        raise UsageError(what, "choose a number among these")


def picture(arguments: argparse.Namespace, name: str) -> Path | None:
    """Where the picture will be, its folder made; None, with a word on why, if there will be none."""
    from minitransfer.apparatus.figures import INSTALL, can_draw
    from minitransfer.apparatus.progress import say
    from pretrain.inspect.pictures import make_room

    if not can_draw():
        say(f"no picture: matplotlib is not installed; to have one: {INSTALL}")
        return None
    run = Path(arguments.runs[0]).absolute().name
    name = "-".join(re.sub(r"\W+", "-", part).strip("-")[:40] or "x" for part in ("inspect", run, name))
    path = Path(arguments.out or f"runs/{name}.png")
    make_room(path)
    return path


def machine(arguments: argparse.Namespace) -> torch.device:
    """The device to compute on, once threads are set."""
    from minitransfer.apparatus.runtime import choose_device, set_threads

    set_threads(arguments.threads)
    return choose_device(arguments.device)


def look_at_word(arguments: argparse.Namespace) -> None:
    """Find a word in a corpus, read the lines around it, and tell what becomes of it in each."""
    from minitransfer.apparatus.checkpoint import load_run
    from minitransfer.transfer.loading import load_encoder
    from pretrain.inspect import words as showing
    from pretrain.inspect.occurrences import read, windows_of

    device, word, run = machine(arguments), arguments.word, load_run(arguments.runs[0])
    showing.check_kind(run)
    encoder = load_encoder(run, device)
    layer = showing.check_layer(arguments.layer, encoder)
    near = showing.static_neighbours(encoder, word, showing.known_words(run, encoder))
    path = picture(arguments, word)
    occurrences, corpus = showing.find_in_corpus(run, arguments)
    words, others = read(encoder, *windows_of(occurrences, encoder, corpus.marks_unknown))
    chosen, points, shares = showing.choose(words[layer])
    if path is not None:  # before anything is printed: the reader of a pipe may not stay to the end
        title = f"{word} in {len(occurrences):,} lines of {corpus.name}, layer {layer} of {run.path}"
        path = showing.draw(points, shares, chosen, occurrences, path, title)
    print(f"{one_line(word)}: {len(occurrences):,} lines of {len({o.document for o in occurrences}):,} documents of "
          f"{corpus.name}, read by {run.path}")
    showing.tell_layers(words, others, word)
    showing.tell_static(near)
    showing.tell_nearest(words[layer], occurrences, chosen, layer)
    showing.tell_picture(path)


def look_at_gaps(arguments: argparse.Namespace) -> None:
    """Say what a BERT would put for each [MASK] in a text."""
    from minitransfer.apparatus.checkpoint import load_run
    from minitransfer.apparatus.progress import say
    from pretrain.inspect.filling import ask, guesses, load_masked_lm

    device = machine(arguments)
    model, encoder = load_masked_lm(load_run(arguments.runs[0], "bert"), device)
    question = ask(arguments.fill, encoder.wordpiece, encoder.max_tokens)
    if question.unknown:
        say(f"warning: words of the text that the pieces of this run cannot spell: {question.unknown}")
    for number, of_mask in enumerate(guesses(model, question, GUESSES), start=1):
        print(f"[MASK] {number} of {len(question.masks)}")
        for token_id, p in of_mask:
            print(f"  {p:.3f}  {one_line(encoder.wordpiece.pieces[token_id])}")


def look_at_mix(arguments: argparse.Namespace) -> None:
    """Say how a task weighs the layers of its encoder."""
    from minitransfer.apparatus.checkpoint import load_run
    from minitransfer.transfer.classifier import load_classifier
    from pretrain.inspect.pictures import draw_mix, save
    from pretrain.inspect.words import layer_names, tell_picture

    run = load_run(arguments.runs[0], "transfer")
    mix = load_classifier(run, machine(arguments)).mix
    if mix is None:
        what = f"{run.path} reads the last layer alone, as every run with --head cls: it has no mix"
        raise CheckpointError(what, "give a run with --head mean or bilstm")
    path = picture(arguments, "mix")
    weights, gamma = mix.weights().tolist(), mix.gamma.item()
    names = layer_names(run.config["encoder"]["kind"], len(weights))
    for name, s in reversed(list(zip(names, weights))):
        print(f"  {name:<24} {s:.3f}  {'#' * round(40 * s)}")
    print(f"each s_k of γ Σ_k s_k h_k, which sum to one; γ = {gamma:.3f}")
    if path is not None:
        save(draw_mix(names, weights, f"how {run.path} mixes its layers, γ = {gamma:.2f}"), path)
    tell_picture(path)


def look_at_curves(arguments: argparse.Namespace) -> None:
    """Draw how runs went, and say where each of them is."""
    from pretrain.inspect.pictures import draw_curves, require_matplotlib, save

    require_matplotlib()  # before torch is imported, and anything read

    from pretrain.inspect.curves import common_axis, drawn, read_history
    from pretrain.inspect.words import tell_history, tell_picture

    histories = [read_history(run) for run in arguments.runs]
    path, axis = picture(arguments, "curves"), common_axis(histories)
    for history in histories:
        tell_history(history)
    names = [f"{history.name} ({history.kind})" for history in histories]
    save(draw_curves(drawn(histories, axis), names, axis), path)
    tell_picture(path)


def main(arguments: argparse.Namespace) -> None:
    """Look into what the flags name."""
    check(arguments)
    if arguments.word is not None:
        look_at_word(arguments)
    elif arguments.fill is not None:
        look_at_gaps(arguments)
    elif arguments.mix:
        look_at_mix(arguments)
    else:
        look_at_curves(arguments)
