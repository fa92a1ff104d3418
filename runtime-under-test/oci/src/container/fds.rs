//! Descriptors that the caller hands through to the program (runtime-linux.md "File descriptors").

use crate::bail;
use crate::error::Result;

/// `LISTEN_FDS` of socket activation and `--preserve-fds`: descriptors 3, 4, ... in that order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inherited {
    /// Sockets of socket activation.
    pub listen: u32,
    /// All of them.
    pub total: u32,
}

impl Inherited {
    /// Counts what was handed over and checks that all of it is open: a closed number would be taken by
    /// something of the runtime's own.
    pub fn new(preserve: u32) -> Result<Self> {
        let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
        let for_us = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
        let listen = if for_us { number("LISTEN_FDS").unwrap_or(0) } else { 0 };
        let total = listen.saturating_add(preserve);
        if total > 1 << 16 {
            bail!("{total} descriptors to preserve are too many");
        }
        for fd in 3..3 + total {
            let file = format!("/proc/self/fd/{fd}");
            if std::fs::symlink_metadata(&file).is_err() {
                bail!("descriptor {fd} is to be preserved, but it is not open");
            }
        }
        Ok(Self { listen, total })
    }
}
