"""What a compile tells: the JSON documents (models, strict) and the tables made from them.

    model      report.json and manifest.json as pydantic models
    build      from site records to the report
    require    `--require` expressions over its totals
    table      the report for people
    explain    one site for people
    parts      the parts of a pipeline, as a JSON document and for people

Only `table` imports rich, and nothing here prints.
"""
