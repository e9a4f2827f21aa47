#!/usr/bin/env python3
"""Checks the objects that are compiled for one instruction set: they may define no weak symbol (an inline function or template
shared with baseline code, of which the linker could keep the copy that older CPUs cannot run) and export only functions whose
name ends in that instruction set.

usage: tools/check_symbols.py BUILD_FOLDER
"""

import pathlib
import re
import subprocess
import sys

OBJECT = re.compile(r"^(x86|arm)_([a-z0-9]+)\.cpp\.o$")


def check(build: pathlib.Path) -> tuple[int, list[str]]:
    problems, seen = [], 0
    for path in sorted(build.rglob("*.cpp.o")):
        match = OBJECT.match(path.name)
        if not match:
            continue
        seen += 1
        for line in subprocess.run(
            ["nm", "-C", "--defined-only", path], check=True, capture_output=True, text=True
        ).stdout.splitlines():
            kind, symbol = line.split(maxsplit=2)[1:3]
            if kind in "WVu" and symbol != "DW.ref.__gxx_personality_v0":
                problems.append(f"{path.relative_to(build)}: weak symbol {symbol}")
            if kind in "TDRB" and match[2] not in symbol:
                problems.append(f"{path.relative_to(build)}: exports {symbol}, whose name lacks '{match[2]}'")
    return seen, problems


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    seen, problems = check(pathlib.Path(sys.argv[1]))
    if seen == 0:
        problems.append(f"{sys.argv[1]}: no object of an instruction set found")
    print("\n".join(problems) if problems else f"{seen} objects hold")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
