"""A copy of the crate with mutants behind one switch (tests/mutants), so that there is one build for all of them:
for scripts/mutants and scripts/planted."""

import json
import os
import pathlib
import shutil
import subprocess

root = pathlib.Path(__file__).resolve().parent.parent
target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or root / "target")
tools = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tower-api-key"
environment = {**os.environ, "PATH": f"{tools / 'bin'}:{os.environ['PATH']}", "CARGO_TARGET_DIR": str(target)}


def cargo(*command, **options):
    """What a cargo command prints."""
    return subprocess.run(["cargo", *command], stdout=subprocess.PIPE, text=True, env=environment, **options).stdout


class Copy:
    """Two copies in a folder of that name: `source` is as the crate is now, and `crate` has the mutants."""

    def __init__(self, name):
        self.source, self.crate = target / name / "source", target / name / "crate"
        self.changed = set()

    def make(self):
        """Twice, so that the tree may change meanwhile."""
        shutil.rmtree(self.source.parent, ignore_errors=True)
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, stdout=subprocess.PIPE,
                               text=True, check=True).stdout.splitlines()
        for folder in (self.source, self.crate):
            for file in files:
                if (root / file).exists():
                    (folder / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(root / file, folder / file)

    def write(self, mutants):
        """The crate with these mutants behind the switch, and no others."""
        for file in self.changed:
            shutil.copy2(self.source / file, self.crate / file)
        self.changed = {mutant["file"] for mutant in mutants}
        tool = ["run", "--locked", "--quiet", "--manifest-path", root / "tests" / "mutants" / "Cargo.toml", "--"]
        cargo(*tool, self.source, self.crate, input=json.dumps(mutants), check=True)

    def cargo(self, *command):
        """The messages of a cargo command on it. Its switch takes unstable features, as no dependency does."""
        wrapper = {"RUSTC_WORKSPACE_WRAPPER": str(root / "scripts" / "unstable-rustc")}
        done = subprocess.run(["cargo", *command, "--locked"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, cwd=self.crate, env={**environment, **wrapper})
        return [json.loads(line) for line in done.stdout.splitlines()], done
