"""docs/paper.md: for each section, table and slide the functions that do it, the command, the paper's figure and ours.

`python -m verydeep.studies.paper_page docs/paper.md` writes it from the code's `Source:` lines, from paper.toml and
from the result files; with `--check` it writes nothing, and ends with 1 where the page would change or a row has
nothing behind it. Run in the repository's root. Decision: docs/decisions/075-a-page-from-source-lines.md.
"""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from verydeep.errors import StudyError
from verydeep.studies.published import published, published_errors

CODE, RESULTS = Path("src/verydeep"), Path("docs/results")
MARKED = re.compile(r'Source:\s*(?P<text>.+?)(?="""|\n\s*\n|\n\s*#?\s*$|Decision:|\Z)', re.DOTALL)
KINDS = {"section": "section", "sections": "section", "table": "table", "tables": "table", "appendix": "appendix",
         "slide": "slides", "slides": "slides"}  # fmt: skip
FORMS = {"section": re.compile(r"\d(\.\d)?"), "table": re.compile(r"\d+"), "appendix": re.compile("[A-C]"),
         "slides": re.compile('"[^"]+"')}  # fmt: skip
TOKENS = re.compile(r'"[^"]+"|[A-Za-z]+|\d+(?:\.\d+)?|,')
HEADING = """# The paper, and where it is done

Made by `make pages` from the `Source:` lines of the code, from [paper.toml](../src/verydeep/studies/paper.toml), and
from the files in [results](results). Errors are top-1 / top-5 in per cent, differences are points of top-1 error. The
paper's are of ILSVRC-2012; ours are of the study in brackets, of narrower nets on fewer pictures, so that it is
differences that can be compared: [studies.md](studies.md).

| of the paper | about | functions | command | the paper's | ours |
| --- | --- | --- | --- | --- | --- |
"""

Functions = dict[str, dict[str, list[str]]]  # by row and file


def cited(text: str) -> list[str]:
    """What a `Source:` line names of the paper: `section 3.1`, `table 3`, `appendix A`, `slides depth`.

    Other people's papers begin with their names, so that their sections do not count.
    """
    found: list[str] = []
    for citation in re.sub(r"\([^)]*\)", "", text).split(";"):
        kind, last, until = "", "", False
        for token in TOKENS.findall(f"{citation.strip().removeprefix('the ')} "):
            if token in KINDS:
                kind = KINDS[token]
            elif token == "to" and last:
                until = True
            elif kind and FORMS[kind].fullmatch(token):
                numbers = range(int(last) + 1, int(token) + 1) if until else [token.strip('"')]
                found += [f"{kind} {number}" for number in numbers]
                last, until = token, False
            elif token not in (",", "and") or not kind:
                break
    return found


def functions(code: Path) -> Functions:
    """The functions, classes and constants that cite each part of the paper, by file."""
    found: Functions = {}
    for path in sorted(code.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "Source:" not in text:
            continue
        places = list(named_places(ast.parse(text)))
        for match in MARKED.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            inner = [(last - first, name) for name, first, last in places if first <= line <= last]
            for part in cited(" ".join(match["text"].replace("#", " ").split())):
                names = found.setdefault(part, {}).setdefault(path.relative_to(code).as_posix(), [])
                name = min(inner)[1] if inner else ""
                if name and name not in names:
                    names.append(name)
    return found


def named_places(tree: ast.Module) -> Iterator[tuple[str, int, int]]:
    """Name, first and last line of every function, class and constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno, node.end_lineno or node.lineno
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.lineno, statement.end_lineno or statement.lineno


def page(root: Path) -> str:
    """The page. Raises `StudyError` where a row has nothing behind it, or a `Source:` line names what has no row."""
    rows = read_toml("paper.toml")["rows"]
    behind = functions(root / CODE)
    for row in rows:
        if ("command" in row) != (row["name"] in behind):
            what = "has no Source: line" if "command" in row else "has a Source: line, but no command"
            raise StudyError(f"paper.toml: {row['name']} {what}; write one, or a remark why it needs none")
        if ("command" in row) == ("remark" in row):
            raise StudyError(f"paper.toml: {row['name']} needs a command or a remark; write one of them")
    unknown = sorted(behind.keys() - {row["name"] for row in rows})
    if unknown:
        raise StudyError(
            f"{next(iter(behind[unknown[0]]))}: cites {unknown[0]}, which has no row in paper.toml; add one"
        )
    measured = read_results(root / RESULTS)
    return HEADING + "".join(f"| {' | '.join(cells(row, behind, measured))} |\n" for row in rows)


def cells(row: Mapping[str, Any], behind: Functions, measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A row of the page."""
    if "remark" in row:
        return [row["name"], row["title"], f"*{row['remark']}*", "", "", ""]
    files = "; ".join(
        f"[{file}](../{CODE.as_posix()}/{file}) {', '.join(f'`{name}`' for name in names)}".rstrip()
        for file, names in behind[row["name"]].items()
    )
    return [row["name"], row["title"], files, f"`{row['command']}`", *figures(row, measured)]


def figures(row: Mapping[str, Any], measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[str, str]:
    """The paper's figure and ours; empty where a row has none."""
    if "test" in row:
        top1, top5 = published_errors()[row["test"]]
        ours = {name: errors(rows, row["test"]) for name, rows in measured.items()}
        shown = [f"{per_cent(each[0])} / {per_cent(each[1])} ({name})" for name, each in ours.items() if each]
        return f"{per_cent(top1)} / {per_cent(top5)}", ", ".join(shown) or "not measured yet"
    if "finding" in row:
        finding = read_toml("graphs/paper.toml")["findings"][row["finding"]]
        first, second = finding["pairs"][0]
        known = published_errors()
        theirs = known[first][0] - known[second][0] if {first, second} <= known.keys() else finding["published"]
        shown = []
        for name, rows in measured.items():
            one, other = errors(rows, first), errors(rows, second)
            if one and other:
                shown.append(f"{points(one[0] - other[0])} ({name})")
        return f"{points(theirs)}: {first} against {second}", ", ".join(shown) or "not measured yet"
    if "boxes" in row:
        table, place = row["boxes"]
        known = published()[table]["rows"][place]
        boxes = {name: box_error(rows, known["ours"]) for name, rows in measured.items()}
        shown = [f"{per_cent(error)} ({name})" for name, error in boxes.items() if error is not None]
        return f"{known['error']:.1f}", ", ".join(shown) or "not measured yet"
    if "bars" in row:
        name, group = row["bars"]
        bars = published()[name]
        return " / ".join(f"{value:.1f}" for value in bars["top5"][bars["groups"].index(group)]), ""
    if "figure" in row:
        return count(row["figure"])
    return "", ""


def count(what: str) -> tuple[str, str]:
    """A figure of the nets themselves: the paper's and the code's."""
    from verydeep.nets.registry import NETS

    if what == "weight layers of E":
        return f"19 {what}", str(NETS["vgg-e"].layers)
    return f"138 {what}", f"{NETS['vgg-d'].parameters / 1e6:.1f}"


def read_results(folder: Path) -> dict[str, list[Mapping[str, Any]]]:
    """The error rows of every study in the repository, by its name."""
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/errors.json"))
    }


def errors(rows: Sequence[Mapping[str, Any]], test: str) -> tuple[float, float] | None:
    """The mean over seeds of the top-1 and top-5 error of a test or a fusion; None where there is none."""
    known = {f"{row['run']} {row['test']}".strip(): row["run"] for row in rows}
    if test not in known:
        return None
    found = [row for row in rows if f"{row['run']} {row['test']}".strip() == test and row["tested_on"] == "val"]
    return mean(row["top1_error"] for row in found), mean(row["top5_error"] for row in found)


def box_error(rows: Sequence[Mapping[str, Any]], tests: Sequence[str]) -> float | None:
    """The mean over seeds of the localisation error of the first of some tests that is there; None where none is."""
    for test in tests:
        found = [row for row in rows if f"{row['run']} {row['test']}".strip() == test]
        if found:
            return mean(row["localisation_error" if row["test"] == "" else "known_class_error"] for row in found)
    return None


def read_toml(name: str) -> dict[str, Any]:
    """A TOML file of this room."""
    return tomllib.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


def per_cent(error: float) -> str:
    """0.256 → 25.6."""
    return f"{100 * error:.1f}"


def points(difference: float) -> str:
    """-0.013 → −1.3."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def main(arguments: Sequence[str]) -> int:
    """Write the page that the arguments name, or check it; the exit status."""
    path = Path(next(argument for argument in arguments if argument != "--check"))
    try:
        text = page(Path())
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        print(f"{path}: is not what the code and the results say; run `make pages`", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    print(f"{path}: written anew")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
