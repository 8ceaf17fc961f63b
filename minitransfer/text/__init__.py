"""Part I, text into integers: corpora, words, batches."""
