"""One run, written as the data flow; each room has one reason to change.

dataset -> image features \
                               scores -> record
prompts -> class embeddings /

``flow`` is the whole of it: `prepare` finds out all that needs no image, `encode` makes the features and the class
embeddings, `score_together` scores many questions in one pass and leaves their records. ``plan`` says what would be
done.
"""
