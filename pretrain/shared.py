"""What the pretraining commands share around their loops: the corpus, and how a run goes on.

Read next: `pretrain.static.train`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from minitransfer.apparatus.checkpoint import ADDED, BEGIN_INSTEAD, CONFIG, RunDirectory, check_free, read_completion
from minitransfer.apparatus.durable import entry
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.options import shell_line
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import peak_memory_gib
from minitransfer.apparatus.saved import read_config
from minitransfer.text import CORPORA
from minitransfer.text.corpora import Corpus, find_data_dir, is_unchanged, load_corpus, names_of
from pretrain.settings import PretrainSettings

AnySettings = TypeVar("AnySettings", bound=PretrainSettings)


def is_begun(path: Path) -> bool:
    """Whether there is a run, finished or not."""
    return (path / CONFIG).is_file()


def with_corpus_begun(settings: AnySettings) -> AnySettings:
    """The settings, with the corpus of the run to be resumed in place of `auto`: another may be at hand by now."""
    if not settings.resume or settings.corpus != ("auto",) or not is_begun(Path(settings.out)):
        return settings
    names = names_of(read_config(Path(settings.out)).get("corpus"))
    return settings.but(corpus=tuple(names)) if names else settings


def check_out(out: str, kind: str, *, resume: bool) -> None:
    """Refuse an --out that is taken, or holds nothing to resume, before minutes go into reading text.

    RunDirectory.create looks again, under its lock, and at every setting; this is only sooner.
    Raises: UsageError for a directory that holds something; CheckpointError if there is no run of `kind` to resume.
    """
    if resume:
        there = read_config(Path(out), BEGIN_INSTEAD)["kind"]
        if there != kind:
            what = f"{out} holds a run of kind {there!r}, but one of kind {kind!r} is needed to resume"
            raise CheckpointError(what, f"give the --out of a pretrain.{kind} run, or {BEGIN_INSTEAD}")
    else:
        check_free(Path(out))


def already_complete(settings: PretrainSettings, known: Mapping[str, Any]) -> bool:
    """Whether --resume names a finished run of just these settings; says so if it does, and touches nothing.

    known: what of the run's config is known before any text is read. Where it differs, or own text has changed since,
    the answer is no, and RunDirectory.create will tell in a moment what differs. Of text only one's own is read here.
    Raises: DataError for own text that can no longer be read.
    """
    out = Path(settings.out)
    completion = read_completion(out) if settings.resume else None
    if completion is None:
        return False
    config, known = read_config(out), json.loads(json.dumps(known))  # tuples become lists, as they are in the file
    saved = str(entry(config, "corpus.name")).split("+")
    same_corpus = len(saved) == len(settings.corpus) and all(
        name in (("wikitext-2", "sample") if asked == "auto" else (asked,))
        for asked, name in zip(settings.corpus, saved))
    if not same_corpus or any(config.get(k, ADDED.get(k)) != v for k, v in known.items()):
        return False
    if not all(is_unchanged(name, config.get("corpus")) for name in settings.corpus if name not in CORPORA):
        return False
    say(f"already complete (step {completion['step']}): {out}")
    return True


def read_corpus(settings: PretrainSettings) -> Corpus:
    """Load the corpora that the flags name."""
    return load_corpus(settings.corpus, find_data_dir(settings.data_dir), offline=settings.offline)


def finish(run: RunDirectory, settings: PretrainSettings, network: str, step: int,
           metrics: Mapping[str, float]) -> None:
    """Mark a run as finished, with what was measured last, and say what can be done with it."""
    run.mark_complete(step, {**metrics, "seconds": round(run.seconds, 1)})
    following = next_command(settings, "finetune.imdb", "--mode", "frozen", "--encoder", settings.out)
    say(f"{run.seconds / 60:.1f} minutes, at most {peak_memory_gib():.1f} GiB; the {network} is in {settings.out}. "
        f"Next: {following}")


def next_command(settings: PretrainSettings, module: str, *more: str) -> str:
    """A command to go on with what has been made, on the same corpora, which are taken from the same place.

    `module` is one that pretrains, with the same --preset, or finetune.imdb, which knows of corpora only whether they
    are the sample.
    """
    words = ["python", "-m", module, *more]
    if module.startswith("pretrain"):
        words += ["--corpus", *settings.corpus] if settings.corpus != ("auto",) else []
        words += ["--preset", settings.preset] if settings.given.get("preset", "auto") != "auto" else []
    elif settings.corpus == ("sample",):
        words += ["--data", "sample"]
    words += ["--data-dir", settings.data_dir] if settings.data_dir else []
    return shell_line([*words, "--offline"] if settings.offline else words)
