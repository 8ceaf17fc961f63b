"""Part III, the command: train the bidirectional language model.

    python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny      # seconds, offline
    python -m pretrain.bilm --corpus sample --preset tiny --warm-start runs/static-tiny --out runs/bilm-tiny
    python -m pretrain.bilm --warm-start runs/static                                    # WikiText-2, half an hour
    python -m pretrain.bilm --corpus imdb --init-from runs/bilm --epochs 1 --out runs/bilm-imdb

Three stages, each optional but the second: the character CNN learns to spell the static vectors (--warm-start); the
LSTM stacks learn to foretell words; both go on with the text of the task (--init-from).

Read next: `finetune.imdb`.
"""

import argparse
import sys
import time

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import (
    Parser,
    add_shared,
    directory_name,
    positive_float,
    positive_int,
    probability,
    run_command,
)
from minitransfer.text.corpora import CORPORA

PRESETS = {
    "tiny": dict(hidden_size=64, projection_size=32, filters=((2, 64), (3, 128), (4, 192), (5, 128)), vocab_size=5_000,
                 epochs=6, batch_size=16, window=32, negatives=256, learning_rate=8e-3, dropout=0.0, spelling_steps=200),
    "small": dict(hidden_size=256, projection_size=128, filters=((2, 256), (3, 512), (4, 768), (5, 1024), (6, 1024), (7, 512)),
                  vocab_size=50_000, epochs=4, batch_size=32, window=64, negatives=1024, learning_rate=4e-3, dropout=0.1,
                  spelling_steps=600),
    "base": dict(hidden_size=1024, projection_size=256, filters=((2, 256), (3, 512), (4, 768), (5, 1024), (6, 1024), (7, 512)),
                 vocab_size=200_000, epochs=2, batch_size=128, window=64, negatives=8192, learning_rate=2e-3, dropout=0.1,
                 spelling_steps=1000),
}
WARMUP_STEPS = 100
MAX_GRAD_NORM = 1.0
WEIGHT_DECAY = 0.01


def parser() -> Parser:
    """The flags of this command."""
    p = Parser(prog="python -m pretrain.bilm", description=__doc__)
    p.add_argument("--corpus", nargs="+", choices=CORPORA, default=["auto"], help="text to learn from, one or several")
    p.add_argument("--preset", choices=PRESETS, default="small",
                   help="tiny: half a minute on the sample; small: half an hour on WikiText-2 with 2 cores; base: for a GPU "
                        "and WikiText-103")
    start = p.add_mutually_exclusive_group()
    start.add_argument("--warm-start", metavar="RUN", type=directory_name, help="a pretrain.static run to learn spelling from")
    start.add_argument("--init-from", metavar="RUN", type=directory_name, help="a pretrain.bilm run to go on from, on new text")
    p.add_argument("--charcnn", choices=("auto", "fixed", "learning"), default="auto",
                   help="whether the language model may change the character CNN; auto fixes one that was warm-started, "
                        "and then each word is spelled only once")
    p.add_argument("--epochs", type=positive_int, metavar="N", help="passes over the text (default: by preset)")
    p.add_argument("--batch-size", type=positive_int, metavar="N", help="rows read side by side (default: by preset)")
    p.add_argument("--window", type=positive_int, metavar="N", help="tokens back-propagated through (default: by preset)")
    p.add_argument("--learning-rate", type=positive_float, metavar="RATE", help="highest AdamW rate (default: by preset)")
    p.add_argument("--dropout", type=probability, metavar="P", help="share of units dropped (default: by preset)")
    p.add_argument("--negatives", type=positive_int, metavar="N",
                   help="words drawn for the sampled softmax (default: by preset)")
    p.add_argument("--vocab-size", type=positive_int, metavar="N", help="most words the softmax predicts (default: by preset)")
    p.add_argument("--softmax", choices=("sampled", "full"), default="sampled", help="the loss that is trained")
    add_shared(p, out="runs/bilm")
    return p


def main(args: argparse.Namespace) -> int | None:
    """Prepare text and model, train, measure perplexity over the full vocabulary, save."""
    from minitransfer.apparatus.checkpoint import RunDirectory
    from minitransfer.apparatus.runtime import SideBySide, Stop, choose_device, environment, peak_memory_gib, say, set_threads
    from pretrain.text import check_out, read_corpus, resume_command, settings

    chosen = settings(args, PRESETS)
    check_out(args)
    device, threads = choose_device(args.device), set_threads(args.threads)
    origin = load_origin(args)
    corpus, facts = read_corpus(args)
    text = Text(corpus, chosen)
    model, fixed = build(args, chosen, text, origin)
    config = {"kind": "bilm", "model": model.config.to_dict(), "training": chosen, "softmax": args.softmax, "corpus": facts,
              "charcnn": "fixed" if fixed else "learning", "preset": args.preset, "seed": args.seed,
              "origin": origin and {"kind": origin.kind, "corpus": origin.config["corpus"], "fingerprint": origin.fingerprint,
                                    "origin": origin.config.get("origin")},
              "environment": environment()}
    say(f"biLM: {sum(p.numel() for p in model.parameters()):,} parameters, character CNN {config['charcnn']}; "
        f"{len(text.train):,} tokens, softmax over {model.config.vocab_size:,} words; {device}, {threads} threads; {args.out}")
    with RunDirectory.create(args.out, config, resume=args.resume) as run, Stop() as stop, SideBySide(2, device) as side_by_side:
        if run.completed:
            say(f"already complete (step {run.completed['step']}): {args.out}")
            return 0
        started, state = time.monotonic(), run.load_state()
        if state is None and origin and origin.kind == "static" and not learn_to_spell(model, origin, chosen, args, stop):
            say("stopped while learning to spell, before there was anything to save")
            return stop.exit_code
        reader = Reader(model.to(device), text, fixed, state)
        if (step := train(model, reader, text, chosen, args, run, state, stop, side_by_side)) is None:
            say(f"stopped and saved; to go on: {resume_command('pretrain.bilm')}")
            return stop.exit_code
        perplexity = evaluate(model, reader, text.validation, side_by_side)
        run.save_model(model.state_dict(), {"vocab.txt": "\n".join(text.vocabulary.words[: model.config.vocab_size]) + "\n"})
        run.log_metrics({"step": step, **perplexity})
        run.mark_complete(step, {**perplexity, "seconds": round(time.monotonic() - started, 1)})
    say(f"held-out perplexity over all {model.config.vocab_size:,} words of {corpus.name}, <eos> counted: "
        f"forward {perplexity['perplexity_forward']:.1f}, backward {perplexity['perplexity_backward']:.1f}; "
        f"{(time.monotonic() - started) / 60:.1f} minutes, at most {peak_memory_gib():.1f} GiB")
    say(f"the biLM is in {args.out}. Next: python -m finetune.imdb --mode frozen --encoder {args.out}")


def train(model, reader, text, chosen, args, run, state, stop, side_by_side) -> int | None:
    """Train the two directions on their own windows of the text; returns the step reached, or None if asked to stop."""
    import torch

    from minitransfer.apparatus.optim import (
        FiniteGuard, adamw, clip_and_check, set_learning_rate, warmup_linear, weight_decay_groups,
    )
    from minitransfer.apparatus.runtime import Progress, generator
    from minitransfer.elmo.softmax import draw
    from pretrain.text import Clock

    model.charcnn.requires_grad_(not reader.fixed)
    optimizer = adamw(weight_decay_groups(model, chosen["learning_rate"], WEIGHT_DECAY))
    guard, save_clock, log_clock = FiniteGuard(), Clock(args.save_every), Clock(args.log_every)
    step, epoch, in_epoch, memory = restore(state, model, optimizer, run)
    per_epoch = text.steps_per_epoch(chosen)
    total = per_epoch * chosen["epochs"]
    device, tokens_per_step = reader.device, chosen["batch_size"] * chosen["window"]
    with Progress(total * tokens_per_step, "words", description="bilm", log_every=args.log_every,
                  done=step * tokens_per_step) as progress:
        for epoch in range(epoch, chosen["epochs"]):
            windows = text.windows(chosen, generator(args.seed, "order", epoch))
            for i in range(in_epoch, per_epoch):
                rate = set_learning_rate(optimizer, warmup_linear(step, total, WARMUP_STEPS))
                negatives = draw(text.log_q, chosen["negatives"], generator(args.seed, "negatives", step)).to(device)
                inputs, targets = windows(i)  # forward and backward, (B, T) each
                words = reader.read(inputs)
                noise = [torch.Generator(device).manual_seed(args.seed * 2**32 + 2 * step + d) for d in (0, 1)]

                def learn(d: int):
                    """One direction: foretell, and back-propagate half of the mean loss."""
                    loss, memory[d] = model.direction_loss(
                        d, words[d], targets[d].to(device), memory[d], noise[d],
                        None if args.softmax == "full" else negatives, reader.log_q)
                    (loss / 2).backward()
                    return loss.item()

                optimizer.zero_grad()
                ahead, back = side_by_side(lambda: learn(0), lambda: learn(1))
                reader.back_propagate(words)
                loss, norm = (ahead + back) / 2, clip_and_check(model.parameters(), MAX_GRAD_NORM)
                if guard.ok(loss, norm):
                    optimizer.step()
                step += 1
                progress.advance(tokens_per_step, loss=loss)
                if log_clock.due():
                    run.log_metrics({"step": step, "epoch": epoch, "tokens": step * tokens_per_step, "loss": loss,
                                     "loss_forward": ahead, "loss_backward": back, "learning_rate": rate, "norm": norm})
                last = i + 1 == per_epoch
                if last:
                    memory = [None, None]  # the next epoch's text begins anew
                if stop.requested or save_clock.due():
                    run.save_state(step, {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                                          "epoch": epoch + last, "in_epoch": 0 if last else i + 1, "memory": memory})
                    if stop.requested and step < total:
                        return None
            in_epoch = 0
    return step


def restore(state, model, optimizer, run):
    """Take up a saved state: (step, epoch, step within the epoch, LSTM memory of both directions); zeros for None."""
    from minitransfer.apparatus.checkpoint import load_weights

    if state is None:
        return 0, 0, 0, [None, None]
    load_weights(model, state["model"])
    optimizer.load_state_dict(state["optimizer"])
    run.truncate_metrics(state["step"])
    return state["step"], state["epoch"], state["in_epoch"], list(state["memory"])


class Text:
    """A corpus as token ids. Ids below the vocabulary's size can be predicted; rarer words are only read."""

    def __init__(self, corpus, chosen: dict):
        import numpy as np
        import torch

        from minitransfer.apparatus.errors import DataError
        from minitransfer.elmo.softmax import proposal
        from minitransfer.text.words import Vocabulary, token_stream

        documents = [list(token_stream([d], corpus.marks_unknown)) for d in corpus.train]
        self.vocabulary = Vocabulary.from_tokens(line for lines in documents for line in lines)
        self.vocab_size = min(chosen["vocab_size"], len(self.vocabulary))
        encoded = [self.vocabulary.encode(lines) for lines in documents]
        self.train = np.concatenate([*encoded, np.empty(0, np.int32)])
        self.starts = np.cumsum([0, *map(len, encoded)])
        self.validation = self.vocabulary.encode(token_stream(corpus.validation, corpus.marks_unknown), grow=True)
        least = chosen["batch_size"] * 2
        if len(self.train) < least or len(self.validation) < 2:
            raise DataError(f"corpus {corpus.name} has {len(self.train)} tokens for training and {len(self.validation)} for "
                            f"validation, {least} and 2 are the least", "give more text, or a smaller --batch-size")
        self.log_q = proposal(torch.from_numpy(np.bincount(self.train, minlength=self.vocab_size)[: self.vocab_size]))

    def steps_per_epoch(self, chosen: dict) -> int:
        """How many windows one pass over the text has."""
        row = -(-len(self.train) // chosen["batch_size"])
        return -(-row // chosen["window"])

    def to_predict(self, token_ids):
        """Targets of the softmax: what it cannot predict is `<unk>`."""
        import numpy as np

        from minitransfer.text.words import UNK_ID

        return np.where(token_ids < self.vocab_size, token_ids, UNK_ID)

    def windows(self, chosen: dict, order):
        """Put the documents in a new order; returns a function from i to the i-th inputs and targets of both directions.

        The backward model is a forward model of the text read from its end, so it gets windows of the reversed text.
        """
        import numpy as np
        import torch

        from minitransfer.text.batching import as_rows, windows

        rank = torch.randperm(len(self.starts) - 1, generator=order).numpy()
        stream = np.concatenate([self.train[self.starts[d] : self.starts[d + 1]] for d in rank])
        cut = [[windows(rows, chosen["window"]) for rows in as_rows(s, chosen["batch_size"])] for s in (stream, stream[::-1])]

        def window(i: int):
            inputs = [torch.from_numpy(direction[0][i]) for direction in cut]
            targets = [torch.from_numpy(self.to_predict(direction[1][i])) for direction in cut]
            return inputs, targets

        return window


class Reader:
    """Turns token ids into word vectors by the character CNN: from a table if it is fixed, else each distinct word once."""

    def __init__(self, model, text: Text, fixed: bool, state):
        import torch

        from minitransfer.apparatus.checkpoint import load_weights
        from minitransfer.elmo.charcnn import word_vectors
        from minitransfer.text.words import spell_all

        if state is not None:
            load_weights(model, state["model"])
        self.model, self.fixed = model, fixed
        self.device = model.softmax.weight.device
        self.log_q = text.log_q.to(self.device)
        self.spelling = torch.from_numpy(spell_all(text.vocabulary.words))
        self.table = word_vectors(model.charcnn, self.spelling) if fixed else None

    def read(self, inputs):
        """Word vectors of each direction's window, (B, T, D), each a leaf of its own where gradients are wanted."""
        import torch

        if self.fixed:
            return [self.table[ids.to(self.device)] for ids in inputs]
        distinct, place = torch.cat([ids.flatten() for ids in inputs]).unique(return_inverse=True)
        spelling = self.spelling[distinct]
        width = int((spelling != 0).sum(dim=1).max().clamp(min=1))
        self.vectors = self.model.charcnn(spelling[:, :width].to(self.device))
        both = self.vectors.detach()[place.to(self.device)].split([ids.numel() for ids in inputs])
        self.place = place.to(self.device)
        return [x.view(*ids.shape, -1).requires_grad_() for x, ids in zip(both, inputs)]

    def back_propagate(self, words) -> None:
        """Carry the gradients that both directions left at their word vectors on into the character CNN."""
        import torch

        if not self.fixed:
            arrived = torch.cat([x.grad.flatten(0, 1) for x in words])
            self.vectors.backward(torch.zeros_like(self.vectors).index_add_(0, self.place, arrived))


def evaluate(model, reader: Reader, stream, side_by_side) -> dict[str, float]:
    """Perplexity of held-out text, over the full vocabulary, every token counted once in each direction."""
    import math

    import torch

    from minitransfer.apparatus.runtime import say
    from minitransfer.elmo.charcnn import word_vectors
    from minitransfer.text.batching import as_rows, windows
    from minitransfer.text.words import PAD_ID, UNK_ID

    say(f"measuring perplexity on {len(stream):,} held-out tokens")
    table = reader.table if reader.fixed else word_vectors(model.charcnn, reader.spelling)

    def total_loss(d: int) -> float:
        rows, state, total = as_rows(stream[:: 1 - 2 * d], 16), None, 0.0
        for inputs, targets in zip(*(windows(r, 128) for r in rows)):
            outputs, state = model.stacks()[d](table[torch.from_numpy(inputs).to(reader.device)], state)
            real = torch.from_numpy(targets.ravel() != PAD_ID)
            wanted = torch.from_numpy(targets.ravel())[real]
            wanted[wanted >= model.config.vocab_size] = UNK_ID
            total += model.softmax.full_loss(outputs[-1].flatten(0, 1)[real.to(reader.device)], wanted.to(reader.device)).item()
        return total

    with torch.no_grad():
        totals = side_by_side(lambda: total_loss(0), lambda: total_loss(1))
    forward, backward = (math.exp(t / len(stream)) for t in totals)
    return {"perplexity_forward": forward, "perplexity_backward": backward,
            "perplexity": math.sqrt(forward * backward), "held_out_tokens": len(stream)}


def load_origin(args: argparse.Namespace):
    """The run that --warm-start or --init-from names, or None."""
    from minitransfer.apparatus.checkpoint import load_run

    if args.warm_start:
        return load_run(args.warm_start, "static")
    return load_run(args.init_from, "bilm") if args.init_from else None


def build(args, chosen: dict, text: Text, origin):
    """The network, new or taken from --init-from, and whether its character CNN stays fixed."""
    import torch

    from minitransfer.apparatus.checkpoint import load_weights
    from minitransfer.elmo.bilm import BiLM, BiLMConfig
    from minitransfer.elmo.charcnn import CharCNNConfig

    torch.manual_seed(args.seed)
    if origin is not None and origin.kind == "bilm":
        shape = BiLMConfig.from_dict({**origin.config["model"], "vocab_size": text.vocab_size, "dropout": chosen["dropout"]})
        model = BiLM(shape)
        weights = {name: t for name, t in origin.tensors.items() if not name.startswith("softmax.")}
        load_weights(model, {**weights, **carried_softmax(model, text, origin)})
        return model, {"auto": origin.config["charcnn"] == "fixed"}.get(args.charcnn, args.charcnn == "fixed")
    D = 2 * chosen["projection_size"]
    if origin is not None and origin.tensors["vectors"].shape[1] != D:
        raise UsageError(f"{origin.path} holds vectors of {origin.tensors['vectors'].shape[1]} dimensions, this preset "
                         f"needs {D}", f"train it with `python -m pretrain.static --hidden-size {D}`, or use its preset here")
    chars = CharCNNConfig(output_size=D, filters=chosen["filters"])
    model = BiLM(BiLMConfig(text.vocab_size, chosen["hidden_size"], chosen["projection_size"], dropout=chosen["dropout"],
                            charcnn=chars))
    return model, {"auto": origin is not None}.get(args.charcnn, args.charcnn == "fixed")


def carried_softmax(model, text: Text, origin) -> dict:
    """A softmax for the new vocabulary, in which words that the old one had keep what was learned for them."""
    old = {word: i for i, word in enumerate(origin.text("vocab.txt").split("\n")[:-1])}
    shared = [(new, old[w]) for new, w in enumerate(text.vocabulary.words[: text.vocab_size]) if w in old]
    new_ids, old_ids = map(list, zip(*shared))
    tensors = {name: t.clone() for name, t in model.state_dict().items() if name.startswith("softmax.")}
    for name, tensor in tensors.items():
        tensor[new_ids] = origin.tensors[name][old_ids]
    return tensors


def learn_to_spell(model, origin, chosen: dict, args, stop) -> bool:
    """Warm start: fit the character CNN to the static vectors; returns False if asked to stop."""
    import torch

    from minitransfer.apparatus.optim import warmup_linear
    from minitransfer.apparatus.runtime import Progress, generator, say
    from minitransfer.elmo.spelling import cosine, solve_projection, spelling_loss
    from minitransfer.static.skipgram import standardise
    from minitransfer.text.words import spell_all

    words, counts = origin.text("vocab.txt").split("\n")[3:-1], origin.tensors["counts"][3:].float()
    target = standardise(origin.tensors["vectors"][3:], counts)
    spelling, weight = torch.from_numpy(spell_all(words)), counts.pow(0.75)
    say(f"warm start: solving for the character CNN's projection, {len(words):,} words of {origin.path}")
    solve_projection(model.charcnn, spelling, target, weight)
    report = lambda: ", ".join(  # noqa: E731
        f"{cosine(model.charcnn, spelling[a:b], target[a:b]):.3f} on words {a + 1:,} to {min(b, len(words)):,}"
        for a, b in ((0, 1_000), (1_000, 10_000)) if a < len(words))
    say(f"warm start: cosine with the static vectors {report()}; now by gradient")
    optimizer = torch.optim.AdamW(model.charcnn.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    chance, lengths = counts.pow(0.5), (spelling != 0).sum(dim=1)
    with Progress(chosen["spelling_steps"], "steps", description="spelling", log_every=args.log_every) as progress:
        for step in range(chosen["spelling_steps"]):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * warmup_linear(step, chosen["spelling_steps"], 20)
            rows = torch.multinomial(chance, 512, replacement=True, generator=generator(args.seed, "spelling", step)).unique()
            predicted = model.charcnn(spelling[rows, : int(lengths[rows].max())])
            loss = spelling_loss(predicted, target[rows], torch.ones(len(rows)))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.charcnn.parameters(), MAX_GRAD_NORM)
            optimizer.step()
            progress.advance(1, loss=loss.item())
            if stop.requested:
                return False
    say(f"warm start: cosine with the static vectors {report()}")
    return True


if __name__ == "__main__":
    sys.exit(run_command(main, parser()))
