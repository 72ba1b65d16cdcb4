"""What became of each attention, from the report of a compile."""

import json
import subprocess
import sys

command = [
    "compile",
    "demo:stable-diffusion",
    "--component",
    "text_encoder",
    "-o",
    "out",
    "--progress",
    "never",
    "--json",
]
done = subprocess.run([sys.executable, "-m", "attnfuse", *command], check=True, stdout=subprocess.PIPE)
report = json.loads(done.stdout)

for component in report["components"]:
    for site in component["sites"]:
        print(site["id"], site["status"], site["code"], site["query_shape"], site["layout"])
totals = report["totals"]
assert totals["sites"] == totals["fused"] + totals["kept"] + totals["missed"] + totals["not_attention"]
