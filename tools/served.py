"""`quire serve` for scripts: started on a free port of 127.0.0.1, watched, and ended with them.

    with served.Server("build/release/bin/quire", "demo", "--max-num-seqs", "8") as server:
        urllib.request.urlopen(server.url + "/health")
"""
import os
import re
import subprocess
import sys
import tempfile
import threading

HOST = "127.0.0.1"
START_SECONDS = 600
STOP_SECONDS = 60


def end(process):
    """The exit code of a process after SIGTERM; one that does not end in time is killed."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Server:
    """A server that is ready: `url`, `port`, `process`. Its threads keep to `processors`, if any are given."""

    def __init__(self, program, model="demo", *options, processors=None):
        command = [str(part) for part in (program, "serve", model, "--port", 0, *options)]
        if processors:
            command = ["taskset", "-c", ",".join(map(str, processors)), *command]
        self.errors = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        late = threading.Timer(START_SECONDS, self.process.kill)
        late.start()
        try:
            self.url = self._address()
        finally:
            late.cancel()
        self.port = int(self.url.rpartition(":")[2])
        # What it says from here on is not read, but must not fill the pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def _address(self):
        url = None
        for line in self.process.stdout:
            if found := re.search(r"http://[\d.]+:\d+", line):
                url = url or found[0]
            if line.startswith("API key"):  # the last line of its table: the model is ready
                return url
        raise RuntimeError(f"the server ended with {self.process.wait()} while it started: {self.log()}")

    def log(self):
        """What it has written to the standard error."""
        self.errors.seek(0)
        return self.errors.read()

    def stop(self):
        """The exit code, after SIGTERM if it still runs."""
        return end(self.process) if self.process.poll() is None else self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        code, report = self.stop(), self.log()
        if "Sanitizer" in report or "runtime error" in report:
            raise RuntimeError("a sanitizer has reported:\n" + report)
        if code != 0:
            sys.stderr.write(report)

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])

    def cpu_seconds(self):
        """Processor time that it has used."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wake_ups(self):
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/status", encoding="ascii") as file:
                total += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", file.read())[1])
        return total
