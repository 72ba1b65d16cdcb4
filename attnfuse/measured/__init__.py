"""What comes back from a host with a device: files that others wrote there, held to what was estimated here.

    measure     the script that makes the folder on that host
    folder      which files it has, and of which graphs
    profile     msprof's tables of what ran
    fusions     the engine's count of its fusions
    build_log   what was refused when a graph was converted
    places      nodes of a graph by the names that the engine gives them
    records     what all of it comes to
    compare     the folder beside the output
    table       for people

Nothing here measures: times are those that the files tell. The layouts of the files are those that CANN's documents and
sources describe, named where each is read.
"""
