"""What becomes of files, beside what should: the numbers of docs/formats.md.

    cargo build --release -p ragflare-convert --example convert
    python3 tests/formats_quality.py target/release/examples/convert FOLDER [PYTHON_WITH_MARKITDOWN]

FOLDER has any of these, each skipped when it is not there:

- readability/*/{source,expected}.html: words of pages against those of their main content (mozilla/readability's tests);
- docling/FORMAT/sources/* and groundtruth/*.md: words against those that docling finds (its tests);
- encodings/ENCODING/*: texts against what Python's codec of that name makes of them (chardet's tests);
- markitdown/expected_strings.json: strings that must and must not be there (markitdown's tests).

Words are counted as a bag: precision is the share of ours that are expected, recall the share of the expected that are ours.
"""

import html
import json
import pathlib
import re
import subprocess
import sys
from collections import Counter

# What Python calls encodings whose folder has another name. Python has no codec for EUC-TW.
CODECS = {"MacCyrillic": "mac_cyrillic", "TIS-620": "tis_620", "IBM855": "cp855", "IBM866": "cp866"}
LANGUAGES = (
    "-(croatian|czech|hungarian|polish|slovak|slovene|bulgarian|russian|arabic|greek|turkish|romanian|hebrew)$"
)
MARKITDOWN = """
import sys
from markitdown import MarkItDown
sys.stdout.buffer.write(MarkItDown().convert_local(sys.argv[1]).text_content.encode())
"""

converter, folder = sys.argv[1], pathlib.Path(sys.argv[2])
peer = sys.argv[3] if len(sys.argv) > 3 else None


def output(*command):
    return subprocess.run(command, capture_output=True, timeout=120).stdout.decode(errors="replace")


def ours(path, *arguments):
    return output(converter, *arguments, str(path))


def theirs(path):
    return output(peer, "-c", MARKITDOWN, str(path))


def words(markdown):
    return Counter(re.findall(r"\w+", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown).lower()))


def plain(page):
    page = re.sub(r"(?is)<(script|style)[^>]*>.*?</\1>", " ", page)
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def score(expected, found):
    common = sum((expected & found).values())
    precision, recall = common / max(1, found.total()), common / max(1, expected.total())
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def report(name, scores):
    means = [sum(column) / len(scores) for column in zip(*scores)]
    print(f"{name:40} {len(scores):4} {means[0]:10.3f} {means[1]:7.3f} {means[2]:6.3f}")


def head(title):
    print(f"\n{title:40} {'n':>4} {'precision':>10} {'recall':>7} {'F1':>6}")


def main_content():
    pages = sorted(folder.glob("readability/*/source.html"))
    if not pages:
        return
    head("main content")
    readers = {
        "ragflare": ours,
        "dom_smoothie alone": lambda page: ours(page, "--article"),
        "all text": lambda page: plain(page.read_text(errors="replace")),
    }
    if peer:
        readers["markitdown"] = theirs
    for name, reader in readers.items():
        expected = (words(plain(page.with_name("expected.html").read_text(errors="replace"))) for page in pages)
        report(name, [score(truth, words(reader(page))) for truth, page in zip(expected, pages)])


def references():
    for form in sorted(folder.glob("docling/*")):
        pairs = []
        for source in sorted(form.glob("sources/*")):
            names = [f"{source.name}.md", f"{source.stem}.md"]
            truths = [truth for name in names if (truth := form / "groundtruth" / name).exists()]
            if truths:
                pairs.append((source, words(truths[0].read_text(errors="replace"))))
        if not pairs:
            continue
        head(f"docling, {form.name}")
        report("ragflare", [score(truth, words(ours(source))) for source, truth in pairs])
        if peer:
            report("markitdown", [score(truth, words(theirs(source))) for source, truth in pairs])


def encodings():
    same, files, different = 0, 0, Counter()
    for path in sorted(folder.glob("encodings/*/*")):
        name = re.sub(LANGUAGES, "", path.parent.name)
        files += 1
        try:
            expected = path.read_bytes().decode(CODECS.get(name, name))
        except LookupError:
            different[f"{path.parent.name} (no codec)"] += 1
            continue
        # Not by their ending: as text.
        found = ours(path, "--text")
        clean = lambda text: re.sub(r"\r\n?", "\n", text.replace("\ufeff", "").replace("\0", " ")).strip()
        if clean(found) == clean(expected):
            same += 1
        else:
            different[path.parent.name] += 1
    if files:
        print(f"\nencodings: {same} of {files} files identical; not: {dict(different)}")


def strings():
    listed = folder / "markitdown" / "expected_strings.json"
    if not listed.exists():
        return
    held, all_strings = 0, 0
    print()
    for group in json.loads(listed.read_text()).values():
        for test in group:
            path = listed.with_name(test["filename"])
            if not path.exists():
                continue
            text = ours(path)
            missing = [part for part in test["must_include"] if part not in text]
            extra = [part for part in test["must_not_include"] if part in text]
            count = len(test["must_include"]) + len(test["must_not_include"])
            all_strings, held = all_strings + count, held + count - len(missing) - len(extra)
            if missing or extra:
                print(f"{test['filename']}: missing {missing}, extra {extra}")
    print(f"strings of markitdown's tests: {held} of {all_strings}")


main_content()
references()
encodings()
strings()
