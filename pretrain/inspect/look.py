"""Parts II to VI, the command: look into runs. What is in a word, a gap, the end of a text, a mix, a training?

    python -m pretrain.inspect runs/bilm --word bank                     # one word in many sentences (lecture 2.2)
    python -m pretrain.inspect runs/bilm --senses bank                   # and whether it parts by what it means
    python -m pretrain.inspect runs/bert --fill "the film was [MASK] ."  # what is thought to be missing
    python -m pretrain.inspect runs/gpt --write "the film was"           # how it may go on
    python -m pretrain.inspect runs/bilm runs/gpt --agreement            # which verb belongs to a noun (lecture 1)
    python -m pretrain.inspect runs/bert --attention "not a good film ." # which tokens a head attends to (lecture 3.1)
    python -m pretrain.inspect runs/frozen-500 --mix                     # which layers a task uses (lecture 2.4)
    python -m pretrain.inspect runs/static runs/glove --pmi              # what inner products come to
    python -m pretrain.inspect --curves runs/bilm runs/bilm-imdb         # how they got there
    python -m pretrain.inspect --runs runs/frozen-500 runs/finetuned-500 # in what they differ, and what came of it

Nothing is trained, and nothing is written but a picture, if matplotlib is there to draw one.

Read next: `pretrain.inspect.occurrences`, the first of the files around this one.
"""

import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.durable import disk_errors, probe, write_file
from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.apparatus.figures import INSTALL, can_draw, png
from minitransfer.apparatus.options import one_line
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import generator, set_threads, set_up
from minitransfer.gpt.causal import CausalLM
from minitransfer.gpt.writing import write
from minitransfer.text.wordpiece import CLS_ID, PREFIX, UNK_ID
from minitransfer.transfer.classifier import load_classifier
from minitransfer.transfer.loading import load_encoder, load_with_head
from pretrain.inspect import pmi, showing
from pretrain.inspect.agreement import KINDS, phrases, preferences, right_share
from pretrain.inspect.attention import PLACES, attentions
from pretrain.inspect.curves import common_axis, drawn, read_history
from pretrain.inspect.filling import ask, guesses
from pretrain.inspect.geometry import far_apart, principal_components
from pretrain.inspect.occurrences import encode, windows_of
from pretrain.inspect.senses import marked_occurrences, nearest_of_same_sense, same_sense_by_chance
from pretrain.inspect.settings import Settings
from pretrain.inspect.showing import layer_names, tell_history, tell_picture
from pretrain.inspect.side_by_side import compare_runs, table

GUESSES = 10


def picture(settings: Settings, name: str) -> Path | None:
    """Where the picture will be, its folder made; None, with a word on why, if there will be none."""
    if not can_draw():
        say(f"no picture: matplotlib is not installed; to have one: {INSTALL}")
        return None
    run = Path(settings.runs[0]).absolute().name
    name = "-".join(re.sub(r"\W+", "-", part).strip("-")[:40] or "x" for part in ("inspect", run, name))
    path = Path(settings.out or f"runs/{name}.png")
    make_room(path)
    return path


def make_room(path: Path) -> None:
    """Make the folder of a picture, and try it before work is done. Raises: UsageError, ResourceError if it is none."""
    with disk_errors(path):
        if path.is_dir():
            raise UsageError(f"--out {path} is a directory", "name the file to write, ending in .png")
        if path.parent.exists() and not path.parent.is_dir():
            raise UsageError(f"--out {path}: {path.parent} is a file", "name another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
    probe(path.parent, size=1)


def save(figure: Any, path: Path) -> None:
    """Write a picture as PNG, whole or not at all; one that was there before is replaced."""
    write_file(path, png(figure))


def drawings() -> ModuleType:
    """The file that draws. matplotlib, which is optional, is imported at its top."""
    from pretrain.inspect import pictures

    return pictures


def look_at_word(settings: Settings) -> Path | None:
    """Find a word in a corpus, encode the lines around it, and tell what becomes of it in each."""
    device, word, run = set_up(settings.device, settings.threads), settings.word, load_run(settings.runs[0])
    showing.check_kind(run, "--word")
    encoder = load_encoder(run, device)
    layer = showing.check_layer(settings.layer, range(encoder.num_layers))
    near = showing.static_neighbours(encoder, word, showing.candidate_words(run, encoder))
    path = picture(settings, word)
    occurrences, corpus = showing.find_in_corpus(run, settings)
    words, others = encode(encoder, *windows_of(occurrences, encoder, corpus.marks_unknown))
    points, shares = principal_components(words[layer])
    chosen = far_apart(points, showing.EXAMPLES)
    if len(chosen) == 1:  # all points are one
        path = None
    if path is not None:  # before anything is printed: the reader of a pipe may not stay to the end
        contexts = [occurrences[i].in_context(showing.WIDTH) for i in chosen]
        title = f"{word} in {len(occurrences):,} lines of {corpus.name}, layer {layer} of {run.path}"
        save(drawings().draw_occurrences(points.tolist(), shares.tolist(), chosen, contexts, title), path)
    print(f"{one_line(word)}: {len(occurrences):,} lines of {len({o.document for o in occurrences}):,} documents of "
          f"{corpus.name}, encoded by {run.path}")
    showing.tell_layers(words, others, word)
    print(f"\nnearest words by layer 0 without context, so the same for every line: {one_line(', '.join(near))}")
    showing.tell_nearest(words[layer], occurrences, chosen, layer)
    showing.tell_picture(path)
    return path


def look_at_senses(settings: Settings) -> dict[str, float]:
    """Encode all marked uses of a word; say and return how often the nearest has the same sense, layer by layer."""
    device, word, run = set_up(settings.device, settings.threads), settings.senses, load_run(settings.runs[0])
    showing.check_kind(run, "--senses")
    encoder = load_encoder(run, device)
    path = picture(settings, f"senses-{word}")
    occurrences, senses = marked_occurrences(word)
    words, _ = encode(encoder, *windows_of(occurrences, encoder, False))
    shares, names = [nearest_of_same_sense(h, senses) for h in words], layer_names(run.kind, len(words))
    if path is not None:
        points = [principal_components(h)[0].tolist() for h in words]
        titles = [f"layer {name}\nnearest of the same sense: {share:.0%}" for name, share in zip(names, shares)]
        title = f"{word} in {len(senses):,} sentences of the built-in articles, by {run.path}"
        save(drawings().draw_senses(points, senses, titles, title), path)
    counts = ", ".join(f"{n:,} {sense}" for sense, n in Counter(senses).items())
    print(f"{word}: {len(senses):,} sentences of the built-in articles ({counts}), encoded by {run.path}\n")
    print(f"how often the nearest use has the same sense (one drawn at random: {same_sense_by_chance(senses):.3f})")
    for name, share in reversed(list(zip(names, shares))):
        print(f"  {name:<24} {share:.3f}")
    tell_picture(path)
    return dict(zip(names, shares))


def look_at_agreement(settings: Settings) -> dict[str, dict[str, float]]:
    """Say how often runs find the right form of a verb likelier than the wrong one; returns the shares of each."""
    device, asked, found = set_up(settings.device, settings.threads), phrases(), {}
    for path in settings.runs:
        run = load_run(path)
        showing.check_kind(run, "--agreement")
        found[path] = right_share(preferences(run, asked, device), asked)
    counts = Counter(phrase.kind for phrase in asked)
    print("share of phrases in which the right form of a verb is the likelier one (0.5 is guessing)\n")
    for kind, example in KINDS.items():
        print(f"  {example:<28} {kind}, {counts[kind]} phrases")
    nearest = dict(zip(KINDS, (1.0, 1.0, 0.0)))
    for name, shares in {**found, "whoever follows the nearest noun": nearest}.items():
        print("".join(f"{shares[kind]:8.3f}" for kind in KINDS) + f"  {one_line(name)}")
    return found


def look_at_attention(settings: Settings) -> Path | None:
    """Say and draw which tokens of a text the heads of a block attend to, in new networks and in those of runs.

    Returns the path of the picture, None if there is none.
    """
    device, runs = set_up(settings.device, settings.threads), [load_run(path) for path in settings.runs]
    maps = [attentions(run, settings.attention, settings.layer, device) for run in runs]
    path, networks = picture(settings, "attention"), [maps[0][0], *(of_run for _, of_run in maps)]
    if path is not None:
        save(drawings().draw_attention([(each.name, each.tokens, each.weights.tolist()) for each in networks]), path)
    for each in networks:
        print(f"{each.name}: mean weight on\n  head    " + "".join(f"{place:<10}" for place in PLACES))
        for head, shares in enumerate(each.shares(), start=1):
            print(f"  {head:<8}" + "".join(f"{share:<10.3f}" for share in shares))
    tell_picture(path)
    return path


def look_at_gaps(settings: Settings) -> list[list[tuple[str, float]]]:
    """Say what a BERT would put for each [MASK] in a text."""
    device = set_up(settings.device, settings.threads)
    model, encoder = load_with_head(load_run(settings.runs[0], "bert"), device)
    question = ask(settings.fill, encoder.wordpiece, encoder.max_tokens)
    if unknown := int((question == UNK_ID).sum()):
        say(f"warning: words of the text that the pieces of this run cannot spell: {unknown}")
    guessed = [[(encoder.wordpiece.pieces[token_id], p) for token_id, p in of_mask]
             for of_mask in guesses(model, question, GUESSES)]
    for number, of_mask in enumerate(guessed, start=1):
        print(f"[MASK] {number} of {len(guessed)}")
        for piece, p in of_mask:
            print(f"  {p:.3f}  {one_line(piece)}")
    return guessed


def write_on(settings: Settings) -> str:
    """Let a GPT go on with a text; print and return both. Raises: UsageError if the text fills all of its positions."""
    model, encoder = load_with_head(load_run(settings.runs[0], "gpt"), set_up(settings.device, settings.threads))
    assert isinstance(model, CausalLM)  # as its kind says
    pieces, given = encoder.wordpiece.pieces, encoder.wordpiece.encode([settings.write])[0].tolist()
    room = encoder.max_tokens - 1 - len(given)  # [CLS] has a place, too
    if room < 1:
        what = f"--write: the text is {len(given):,} pieces, and this run was pretrained on {encoder.max_tokens:,}"
        raise UsageError(what, f"give one of {encoder.max_tokens - 2:,} pieces at most")
    if UNK_ID in given:
        say(f"warning: words of the text that the pieces of this run cannot spell: {given.count(UNK_ID)}")
    written = write(model, [CLS_ID, *given], min(settings.length, room), settings.temperature, settings.top_k,
                    generator(settings.seed, "writing"))
    text = " ".join(pieces[i] for i in [*given, *written]).replace(f" {PREFIX}", "")
    print(one_line(text))
    return text


def look_at_mix(settings: Settings) -> dict[str, float]:
    """Say and return the weights of layers by their names, and γ. Raises: CheckpointError for a run that has no mix."""
    run = load_run(settings.runs[0], "transfer")
    mix = load_classifier(run, set_up(settings.device, settings.threads)).mix
    if mix is None:
        what = f"{run.path} uses the last layer alone, as every run with --head cls or last: it has no mix"
        raise CheckpointError(what, "give a run with --head mean or bilstm")
    path = picture(settings, "mix")
    weights, gamma = mix.weights().tolist(), mix.gamma.item()
    names = layer_names(run.config["encoder"]["kind"], len(weights))
    for name, s in reversed(list(zip(names, weights))):
        print(f"  {name:<24} {s:.3f}  {'#' * round(40 * s)}")
    print(f"each s_k of γ Σ_k s_k h_k, which sum to one; γ = {gamma:.3f}")
    if path is not None:
        save(drawings().draw_mix(names, weights, f"how {run.path} mixes its layers, γ = {gamma:.2f}"), path)
    tell_picture(path)
    return {**dict(zip(names, weights)), "γ": gamma}


def look_at_products(settings: Settings) -> dict[str, list[pmi.Row]]:
    """Hold the inner products of static vectors against counts of their text, and draw both; returns the rows of each
    run's table.
    """
    set_threads(settings.threads)
    runs = [load_run(path, "static") for path in settings.runs]
    path = picture(settings, "pmi")
    found = {str(run.path): pmi.tell(run, settings) for run in runs}
    if path is not None:
        save(drawings().draw_products([(name, *points) for name, (_, points) in found.items()]), path)
    tell_picture(path)
    return {name: rows for name, (rows, _) in found.items()}


def look_at_curves(settings: Settings) -> Path | None:
    """Draw how runs went, and say where each of them is. Raises: UsageError where no picture can be drawn."""
    if not can_draw():
        raise UsageError("pictures need matplotlib, which is not installed", INSTALL)
    histories = [read_history(run) for run in settings.runs]
    path, axis = picture(settings, "curves"), common_axis(histories)
    for history in histories:
        tell_history(history)
    names = [f"{history.name} ({history.kind})" for history in histories]
    save(drawings().draw_curves(drawn(histories, axis), names, axis), path)
    tell_picture(path)
    return path


def look_side_by_side(settings: Settings) -> dict[str, list[Any]]:
    """Show in what runs differ, and what came of it; returns the rows of the table."""
    rows = compare_runs(settings.runs)
    for line in table(rows):
        print(line)
    return rows


LOOKS = {"word": look_at_word, "senses": look_at_senses, "attention": look_at_attention, "fill": look_at_gaps,
         "write": write_on, "agreement": look_at_agreement, "mix": look_at_mix, "pmi": look_at_products,
         "curves": look_at_curves, "side_by_side": look_side_by_side}


def main(settings: Settings) -> Any:
    """Look into what the flags name; returns what is shown: numbers, or where the picture is."""
    return next(look for name, look in LOOKS.items() if getattr(settings, name) not in (None, False))(settings)
