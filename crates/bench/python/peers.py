"""The peers in Python: `peers.py TOKENIZER_JSON TEXT…` prints a line `subject, file, samples in ms` for each."""

import pathlib
import sys
import time

import semantic_text_splitter
import tokie
from chonkie import RecursiveChunker

TARGET = 256
SAMPLES = 5
PATIENCE = 10.0


def samples(prepare):
    """`prepare` gives the work to time: chonkie's chunkers remember the counts of texts they have seen."""
    taken = []
    begun = time.perf_counter()
    while len(taken) < SAMPLES and (not taken or time.perf_counter() - begun < PATIENCE):
        work = prepare()
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def main(tokenizer, texts):
    json = pathlib.Path(tokenizer).read_text()
    counter = tokie.Tokenizer.from_json(tokenizer)
    for name in texts:
        path = pathlib.Path(name)
        text = path.read_text()
        kind = "MarkdownSplitter" if path.suffix == ".md" else "TextSplitter"
        splitter = getattr(semantic_text_splitter, kind).from_huggingface_tokenizer_str(json, TARGET)

        def semantic():
            return lambda: splitter.chunk_indices(text)

        def recursive():
            chunker = RecursiveChunker(tokenizer=counter, chunk_size=TARGET)
            return lambda: chunker.chunk(text)

        peers = [("semantic_text_splitter", semantic), ("chonkie_recursive", recursive)]
        if path.name.startswith("chinese.") and len(text) > 10_000:
            # tokie 0.1.4, which chonkie counts with, cuts a long text at blanks, and where there is none inside a character.
            peers.pop()
        for subject, prepare in peers:
            taken = samples(prepare)
            print(subject, path.name, *(f"{sample:.3f}" for sample in taken), sep="\t", flush=True)


main(sys.argv[1], sys.argv[2:])
