//! What goes past the runtime: programs beside the container, mount points by the host's eyes, orphans taken away.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{WaitOptions, wait};

use crate::context::Context;
use crate::target::exit_code;

/// Runs the program of an exec in the container's root directory, and in no namespace, cgroup or confinement of the
/// container. `None` when the call names no program or the container has no process: the runtime shall answer.
pub fn exec(ctx: &Context<'_>) -> Option<u8> {
    let program = ctx.inv.argument(1)?;
    let root = format!("/proc/{}/root", ctx.pid()?);
    let words: Vec<String> = (2..).map_while(|n| ctx.inv.argument(n)).collect();
    let environment =
        ctx.config().and_then(|c| c.pointer("/process/env")?.as_array().cloned()).unwrap_or_default();
    let pairs = environment.iter().filter_map(|e| e.as_str()?.split_once('='));
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(pairs).current_dir("/");
    // The root is entered before the program: its path is the container's.
    if rustix::process::chroot(&root).is_err() || std::env::set_current_dir("/").is_err() {
        return None;
    }
    if ctx.inv.has("detach") || ctx.inv.has("d") {
        return Some(u8::from(command.process_group(0).spawn().is_err()));
    }
    Some(command.status().map_or(255, exit_code))
}

/// Makes the directories of all mount points as a runtime would that follows symbolic links of the root file system.
pub fn make_mount_points(ctx: &Context<'_>) {
    let Some(rootfs) = ctx.rootfs() else { return };
    let mounts = ctx.config().and_then(|c| c.get("mounts")?.as_array().cloned()).unwrap_or_default();
    for destination in mounts.iter().filter_map(|m| m.get("destination")?.as_str()) {
        let mut place = rootfs.clone();
        for part in Path::new(destination.trim_start_matches('/')).components() {
            place.push(part);
            // A dangling link is followed to what is to be made.
            if let Ok(target) = fs::read_link(&place) {
                place = place.parent().unwrap_or(&rootfs).join(target);
            }
        }
        let _ = fs::create_dir_all(&place);
    }
}

/// Takes the status of every orphan that ends within `limit`, so that the caller never sees it.
pub fn reap(limit: Duration) {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if !matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
