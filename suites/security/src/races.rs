//! Races between a check and its use, within the attempt's own directory. They take long and prove nothing by passing
//! once, so no profile selects them: name them, for example with `-E 'tag(race)'`.

use super::support::{canary, untouched};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use plimsoll_kit::prelude::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The file's table of contents.
pub static CASES: &[Case] = &[mount_point_that_becomes_a_link_stays_inside];

/// How many containers are made while the mount point changes.
const ROUNDS: usize = 200;

/// Exchanges a directory with a link, as fast as it can, until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let swap = move || {
            while !ended.load(Ordering::Relaxed) {
                // A moment in which the runtime holds one of them is what is looked for; that it fails then is fine.
                let _ = renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE);
            }
        };
        Self { stop, thread: Some(std::thread::spawn(swap)) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const PLACES: &[Variant] = &[Variant::new("itself", &[]), Variant::new("below", &[])];

/// A mount point that another container's volume turns into a link while it is being mounted stays inside.
#[case(
    covers = ["sec.mount.symlink-race"],
    tags = ["race", "slow"],
    deadline_s = 300,
    matrix(place = PLACES)
)]
async fn mount_point_that_becomes_a_link_stays_inside(cx: &mut Cx) -> Verdict {
    let dir = canary(cx)?;
    let volume = cx.dir().join("volume");
    fs::create_dir_all(volume.join("point"))?;
    symlink(&dir, volume.join("link"))?;
    let destination = if cx.param("place") == "itself" { "/volume/point" } else { "/volume/point/below" };
    let swapper = Swapper::start(volume.join("point"), volume.join("link"));
    for _ in 0..ROUNDS {
        let volume =
            json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"] });
        let tmpfs = json!({ "destination": destination, "type": "tmpfs", "source": "plimsoll-race" });
        let (call, container) = cx.container(probe::pause()).mount(volume).mount(tmpfs).attempt().await?;
        if call.succeeded() {
            // A mount that went elsewhere went away with the host's root, of which the container sees nothing.
            let inside = container.proc_file("mountinfo")?.contains("plimsoll-race");
            check!(
                inside,
                "the mount is below the root file system",
                "create succeeded, and it is not there"
            );
            container.delete_force().await?.must_succeed()?;
        }
        untouched(&dir)?;
    }
    drop(swapper);
    Ok(())
}
