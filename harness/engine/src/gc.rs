//! Removes what dead runs left: only what a journal of ours names, never by matching names of processes.

use crate::journal::{Intent, JOURNAL, is_live};
use crate::sandbox;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was found for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its runner lives: left alone.
    Live(String),
    /// Removed.
    Removed(String),
    /// Something could not be removed.
    Stuck(String, Vec<PathBuf>),
    /// The directory has no readable journal: left alone.
    Unknown(PathBuf),
}

/// Looks at every run below `root`, or at one.
pub fn collect(root: &Path, only: Option<&str>) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let journal = fs::read_to_string(path.join(JOURNAL)).unwrap_or_default();
        let intent: Option<Intent> = journal.lines().next().and_then(|l| serde_json::from_str(l).ok());
        let Some(intent) = intent.filter(|i| path.file_name().is_some_and(|n| n == i.run.as_str())) else {
            found.push(Found::Unknown(path));
            continue;
        };
        if only.is_some_and(|run| run != intent.run) {
            continue;
        }
        found.push(if is_live(&intent) { Found::Live(intent.run) } else { remove(&path, &intent) });
    }
    Ok(found)
}

/// Removes a run's cgroups with their processes, then its directory.
pub fn remove(path: &Path, intent: &Intent) -> Found {
    let mut stuck = sandbox::clear_cgroups(&intent.cgroup);
    if stuck.is_empty() && fs::remove_dir_all(path).is_err() {
        stuck.push(path.to_owned());
    }
    if stuck.is_empty() {
        Found::Removed(intent.run.clone())
    } else {
        Found::Stuck(intent.run.clone(), stuck)
    }
}
