"""How many instructions a value takes in the loops of the CUDA kernels, read from their machine code.

`python -m bench.sass` compiles the kernels for sm_90, disassembles them, prints a table, and writes
`results/sass.json`. With `--check` it writes nothing, and ends with status 1 where a number is above that of the file.
No GPU is needed.

One pass of a loop is the cheapest way through the machine code that does all the work of a number of values: it reads
them, squares or exponentiates each, and in the statistics adds them to the float64 sums. Hence rows without a group,
thresholds, overflow and a new maximum are not counted: they are branches that most passes do not take. Nor is what a
thread does once, before and after its loop. A predicated instruction counts as one.
"""

import argparse
import heapq
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import add
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "sass.json"
ARCHITECTURE = "90"
FLAGS = ("-O3", "-std=c++17", "-Xptxas", "-v", "-c")
MEASURES = ("instructions", "float64", "conversions", "registers", "spilled bytes")

# The comparison of a pair with zero, a square and an addition in float64, the product of a pair, a multiplication in
# float32, an exponential, a read and a write of 16 bytes.
_COMPARISON = r"HSET2"
_SQUARE = r"DFMA"
_ADDITION = r"DADD"
_PRODUCT = r"HMUL2|HFMA2(\.MMA)?(\.BF16_V2)? R\d+, R\d+(\.reuse)?, R\d+(\.reuse)?, -RZ"
_MULTIPLICATION = r"FMUL\b"
_EXPONENTIAL = r"MUFU\.EX2"
_READ = r"LDG\.E\.128"
_WRITE = r"STG\.E\.128"
_THRESHOLDS = r"ATOMS"  # counts of values above thresholds go to shared memory
_FLOAT64 = re.compile(r"D[A-Z]+\d*\b")
_CONVERSION = re.compile(r"(F2F|F2I|I2F|F2FP|HADD2\.F32)\b")


@dataclass(frozen=True)
class Loop:
    """A loop that is counted.

    Attributes:
        kernel: a pattern of the kernel's mangled name.
        values: number of values of a thread in one pass.
        work: how often each pattern of instructions comes in a pass.
    """

    kernel: str
    values: int
    work: dict[str, int]


class Instruction(NamedTuple):
    """An instruction without its predicate; `next` are the places in the list that may follow."""

    text: str
    next: tuple[int, ...]


_FORMATS = {"bfloat16": ("8BFloat16", 8), "float16": ("7Float16", 8), "float32": ("7Float32", 4)}
# Each activation's place, and its float32 multiplications with that by `up`, which look like one another.
_ACTIVATIONS = {
    "silu": (0, 2),
    "gelu": (1, 5),
    "gelu_tanh": (2, 8),
    "relu": (3, 1),
    "relu2": (4, 2),
    "quick_gelu": (5, 4),
}


def _loops() -> Iterator[tuple[str, str, Loop]]:
    """The source of each loop, its name, and the loop. A pass of the statistics is that of eight rows."""
    for dtype, (number, width) in _FORMATS.items():
        rows, short = 8, dtype != "float32"
        values = rows * width
        sums = {_COMPARISON: values // 2, _ADDITION: 2 * width} if short else {_SQUARE: values}
        sums[_THRESHOLDS] = 0
        kernel = rf"sum_row_blocks.*ActivationsINS_{number}ELi{width}EE"
        yield "stats_kernel.cu", f"activation_stats {dtype}", Loop(kernel, values, sums | {_READ: rows})
        for activation, (place, multiplications) in _ACTIVATIONS.items():
            kernel = rf"sum_row_blocks.*GluINS_{number}ELNS_10ActivationE{place}ELi{width}EE"
            pairs = values if activation == "relu2" else values // 2  # a square of relu2 is a product, too
            products = {_PRODUCT: pairs} if short else {_MULTIPLICATION: multiplications * values}
            work = sums | products | {_READ: 2 * rows, _WRITE: rows}
            yield "glu_kernel.cu", f"glu_stats {activation} {dtype}", Loop(kernel, values, work)
        kernel, values = rf"row_nllINS_{number}ELi{width}EE", 4 * width
        yield "nll_kernel.cu", f"token_nll {dtype}", Loop(kernel, values, {_EXPONENTIAL: values, _READ: 4})


LOOPS = {name: (source, loop) for source, name, loop in _loops()}


def tool(name: str) -> str | None:
    """The path of one of CUDA's tools, which is on the path or in the environment's packages; None without it."""
    packages = Path(sysconfig.get_path("purelib"), "nvidia")
    return shutil.which(name) or next((str(path) for path in packages.glob(f"cu*/bin/{name}")), None)


def missing() -> str:
    """The first tool that is not here; empty where all are."""
    return next((name for name in ("nvcc", "cuobjdump", "nvdisasm") if tool(name) is None), "")


def compiled(source: Path, into: Path) -> str:
    """Compile a kernel for ARCHITECTURE, and return what the compiler says of registers."""
    command = [tool("nvcc"), *FLAGS, f"-gencode=arch=compute_{ARCHITECTURE},code=sm_{ARCHITECTURE}", source, "-o", into]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


def measured(source: str, binary: Path, log: str) -> dict[str, dict[str, float]]:
    """MEASURES of every loop of a kernel's source, by the loop's name.

    Args:
        source: name of the kernel's file.
        binary: the compiled kernel.
        log: what `nvcc -Xptxas -v` printed when it compiled the kernel.
    """
    command = [tool("cuobjdump"), "-sass", "-arch", f"sm_{ARCHITECTURE}", binary]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    functions = dict(re.findall(r"Function : (\S+)\n(.*?)\n\t\t\.{5}", text, flags=re.DOTALL))
    pattern = (
        r"'(\S+)' for 'sm_" + ARCHITECTURE + r"'(?:.*\n){1,3}?.*?(\d+) bytes spill stores.*\n.*Used (\d+) registers"
    )
    resources = {name: (int(spilled), int(used)) for name, spilled, used in re.findall(pattern, log)}
    found = {}
    for name, (own, loop) in LOOPS.items():
        if own != source:
            continue
        kernel = next(function for function in functions if re.search(loop.kernel, function))
        passed = one_pass(instructions(functions[kernel]), loop)
        counts = (len(passed), sum(map(is_float64, passed)), sum(map(is_conversion, passed)))
        spilled, used = resources[kernel]
        per_value = (round(count / loop.values, 2) for count in counts)
        found[name] = dict(zip(MEASURES, (*per_value, used, spilled), strict=True))
    return found


def is_float64(text: str) -> bool:
    """Whether an instruction computes in float64."""
    return bool(_FLOAT64.match(text))


def is_conversion(text: str) -> bool:
    """Whether an instruction converts between formats by a unit of its own; a shift of a bfloat16 is none."""
    return bool(_CONVERSION.match(text))


def instructions(text: str) -> list[Instruction]:
    """The instructions of a disassembled function, in order."""
    lines = re.findall(r"/\*([0-9a-f]{4,5})\*/\s+(@!?U?P\w+ )?\s*(.+?) ;", text)
    places = {int(address, 16): place for place, (address, _, _) in enumerate(lines)}
    # Where threads meet that a BSSY sends different ways. A BSYNC of the same register goes there.
    meetings = defaultdict(set)
    for _, _, line in lines:
        if found := re.match(r"BSSY\S* (B\d+), 0x([0-9a-f]+)$", line):
            meetings[found[1]].add(places[int(found[2], 16)])
    result = []
    for place, (_, predicate, line) in enumerate(lines):
        target = re.search(r"\b0x([0-9a-f]+)$", line)
        operation = re.match(r"\w+", line)[0]
        following = (place + 1,)
        if operation == "BSYNC":
            ends = meetings[line.split()[1]]
            following = following if place + 1 in ends else tuple(sorted(ends))
        elif operation == "BRA" and not line.startswith("BRA.DIV"):  # a warp whose threads are together goes on
            # A branch may test a second predicate of its own.
            conditional = predicate or re.match(r"BRA\S* !?U?P", line)
            following = (places[int(target[1], 16)], *(following if conditional else ()))
        elif operation in ("EXIT", "RET") and not predicate:
            following = ()
        result.append(Instruction(line, tuple(after for after in following if after < len(lines))))
    return result


class Block(NamedTuple):
    """Instructions that follow one another; `next` are the first places of the blocks that may follow."""

    texts: list[str]
    work: tuple[int, ...]
    next: tuple[int, ...]


def one_pass(code: list[Instruction], loop: Loop) -> list[str]:
    """The instructions of the cheapest way round a loop that does the loop's work, and no more of it.

    Raises:
        ValueError: no loop of the function does that work.
    """
    blocks = _blocks(code, [re.compile(pattern) for pattern in loop.work])
    heads = {after for place, block in blocks.items() for after in block.next if after <= place}
    ways = (_around(blocks, head, tuple(loop.work.values())) for head in sorted(heads))
    passes = [[text for place in way for text in blocks[place].texts] for way in ways if way]
    if not passes:
        raise ValueError(f"no loop of {loop.kernel} does the work of {loop.values} values")
    return min(passes, key=len)


def _blocks(code: list[Instruction], patterns: list[re.Pattern]) -> dict[int, Block]:
    """The blocks of a function by their first places."""
    branches = [place for place, (_, following) in enumerate(code) if following != (place + 1,)]
    targets = {after for place in branches for after in code[place].next}
    starts = sorted({0, *targets, *(place + 1 for place in branches if place + 1 < len(code))})
    blocks = {}
    for start, end in pairwise([*starts, len(code)]):
        texts = [text for text, _ in code[start:end]]
        work = tuple(sum(bool(pattern.match(text)) for text in texts) for pattern in patterns)
        blocks[start] = Block(texts, work, code[end - 1].next)
    return blocks


def _around(blocks: dict[int, Block], head: int, wanted: tuple[int, ...]) -> list[int]:
    """The blocks of the shortest way from `head` back to it with the wanted work; empty where there is none."""
    nothing = (0,) * len(wanted)
    came: dict[tuple, tuple | None] = {}
    queue: list[tuple] = [(0, (head, nothing), None)]
    while queue:
        length, state, before = heapq.heappop(queue)
        if state in came:
            continue
        came[state] = before
        place, done = state
        if before is not None and place == head and done == wanted:
            way = []
            while (state := came[state]) is not None:
                way.append(state[0])
            return way[::-1]
        after = tuple(map(add, done, blocks[place].work))
        if all(a <= b for a, b in zip(after, wanted, strict=True)):
            for following in blocks[place].next:
                heapq.heappush(queue, (length + len(blocks[place].texts), (following, after), state))
    return []


def risen(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> list[str]:
    """One line for each number that is above an earlier one, or of which there is no earlier one."""
    lines = []
    for name, row in now.items():
        for measure, value in row.items():
            earlier = before.get(name, {}).get(measure)
            if earlier is None or value > earlier:
                lines.append(f"{name}: {value:g} {measure}, and {earlier} in {RESULTS.name}")
    return lines


def table(rows: dict[str, dict[str, float]]) -> str:
    """The rows as Markdown."""
    lines = ["| loop | " + " | ".join(MEASURES) + " |", "|---" * (1 + len(MEASURES)) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{row[measure]:g}" for measure in MEASURES) + " |" for name, row in rows.items()
    ]
    return "\n".join(lines)


def compiler() -> str:
    """The version of nvcc, on which the numbers depend."""
    text = subprocess.run([tool("nvcc"), "--version"], check=True, capture_output=True, text=True).stdout
    return re.search(r"V([\d.]+)", text)[1]


def read() -> tuple[str, dict[str, dict[str, float]]]:
    """The version of nvcc and the rows of RESULTS."""
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    return content["nvcc"], content["loops"]


def main() -> None:
    """Print the table; write it, or compare it with what was written."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with results/sass.json, and write nothing")
    arguments = parser.parse_args()
    if name := missing():
        sys.exit(
            f"bench.sass: {name} is not here; it is part of CUDA's toolkit, and of requirements-dev.txt unless nvcc"
        )
    if arguments.check and read()[0] != compiler():
        print(f"bench.sass: {RESULTS.name} is of nvcc {read()[0]}, and this is {compiler()}: nothing is compared")
        return
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for source in dict.fromkeys(source for source, _ in LOOPS.values()):
            log = compiled(ROOT / "csrc" / source, Path(folder, "kernel.o"))
            rows |= measured(source, Path(folder, "kernel.o"), log)
    print(table(rows))
    if not arguments.check:
        content = {"nvcc": compiler(), "architecture": f"sm_{ARCHITECTURE}", "loops": rows}
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    elif lines := risen(rows, read()[1]):
        sys.exit("\n".join(lines))


if __name__ == "__main__":
    main()
