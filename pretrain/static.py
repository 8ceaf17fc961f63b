"""Part II, the command: train static word vectors by skip-gram.

    python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny      # seconds, offline
    python -m pretrain.static --corpus wikitext-2 imdb --out runs/static                # about 3 minutes on 2 cores

Read next: `minitransfer.elmo.charcnn`.
"""

import argparse
import sys
import time

from minitransfer.apparatus.options import Parser, add_shared, positive_float, positive_int, run_command
from minitransfer.text.corpora import CORPORA

PRESETS = {
    "tiny": dict(hidden_size=64, window=8, epochs=10, learning_rate=0.2, min_count=2),
    "small": dict(hidden_size=256, window=8, epochs=3, learning_rate=0.15, min_count=5),
    "base": dict(hidden_size=512, window=8, epochs=5, learning_rate=0.15, min_count=5),
}


def parser() -> Parser:
    """The flags of this command."""
    p = Parser(prog="python -m pretrain.static", description=__doc__)
    p.add_argument("--corpus", nargs="+", choices=CORPORA, default=["auto"], help="text to learn from, one or several")
    p.add_argument("--preset", choices=PRESETS, default="small",
                   help="tiny: 64 wide, seconds on the sample; small: 256 wide, about 20 seconds on WikiText-2, 3 minutes "
                        "with IMDB; base: 512 wide (2 cores)")
    p.add_argument("--hidden-size", type=positive_int, metavar="N", help="width of a vector (default: by preset)")
    p.add_argument("--window", type=positive_int, metavar="N", help="words looked at to each side (default: by preset)")
    p.add_argument("--epochs", type=positive_int, metavar="N", help="passes over the text (default: by preset)")
    p.add_argument("--learning-rate", type=positive_float, metavar="RATE", help="first AdaGrad rate (default: by preset)")
    p.add_argument("--min-count", type=positive_int, metavar="N", help="rarer words get no vector (default: by preset)")
    add_shared(p, out="runs/static")
    return p


def main(args: argparse.Namespace) -> int | None:
    """Train, save, and show the neighbours of a few words."""
    from minitransfer.apparatus.checkpoint import RunDirectory
    from minitransfer.apparatus.runtime import Stop, environment, generator, say, set_threads
    from minitransfer.static.skipgram import SkipGram, SkipGramConfig, neighbours_of
    from pretrain.text import read_corpus, resume_command, settings

    chosen = settings(args, PRESETS)
    threads = set_threads(args.threads)
    corpus, facts = read_corpus(args)
    stream, counts, vocabulary = count_words(corpus, chosen["min_count"])
    config = SkipGramConfig(hidden_size=chosen["hidden_size"], window=chosen["window"])
    model = SkipGram(counts, config, generator(args.seed, "initial vectors"))
    say(f"{len(stream):,} running words, {len(vocabulary):,} different ones, {threads} threads, {args.out}")
    settings_ = {"kind": "static", "model": {"hidden_size": config.hidden_size}, "training": chosen, "corpus": facts,
                 "preset": args.preset, "seed": args.seed, "environment": environment()}
    with RunDirectory.create(args.out, settings_, resume=args.resume) as run, Stop() as stop:
        if run.completed:
            say(f"already complete (step {run.completed['step']}): {args.out}")
            return 0
        started = time.monotonic()
        if (step := train(model, stream, counts, args, chosen, run, stop)) is None:
            say(f"stopped and saved; to go on: {resume_command('pretrain.static')}")
            return stop.exit_code
        run.save_model(model.tensors(counts), {"vocab.txt": "\n".join(vocabulary.words) + "\n"})
        run.mark_complete(step, {"seconds": round(time.monotonic() - started, 1)})
    for word in ("good", "bad", "bank", "river"):
        if word in vocabulary.ids:
            near = neighbours_of(model.vectors, vocabulary.ids[word], 6)
            say(f"  nearest to {word}: " + ", ".join(vocabulary.words[i] for i in near))
    say(f"vectors are in {args.out}. Next: python -m pretrain.bilm --warm-start {args.out}")


def train(model, stream, counts, args, chosen, run, stop) -> int | None:
    """Run skip-gram over the stream; returns the number of steps taken, or None if asked to stop before the end."""
    import torch

    from minitransfer.apparatus.runtime import Progress, generator
    from minitransfer.static.skipgram import thin_out
    from pretrain.text import Clock

    T, B = model.config.block_size, model.config.blocks_per_step
    epochs, save_clock, log_clock = chosen["epochs"], Clock(args.save_every), Clock(args.log_every)
    state = run.load_state() or {"step": 0, "epoch": 0, "in_epoch": 0}
    if state["step"]:
        model.load(state["model"])
        run.truncate_metrics(state["step"])
    step, first = state["step"], state["in_epoch"]
    with Progress(epochs * len(stream), "words", description="static", log_every=args.log_every) as progress:
        for epoch in range(state["epoch"], epochs):
            # Where the blocks are cut, and their order, change from epoch to epoch, and follow from the seed alone.
            thinned = thin_out(stream, counts, model.config.subsample, generator(args.seed, "thin", epoch))
            blocks = torch.from_numpy(thinned[: len(thinned) // T * T].reshape(-1, T)).long()
            blocks = blocks[torch.randperm(len(blocks), generator=generator(args.seed, "order", epoch))].split(B)
            words_per_block = len(stream) / max(1, len(blocks))
            for i in range(first, len(blocks)):
                draw = generator(args.seed, "step", step)
                reach = torch.randint(1, model.config.window + 1, blocks[i].shape, generator=draw)
                done = (epoch + i / len(blocks)) / epochs
                rate = chosen["learning_rate"] * max(1 - done, 0.05)
                loss = model.step(blocks[i], reach, model.draw_negatives(draw), rate)
                step += 1
                progress.advance(int(words_per_block), loss=loss)
                if log_clock.due():
                    run.log_metrics({"step": step, "epoch": epoch, "loss": loss, "learning_rate": rate})
                if stop.requested or save_clock.due():
                    run.save_state(step, {"model": model.state(), "epoch": epoch, "in_epoch": i + 1})
                    if stop.requested:
                        return None
            first = 0
    return step


def count_words(corpus, min_count: int):
    """Turn a corpus into the stream of the words frequent enough: (stream int32, counts int64, vocabulary)."""
    import numpy as np

    from minitransfer.apparatus.errors import DataError
    from minitransfer.text.words import EOS_WORD, Vocabulary, token_stream

    lines = [[w for w in line if w != EOS_WORD] for line in token_stream(corpus.train, corpus.marks_unknown)]
    everything = Vocabulary.from_tokens(lines)
    stream = everything.encode(lines)
    counts = np.bincount(stream, minlength=len(everything))
    kept = int((counts[3:] >= min_count).sum()) + 3  # ranked by count, so the frequent ones stand in front
    stream = stream[(stream >= 3) & (stream < kept)]
    if len(stream) < 64:
        raise DataError(f"corpus {corpus.name} has {len(stream)} words that occur {min_count} times, 64 are the least",
                        "give more text, or a smaller --min-count")
    counts[:3] = 0
    return stream, counts[:kept], everything.head(kept)


if __name__ == "__main__":
    sys.exit(run_command(main, parser()))
