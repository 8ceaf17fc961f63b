"""Part VI, transfer: a pretrained encoder, a head, and what is learned of them.

**Transfer learning** (転移学習) is both here, as in the field: the encoder frozen, or fine-tuned. The lecture that this
book follows has the word for the frozen case alone, and sets *fine-tuning* beside it.
"""

CLASSIFIERS = ("transfer", "bag")  # kinds of runs that classify: those of finetune.imdb and finetune.bag
FEWEST = 2  # labels of each class: one to learn from, and one for validation
POOLS = {"mean": 1, "mean-max": 2, "concat": 3}  # of a mean head: how many layers wide each is
