"""The contract held against the running product, by schemathesis: https://schemathesis.readthedocs.io"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

URL, KEY = os.environ["RAGFLARE_URL"], os.environ["RAGFLARE_KEY"]
CHECKS = [
    "nothing_breaks",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
# What is asked in one of them depends on what others before it made: each has a process of its own. Threads in one
# process (`--workers`) break hypothesis on Python 3.11 (`AST constructor recursion depth mismatch`).
COVERAGE = ["--phases", "examples,coverage"]
RUNS = {
    "examples and coverage of the chats": [*COVERAGE, "--include-path-regex", "/chat"],
    "examples and coverage of the rest": [*COVERAGE, "--exclude-path-regex", "/chat"],
    "fuzzing": ["--phases", "fuzzing", "--max-examples", os.environ.get("RAGFLARE_EXAMPLES", "25")],
}


def start(options, place):
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{URL}/openapi.json", "--url", URL]
    command += ["--header", f"Authorization: Bearer {KEY}", "--checks", ",".join(CHECKS), "--seed", "1"]
    # A busy machine is no fault, so much time may a reply take; nothing is left in the checkout.
    command += ["--request-timeout", "60", "--generation-database", "none", "--no-color", *options]
    environ = os.environ | {"SCHEMATHESIS_HOOKS": str(Path(__file__).resolve()), "COLUMNS": "110"}
    return subprocess.Popen(
        command, cwd=place, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def main():
    with tempfile.TemporaryDirectory() as place:
        runs = {what: start(options, place) for what, options in RUNS.items()}
        printed = {what: run.communicate()[0] for what, run in runs.items()}
    failed = False
    for what, text in printed.items():
        _, _, summary = text.partition(" SUMMARY ===")
        # Each operation that was chosen was called.
        tested = re.search(r"Selected: (\d+)/\d+\s+Tested: \1\b", summary)
        good = runs[what].returncode == 0 and tested
        failed |= not good
        shown = [line for line in summary.lstrip("= ").splitlines() if line.strip()]
        print(f"{what}:", *(shown if good else [text]), sep="\n", file=sys.stdout if good else sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
else:
    # As schemathesis reads it.
    import schemathesis

    @schemathesis.check
    def nothing_breaks(ctx, response, case):
        """No status 5xx but one: the twin's model says what it was told to, which no schema made by chance allows."""
        asked = isinstance(case.body, dict) and case.body.get("response_format")
        if response.status_code == 502 and asked and response.json()["error"]["code"] == "format_not_met":
            return
        schemathesis.checks.not_a_server_error(ctx, response, case)
