"""Part VI, transfer: a pretrained encoder, a head, and what is learned of them."""

CLASSIFIERS = ("transfer", "bag")  # kinds of runs that classify: those of finetune.imdb and finetune.bag
FEWEST = 2  # labels of each class: one to learn from, and one for validation
POOLS = {"mean": 1, "mean-max": 2, "concat": 3}  # of a mean head: how many layers wide each is
