//! Removes what dead runs left: only what a journal of ours names, never by matching names of processes.

use crate::journal::{Intent, JOURNAL, Made, is_live};
use crate::pool;
use crate::preflight::CLEAN_UP;
use crate::sandbox;
use crate::sys;
use plimsoll_kit::host;
use plimsoll_kit::job::{CriTarget, Job, Limits, Target};
use plimsoll_model::{Outcome, SpecVersion};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// What was found for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its runner lives: left alone.
    Live(String),
    /// Removed.
    Removed(String),
    /// Something could not be removed.
    Stuck(String, Vec<String>),
    /// The directory has no readable journal: left alone.
    Unknown(PathBuf),
}

/// Looks at every run below `root`, or at one. `program` is this executable: workers ask the endpoints.
pub fn collect(root: &Path, only: Option<&str>, program: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let journal = fs::read_to_string(path.join(JOURNAL)).unwrap_or_default();
        let mut lines = journal.lines();
        let intent: Option<Intent> = lines.next().and_then(|l| serde_json::from_str(l).ok());
        let Some(intent) = intent.filter(|i| path.file_name().is_some_and(|n| n == i.run.as_str())) else {
            found.push(Found::Unknown(path));
            continue;
        };
        if only.is_some_and(|run| run != intent.run) {
            continue;
        }
        if is_live(&intent) {
            found.push(Found::Live(intent.run));
            continue;
        }
        // A last line that was cut off names something that was not made yet: it is synced before.
        let made: Vec<Made> = lines.filter_map(|l| serde_json::from_str(l).ok()).collect();
        found.push(runtime.block_on(remove(&path, &intent, &made, program, Limits::default())));
    }
    Ok(found)
}

/// Runs below `root` whose runner is dead: what [`collect`] would remove.
pub fn dead(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let intents = entries.filter_map(|entry| {
        let journal = fs::read_to_string(entry.path().join(JOURNAL)).ok()?;
        let intent: Intent = serde_json::from_str(journal.lines().next()?).ok()?;
        (entry.file_name() == intent.run.as_str()).then_some(intent)
    });
    intents.filter(|intent| !is_live(intent)).map(|intent| intent.run).collect()
}

/// Removes what a run has made: on endpoints first, then its processes with their cgroups, its bridges, its
/// mounts, its directory.
pub async fn remove(path: &Path, intent: &Intent, made: &[Made], program: &Path, limits: Limits) -> Found {
    let mut stuck = Vec::new();
    for (n, made) in made.iter().enumerate() {
        if let Made::OnEndpoint { target } = made {
            let job = clean_up(path, intent, target, n, limits);
            stuck.extend(on_endpoint(target, job, program).await);
        }
    }
    stuck.extend(sandbox::clear_cgroups(&intent.cgroup).iter().map(|p| p.display().to_string()));
    clear_strays(&intent.run, path);
    for made in made {
        match made {
            Made::Bridge { name } => {
                sys::remove_bridge(name);
                if sys::has_interface(name) {
                    stuck.push(format!("the network bridge {name}"));
                }
            }
            Made::CgroupsInLogs { parent } => clear_named(parent, path),
            Made::OnEndpoint { .. } => {}
        }
    }
    unmount_below(path);
    // The journal names what could not be removed: it stays for the next attempt.
    if stuck.is_empty() && fs::remove_dir_all(path).is_err() {
        stuck.push(path.display().to_string());
    }
    if stuck.is_empty() {
        Found::Removed(intent.run.clone())
    } else {
        Found::Stuck(intent.run.clone(), stuck)
    }
}

/// How deep cgroups are looked for.
const DEEPEST: usize = 16;

/// What an injected fault puts before a cgroup's path.
const FAULTY: &str = "plimsoll-faults";

/// Removes empty cgroups that carry the run's id, wherever they are. Cases name some beside the run's own (`RUNxN`);
/// runtimes make others: below their caller's cgroup, by the container's id, or at a path of the bundle's, and then
/// remove the last part of that only. So what bears a name of the directory `path` and is empty above them goes too.
fn clear_strays(run: &str, path: &Path) {
    for hierarchy in host::hierarchies() {
        clear_strays_below(&hierarchy.mount, run, path, DEEPEST);
    }
}

/// Whether something was removed from `dir`.
fn clear_strays_below(dir: &Path, run: &str, path: &Path, depth: usize) -> bool {
    let mut removed = false;
    for child in host::sub_directories(dir) {
        let name = child.file_name().unwrap_or_default();
        if name.to_string_lossy().contains(run) {
            host::remove_cgroup(&child);
            removed |= !child.exists();
        } else if depth > 0
            && clear_strays_below(&child, run, path, depth - 1)
            && (name == FAULTY || path.iter().any(|part| part == name))
        {
            // One that is in use, or has a neighbour's in it, stays.
            let _ = fs::remove_dir(&child);
            removed |= !child.exists();
        }
    }
    removed
}

/// Removes empty cgroups below `parent` whose long names stand in a log below the run's directory.
fn clear_named(parent: &str, run: &Path) {
    let mut log = String::new();
    for dir in host::sub_directories(run) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") {
                log.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()));
            }
        }
    }
    for hierarchy in host::hierarchies() {
        let above = hierarchy.mount.join(parent.trim_start_matches('/'));
        for child in host::sub_directories(&above) {
            let name = child.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Ids have 64 digits; shorter names could stand in the log by chance.
            if name.len() >= 32 && log.contains(&name) {
                host::remove_cgroup(&child);
            }
        }
        if host::sub_directories(&above).is_empty() && !log.is_empty() {
            let _ = fs::remove_dir(&above);
        }
    }
}

/// Has a worker remove what carries the run's id on an endpoint. An endpoint that is gone has nothing of the run.
async fn on_endpoint(target: &CriTarget, job: Job, program: &Path) -> Option<String> {
    let socket = PathBuf::from(target.endpoint.trim_start_matches("unix://"));
    let gone = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
    let connect = tokio::net::UnixStream::connect(&socket);
    let connected = tokio::time::timeout(std::time::Duration::from_secs(5), connect);
    if connected.await.is_ok_and(|r| r.is_err_and(|e| gone(&e))) {
        return None;
    }
    let (_alive, cancel) = watch::channel(false);
    let (result, _) = pool::attempt(program, job, cancel).await;
    (result.outcome != Outcome::Pass).then(|| format!("{}: {}", target.endpoint, result.outcome.message()))
}

fn clean_up(path: &Path, intent: &Intent, target: &CriTarget, n: usize, limits: Limits) -> Job {
    Job {
        case: CLEAN_UP.to_owned(),
        tag: format!("{}xgc{n}", intent.run),
        dir: path.join(format!("gc{n}")),
        cgroup: format!("{}/gc{n}", intent.cgroup),
        target: Target::Cri(target.clone()),
        spec_version: None,
        features: None,
        target_facts: BTreeMap::from([("run".to_owned(), intent.run.clone().into())]),
        host: host::facts(),
        oci_version: SpecVersion::new(1, 0, 2),
        limits,
        seed: 0,
        keep: None,
    }
}

/// Unmounts what is mounted below a directory in this mount namespace, innermost first.
fn unmount_below(path: &Path) {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|l| l.split(' ').nth(4)).map(unescape);
    let mut below: Vec<PathBuf> = points.filter(|p| p.starts_with(path) && p != path).collect();
    below.sort();
    for point in below.iter().rev() {
        let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> PathBuf {
    let mut out = text.to_owned();
    for (escaped, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(escaped, plain);
    }
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On plain directories, which are removed by the same calls.
    #[test]
    fn strays_go_with_what_is_empty_above_them_and_nothing_else() {
        let dir = tempfile::tempdir().expect("directory");
        let make = |path: &str| fs::create_dir_all(dir.path().join(path)).expect("made");
        for path in [
            "plimsoll-12ab34cdx3",
            "var/tmp/plimsoll/12ab34cd/7/a",
            "own/pl-12ab34cdx1-1",
            "own/kept",
            "var/other",
        ] {
            make(path);
        }
        make("plimsoll-faults/plimsoll-12ab34cd/1");
        make("emptied/pl-12ab34cdx3-1");
        make("in-use/pl-12ab34cdx2-1");
        fs::write(dir.path().join("in-use/pl-12ab34cdx2-1/cgroup.procs"), "1").expect("written");
        clear_strays_below(dir.path(), "12ab34cd", Path::new("/var/tmp/plimsoll/12ab34cd"), DEEPEST);
        let left = |path: &str| dir.path().join(path).exists();
        assert!(
            !left("plimsoll-12ab34cdx3")
                && !left("var/tmp")
                && !left("plimsoll-faults")
                && !left("own/pl-12ab34cdx1-1")
        );
        assert!(left("emptied") && left("own/kept") && left("var/other") && left("in-use/pl-12ab34cdx2-1"));
    }
}
