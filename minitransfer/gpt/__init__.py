"""Part V, GPT: BERT's encoder under a causal mask, a language model that looks back and never ahead."""
