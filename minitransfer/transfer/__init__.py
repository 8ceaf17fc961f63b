"""Part V, transfer: a pretrained encoder, a head, and what is learned of them."""
