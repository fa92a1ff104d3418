//! What runs between fork and exec.
#![allow(unsafe_code)]

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Makes `command` inherit these descriptors under their numbers, and be killed when the thread that starts it ends.
pub(crate) fn bind_to_parent(command: &mut Command, inherit: &[BorrowedFd<'_>]) -> io::Result<()> {
    let own: Vec<(i32, OwnedFd)> =
        inherit.iter().map(|fd| Ok((fd.as_raw_fd(), fd.try_clone_to_owned()?))).collect::<io::Result<_>>()?;
    let parent = nix::unistd::getpid();
    // SAFETY: the closure runs in the child between fork and exec. It makes system calls only, allocates nothing and
    // takes no lock that another thread of the parent could hold. The borrowed number is an open descriptor: the
    // caller keeps it open until the command has been started, and the child has a copy of the parent's table.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if nix::unistd::getppid() != parent {
                return Err(io::ErrorKind::NotFound.into());
            }
            for (number, _) in &own {
                let fd = BorrowedFd::borrow_raw(*number);
                fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
    Ok(())
}

/// Makes `command` start in these namespaces, with no signal blocked, and be asked to end when its parent ends.
pub(crate) fn enter_namespaces(command: &mut Command, namespaces: Vec<File>) {
    // SAFETY: the closure runs in the child between fork and exec. It makes system calls with descriptors that it owns
    // and a set of signals on its stack; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            for namespace in &namespaces {
                setns(namespace, CloneFlags::empty())?;
            }
            prctl::set_pdeathsig(Signal::SIGTERM)?;
            SigSet::all().thread_unblock()?;
            Ok(())
        });
    }
}
