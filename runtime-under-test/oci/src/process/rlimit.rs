//! `process.rlimits` (config.md "POSIX process").

use crate::bail;
use crate::config::Rlimit;
use crate::error::{Context, Result};
use crate::sys;

const NAMES: [(&str, u32); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
];

fn number(name: &str) -> Option<u32> {
    NAMES.iter().find(|(n, _)| *n == name).map(|(_, r)| *r)
}

/// "The runtime MUST generate an error for any values which cannot be mapped to a relevant kernel
/// interface", and "if rlimits contains duplicated entries with same type, the runtime MUST generate an
/// error".
pub fn validate(limits: &[Rlimit]) -> Result<()> {
    for (i, limit) in limits.iter().enumerate() {
        if number(&limit.kind).is_none() {
            bail!("process.rlimits: unknown type {:?}", limit.kind);
        }
        if limits[..i].iter().any(|other| other.kind == limit.kind) {
            bail!("process.rlimits lists {} twice", limit.kind);
        }
        if limit.soft > limit.hard {
            bail!("process.rlimits: {} has a soft limit above its hard limit", limit.kind);
        }
    }
    Ok(())
}

/// Sets the limits on the calling process.
pub fn apply(limits: &[Rlimit]) -> Result<()> {
    for limit in limits {
        let Some(resource) = number(&limit.kind) else { bail!("unknown rlimit {:?}", limit.kind) };
        sys::setrlimit(resource, limit.soft, limit.hard)
            .with_context(|| format!("setting {} to {}:{}", limit.kind, limit.soft, limit.hard))?;
    }
    Ok(())
}
