//! Canaries, and what several files look at.

use plimsoll_kit::prelude::*;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A fresh directory outside of every root file system; nothing may ever appear in it.
pub fn canary(cx: &Cx) -> Result<PathBuf, Stop> {
    let dir = cx.dir().join("canary");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A violation if something has appeared in the canary.
pub fn untouched(canary: &Path) -> Verdict {
    let names: Vec<String> =
        fs::read_dir(canary)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    check!(names.is_empty(), "nothing appears outside of the root file system", "{names:?}");
    Ok(())
}

/// Descriptors of the canary at 3 and the following numbers.
pub fn descriptors(canary: &Path, count: RawFd) -> Result<Vec<(OwnedFd, RawFd)>, Stop> {
    let open = |n: RawFd| Ok((File::open(canary)?.into(), n));
    (3..3 + count).map(open).collect()
}

/// The numbers of a probe's descriptors above 2, without those that it opened itself.
pub fn extra_fds(answers: &Answers) -> Result<Vec<i64>, Stop> {
    let fds = answers.facts("fds")?["fds"].as_array().cloned().unwrap_or_default();
    let open = fds.iter().filter(|f| f["probe_out"] != json!(true)).filter_map(|f| f["fd"].as_i64());
    Ok(open.filter(|n| *n > 2).collect())
}

/// Device and inode of what the init process of a container holds open.
pub fn open_inodes(container: &Container) -> Result<BTreeSet<(u64, u64)>, Stop> {
    let dir = format!("/proc/{}/fd", container.pid()?);
    let entries = fs::read_dir(&dir).map_err(|e| Stop::setup(format!("listing {dir}: {e}")))?;
    let inode = |e: fs::DirEntry| fs::metadata(e.path()).ok().map(|m| (m.dev(), m.ino()));
    Ok(entries.flatten().filter_map(inode).collect())
}

/// Directories that the init process of a container holds open, but for its own root and for procfs.
pub fn open_directories(container: &Container) -> Result<Vec<String>, Stop> {
    let dir = format!("/proc/{}/fd", container.pid()?);
    let root = inode(&container.bundle().rootfs())?;
    let entries = fs::read_dir(&dir).map_err(|e| Stop::setup(format!("listing {dir}: {e}")))?;
    let mut open = Vec::new();
    for entry in entries.flatten() {
        let (Ok(meta), Ok(target)) = (fs::metadata(entry.path()), fs::read_link(entry.path())) else {
            continue;
        };
        let process = target.starts_with("/proc");
        if meta.is_dir() && !process && (meta.dev(), meta.ino()) != root {
            open.push(target.display().to_string());
        }
    }
    Ok(open)
}

/// Device and inode of a path.
pub fn inode(path: &Path) -> Result<(u64, u64), Stop> {
    let meta = fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

/// Creates and starts, and gives the answers unless the runtime refused by an error of its own.
pub async fn answers_or_refusal(builder: Builder) -> Result<Option<Answers>, Stop> {
    let (call, container) = builder.attempt().await?;
    if !call.succeeded() {
        call.must_fail()?;
        return Ok(None);
    }
    let start = container.start().await?;
    if !start.succeeded() {
        start.must_fail()?;
        return Ok(None);
    }
    container.wait_exit().await?;
    let answers = container.answers_so_far()?;
    // A program that could not be executed after start had returned is a refusal, too.
    Ok(answers.is_done().then_some(answers))
}

/// Takes all mounts at and below /dev out.
pub fn without_dev(config: &mut Value) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|m| !m["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
    }
}

/// A violation that only means something where the program runs on the host's own kernel: where the host does not see
/// the program at all, a sandbox stands between, and the case does not apply.
pub async fn on_the_host_s_kernel(cx: &Cx, verdict: Verdict) -> Verdict {
    if matches!(verdict, Err(Stop::Violation(_))) {
        let container = cx.container(probe::ask(["namespaces"]).pause()).running().await?;
        let inside = container.answers_so_far()?.facts("namespaces")?["ns"]["mnt"].clone();
        if inside != json!(container.namespace("mnt")?) {
            return Err(Stop::NotApplicable {
                capability: "host-visible-process".into(),
                reason: format!(
                    "the program is in {inside}, of which the host knows nothing: it runs on another kernel"
                ),
            });
        }
    }
    verdict
}
