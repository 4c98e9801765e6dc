#!/usr/bin/env python3
"""clang-tidy over the sources, with the flags of the dev build. A file that passed before, and that nothing has
changed since, is not read again.

  tools/tidy.py            every source that the dev build compiles, tests left out
  tools/tidy.py FILE...    only these
  tools/tidy.py --full     every source separately, even if it passed before, with the static analyzer, which doubles the time

Most of the time goes into the headers of libraries. So a long list is read many sources at once, as one that includes
them, where no two define one name; when that fails, its halves are tried, down to single sources, which alone may
complain. The one thing that clang sees in single sources only, a function that nothing uses, GCC refuses in the build.

What passed is remembered beside ccache's folder (QUIRE_TIDY_CACHE names another): one empty file per key. A key is the
hash of everything that clang-tidy's answer depends on: its program, this script, .clang-tidy, the compiler's command and
the content of each file that the preprocessor would open, as clang-scan-deps lists them in each run, the system's
headers included. Names below the checkout are hashed relative to it, so that all checkouts share what passed.
"""
import argparse
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/tidy"
BATCH = 32  # sources that are read at once
KEEP_DAYS = 60  # keys that no run has used for that long are deleted


def cache_folder():
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "quire-tidy"
    return pathlib.Path(os.environ.get("QUIRE_TIDY_CACHE") or default)


@functools.cache
def content(path):
    """The hash of a file, and the data that shows whether it has changed since."""
    before = stamp(path)
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(), before


def stamp(path):
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


@functools.cache
def program():
    found = shutil.which("clang-tidy")
    return pathlib.Path(found or sys.exit("no clang-tidy: run tools/install_dependencies.sh test")).resolve()


@functools.cache
def tool():
    """What determines the checks: the program's version, its file, this script."""
    version = subprocess.run([program(), "--version"], capture_output=True, check=True).stdout
    return f"{version} {stamp(program())} {content(__file__)[0]}"


def rules(source):
    """The .clang-tidy files that could speak about a source."""
    return [str(folder / ".clang-tidy") for folder in source.parents if (folder / ".clang-tidy").is_file()]


def dependencies(commands):
    """Object file -> every file its compilation opens. Nothing without clang-scan-deps: then no file is skipped."""
    scanner = program().parent / "clang-scan-deps"  # of the same clang, with the same builtin headers
    if not scanner.exists():
        return {}
    database = BUILD / "tidy_commands.json"
    database.write_text(json.dumps(commands))
    scan = [scanner, "-compilation-database", str(database), "-format", "make", "-j", str(os.cpu_count())]
    made = subprocess.run(scan, stdout=subprocess.PIPE, text=True, check=False).stdout
    lists = {}
    for line in made.replace("\\\n", " ").splitlines():
        target, _, files = line.partition(": ")
        lists[target] = [str(BUILD / name.replace("\\ ", " ")) for name in re.split(r"(?<!\\)\s+", files) if name]
    return lists


def flags_of(command):
    """Without the compiler, the input and the output."""
    words = shlex.split(command)
    return [word for before, word in zip(words, words[1:]) if word not in ("-o", "-c") and before not in ("-o", "-c")]


class Source:
    """One source with its commands: several when several targets compile it."""

    def __init__(self, path, commands, lists):
        self.path = path
        self.files = set(rules(path))
        self.known = True  # whether clang-scan-deps understood each command
        for command in commands:
            found = lists.get(re.search(r" -o (\S+)", command["command"]).group(1))
            self.known = self.known and found is not None
            self.files.update(found or [])
        self.flags = sorted(flags_of(command["command"]) for command in commands)  # of each command

    def mark(self):
        # Sorted by names relative to the checkout: the order of absolute ones depends on where it lies.
        contents = sorted(f"{name} {content(name)[0]}".replace(str(ROOT), ".") for name in self.files)
        parts = [tool(), repr(self.flags).replace(str(ROOT), "."), str(self.path.relative_to(ROOT)), *contents]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return cache_folder() / key[:2] / key[2:]

    def passed_before(self):
        if not self.known or not self.mark().exists():
            return False
        self.mark().touch()
        return True

    def remember(self):
        # What was edited meanwhile has not passed.
        if self.known and all(content(name)[1] == stamp(name) for name in self.files):
            self.mark().parent.mkdir(parents=True, exist_ok=True)
            self.mark().touch()


def sources_of_the_build(wanted):
    everything = json.loads((BUILD / "compile_commands.json").read_text())
    by_file = {}
    for command in everything:
        path = pathlib.Path(command["file"])
        by_default = (path.is_relative_to(ROOT / "src") and path.suffix == ".cpp" and
                      not path.stem.endswith(("_test", "_bench")))
        if path in wanted or (by_default and not wanted):
            by_file.setdefault(path, []).append(command)
    lists = dependencies([command for commands in by_file.values() for command in commands])
    return [Source(path, commands, lists) for path, commands in sorted(by_file.items())]


def run(arguments, full):
    """What clang-tidy complains of; empty when it found nothing."""
    command = [program(), "--quiet", "--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-shadow"]
    command += [] if full else ["--checks=-clang-analyzer-*"]
    result = subprocess.run(command + arguments, capture_output=True, text=True, check=False)
    if result.returncode == 0 and not result.stdout.strip():
        return ""
    noise = re.compile(r"warnings? .*generated|warnings? treated")
    found = result.stdout + "\n".join(line for line in result.stderr.splitlines() if not noise.search(line))
    return found or f"clang-tidy ended with {result.returncode}: {' '.join(arguments)}"


def passes_together(sources):
    """Reads sources with equal flags as one."""
    digest = hashlib.sha256("".join(str(source.path) for source in sources).encode()).hexdigest()
    together = BUILD / "tidy" / f"{digest[:16]}.cpp"
    together.parent.mkdir(exist_ok=True)
    lines = [f'#include "{source.path}"  // NOLINT(bugprone-suspicious-include)\n' for source in sources]
    together.write_text("".join(lines))
    return all(not run([str(together), "--"] + flags, full=False) for flags in sources[0].flags)


def check(sources, full):
    """True when nothing was found in any of them."""
    if len(sources) > 1 and not passes_together(sources):
        half = len(sources) // 2
        return check(sources[:half], full) & check(sources[half:], full)
    if len(sources) == 1:
        complaints = run(["-p", str(BUILD), str(sources[0].path)], full)
        if complaints:
            print(complaints, flush=True)
            return False
    if not full:
        for source in sources:
            source.remember()
    return True


DEFINED = re.compile(r"^(?:struct|class|enum class|using) (\w+)|^\w[^=;(){}]*?[ *&](\w+)(?:\[\w*\])?(?: = |\(|\{)", re.M)


def names_of(source):
    """What it seems to define at the outermost level, which another source of its batch must not define too."""
    return {one or other for one, other in DEFINED.findall(source.path.read_text())}


def batches(sources, full):
    """Sources with equal flags and different names side by side; few sources stay apart, so that every processor has
    some."""
    size = 1 if full else max(1, min(BATCH, len(sources) // (2 * os.cpu_count())))
    made = []
    for source in sources:
        flags, names = repr(source.flags), names_of(source)
        for batch in made:
            if batch[0] == flags and len(batch[2]) < size and not batch[1] & names:
                batch[1].update(names)
                batch[2].append(source)
                break
        else:
            made.append((flags, names, [source]))
    return [batch[2] for batch in made]


def forget_old():
    for mark in cache_folder().glob("*/*"):
        if mark.stat().st_mtime < time.time() - KEEP_DAYS * 86400:
            mark.unlink(missing_ok=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("files", nargs="*", metavar="FILE")
    arguments.add_argument("--full", action="store_true")
    options = arguments.parse_args()
    # The dev build itself compiles sources eight at once, and its list of commands would name none of these.
    configure = ["cmake", "--preset", "dev", "-B", str(BUILD), "-DQUIRE_UNITY=OFF"]
    subprocess.run(configure, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    wanted = {pathlib.Path(name).resolve() for name in options.files}
    sources = sources_of_the_build(wanted)
    for missing in wanted - {source.path for source in sources}:
        sys.exit(f"{missing}: the dev build does not compile it")

    unread = [source for source in sources if options.full or not source.passed_before()]
    print(f"clang-tidy: {len(unread)} files to read, {len(sources) - len(unread)} passed before", flush=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        passed = list(pool.map(lambda batch: check(batch, options.full), batches(unread, options.full)))
    forget_old()
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
