//! Deeds: steps that change something, wait, or end the process.
mod changes;
mod children;
mod ends;
mod load;
mod sockets;
mod waits;

use crate::steps::{Bound::Alarm, Bound::Own, List};

/// All deeds, by name.
pub const STEPS: List = &[
    ("exit", Own, ends::exit),
    ("die", Own, ends::die),
    ("exec_self", Own, ends::exec_self),
    ("sleep", Own, waits::sleep),
    ("wait", Own, waits::wait),
    ("signals", Own, waits::signals),
    ("pause_forever", Own, waits::pause_forever),
    ("wait_file", Own, waits::wait_file),
    ("print", Own, waits::print),
    ("write_out", Own, waits::print),
    ("flood", Own, waits::flood),
    ("spawn", Own, children::spawn),
    ("fork_orphans", Own, children::fork_orphans),
    ("zombies", Own, children::zombies),
    ("init", Own, children::init),
    ("hold_memory", Own, load::hold_memory),
    ("burn_cpu", Own, load::burn_cpu),
    ("connect", Own, sockets::connect),
    ("abstract_socket", Own, sockets::abstract_socket),
    ("listen", Own, sockets::listen),
    ("tcp_echo", Own, sockets::tcp_echo),
    ("setuid", Alarm, changes::setuid),
    ("setgid", Alarm, changes::setgid),
    ("setgroups", Alarm, changes::setgroups),
    ("setsid", Alarm, changes::setsid),
    ("set_umask", Alarm, changes::set_umask),
    ("set_rlimit", Alarm, changes::set_rlimit),
    ("kill", Own, changes::kill),
    ("close", Alarm, changes::close),
    ("chdir", Alarm, changes::chdir),
    ("chroot", Alarm, changes::chroot),
    ("unshare", Alarm, changes::unshare),
    ("setns", Alarm, changes::setns),
    ("mount", Alarm, changes::mount),
    ("umount", Alarm, changes::umount),
    ("set_hostname", Alarm, changes::set_hostname),
    ("set_domainname", Alarm, changes::set_domainname),
];
