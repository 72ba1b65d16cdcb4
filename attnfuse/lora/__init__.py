"""What changes the weights of a result while these are streamed: LoRAs, and textual inversions.

    given       what the user names: a file and a scale
    layers      what is in a file: pairs of factors, under the names of the trainers that wrote them
    inversion   vectors behind a text encoder's table, and their tokens in its tokenizer
    fitting     which weight of a component each pair belongs to

What is added to a weight is computed in `attnfuse.mindir.low_rank`, and read with it in `attnfuse.mindir.stored`.
"""
