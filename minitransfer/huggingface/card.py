"""Part IV, aside: the card. What must somebody know who uses an exported folder without having read this book?

The README.md of an exported folder: what it is, the line that uses it, and where its answers differ from those of the
commands here, which no file of the folder can change.

Read next: `minitransfer.huggingface.names`, how the same weights are called there.
"""

from collections.abc import Sequence
from typing import Any

LANGUAGE_MODEL = """---
library_name: transformers
pipeline_tag: fill-mask
---

# BertForMaskedLM, pretrained on {corpus}

{parameters:,} parameters, {vocab_size:,} uncased word pieces. Exported by `python -m minitransfer.huggingface export`.

```python
from transformers import pipeline

fill = pipeline("fill-mask", {folder!r})
print(fill("the film was [MASK] ."))
```

The probabilities are those of `python -m pretrain.inspect RUN --fill TEXT` for each text of at most {max_tokens:,}
pieces, `[CLS]` and `[SEP]` among them. What differs:

- **Longer texts.** The model was not pretrained on them, and `--fill` refuses them. The pipeline takes up to
  {max_positions:,} pieces and fails beyond; with `tokenizer_kwargs={{"truncation": True}}` it takes the first
  {max_tokens:,}.
- **Special pieces.** `[CLS]`, `[SEP]`, `[PAD]` or `[UNK]` written in a text is the special piece here. In `--fill` only
  `[MASK]` is, and in pretraining none. `AutoTokenizer.from_pretrained({folder!r}, split_special_tokens=True)`
  tokenises as pretraining did, `[MASK]` included.
"""

WRITER = """---
library_name: transformers
pipeline_tag: text-generation
---

# BertLMHeadModel, a GPT pretrained on {corpus}

{parameters:,} parameters, {vocab_size:,} uncased word pieces. Exported by `python -m minitransfer.huggingface export`.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({folder!r}).eval()
tokenizer = AutoTokenizer.from_pretrained({folder!r})

def go_on(text, **how):
    written = model.generate(**tokenizer(text, return_tensors="pt"), suppress_tokens={never}, **how)
    return tokenizer.decode(written[0], skip_special_tokens=True)

print(go_on("the film was", do_sample=True, temperature=0.8, top_k=40, max_new_tokens=40))
```

The probabilities are those of `python -m pretrain.inspect RUN --write TEXT` for each text of at most {max_tokens:,}
pieces, `[CLS]` among them. What differs:

- **What is drawn.** The generator of random numbers is another, so the same seed writes another text. With
  `do_sample=False` both write the same, as `--temperature 0` does.
- **Special pieces.** `suppress_tokens` keeps pieces from being written that stand in no text, as `--write` does; a call
  of `generate` without it may write them. `[SEP]` ends a text. Written in TEXT, they are text, here as there.
- **What is shown.** `decode` leaves out `[UNK]`, which stands for what no piece can spell, and joins a full stop or a
  comma to the word before it. `--write` shows `[UNK]`, and a space before each.
- **Longer texts.** The model was not pretrained on them, and `--write` stops at {max_tokens:,} pieces. `generate` goes
  on to {max_positions:,}, and fails beyond.
"""

CLASSIFIER = """---
library_name: transformers
pipeline_tag: text-classification
---

# BertForSequenceClassification: {classes}

{parameters:,} parameters, {vocab_size:,} uncased word pieces. The BERT was pretrained on {corpus}. Exported by
`python -m minitransfer.huggingface export`.

```python
from transformers import pipeline

classify = pipeline("text-classification", {folder!r}, truncation=True)
print(classify("A film I will not forget."))
```

The probabilities are those of `python -m finetune.predict RUN TEXT` for each text of at most {max_tokens:,} pieces,
`[CLS]` and `[SEP]` among them. What differs:

- **Longer texts.** `predict` leaves out the middle of a text: it keeps the first {head:,} and the last {tail:,} pieces.
  So it was in training. The pipeline keeps the first {room:,} with `truncation=True`, and without it a longer text
  is an error. These lines keep head and tail, and give the answers of `predict`:

  ```python
  import torch
  from transformers import AutoModelForSequenceClassification, AutoTokenizer

  model = AutoModelForSequenceClassification.from_pretrained({folder!r}).eval()
  tokenizer = AutoTokenizer.from_pretrained({folder!r})

  def classify_head_and_tail(text):
      pieces = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
      if len(pieces) > {room}:
          pieces = pieces[:{head}] + pieces[-{tail}:]
      token_ids = torch.tensor([[tokenizer.cls_token_id, *pieces, tokenizer.sep_token_id]])
      with torch.no_grad():
          p = model(token_ids).logits.softmax(dim=-1)[0]
      return {{"label": model.config.id2label[p.argmax().item()], "score": p.max().item()}}
  ```

- **Line breaks in HTML.** `predict` takes `<br />` for a line break and removes invisible characters, as was done with
  the reviews of the training. Give the pipeline text without them.
- **Special pieces.** `[MASK]` or `[SEP]` written in a text is text, here as there.
"""


def language_model_card(**facts: Any) -> str:
    """The card of a BertForMaskedLM.

    facts: folder, corpus, parameters, vocab_size, max_tokens (`model_max_length`) and max_positions.
    """
    return LANGUAGE_MODEL.format(**facts)


def writer_card(**facts: Any) -> str:
    """The card of a BertLMHeadModel. facts: those of `language_model_card`, and never, the ids that are not written."""
    return WRITER.format(**facts)


def classifier_card(classes: Sequence[str], max_tokens: int, **facts: Any) -> str:
    """The card of a BertForSequenceClassification. facts: folder, corpus, parameters and vocab_size."""
    room = max_tokens - 2
    return CLASSIFIER.format(classes=", ".join(classes), max_tokens=max_tokens, room=room, head=room // 2,
                             tail=room - room // 2, **facts)
