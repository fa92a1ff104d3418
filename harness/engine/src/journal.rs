//! The journal of a run: written and synced before anything is made, so that `gc` finds it all after a `kill -9`.

use plimsoll_kit::job::CriTarget;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The first and only intent: all else that a run makes is below these two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Run id.
    pub run: String,
    /// Process id of the runner.
    pub pid: i32,
    /// Start time of that process in clock ticks: with the boot id it tells a live runner from a reused pid.
    pub start_time: u64,
    /// Boot id of the host.
    pub boot_id: String,
    /// The cgroup below which everything of the run lives.
    pub cgroup: String,
}

/// What a run has made outside its directory and its cgroup, or is about to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "made", rename_all = "kebab-case")]
pub enum Made {
    /// Pods, containers and images on an endpoint that goes on after the run; all carry the run's id.
    OnEndpoint {
        /// The endpoint.
        target: CriTarget,
    },
    /// A network bridge.
    Bridge {
        /// Its name.
        name: String,
    },
    /// Cgroups outside the run's own, of a server of another product: below this one in each hierarchy, with names
    /// that stand in a log file in a directory of the run.
    CgroupsInLogs {
        /// The cgroup above them.
        parent: String,
    },
}

/// A run's directory below the work root, held for the run's life.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    file: File,
    /// The intent as written.
    pub intent: Intent,
    /// What was recorded since.
    pub made: Vec<Made>,
}

/// Name of the journal in a run's directory.
pub const JOURNAL: &str = "journal.jsonl";

impl RunDir {
    /// Makes the directory `ROOT/RUN` and writes the journal.
    pub fn create(root: &Path, run: &str) -> io::Result<Self> {
        let path = root.join(run);
        fs::create_dir_all(root)?;
        fs::create_dir(&path)?;
        let intent = Intent {
            run: run.to_owned(),
            pid: std::process::id() as i32,
            start_time: start_time(std::process::id() as i32).unwrap_or_default(),
            boot_id: boot_id(),
            cgroup: format!("/plimsoll-{run}"),
        };
        let mut file = File::create_new(path.join(JOURNAL))?;
        writeln!(file, "{}", serde_json::to_string(&intent)?)?;
        file.sync_all()?;
        Ok(Self { path, file, intent, made: Vec::new() })
    }

    /// Writes down, and syncs, what is about to be made.
    pub fn record(&mut self, made: &Made) -> io::Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(made)?)?;
        self.file.sync_all()?;
        self.made.push(made.clone());
        Ok(())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether the runner that wrote this still lives.
pub fn is_live(intent: &Intent) -> bool {
    intent.boot_id == boot_id() && start_time(intent.pid) == Some(intent.start_time)
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(19)?.parse().ok()
}
