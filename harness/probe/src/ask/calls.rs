//! Any system call: its result is the fact.
use crate::names;
use crate::prelude::*;
use crate::sys::process;
use crate::sys::time::Deadline;

macro_rules! table {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

/// The system calls that a script may name. Others go by number.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const CALLS: &[(&str, i64)] = table! {
    SYS_accept4 SYS_access SYS_acct SYS_add_key SYS_adjtimex SYS_arch_prctl SYS_bind SYS_bpf SYS_brk SYS_capget SYS_capset
    SYS_chdir SYS_chmod SYS_chown SYS_chroot SYS_clock_adjtime SYS_clock_getres SYS_clock_settime SYS_clone SYS_clone3
    SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_creat SYS_delete_module SYS_dup SYS_epoll_create1
    SYS_eventfd2 SYS_execve SYS_execveat SYS_faccessat SYS_fallocate SYS_fanotify_init SYS_fchdir SYS_fchmod SYS_fchmodat
    SYS_fchownat SYS_finit_module SYS_flock SYS_fork SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_futex
    SYS_get_mempolicy SYS_getcpu SYS_getcwd SYS_getegid SYS_geteuid SYS_getgid SYS_getpgid SYS_getpgrp SYS_getpid
    SYS_getppid SYS_getpriority SYS_getrandom SYS_getsid SYS_gettid SYS_gettimeofday SYS_getuid SYS_init_module
    SYS_inotify_init1 SYS_io_setup SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup SYS_ioctl SYS_ioperm
    SYS_iopl SYS_ioprio_get SYS_ioprio_set SYS_kcmp SYS_kexec_file_load SYS_kexec_load SYS_keyctl SYS_kill
    SYS_landlock_create_ruleset SYS_lchown SYS_link SYS_linkat SYS_listen SYS_lookup_dcookie SYS_lseek SYS_mbind
    SYS_membarrier SYS_memfd_create SYS_migrate_pages SYS_mkdir SYS_mkdirat SYS_mknod SYS_mknodat SYS_mlockall SYS_mount
    SYS_mount_setattr SYS_move_mount SYS_move_pages SYS_mprotect SYS_mq_open SYS_msgget SYS_name_to_handle_at
    SYS_nanosleep SYS_nfsservctl SYS_open SYS_open_by_handle_at SYS_open_tree SYS_openat SYS_openat2 SYS_pause
    SYS_perf_event_open SYS_personality SYS_pidfd_getfd SYS_pidfd_open SYS_pidfd_send_signal SYS_pivot_root SYS_prctl
    SYS_prlimit64 SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace SYS_quotactl SYS_read SYS_readlink SYS_readlinkat
    SYS_reboot SYS_rename SYS_renameat SYS_renameat2 SYS_request_key SYS_rmdir SYS_rseq SYS_sched_getaffinity
    SYS_sched_setattr SYS_sched_yield SYS_seccomp SYS_semget SYS_set_mempolicy SYS_set_tid_address SYS_setdomainname
    SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_sethostname SYS_setns SYS_setpgid SYS_setpriority SYS_setregid
    SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_setsid SYS_settimeofday SYS_setuid SYS_shmget
    SYS_signalfd4 SYS_socket SYS_socketpair SYS_splice SYS_stat SYS_statfs SYS_statx SYS_swapoff SYS_swapon SYS_symlink
    SYS_symlinkat SYS_sync SYS_syncfs SYS_sysfs SYS_sysinfo SYS_syslog SYS_tgkill SYS_time SYS_timerfd_create SYS_times
    SYS_truncate SYS_umask SYS_umount2 SYS_uname SYS_unlink SYS_unlinkat SYS_unshare SYS_uselib SYS_userfaultfd SYS_ustat
    SYS_utime SYS_utimensat SYS_vhangup SYS_vmsplice SYS_wait4 SYS_waitid SYS_write
};

/// One argument, with the memory that it points to.
enum Argument {
    Number(i64),
    Text(CString),
    Buffer(Vec<u8>),
}

fn argument(value: &Value) -> Result<Argument, Fail> {
    let number = value.as_i64().or_else(|| value.as_u64().map(u64::cast_signed));
    match (value, number) {
        (_, Some(number)) => Ok(Argument::Number(number)),
        (Value::Null, _) => Ok(Argument::Number(0)),
        (Value::String(text), _) => crate::step::c_string(text).map(Argument::Text),
        (Value::Object(map), _) => {
            let size = Step(map).size_or("buf", 0, 1 << 20)?;
            // Never empty: its address has to be one.
            Ok(Argument::Buffer(vec![0; size.max(1)]))
        }
        _ => Err(Fail::script(format_args!(
            "{value} is no argument: a number, a string, null or {{\"buf\": SIZE}}"
        ))),
    }
}

fn number(step: &Step) -> Result<i64, Fail> {
    if let Some(number) = step.opt_int("nr")? {
        return Ok(number);
    }
    let name = step.str("name")?;
    let found = CALLS.iter().find(|(known, _)| known.strip_prefix("SYS_") == Some(name));
    found
        .map(|(_, number)| *number)
        .ok_or_else(|| Fail::script(format_args!("unknown system call {name}: give `nr`")))
}

/// The call; its return value or errno. If it made a second process (fork, clone), that one ends at once.
fn invoke(number: i64, arguments: &mut [Argument]) -> (i64, i32) {
    let args: Vec<Arg> = arguments.iter_mut().map(Argument::pass).collect();
    let before = process::pid();
    let result = sys::call(number, &args);
    if process::pid() != before {
        process::exit(0);
    }
    match result {
        Ok(ret) => {
            if matches!(number, libc::SYS_clone | libc::SYS_clone3 | libc::SYS_fork) {
                let _ = process::wait_for(ret as i32, Deadline::in_ms(1000));
            }
            (ret, 0)
        }
        Err(errno) => (-1, errno),
    }
}

impl Argument {
    fn pass(&mut self) -> Arg<'_> {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => (&*text).into(),
            Self::Buffer(buffer) => buffer.as_mut_slice().into(),
        }
    }
}

fn facts(ret: i64, errno: i32) -> Value {
    let error = (errno != 0).then(|| names::errno(errno));
    json!({ "ret": ret, "errno": errno, "error": error, "signal": null })
}

pub fn syscall(_: &mut Cx, step: &Step) -> Answer {
    let number = number(step)?;
    let mut arguments = step.list("args").into_iter().map(argument).collect::<Result<Vec<_>, _>>()?;
    if arguments.len() > 6 {
        return Err(Fail::script("a system call has at most 6 arguments"));
    }
    if step.flag("fork")? {
        return in_child(number, &mut arguments, step.timeout_ms(5000)?);
    }
    let (ret, errno) = invoke(number, &mut arguments);
    if errno == libc::EINTR && sys::signal::Alarm::expired() {
        return Err(Fail::new(libc::EINTR, format_args!("system call {number}")));
    }
    Ok(facts(ret, errno))
}

/// The call in a child of its own: for what changes the process, or what a filter kills it for.
fn in_child(number: i64, arguments: &mut [Argument], ms: u64) -> Answer {
    let (reader, writer) = sys::file::pipe().what("pipe")?;
    let pid = process::fork().what("fork")?;
    if pid == 0 {
        let (ret, errno) = invoke(number, arguments);
        let bytes = [ret.to_ne_bytes(), i64::from(errno).to_ne_bytes()].concat();
        let _ = sys::file::write_all(writer.0, &bytes, Deadline::in_ms(1000));
        process::exit(0)
    }
    drop(writer);
    let _ = sc!(SYS_fcntl, reader.0, libc::F_SETFL, libc::O_NONBLOCK);
    let deadline = Deadline::in_ms(ms);
    let answer = sys::file::read_fd(reader.0, 16, deadline);
    let mut ended = process::wait_for(pid, deadline).what("wait4")?;
    if ended.is_none() {
        let _ = process::kill(pid, libc::SIGKILL);
        ended = process::wait_for(pid, Deadline::in_ms(2000)).what("wait4")?;
        if answer.is_err() {
            return Err(Fail::new(libc::ETIMEDOUT, format_args!("system call {number} in a child")));
        }
    }
    if let Ok((bytes, _)) = answer
        && bytes.len() == 16
    {
        let bytes = Reader(&bytes);
        return Ok(facts(bytes.i64(0), bytes.i64(8) as i32));
    }
    let signal = ended.and_then(process::Ended::signal).map(names::signal);
    let code = ended.and_then(process::Ended::code);
    Ok(json!({ "ret": null, "errno": null, "error": null, "signal": signal, "code": code }))
}
