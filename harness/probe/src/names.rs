//! Names of the kernel's numbers: errnos, signals, capabilities, resource limits.
use crate::prelude::*;

/// errno(3) names of Linux, by number; `""` where there is none.
const ERRNO: [&str; 134] = [
    "",
    "EPERM",
    "ENOENT",
    "ESRCH",
    "EINTR",
    "EIO",
    "ENXIO",
    "E2BIG",
    "ENOEXEC",
    "EBADF",
    "ECHILD",
    "EAGAIN",
    "ENOMEM",
    "EACCES",
    "EFAULT",
    "ENOTBLK",
    "EBUSY",
    "EEXIST",
    "EXDEV",
    "ENODEV",
    "ENOTDIR",
    "EISDIR",
    "EINVAL",
    "ENFILE",
    "EMFILE",
    "ENOTTY",
    "ETXTBSY",
    "EFBIG",
    "ENOSPC",
    "ESPIPE",
    "EROFS",
    "EMLINK",
    "EPIPE",
    "EDOM",
    "ERANGE",
    "EDEADLK",
    "ENAMETOOLONG",
    "ENOLCK",
    "ENOSYS",
    "ENOTEMPTY",
    "ELOOP",
    "",
    "ENOMSG",
    "EIDRM",
    "ECHRNG",
    "EL2NSYNC",
    "EL3HLT",
    "EL3RST",
    "ELNRNG",
    "EUNATCH",
    "ENOCSI",
    "EL2HLT",
    "EBADE",
    "EBADR",
    "EXFULL",
    "ENOANO",
    "EBADRQC",
    "EBADSLT",
    "",
    "EBFONT",
    "ENOSTR",
    "ENODATA",
    "ETIME",
    "ENOSR",
    "ENONET",
    "ENOPKG",
    "EREMOTE",
    "ENOLINK",
    "EADV",
    "ESRMNT",
    "ECOMM",
    "EPROTO",
    "EMULTIHOP",
    "EDOTDOT",
    "EBADMSG",
    "EOVERFLOW",
    "ENOTUNIQ",
    "EBADFD",
    "EREMCHG",
    "ELIBACC",
    "ELIBBAD",
    "ELIBSCN",
    "ELIBMAX",
    "ELIBEXEC",
    "EILSEQ",
    "ERESTART",
    "ESTRPIPE",
    "EUSERS",
    "ENOTSOCK",
    "EDESTADDRREQ",
    "EMSGSIZE",
    "EPROTOTYPE",
    "ENOPROTOOPT",
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
    "EOPNOTSUPP",
    "EPFNOSUPPORT",
    "EAFNOSUPPORT",
    "EADDRINUSE",
    "EADDRNOTAVAIL",
    "ENETDOWN",
    "ENETUNREACH",
    "ENETRESET",
    "ECONNABORTED",
    "ECONNRESET",
    "ENOBUFS",
    "EISCONN",
    "ENOTCONN",
    "ESHUTDOWN",
    "ETOOMANYREFS",
    "ETIMEDOUT",
    "ECONNREFUSED",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "EALREADY",
    "EINPROGRESS",
    "ESTALE",
    "EUCLEAN",
    "ENOTNAM",
    "ENAVAIL",
    "EISNAM",
    "EREMOTEIO",
    "EDQUOT",
    "ENOMEDIUM",
    "EMEDIUMTYPE",
    "ECANCELED",
    "ENOKEY",
    "EKEYEXPIRED",
    "EKEYREVOKED",
    "EKEYREJECTED",
    "EOWNERDEAD",
    "ENOTRECOVERABLE",
    "ERFKILL",
    "EHWPOISON",
];

/// Signal names by number, from 1 (signal(7)).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// capabilities(7), by number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// setrlimit(2) resources, by number on every architecture that Plimsoll runs on (x86, arm, riscv).
pub const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// The first real-time signal as user space numbers them (glibc keeps 32 and 33).
const RTMIN: i32 = 34;

pub fn errno(number: i32) -> String {
    match usize::try_from(number).ok().and_then(|n| ERRNO.get(n)) {
        Some(&name) if !name.is_empty() => name.to_owned(),
        _ => format!("errno {number}"),
    }
}

/// `SIGTERM`, `SIGRTMIN+3`, or the bare number for one without a name.
pub fn signal(number: i32) -> String {
    if let Some(name) = usize::try_from(number - 1).ok().and_then(|n| SIGNALS.get(n)) {
        return format!("SIG{name}");
    }
    if (RTMIN..=64).contains(&number) {
        return format!("SIGRTMIN+{}", number - RTMIN);
    }
    format!("{number}")
}

/// A signal by number or name, with or without `SIG`, in any case.
pub fn signal_number(value: &Value) -> Result<i32, Fail> {
    if let Some(number) = value.as_i64()
        && (0..=64).contains(&number)
    {
        return Ok(number as i32);
    }
    let wanted = value.as_str().unwrap_or_default().to_ascii_uppercase();
    let wanted = wanted.strip_prefix("SIG").unwrap_or(&wanted);
    if let Some(at) = SIGNALS.iter().position(|name| *name == wanted) {
        return Ok(at as i32 + 1);
    }
    let rt = wanted.strip_prefix("RTMIN").map(|rest| rest.trim_start_matches('+'));
    if let Some(offset) = rt.map(|n| if n.is_empty() { Ok(0) } else { n.parse::<i32>() }) {
        if let Ok(offset) = offset
            && (0..=64 - RTMIN).contains(&offset)
        {
            return Ok(RTMIN + offset);
        }
    } else if let Ok(number) = wanted.parse::<i32>()
        && (0..=64).contains(&number)
    {
        return Ok(number);
    }
    Err(Fail::script(format_args!("{value} is no signal: give a name as SIGTERM or a number up to 64")))
}

pub fn capability(number: usize) -> String {
    CAPABILITIES.get(number).map_or_else(|| format!("CAP_{number}"), |name| format!("CAP_{name}"))
}

/// One flag name and its bit.
pub type Flag = (&'static str, u64);

/// The union of flag names; an integer is taken as it is.
pub fn flags(value: Option<&Value>, table: &[Flag]) -> Result<u64, Fail> {
    let one = |name: &Value| {
        if let Some(bits) = name.as_u64() {
            return Ok(bits);
        }
        let wanted = name.as_str().unwrap_or_default();
        let found = table.iter().find(|(known, _)| *known == wanted);
        found.map(|(_, bits)| *bits).ok_or_else(|| Fail::script(format_args!("unknown flag {name}")))
    };
    match value {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Array(list)) => list.iter().try_fold(0, |sum, item| Ok(sum | one(item)?)),
        Some(single) => one(single),
    }
}

/// The names of the bits of `value` that `table` knows.
pub fn flag_names(value: u64, table: &[Flag]) -> Vec<&'static str> {
    table.iter().filter(|(_, bit)| *bit != 0 && value & bit == *bit).map(|(name, _)| *name).collect()
}
