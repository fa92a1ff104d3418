//! Running the built program against runtimes, real ones and others.
// Each test program uses its own part of this, and a helper of a test may fail like a test.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A place of a test's own: output and work directories below a temporary one.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        // Not /tmp: it may be mounted noexec, and work directories hold programs.
        std::fs::create_dir_all("/var/tmp").unwrap();
        Self { dir: tempfile::Builder::new().prefix("plimsoll-test-").tempdir_in("/var/tmp").unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    pub fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    /// A runtime that is a shell script.
    pub fn runtime(&self, body: &str) -> String {
        let path = self.path().join("runtime");
        // Written by a child: a descriptor open for writing here could be inherited by what another test forks, and a
        // program that is open for writing cannot be executed.
        let mut install = Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        write!(install.stdin.take().unwrap(), "#!/bin/sh\n{body}\n").unwrap();
        assert!(install.wait().unwrap().success());
        format!("oci:{}", path.display())
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(args).arg("--out").arg(self.out()).arg("--work-dir").arg(self.work());
        command.env_remove("CI").env_remove("GITHUB_ACTIONS").env("PLIMSOLL_CONFIG", "none");
        command
    }

    pub fn run(&self, args: &[&str]) -> (Output, Duration) {
        let start = Instant::now();
        let output = self.command(args).output().unwrap();
        (output, start.elapsed())
    }

    /// What a run must not leave: anything in the work directory, and cgroups that its runs name.
    pub fn assert_clean(&self) {
        let left: Vec<_> =
            std::fs::read_dir(self.work()).into_iter().flatten().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "left in the work directory: {left:?}");
    }
}

/// Whether this process may do what a run needs; says so when not.
pub fn fit() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !root {
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "CI runs as root");
        eprintln!("SKIP: a run needs root");
    }
    root
}

/// The path of a packaged runtime; says so when it is missing.
pub fn packaged(name: &str) -> Option<String> {
    let found =
        ["/usr/sbin", "/usr/bin"].iter().map(|d| format!("{d}/{name}")).find(|p| Path::new(p).is_file());
    if found.is_none() {
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "CI installs {name}");
        eprintln!("SKIP: {name} is not installed");
    }
    found
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
