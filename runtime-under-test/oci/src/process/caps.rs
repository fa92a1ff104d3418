//! `process.capabilities`: the five sets, exactly as configured.

use crate::config::Capabilities;
use crate::error::{Context, Result};
use crate::log;
use crate::sys;

/// Names by number (`linux/capability.h`), without the `CAP_` prefix.
pub const NAMES: [&str; 41] = [
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

/// The five sets as masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSets {
    /// Effective.
    pub effective: u64,
    /// Bounding.
    pub bounding: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Permitted.
    pub permitted: u64,
    /// Ambient.
    pub ambient: u64,
}

impl CapSets {
    /// Resolves the names. Absent capabilities mean empty sets.
    ///
    /// config.md (1.1.0): "any value which cannot be mapped to a relevant kernel interface, or cannot be
    /// granted otherwise, MUST be logged as a warning by the runtime"; before 1.1.0 (`strict`) it was an
    /// error.
    pub fn resolve(caps: Option<&Capabilities>, strict: bool) -> Result<Self> {
        let Some(caps) = caps else { return Ok(Self::default()) };
        let known = supported()?;
        let mut unknown: Vec<&str> = Vec::new();
        let lists = [&caps.effective, &caps.bounding, &caps.inheritable, &caps.permitted, &caps.ambient];
        let mut masks = [0u64; 5];
        for (slot, names) in masks.iter_mut().zip(lists) {
            for name in names {
                match bit(name).filter(|b| known & b != 0) {
                    Some(bit) => *slot |= bit,
                    None if !unknown.contains(&name.as_str()) => unknown.push(name),
                    None => {}
                }
            }
        }
        let [effective, bounding, inheritable, permitted, ambient] = masks;
        if !unknown.is_empty() {
            let text = format!("capabilities unknown to this kernel: {}", unknown.join(", "));
            if strict {
                crate::bail!("process.{text}");
            }
            log::warn(&format!("ignoring {text}"));
        }
        Ok(Self { effective, bounding, inheritable, permitted, ambient })
    }

    /// Leaves out what this process cannot give away, with a warning ("runtimes SHOULD NOT fail if the
    /// container configuration requests capabilities that cannot be granted").
    #[must_use]
    pub fn grantable(mut self, permitted: u64) -> Self {
        let missing = (self.effective | self.permitted | self.inheritable | self.ambient) & !permitted;
        if missing != 0 {
            log::warn(&format!("capabilities that cannot be granted here: {}", list(missing)));
        }
        self.permitted &= permitted;
        self.effective &= self.permitted;
        self.inheritable &= permitted;
        let ambient = self.ambient & self.permitted & self.inheritable;
        if ambient != self.ambient & permitted {
            let lost = self.ambient & permitted & !ambient;
            log::warn(&format!(
                "ambient capabilities that are not permitted and inheritable: {}",
                list(lost)
            ));
        }
        self.ambient = ambient;
        self
    }

    /// Drops everything outside the bounding set. Needs `CAP_SETPCAP`, so it comes first.
    pub fn apply_bounding(&self) -> Result<()> {
        for cap in 0..64 {
            if self.bounding >> cap & 1 == 0 && !drop_bounding(cap)? {
                break;
            }
        }
        Ok(())
    }

    /// Sets the four other sets; the last change of privileges before the program.
    pub fn apply(&self) -> Result<()> {
        sys::capset(self.effective, self.permitted, self.inheritable).context("setting capabilities")?;
        sys::prctl_ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0).context("clearing ambient capabilities")?;
        for cap in (0..64).filter(|c| self.ambient >> c & 1 == 1) {
            sys::prctl_ambient(libc::PR_CAP_AMBIENT_RAISE, cap)
                .with_context(|| format!("raising ambient capability {}", list(1 << cap)))?;
        }
        Ok(())
    }
}

/// Drops one capability from the bounding set; false when the kernel has no such capability.
fn drop_bounding(cap: u32) -> Result<bool> {
    match sys::prctl(libc::PR_CAPBSET_DROP, u64::from(cap)) {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(e) => Err(e).with_context(|| format!("dropping {} from the bounding set", list(1 << cap))),
    }
}

fn bit(name: &str) -> Option<u64> {
    let short = name.strip_prefix("CAP_")?;
    NAMES.iter().position(|n| *n == short).map(|i| 1 << i)
}

/// Mask of the capabilities that both this table and the running kernel know.
fn supported() -> Result<u64> {
    // The kernel's newest capability: the table is complete when the kernel knows its last entry.
    let newest = NAMES.len() as u64 - 1;
    if sys::prctl(libc::PR_CAPBSET_READ, newest).is_ok() {
        return Ok((1 << NAMES.len()) - 1);
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").context("reading cap_last_cap")?;
    let last: u32 = text.trim().parse().map_err(std::io::Error::other).context("cap_last_cap")?;
    Ok((1 << (last + 1)) - 1)
}

fn list(mask: u64) -> String {
    let names = NAMES.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
    names.map(|(_, n)| format!("CAP_{n}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_warn_or_fail_by_version() {
        let caps = Capabilities {
            bounding: vec!["CAP_CHOWN".into(), "CAP_TEST".into()],
            permitted: vec!["chown".into()],
            ..Capabilities::default()
        };
        assert!(CapSets::resolve(Some(&caps), true).is_err());
        let sets = CapSets::resolve(Some(&caps), false).unwrap();
        assert_eq!((sets.bounding, sets.permitted), (1, 0));
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let sets = CapSets { permitted: 0b11, inheritable: 0b01, ambient: 0b11, ..CapSets::default() };
        assert_eq!(sets.grantable(u64::MAX).ambient, 0b01);
    }
}
