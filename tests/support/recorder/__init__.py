"""What a mindone pipeline's own `__call__` hands to its models, recorded, and held to attnfuse's plans of them.

    table       the pipelines: their parts' configurations, and what they are called with; made of record, pictures
                and videos
    stubs       models that record their calls and give zeros
    words       tokenizers and image processors
    eager       what MindSpore lacks on a CPU, by numpy
    running     a pipeline of stubs, made and called
    comparing   what was recorded, held to a plan

`python -m tests.support.recorder FILE NAME...` writes the differences, as JSON.
"""
