"""What an output folder has for the host with the device: configurations, a script that converts, a page to read.

    gears     the batches that a graph for any batch is converted for
    lite      the configuration of a component, and convert.sh
    readme    README.md
    write     hands them to a compile's output

All of it is made of the manifest and the report, and says nothing that they do not.
"""
