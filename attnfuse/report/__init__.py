"""What a compile tells: the JSON documents (models, strict) and the tables made from them.

    model      report.json and manifest.json as pydantic models
    build      from site records to the report
    require    `--require` expressions over its totals
    table      the report for people
    explain    one site for people
    parts      the parts of a pipeline, as a JSON document and for people
    page       the report as one HTML file, from templates/
    markdown   the report for the summary of a CI job
    junit      the report for what reads results of tests
    reading    a report that was written before
    rows       what all of these show: figures and sentences
    tree       the sites of a component by module, equal blocks once
    drawings   what the page draws
    figures    what a certificate tells of errors
    units      numbers for people

Only `table` imports rich, only `page` jinja2, and nothing here prints.
"""
