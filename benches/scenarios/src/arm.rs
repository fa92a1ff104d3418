//! An arm: one place of a target on a thread of its own, whose mount namespace it may change.
//!
//! A private mount namespace belongs to a thread, and a process started by `posix_spawn` inherits it, so
//! showing a runtime other cgroups costs nothing per start. Work is handed over outside of any timing.

use crate::error::BenchError;
use crate::place::Place;
use crate::plan::CgroupView;
use crate::sys;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce(&mut dyn Place) + Send>;

/// The handle of an arm's thread.
pub struct Arm {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Arm {
    /// Starts the thread and gives it the view and the scheduling class.
    pub fn start(mut place: Box<dyn Place>, fifo: bool) -> Result<Self, BenchError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let body = move || {
            let prepared = place.enter().and_then(|()| if fifo { sys::become_fifo() } else { Ok(()) });
            let go_on = prepared.is_ok();
            let _ = ready.send(prepared);
            if go_on {
                for job in inbox {
                    job(place.as_mut());
                }
                place.tidy();
            }
        };
        let thread = std::thread::Builder::new()
            .name("bench-arm".into())
            .spawn(body)
            .map_err(BenchError::system("start a thread for a target"))?;
        let outcome = started.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended early")));
        outcome.map_err(BenchError::system(
            "prepare a target's thread (private mounts need CAP_SYS_ADMIN, FIFO needs CAP_SYS_NICE)",
        ))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` on the arm's thread and waits for its result.
    pub fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Place) -> R + Send + 'static,
    ) -> Result<R, BenchError> {
        let (reply, answer) = mpsc::channel();
        let job: Job = Box::new(move |place| {
            let _ = reply.send(work(place));
        });
        let lost = || {
            BenchError::Plan(
                "a target's thread ended unexpectedly; this is a defect, please report it".into(),
            )
        };
        self.jobs.as_ref().ok_or_else(lost)?.send(job).map_err(|_| lost())?;
        answer.recv().map_err(|_| lost())
    }
}

impl Drop for Arm {
    fn drop(&mut self) {
        // The end of the channel ends the thread.
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives the calling thread the view; `Host` changes nothing.
pub fn enter_view(view: CgroupView) -> io::Result<()> {
    if view == CgroupView::Host {
        return Ok(());
    }
    sys::private_mounts()?;
    // Without this an unmount here would propagate to the host.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let top = Path::new("/sys/fs/cgroup");
    match view {
        CgroupView::Host => {}
        CgroupView::Legacy => {
            let unified = top.join("unified");
            if is_mount_point(&unified) {
                unmount(&unified, UnmountFlags::DETACH)?;
            }
        }
        CgroupView::V2 => {
            if is_mount_point(top) {
                unmount(top, UnmountFlags::DETACH)?;
            }
            mount(
                "cgroup2",
                top,
                "cgroup2",
                MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
                None,
            )?;
        }
    }
    Ok(())
}

fn is_mount_point(path: &Path) -> bool {
    // The calling thread's own table: the process's may be another one.
    let text = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    text.lines().any(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == path))
}
