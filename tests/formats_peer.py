"""Seconds that markitdown takes for each file of a folder, for `RAGFLARE_PEER` of tests/tests/formats.rs.

    python3 -m venv peer && peer/bin/pip install 'markitdown[all]==0.1.3'
    RAGFLARE_FILES=FOLDER RAGFLARE_PEER=peer/bin/python3 cargo test --profile native -p ragflare-tests --test formats folder
"""

import sys
import time

from markitdown import MarkItDown

converter = MarkItDown()
for line in sys.stdin:
    path = line.rstrip("\n")
    best = None
    # Twice: what is imported at the first file of a format is no cost of the file.
    for _ in range(2):
        begun = time.perf_counter()
        try:
            converter.convert_local(path)
        except Exception:
            best = None
            break
        taken = time.perf_counter() - begun
        best = taken if best is None else min(best, taken)
    print(f"{path}\t{'' if best is None else best}", flush=True)
