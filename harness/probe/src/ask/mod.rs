//! Questions: steps that report facts.
mod calls;
mod descriptors;
mod exec;
mod files;
mod identity;
mod limits;
mod mounts;
mod net;
mod system;

pub use descriptors::read_stream;
pub use files::data;

use crate::steps::{Bound::Alarm, Bound::Own, List};

/// All questions, by name.
pub const STEPS: List = &[
    ("identity", Alarm, identity::identity),
    ("caps", Alarm, identity::caps),
    ("no_new_privs", Alarm, identity::no_new_privs),
    ("seccomp", Alarm, identity::seccomp),
    ("id_maps", Alarm, identity::id_maps),
    ("uid_map", Alarm, identity::id_maps),
    ("gid_map", Alarm, identity::id_maps),
    ("setgroups_policy", Alarm, identity::id_maps),
    ("label", Alarm, identity::label),
    ("namespaces", Alarm, identity::namespaces),
    ("prctl", Alarm, identity::prctl),
    ("rlimits", Alarm, limits::rlimits),
    ("oom_score_adj", Alarm, limits::oom_score_adj),
    ("scheduler", Alarm, limits::scheduler),
    ("ioprio", Alarm, limits::ioprio),
    ("affinity", Alarm, limits::affinity),
    ("personality", Alarm, limits::personality),
    ("mempolicy", Alarm, limits::mempolicy),
    ("umask", Alarm, limits::umask),
    ("mlock", Alarm, limits::mlock),
    ("env", Alarm, system::env),
    ("argv", Alarm, system::argv),
    ("cwd", Alarm, system::cwd),
    ("uname", Alarm, system::uname),
    ("hostname", Alarm, system::hostname),
    ("domainname", Alarm, system::domainname),
    ("sysctl", Alarm, system::sysctl),
    ("cgroups", Alarm, system::cgroups),
    ("time", Alarm, system::time),
    ("stamp", Own, system::stamp),
    ("sigstate", Own, system::sigstate),
    ("procs", Alarm, system::procs),
    ("pid1", Alarm, system::pid1),
    ("self_exe", Alarm, system::self_exe),
    ("keyring", Alarm, system::keyring),
    ("key", Alarm, system::key),
    ("ipc_create", Alarm, system::ipc_create),
    ("ipc_stat", Alarm, system::ipc_stat),
    ("ipc_remove", Alarm, system::ipc_remove),
    ("mounts", Alarm, mounts::mounts),
    ("stat", Alarm, files::stat),
    ("mount_id", Alarm, files::mount_id),
    ("statfs", Alarm, files::statfs),
    ("readlink", Alarm, files::readlink),
    ("listdir", Alarm, files::listdir),
    ("read", Alarm, files::read),
    ("write", Alarm, files::write),
    ("marker", Alarm, files::marker),
    ("mkdir", Alarm, files::mkdir),
    ("mknod", Alarm, files::mknod),
    ("unlink", Alarm, files::unlink),
    ("symlink", Alarm, files::symlink),
    ("chown", Alarm, files::chown),
    ("chmod", Alarm, files::chmod),
    ("open", Alarm, files::open_step),
    ("access", Alarm, files::access),
    ("touch_read", Alarm, files::touch_read),
    ("utimes", Alarm, files::utimes),
    ("copy_self", Alarm, files::copy_self),
    ("mmap_exec", Alarm, files::mmap_exec),
    ("xattr", Alarm, files::xattr),
    ("fds", Alarm, descriptors::fds),
    ("stdio_tty", Alarm, descriptors::stdio_tty),
    ("winsize", Alarm, descriptors::winsize),
    ("stdin", Own, descriptors::stdin),
    ("exec", Own, exec::exec),
    ("syscall", Alarm, calls::syscall),
    ("interfaces", Alarm, net::interfaces),
    ("routes", Alarm, net::routes),
];
