"""minitransfer: pretraining and transfer learning as a textbook you can run.

Contents, in reading order (each module opens with the question it answers and names the next):

    Part I    text into integers     text.corpora · text.cleaning · text.wikitext · text.imdb · text.words
                                     text.batching · text.wordpiece · text.packing
                                     (aside: text.sample)
    Part II   static vectors         static.skipgram · static.loading
                                                                   command: pretrain.static
    Part III  ELMo                   elmo.charcnn · elmo.bilm · elmo.softmax · elmo.spelling · elmo.mix
                                     elmo.evaluation               command: pretrain.bilm
    Part IV   BERT                   bert.masking · bert.encoder · bert.evaluation
                                                                   command: pretrain.bert
    Part V    transfer               transfer.tokens · transfer.encoders · transfer.loading · transfer.labels
                                     transfer.features · transfer.heads · transfer.freezing · transfer.classifier
                                     transfer.examples · transfer.stopping · transfer.erasure · transfer.baselines
                                     transfer.prompts · bert.distillation (command: pretrain.distil)
                        commands: finetune.imdb · finetune.predict · finetune.bag · finetune.compare · finetune.prompt
    Looking into runs                                              command: pretrain.inspect
    To and from elsewhere            huggingface.exchange · names · weights · pieces
                                                                   command: minitransfer.huggingface
    Apparatus, when first needed     errors · options · runtime · progress · durable · saved · metrics
                                     states · checkpoint · keeper · optim · distributed · cache
                                     figures · mirrors · download · archives

Imports go one way: tests → {pretrain, finetune} → transfer → {elmo, bert} → static → text, and the apparatus imports
none of these. `pretrain` and `finetune` never import each other: they meet in a run directory.

The dimension key, used in every shape:

    B batch · T tokens · C bytes of a word · U distinct words · D width · P projection · V vocabulary · K words drawn
    L layers above layer 0 · H heads, or LSTM units in elmo · d width of a head · S tokens looked at · W pooled width
    Y classes that a text may belong to · N how many, where there is no batch: running tokens, texts
"""

import sys

if sys.version_info < (3, 11):  # said in words that any Python 3 can read, before anything that it cannot
    sys.stderr.write("error: Python 3.11 or newer is needed, and this is %d.%d. " % sys.version_info[:2]
                     + "Fix: make the environment with a newer one, as in `python3.12 -m venv .venv`.\n")
    sys.exit(2)
