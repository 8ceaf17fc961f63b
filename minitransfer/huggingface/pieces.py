"""Part I, aside: foreign pieces. Does somebody else's tokenizer cut text into the pieces that ours would?

A BERT that was trained elsewhere brings a list of pieces, as `vocab.txt`, one a line, or in a `tokenizer.json`; and
beside it what is done to text before. What uncased BERT does is what `minitransfer.text.wordpiece` does, so its list
can be taken over, and anything else would be tokenised wrongly, without a word: it is refused here. The special pieces
stand elsewhere in that list; here they come first, and the network's rows must follow.

Read next: `minitransfer.apparatus.errors`, the first of the apparatus.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minitransfer.apparatus.durable import entry, read_json
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.text.wordpiece import AROUND, CLS_ID, LONGEST_WORD, PREFIX, SPECIAL_PIECES, UNK_ID, WordPiece

TOKENIZER, VOCABULARY, SETTINGS = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
MOST_BYTES = 2**26  # of either list: a hundred times that of the usual 30,000 pieces
ENGLISH_BERT = "give an uncased English BERT, such as bert-base-uncased"
FAST = ("PreTrainedTokenizerFast", "TokenizersBackend")  # these do what tokenizer.json says, and nothing else

# What may stand in tokenizer_config.json, and in tokenizer.json under dotted names; None is nothing at all.
SAID = {"do_lower_case": (None, True), "do_basic_tokenize": (None, True), "tokenize_chinese_chars": (None, True),
        "strip_accents": (None, True), "tokenizer_class": (None, "BertTokenizer", "BertTokenizerFast", *FAST)}
WRITTEN = {"model.type": (None, "WordPiece"), "model.unk_token": (SPECIAL_PIECES[UNK_ID],),
           "model.continuing_subword_prefix": (PREFIX,), "model.max_input_chars_per_word": (LONGEST_WORD,),
           "normalizer.type": ("BertNormalizer",), "normalizer.lowercase": (True,), "normalizer.clean_text": (True,),
           "normalizer.handle_chinese_chars": (True,), "normalizer.strip_accents": (None, True),
           "pre_tokenizer.type": ("BertPreTokenizer",)}
CLS = {"SpecialToken": {"id": SPECIAL_PIECES[CLS_ID], "type_id": 0}}
LEFT_OPEN = {  # what stands around a text that a GPT is to go on from: [CLS] before it, and no [SEP] behind
    "type": "TemplateProcessing", "single": [CLS, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [CLS, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {SPECIAL_PIECES[CLS_ID]: {"id": SPECIAL_PIECES[CLS_ID], "ids": [CLS_ID],
                                                "tokens": [SPECIAL_PIECES[CLS_ID]]}},
}


def read_pieces(folder: Path) -> tuple[WordPiece, list[int]]:
    """The pieces of a BERT that was saved elsewhere, and which id each had there: `order[token_id]` is the old one.

    Raises: CheckpointError for pieces that are damaged, or that our way of cutting text does not suit.
    """
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    name = TOKENIZER if (folder / TOKENIZER).is_file() else VOCABULARY
    try:
        refuse_others(settings, SAID)
        if name == VOCABULARY and settings.get("tokenizer_class") in FAST:
            raise ValueError(f"a {settings['tokenizer_class']} without a {TOKENIZER}")
    except ValueError as failure:
        raise CheckpointError(f"{folder / SETTINGS}: {failure}", ENGLISH_BERT) from failure
    text = read_text(folder / name)
    with contextlib.suppress(ValueError):  # it may be one of ours, by rules that no uncased BERT has
        wordpiece = WordPiece.from_json(closed(text))
        return wordpiece, list(range(wordpiece.vocab_size))
    try:
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")  # of a vocab.txt, in the order of ids
        return specials_first(pieces_of_json(text) if name == TOKENIZER else lines)
    except ValueError as failure:
        raise CheckpointError(f"{folder / name}: {failure}", ENGLISH_BERT) from failure


def left_open(tokenizer: bytes) -> bytes:
    """A tokenizer.json that puts [CLS] before a text and no [SEP] behind it, since a GPT is to go on from there."""
    return json.dumps(json.loads(tokenizer) | {"post_processor": LEFT_OPEN}, ensure_ascii=False, indent=2).encode()


def closed(text: str) -> str:
    """A tokenizer.json with the [SEP] again that `left_open` has taken away; any other text as it is."""
    with contextlib.suppress(ValueError, RecursionError):
        description = json.loads(text)
        if isinstance(description, dict) and description.get("post_processor") == LEFT_OPEN:
            return json.dumps(description | {"post_processor": AROUND["post_processor"]}, ensure_ascii=False)
    return text


def max_length(folder: Path, most: int) -> int:
    """How many tokens a text may have, as tokenizer_config.json says; `most` if it says nothing of use."""
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    length = settings.get("model_max_length")
    return length if type(length) is int and 3 <= length <= most else most


def read_text(path: Path) -> str:
    """The text of a file. Raises: CheckpointError if it is not there, is no text, or is absurdly large."""
    if not path.is_file():  # nor a pipe, which would keep us waiting
        fix = f"put the {VOCABULARY} or {TOKENIZER} of this BERT beside its weights"
        raise CheckpointError(f"there is no {path}", fix)
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise CheckpointError(f"{path} has more than {MOST_BYTES:,} bytes, too many for pieces", ENGLISH_BERT)
        return data.decode()
    except OSError as failure:
        raise CheckpointError(f"cannot read {path}: {failure.strerror}", "make it readable") from failure
    except UnicodeDecodeError as failure:
        raise CheckpointError(f"{path} is not UTF-8 text, at byte {failure.start}", ENGLISH_BERT) from failure


def pieces_of_json(text: str) -> list[str]:
    """The pieces of a tokenizer.json by id. Raises: ValueError unless it cuts text as uncased BERT does."""
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise ValueError("it is not JSON") from failure
    refuse_others({name: entry(settings, name) for name in WRITTEN}, WRITTEN)
    added = entry(settings, "added_tokens") or []
    others = [entry(token, "content") for token in added] if isinstance(added, list) else ["added_tokens"]
    for other in others:
        if other not in SPECIAL_PIECES:
            raise ValueError(f"{str(other)[:40]!r} is added to its pieces, and would be cut out of words")
    return WordPiece.by_id(entry(settings, "model.vocab"))


def refuse_others(settings: Mapping[str, Any], allowed: Mapping[str, tuple]) -> None:
    """Raises: ValueError naming the first setting that is not among those allowed for it."""
    for name, values in allowed.items():
        if settings.get(name) not in values:
            cased = ": the model is a cased one" if name in ("do_lower_case", "normalizer.lowercase") else ""
            needed = next(value for value in values if value is not None)
            raise ValueError(f"{name} is {settings.get(name)!r:.60}, not {needed!r}{cased}")


def specials_first(pieces: Sequence[str]) -> tuple[WordPiece, list[int]]:
    """The pieces with the special ones before all others, and which id each had.

    Raises: ValueError if a special piece is missing, one comes twice, or one can be no piece of uncased text.
    """
    ids = {piece: i for i, piece in enumerate(pieces)}
    missing = [piece for piece in SPECIAL_PIECES if piece not in ids]
    if missing:
        raise ValueError(f"there is no piece {missing[0]}")
    if len(ids) < len(pieces):
        raise ValueError(f"{len(pieces) - len(ids)} of its pieces come twice")
    capital = [piece for piece in pieces if any("A" <= letter <= "Z" for letter in piece) and piece[0] != "["]
    if capital:
        what = f"{len(capital):,} of its pieces have capital letters, such as {capital[0][:40]!r}"
        raise ValueError(f"{what}: the model is a cased one")
    specials = [ids[piece] for piece in SPECIAL_PIECES]
    order = specials + [i for i in range(len(pieces)) if i not in specials]
    wordpiece = WordPiece([pieces[i] for i in order])
    return WordPiece.from_json(wordpiece.to_json()), order  # as it will be read back: it looks at each piece
