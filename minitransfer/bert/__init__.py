"""Part IV, BERT: masked words, and an encoder that reads in both directions at once."""
