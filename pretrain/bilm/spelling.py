"""Part III, around the command: the warm start. How does a character CNN learn what words mean before any sentence?

It is shown the vectors of a finished `pretrain.static` run, word by word, and its projection is solved for
(`minitransfer.elmo.spelling` says why). What it has learned is saved before the first step of the language model.

Read next: `pretrain.bilm.start`.
"""

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory, load_weights
from minitransfer.apparatus.distributed import is_first, on_first
from minitransfer.apparatus.progress import Progress, say
from minitransfer.apparatus.runtime import Stop
from minitransfer.elmo.bilm import BiLM
from minitransfer.elmo.charcnn import CharCNN
from minitransfer.elmo.spelling import cosine, solve_projection
from minitransfer.static.skipgram import standardise
from minitransfer.text.words import SPECIAL_WORDS, Vocabulary, spell_all
from pretrain.bilm.settings import Settings

FREQUENCY_POWER = 0.75  # between each word alike and each running word alike: common words matter more, not alone
COMMON = ((0, 1_000), (1_000, 10_000))  # ranks of words whose cosine is reported


def restore_or_warm_start(model: BiLM, origin: LoadedRun | None, settings: Settings, run: RunDirectory,
                          stop: Stop) -> None:
    """Give the network the weights that were saved last, or else what a warm start teaches it.

    Of several processes the first learns, and the others take over what it has saved. Raises: Stopped if asked to stop.
    """
    state = run.load_state()
    if state is None and origin is not None and origin.kind == "static":
        if settings.warm_start == "auto":
            say("stage 2 of 3: the character CNN learns to spell them")
        on_first(stop, lambda: learn_to_spell(model, origin, run, stop, settings.log_every),
                 "stopped before anything was learned")
        state = None if is_first() else run.load_state()
    if state is not None:
        load_weights(model, state["model"])


def learn_to_spell(model: BiLM, origin: LoadedRun, run: RunDirectory, stop: Stop, log_every: float) -> None:
    """Fit the character CNN to the static vectors of `origin`. Raises: Stopped if asked to stop before the end.

    At the end the weights are saved as step 0 of the run, whose steps are the language model's: a kill then costs none
    of it.
    """
    spelling, target, weight = spelling_targets(origin)
    say(f"warm start: solving for the character CNN's projection, {len(target):,} words of {origin.path}")
    with Progress(len(target), "words", description="spelling", log_every=log_every) as progress:

        def advance(words: int) -> None:
            """Count words, and stop if asked to."""
            progress.advance(words)
            stop.check()

        solve_projection(model.charcnn, spelling, target, weight, advance=advance)
    say(f"warm start: {cosine_report(model.charcnn, spelling, target)}")
    run.save_state(0, {"model": model.state_dict()})


def spelling_targets(origin: LoadedRun) -> tuple[Tensor, Tensor, Tensor]:
    """What is to be learned, without special words: spellings (V, C) int16, vectors (V, D), weights of words (V,)."""
    first = len(SPECIAL_WORDS)
    words = origin.parsed("vocab.txt", Vocabulary.from_text).words[first:]
    counts = origin.tensors["counts"][first:].float()
    target = standardise(origin.tensors["vectors"][first:], counts)
    return torch.from_numpy(spell_all(words)), target, counts.pow(FREQUENCY_POWER)


def cosine_report(charcnn: CharCNN, spelling: Tensor, target: Tensor) -> str:
    """How near spelled vectors come to the static ones, of common words and of less common ones."""
    reports = [f"{cosine(charcnn, spelling[a:b], target[a:b]):.3f} on words {a + 1:,} to {min(b, len(target)):,}"
               for a, b in COMMON if a < len(target)]
    return f"cosine with the static vectors {', '.join(reports)}"
