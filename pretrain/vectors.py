"""Around the commands of Parts III, IV and V: the first stage. Which static vectors does a network begin with?

With --warm-start auto, those of the run `static` beside --out (for BERT, `static-pieces`), if they suit: of the same
units, as wide as is needed, and learned from at least this text. Where there are none, they are learned first, by
`pretrain.static` and into that very directory, which can be used alone like any run; where others are in its place,
into one named after --out. `begin` is all that biLM, BERT and GPT do alike before they cut up their text.

Read next: `pretrain.bilm.train`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from minitransfer.apparatus.checkpoint import LoadedRun, held, load_run, make_directory, read_completion
from minitransfer.apparatus.distributed import check_batch_size, on_first
from minitransfer.apparatus.durable import entry
from minitransfer.apparatus.errors import CheckpointError, DataError
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import Stop, choose_precision, derived_seed, environment, set_up
from minitransfer.apparatus.saved import read_config
from minitransfer.text.corpora import Corpus, as_saved_corpus
from pretrain.settings import NetworkSettings
from pretrain.shared import already_complete, check_out, is_begun, read_corpus, with_corpus_begun
from pretrain.static.settings import Settings as StaticSettings
from pretrain.static.train import learn_vectors, read_units

Network = TypeVar("Network", bound=NetworkSettings)


def places(settings: NetworkSettings) -> tuple[Path, ...]:
    """Where vectors may be: in the run that all share, unless it is --out itself, and in one that is --out's alone."""
    out, name = Path(settings.out).absolute(), "static-pieces" if settings.pieces else "static"
    return tuple(place for place in (out.parent / name, out.parent / f"{out.name}-{name}") if place != out)


def as_begun(settings: Network) -> Network:
    """The settings of a run as it was begun: where it was stopped while its vectors were learned, it begins only now.

    Such a run has left an empty directory, so that an --out that is mistyped, and not there, is not taken for one.
    """
    out = Path(settings.out)
    if settings.resume and settings.warm_start == "auto" and out.is_dir() and not held(out):
        return settings.but(resume=not any(map(is_begun, places(settings))))
    return with_corpus_begun(settings)


def of_run(settings: NetworkSettings) -> LoadedRun | None:
    """The static vectors that the run in --out began with, if any. Raises: CheckpointError if they are gone."""
    config = read_config(Path(settings.out))
    if entry(config, "origin.kind") != "static":
        return None
    for place in filter(is_begun, places(settings)):
        if read_completion(place) and (run := load_run(place)).fingerprint == entry(config, "origin.fingerprint"):
            return run
    raise CheckpointError(f"the vectors that {settings.out} began with are in none of "
                          f"{', '.join(map(str, places(settings)))}", "name their run with --warm-start")


def settings_of_vectors(settings: NetworkSettings, place: Path) -> StaticSettings:
    """How the vectors are learned that a network needs: from the same text, by the same preset, as wide as it."""
    shared = {name: getattr(settings, name) for name in
              ("corpus", "preset", "seed", "data_dir", "offline", "device", "threads", "save_every", "log_every")}
    return StaticSettings.of(**shared, pieces=settings.pieces, hidden_size=settings.vector_size, out=str(place),
                             resume=is_begun(place))


def suits(place: Path, settings: NetworkSettings, mine: Mapping[str, Any]) -> bool:
    """Whether vectors can be used: finished, or begun with just the settings that they would be learned with now.

    mine: what config.json has of the corpus that they are needed for.
    """
    config, wanted = read_config(place), settings_of_vectors(settings, place).config()
    text = config.get("corpus")
    if config.get("kind") != "static" or not isinstance(text, dict):
        return False
    if read_completion(place) is None:
        return text == mine and all(config.get(name) == value for name, value in wanted.items())
    units = ("unit", "most_pieces", "model")
    if any(config.get(name) != wanted.get(name) for name in units):
        return False
    if text.get("name") == mine["name"]:
        return text == mine
    theirs = text.get("own_text") if isinstance(text.get("own_text"), dict) else {}
    same_texts = mine.get("own_text", {}).items() <= theirs.items()
    return same_texts and set(mine["name"].split("+")) <= set(str(text.get("name")).split("+"))


def find_or_learn(settings: NetworkSettings, corpus: Corpus, as_saved: dict[str, Any], stages: int) -> LoadedRun:
    """The vectors to begin with, learned first by one process. Raises: Stopped; CheckpointError if no place is free."""
    with Stop() as stop:
        on_first(stop, lambda: _learn(settings, corpus, as_saved, stages, stop))
    return load_run(_place(settings, as_saved), "static")


def is_free(place: Path) -> bool:
    """Whether a run can be made there: nothing is, or an empty directory."""
    return not os.path.lexists(place) or place.is_dir() and not held(place)


def _place(settings: NetworkSettings, as_saved: Mapping[str, Any]) -> Path:
    """The first place that is free or holds vectors that suit. Raises: CheckpointError if there is none."""
    for place in places(settings):
        if suits(place, settings, as_saved) if is_begun(place) else is_free(place):
            return place
    taken = " and ".join(map(str, places(settings)))
    raise CheckpointError(f"something other than the vectors needed here is in {taken}",
                          "give another --out, or a run of pretrain.static with --warm-start")


def _learn(settings: NetworkSettings, corpus: Corpus, as_saved: dict[str, Any], stages: int, stop: Stop) -> None:
    """Learn the vectors, or go on learning them, unless they are there; --out is made then, for `as_begun` to find."""
    place = _place(settings, as_saved)
    if is_begun(place) and read_completion(place) is not None:
        mine, theirs = as_saved["name"], entry(read_config(place), "corpus.name")
        more = "" if theirs == mine else f", learned from {theirs}, which is more text than {mine}"
        say(f"stage 1 of {stages}: the static vectors are in {place}{more}")
        return
    say(f"stage 1 of {stages}: static vectors, into {place}")
    of_vectors = settings_of_vectors(settings, place)
    try:
        units = read_units(of_vectors, corpus)
    except DataError as failure:
        raise DataError(failure.what, "give more text, or begin without vectors by --warm-start none") from failure
    make_directory(Path(settings.out))
    learn_vectors(of_vectors, units, as_saved, stop)


def load_origin(settings: Any, check: Callable[[LoadedRun, Any], None]) -> LoadedRun | None:
    """The run of --warm-start or --init-from; None for none, or not yet. Raises: CheckpointError; what `check` does."""
    if settings.warm_start == "auto":
        return of_run(settings) if settings.resume else None
    name = settings.init_from or settings.warm_start
    if name == "none":
        return None
    origin = load_run(name, settings.kind if settings.init_from else "static")
    check(origin, settings)
    return origin


def training_seed(seed: int, origin: LoadedRun | None) -> int:
    """What decides all that is drawn: --seed, with --init-from that run too, lest a second pass repeat the first."""
    goes_on = origin is not None and origin.kind != "static"
    return derived_seed(seed, origin.fingerprint) if goes_on else seed


def ancestry(origin: LoadedRun | None) -> dict | None:
    """What a run directory tells of the run it began with, and of that one's own origin."""
    if origin is None:
        return None
    return {"kind": origin.kind, "corpus": origin.config.get("corpus"), "fingerprint": origin.fingerprint,
            "origin": origin.config.get("origin")}


def config_so_far(settings: Any, origin: LoadedRun | None, device: torch.device) -> dict[str, Any]:
    """What of the run's config is known before any text is read, once it is known what the run begins with."""
    goes_on = origin is not None and origin.kind != "static"  # from a network, whose width it takes over
    width = origin.config["model"]["hidden_size"] if goes_on else settings.hidden_size
    return {**settings.config(origin), "precision": choose_precision(settings.precision, device, width),
            "origin": ancestry(origin)}


def begin(settings: Any, check: Callable[[LoadedRun, Any], None], stages: int
          ) -> tuple[Any, torch.device, LoadedRun | None, Corpus, dict[str, Any]] | None:
    """What comes before the text of a network is cut up: settings, device, origin, corpus, and the config so far.

    None if the run is complete already. Whatever can be refused is, before text is read; then come the vectors.
    check: refuses an origin that does not suit.  stages: how many there are, the vectors the first.
    """
    settings = as_begun(settings)
    check_out(settings.out, settings.kind, resume=settings.resume)
    check_batch_size(settings.batch_size)
    device = set_up(settings.device, settings.threads)
    origin = load_origin(settings, check)
    if already_complete(settings, config_so_far(settings, origin, device)):
        return None
    corpus = read_corpus(settings)
    as_saved = as_saved_corpus(corpus)
    settings = settings.but(corpus=tuple(corpus.name.split("+")), resume=settings.resume)
    if settings.warm_start == "auto" and not settings.resume:
        origin = find_or_learn(settings, corpus, as_saved, stages)
        check(origin, settings)
    config = {**config_so_far(settings, origin, device), "corpus": as_saved, "environment": environment()}
    return replace(settings, precision=config["precision"]), device, origin, corpus, config
