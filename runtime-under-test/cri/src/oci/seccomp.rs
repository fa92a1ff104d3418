//! Seccomp: the default profile of this server, and profiles from files.

use std::path::Path;

use serde_json::{Value, json};

use crate::api::SecurityProfile;
use crate::api::security_profile::ProfileType;
use crate::error::{Error, Result};

/// System calls that need no privilege and touch nothing beyond the container.
const ALWAYS: &str = "accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown \
clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 \
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat \
exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl \
fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait \
futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid \
getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit get_robust_list getrusage getsid getsockname getsockopt \
get_thread_area gettid gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl \
io_destroy io_getevents io_pgetevents ioprio_get ioprio_set io_setup io_submit kill landlock_add_rule landlock_create_ruleset \
landlock_restrict_self lchown lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack \
membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify \
mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at \
nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll \
prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv \
recvfrom recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending \
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity sched_getattr \
sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr \
sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto setfsgid \
setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit set_robust_list setsid \
setsockopt set_thread_area set_tid_address setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair \
splice stat statfs statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timerfd_create \
timerfd_gettime timerfd_settime timer_getoverrun timer_gettime timer_settime times tkill truncate umask uname unlink unlinkat utime \
utimensat utimes vfork vmsplice wait4 waitid write writev socket process_vm_readv process_vm_writev ptrace kcmp";

/// Further calls by capability.
const BY_CAPABILITY: [(&str, &str); 11] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree \
perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];

/// Flags of clone(2) that make namespaces.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

fn names(list: &str) -> Vec<&str> {
    list.split_whitespace().collect()
}

/// The default profile: what is not listed fails with EPERM; capabilities open what belongs to them
/// (`security.seccomp.runtime-default`, `.sys-admin-allows`).
pub fn default_profile(capabilities: &[String]) -> Value {
    let mut rules = vec![
        json!({"names": names(ALWAYS), "action": "SCMP_ACT_ALLOW"}),
        // Only the personalities that change nothing about protection.
        json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]}),
        json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}),
        json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0xffff_ffff_u32, "op": "SCMP_CMP_EQ"}]}),
    ];
    let mut admin = false;
    for (capability, calls) in BY_CAPABILITY {
        if capabilities.iter().any(|have| have == capability) {
            admin |= capability == "CAP_SYS_ADMIN";
            rules.push(json!({"names": names(calls), "action": "SCMP_ACT_ALLOW"}));
        }
    }
    if !admin {
        rules.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}));
        // Its flags lie in memory where a filter cannot look: libraries fall back to clone on ENOSYS.
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        _ => &[],
    }
}

/// Checks a profile message: a reference goes with Localhost only, and is an absolute path.
pub fn check(what: &str, profile: Option<&SecurityProfile>, absolute: bool) -> Result<()> {
    let Some(profile) = profile else { return Ok(()) };
    let kind = ProfileType::try_from(profile.profile_type).map_err(|_| {
        Error::invalid(format!("{what} profile type {} does not exist", profile.profile_type))
    })?;
    if kind == ProfileType::Localhost {
        if profile.localhost_ref.is_empty() {
            return Err(Error::invalid(format!("a Localhost {what} profile needs localhost_ref")));
        }
        if absolute && !Path::new(&profile.localhost_ref).is_absolute() {
            return Err(Error::invalid(format!(
                "localhost_ref {:?} of the {what} profile must be an absolute path",
                profile.localhost_ref
            )));
        }
    }
    // With another type the reference has no meaning and is not looked at
    // (`sandbox.security-profile.localhost-ref-only-localhost`).
    Ok(())
}

/// The OCI seccomp object for a profile; `None` is unconfined. The typed field wins over the old path.
pub fn to_oci(
    profile: Option<&SecurityProfile>,
    old_path: &str,
    capabilities: &[String],
) -> Result<Option<Value>> {
    check("seccomp", profile, true)?;
    match profile.map(|p| (ProfileType::try_from(p.profile_type).unwrap_or(ProfileType::Unconfined), p)) {
        Some((ProfileType::RuntimeDefault, _)) => Ok(Some(default_profile(capabilities))),
        Some((ProfileType::Localhost, profile)) => load(&profile.localhost_ref).map(Some),
        Some((ProfileType::Unconfined, _)) => Ok(None),
        None => match old_path {
            "" | "unconfined" => Ok(None),
            "runtime/default" | "docker/default" => Ok(Some(default_profile(capabilities))),
            other => match other.strip_prefix("localhost/") {
                Some(path) => load(path).map(Some),
                None => Err(Error::invalid(format!(
                    "seccomp_profile_path {other:?} is not known; use the seccomp field"
                ))),
            },
        },
    }
}

fn load(path: &str) -> Result<Value> {
    let text = std::fs::read(path)
        .map_err(|error| Error::invalid(format!("reading seccomp profile {path}: {error}")))?;
    let value: Value = serde_json::from_slice(&text)
        .map_err(|error| Error::invalid(format!("seccomp profile {path} is not JSON: {error}")))?;
    if value.get("defaultAction").is_none_or(|action| !action.is_string()) {
        return Err(Error::invalid(format!("seccomp profile {path} has no defaultAction")));
    }
    Ok(value)
}
