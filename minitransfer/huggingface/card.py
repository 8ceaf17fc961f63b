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


def classifier_card(classes: Sequence[str], max_tokens: int, **facts: Any) -> str:
    """The card of a BertForSequenceClassification. facts: folder, corpus, parameters and vocab_size."""
    room = max_tokens - 2
    return CLASSIFIER.format(classes=", ".join(classes), max_tokens=max_tokens, room=room, head=room // 2,
                             tail=room - room // 2, **facts)
