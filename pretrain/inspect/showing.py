"""Parts II to V, around inspecting: showing. How are two hundred vectors told in thirty lines?

By a number for each layer, how alike the occurrences of a word are; by the words nearest to it before any context;
and by a few occurrences, far from one another, each with those that are nearest to it. These owe much to the words
that stand beside both: even an encoder of random weights finds its nearest where the same words stand around.

Read next: `minitransfer.transfer.tokens`, Part VI.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.durable import entry
from minitransfer.apparatus.errors import CheckpointError, DataError, UsageError
from minitransfer.apparatus.options import one_line
from minitransfer.text import CORPORA
from minitransfer.text.corpora import Corpus, find_data_dir, load_corpus, names_of
from minitransfer.text.wordpiece import SPECIAL_PIECES
from minitransfer.text.words import SPECIAL_WORDS, Vocabulary
from minitransfer.transfer.encoders import BertEncoder, Encoder
from pretrain.inspect.curves import PANELS, History
from pretrain.inspect.geometry import cosines, nearest, self_similarity
from pretrain.inspect.occurrences import Occurrence, find, pieces_of
from pretrain.inspect.settings import Settings

MOST_WORDS = 10_000  # of the vocabulary, the most frequent, among which static neighbours are looked for
EXAMPLES, NEAREST, STATIC = 6, 3, 8  # occurrences shown, neighbours of each, and of the word itself
WIDTH = 36  # characters of context to each side
LOWEST = {"bilm": "character CNN", "bert": "embeddings", "gpt": "embeddings", "static": "static vectors"}
ABOVE = {"bilm": "LSTM layer", "bert": "block", "gpt": "block"}


def check_kind(run: LoadedRun, mode: str) -> None:
    """Raises: CheckpointError for a run that is no contextual encoder, of which `mode` needs one."""
    if run.kind not in ABOVE:
        kinds = "' or '".join(ABOVE)
        what = f"{run.path} holds a run of kind {run.kind!r}, but {mode} needs a contextual one, '{kinds}'"
        raise CheckpointError(what, "give the directory of a run of pretrain.bilm, bert or gpt")


def check_layer(asked: int | None, layers: range, name: str = "layers") -> int:
    """The layer to look at, the uppermost for None. Raises: UsageError if there is none of this number."""
    if asked is not None and asked not in layers:
        what = f"--layer {asked} is outside {layers[0]} to {layers[-1]}, the {name} of this run"
        raise UsageError(what, "choose one of these")
    return layers[-1] if asked is None else asked


def find_in_corpus(run: LoadedRun, settings: Settings) -> tuple[list[Occurrence], Corpus]:
    """Look a word up, first in what is held out for validation. Raises: DataError if it is there less than twice."""
    names, word = settings.corpus or own_corpus(run), settings.word
    corpus = load_corpus(names, find_data_dir(settings.data_dir), offline=settings.offline)
    occurrences = find(word, chain(corpus.validation, corpus.train), corpus.marks_unknown, settings.occurrences)
    if len(occurrences) < 2:
        what = (f"{one_line(word[:40])!r} stands in {len(occurrences)} lines of text of corpus {corpus.name}, and two "
                f"are the least that can be compared")
        raise DataError(what, "choose another word, or another --corpus")
    return occurrences, corpus


def own_corpus(run: LoadedRun, fix: str = f"name one with --corpus: {', '.join(CORPORA)}") -> list[str]:
    """The corpora that a run was trained on. Raises: CheckpointError, which advises `fix`, if none is known here."""
    names = names_of(run.config.get("corpus"))
    if not names:
        name = str(entry(run.config, "corpus.name"))
        raise CheckpointError(f"{run.path} was trained on {name[:80]!r}, which is no corpus known here", fix)
    return names


def candidate_words(run: LoadedRun, encoder: Encoder) -> list[str]:
    """Words among which to look for neighbours: the most frequent of the vocabulary, or the pieces that are words."""
    if isinstance(encoder, BertEncoder):
        pieces, continues = encoder.wordpiece.pieces, encoder.wordpiece.continues
        return [piece for piece, goes_on in zip(pieces, continues) if not goes_on][len(SPECIAL_PIECES) :]
    return run.parsed("vocab.txt", Vocabulary.from_text).words[len(SPECIAL_WORDS) :][:MOST_WORDS]


def static_neighbours(encoder: Encoder, word: str, words: Sequence[str]) -> list[str]:
    """The words nearest to a word by layer 0 alone; for BERT by the embeddings of pieces, without positions."""
    pieces = [word]
    if isinstance(encoder, BertEncoder):
        pieces = [encoder.wordpiece.pieces[i] for i in pieces_of(encoder, word)]
    with torch.no_grad():
        middle = encoder.token_table(pieces).mean(dim=0, keepdim=True)
        similarity = cosines(middle, encoder.token_table(words))[0]
    ranked = [words[i] for i in similarity.topk(min(STATIC + 1, len(words))).indices.tolist()]
    return [near for near in ranked if near != word][:STATIC]


def tell_layers(words: Tensor, others: Tensor, word: str) -> None:
    """Print how alike occurrences are at each layer, beside tokens drawn at random. Shapes: two (L + 1, N, D)."""
    print("\nmean cosine of any two lines' vectors: of the word (least to greatest), and of tokens drawn at random")
    print(f"  {'layer':<8}{one_line(word)[:16]:<26}{'at random':<12}difference")
    for k in range(len(words)):
        mean, least, greatest = self_similarity(words[k])
        any_two = self_similarity(others[k])[0]
        spread = f"{mean:.3f} ({least:.3f} to {greatest:.3f})"
        print(f"  {k:<8}{spread:<26}{any_two:<12.3f}{mean - any_two:+.3f}")


def tell_nearest(h: Tensor, occurrences: Sequence[Occurrence], chosen: Sequence[int], layer: int) -> None:
    """Print some occurrences, each with those of other documents that are nearest to it. Shapes: h (N, D)."""
    similarity = cosines(h, h)
    if len(chosen) == 1:
        print(f"\nby layer {layer} all {len(h):,} are the same vector: no line is nearer than another")
        return
    print(f"\n{len(chosen)} of the lines; under each, those of other documents nearest to it by layer {layer}, with "
          f"the cosine")
    near = nearest(similarity, torch.tensor([o.document for o in occurrences]), NEAREST)
    for label, i in enumerate(chosen, start=1):
        print(f"\n  {label}      {occurrences[i].in_context(WIDTH)}")
        for j in near[i]:
            print(f"  {similarity[i, j]:.3f}  {occurrences[j].in_context(WIDTH)}")


def layer_names(kind: str, num_layers: int) -> list[str]:
    """What the layers of an encoder of this kind are called, from the lowest on."""
    return [f"0, {LOWEST.get(kind, kind)}", *(f"{k}, {ABOVE.get(kind, 'layer')} {k}" for k in range(1, num_layers))]


def tell_history(history: History) -> None:
    """Print where each curve of a run begins and ends."""
    ends = []
    for columns in PANELS.values():
        for name in columns:
            y = history.points(name, "steps")[1]
            if y:
                ends.append(f"{name} {y[0]:.4g}" + (f" to {y[-1]:.4g}" if len(y) > 1 else ""))
    print(f"{history.name} ({history.kind}), {len(history.rows):,} rows: {', '.join(ends)}")


def tell_picture(path: Path | None) -> None:
    """Print where a picture is, if there is one."""
    if path is not None:
        print(f"\npicture: {path}")
