"""Many compiles, on more than one process or machine.

    units       what is asked of a worker, and what it answers: texts, each with a digest
    perform     what a worker does, whoever it works for
    worker      a worker process of this machine
    local       several of those
    cluster     workers of a Dask cluster
    batch       the story of many compiles: what they have in common first, then each
    state       what an earlier run of a batch finished

What passes between machines is in the cache (`attnfuse.store`): a worker puts a trace there, and who asked finds it.
"""
