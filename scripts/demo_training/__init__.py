"""What `scripts/train_demo.py` is made of: pictures, captions, tokenizer, training, evaluation."""
