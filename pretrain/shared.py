"""What the pretraining commands share around their loops: the corpus, and how a run goes on.

Read next: `pretrain.static.train`.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minitransfer.apparatus.checkpoint import BEGIN_INSTEAD, check_free, read_completion
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.saved import read_config
from minitransfer.text.corpora import Corpus, find_data_dir, fingerprint, load_corpus
from pretrain.settings import PretrainSettings


def check_out(out: str, kind: str, *, resume: bool) -> None:
    """Refuse an --out that is taken, or holds nothing to resume, before minutes go into reading text.

    RunDirectory.create looks again, under its lock, and at every setting; this is only sooner.
    Raises: UsageError for a directory that holds something; CheckpointError if there is no run of `kind` to resume.
    """
    if resume:
        found = read_config(Path(out), BEGIN_INSTEAD)["kind"]
        if found != kind:
            what = f"{out} holds a run of kind {found!r}, but one of kind {kind!r} is needed to resume"
            raise CheckpointError(what, f"give the --out of a pretrain.{kind} run, or {BEGIN_INSTEAD}")
    else:
        check_free(Path(out))


def already_complete(settings: PretrainSettings, known: Mapping[str, Any]) -> bool:
    """Whether --resume names a finished run of just these settings; says so if it does, and touches nothing.

    known: what of the run's config is known before any text is read. Where it differs the answer is no, and
    RunDirectory.create will tell in a moment what differs.
    """
    out = Path(settings.out)
    completion = read_completion(out) if settings.resume else None
    if completion is None:
        return False
    config, known = read_config(out), json.loads(json.dumps(known))  # tuples become lists, as they are in the file
    corpus = config.get("corpus")
    same_corpus = isinstance(corpus, dict) and corpus.get("name") == "+".join(settings.corpus)
    if not (same_corpus or "auto" in settings.corpus) or any(config.get(k) != v for k, v in known.items()):
        return False
    say(f"already complete (step {completion['step']}): {out}")
    return True


def read_corpus(settings: PretrainSettings) -> tuple[Corpus, dict[str, str]]:
    """Load the corpora that the flags name; returns the corpus, and the facts about it that a run directory keeps."""
    data_dir = find_data_dir(settings.data_dir)
    corpus = load_corpus(settings.corpus, data_dir, offline=settings.offline, say=say)
    return corpus, {"name": corpus.name, "fingerprint": fingerprint(corpus.train)}


def next_command(settings: PretrainSettings, module: str, *more: str) -> str:
    """A command to go on with what has been made, on the same corpora, which are taken from the same place.

    `module` is one that pretrains, with the same --preset, or finetune.imdb, which knows of corpora only whether they
    are the sample.
    """
    words = ["python", "-m", module, *more]
    if module.startswith("pretrain"):
        words += ["--corpus", *settings.corpus] if settings.corpus != ("auto",) else []
        words += ["--preset", settings.preset] if settings.preset != "small" else []
    elif settings.corpus == ("sample",):
        words += ["--data", "sample"]
    words += ["--data-dir", settings.data_dir] if settings.data_dir else []
    return shlex.join([*words, "--offline"] if settings.offline else words)
