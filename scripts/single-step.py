#!/usr/bin/env python3
"""Counts the instructions that a processor executes in one function, by single steps.

`single-step.py BINARY ARGUMENT...` runs the program and counts in each call of a function whose
name ends in `::measured`, after the first calls, up to its return. Nothing is simulated: SHA-256
runs on the processor's own instructions. A repeated string instruction counts once.

Prints the median of the calls: all instructions, and those of them within SHA-256's compression
function. With `--profile`, also how many were in each function, and `--lines` in each line.
"""

import argparse
import collections
import ctypes
import os
import signal
import statistics
import subprocess
import sys

TRACEME, PEEKTEXT, PEEKUSER, POKETEXT, POKEUSER, CONT, SINGLESTEP = 0, 1, 3, 4, 6, 7, 9
RIP, RSP = 16 * 8, 19 * 8  # in the user area of x86-64
NO_RANDOM_ADDRESSES = 0x0040000
BREAKPOINT = 0xCC

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, address=0, data=0):
    ctypes.set_errno(0)
    result = libc.ptrace(request, pid, address, data)
    if result == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace {request}")
    return result & 0xFFFFFFFFFFFFFFFF


def start(command):
    """The program, stopped before its first instruction, at the same addresses each time."""
    pid = os.fork()
    if pid == 0:
        libc.personality(NO_RANDOM_ADDRESSES)
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 1)
        libc.ptrace(TRACEME, 0, 0, 0)
        os.execv(command[0], command)
    wait(pid)
    return pid


def wait(pid):
    """True when the program has stopped at a trap, and False when it has ended."""
    while True:
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                sys.exit(f"the program ended with {os.WEXITSTATUS(status)}")
            return False
        if os.WIFSIGNALED(status):
            sys.exit(f"the program ended by signal {os.WTERMSIG(status)}")
        if os.WSTOPSIG(status) == signal.SIGTRAP:
            return True
        ptrace(CONT, pid, 0, os.WSTOPSIG(status))


def symbols(binary):
    """(address, name) of each function, sorted."""
    lines = subprocess.run(["nm", "-C", binary], check=True, capture_output=True, text=True).stdout
    found = []
    for line in lines.splitlines():
        address, kind, *name = line.split(" ", 2)
        if address and kind in "tTwW" and name:
            found.append((int(address, 16), name[0]))
    return sorted(found)


def base_of(pid, binary):
    path = os.path.realpath(binary)
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            if line.rstrip().endswith(path):
                return int(line.split("-")[0], 16)
    sys.exit("the program is not where it was started from")


def is_measured(name):
    return "::measured" in name and name.split("::measured")[1][:1] in ("", ":", "<")


def function_at(functions, address):
    low, high = 0, len(functions)
    while low < high:
        middle = (low + high) // 2
        if functions[middle][0] <= address:
            low = middle + 1
        else:
            high = middle
    return functions[low - 1][1] if low else "?"


def steps(pid):
    """The addresses of the instructions up to the return of the function that begins here."""
    frame = ptrace(PEEKUSER, pid, RSP)
    taken, last = [], None
    while True:
        address = ptrace(PEEKUSER, pid, RIP)
        if address != last:  # A repeated string instruction stays where it is.
            taken.append(address)
        last = address
        ptrace(SINGLESTEP, pid)
        wait(pid)
        if ptrace(PEEKUSER, pid, RSP) > frame:
            return taken


def measure(command, first, calls):
    """The addresses stepped through in each call."""
    functions = symbols(command[0])
    pid = start(command)
    base = base_of(pid, command[0])
    entries = {base + address for address, name in functions if is_measured(name)}
    if not entries:
        sys.exit("no function `measured` in the program")
    words = {entry: ptrace(PEEKTEXT, pid, entry) for entry in entries}

    def arm(entry):
        ptrace(POKETEXT, pid, entry, (words[entry] & ~0xFF) | BREAKPOINT)

    for entry in entries:
        arm(entry)
    counted, seen = [], 0
    ptrace(CONT, pid)
    while wait(pid):
        entry = ptrace(PEEKUSER, pid, RIP) - 1
        ptrace(POKETEXT, pid, entry, words[entry])
        ptrace(POKEUSER, pid, RIP, entry)
        seen += 1
        if seen > first and len(counted) < calls:
            counted.append(steps(pid))
        else:
            ptrace(SINGLESTEP, pid)
            wait(pid)
        arm(entry)
        ptrace(CONT, pid)
    if len(counted) < calls:
        sys.exit(f"only {seen} calls of `measured`, {first + calls} are needed")
    return functions, base, counted


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=200, help="calls that are not counted")
    parser.add_argument("--calls", type=int, default=15, help="calls that are counted")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    functions, base, counted = measure(arguments.command, arguments.first, arguments.calls)

    names = {}

    def name(address):
        if address not in names:
            names[address] = function_at(functions, address - base)
        return names[address]

    hashed = [sum("compress" in name(a) and "sha" in name(a) for a in call) for call in counted]
    print(int(statistics.median(map(len, counted))), int(statistics.median(hashed)))
    if arguments.profile or arguments.lines:
        call = sorted(counted, key=len)[len(counted) // 2]
        for place, count in collections.Counter(map(name, call)).most_common():
            print(f"{count:6}  {place}", file=sys.stderr)
    if arguments.lines:
        offsets = [hex(address - base) for address in call]
        unique = sorted(set(offsets))
        tool = ["addr2line", "-i", "-e", arguments.command[0], "-a"]
        text = subprocess.run(tool + unique, check=True, capture_output=True, text=True).stdout
        where, address = {}, None
        for line in text.splitlines():
            if line.startswith("0x"):
                address = hex(int(line, 16))
                where[address] = []
            else:
                where[address].append(line.split(" (")[0])
        def ours(chain):
            for place in chain:
                if "/src/" in place and "registry" not in place and "rustc" not in place:
                    return place
            return chain[0] if chain else "?"
        print(file=sys.stderr)
        for place, count in collections.Counter(ours(where[o]) for o in offsets).most_common(80):
            print(f"{count:6}  {place}", file=sys.stderr)


if __name__ == "__main__":
    main()
