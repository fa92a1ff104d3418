//! The mount options of config.md "Linux mount options".
//!
//! An option is one of: an attribute of the mount (set or cleared, alone or recursively), a flag of the
//! superblock, a propagation, an instruction to the runtime, or data for the filesystem.

use crate::bail;
use crate::config::Mount;
use crate::error::Result;
use rustix::mount::{MountAttrFlags as A, MountPropagationFlags};

/// What an option of the table means.
#[derive(Clone, Copy)]
enum Meaning {
    /// Nothing to do: the kernel's default or without effect on Linux today.
    Accept,
    /// Sets these attributes of the mount after clearing the second ones; `true` = recursively.
    Attr(u64, u64, bool),
    /// Turns a superblock flag on or off (name for `fsconfig`).
    Super(&'static str),
    /// Propagation; `true` = recursively.
    Propagation(u64, bool),
    Bind(bool),
    Remount,
    TmpCopyUp,
    IdMap(bool),
}

const RO: u64 = A::MOUNT_ATTR_RDONLY.bits() as u64;
const NOSUID: u64 = A::MOUNT_ATTR_NOSUID.bits() as u64;
const NODEV: u64 = A::MOUNT_ATTR_NODEV.bits() as u64;
const NOEXEC: u64 = A::MOUNT_ATTR_NOEXEC.bits() as u64;
const NODIRATIME: u64 = A::MOUNT_ATTR_NODIRATIME.bits() as u64;
const NOSYMFOLLOW: u64 = A::MOUNT_ATTR_NOSYMFOLLOW.bits() as u64;
const NOATIME: u64 = A::MOUNT_ATTR_NOATIME.bits() as u64;
const STRICTATIME: u64 = A::MOUNT_ATTR_STRICTATIME.bits() as u64;
/// The field that holds one of relatime (0), noatime or strictatime.
const ATIME: u64 = A::MOUNT_ATTR__ATIME.bits() as u64;

const SHARED: u64 = MountPropagationFlags::SHARED.bits() as u64;
const SLAVE: u64 = MountPropagationFlags::DOWNSTREAM.bits() as u64;
const PRIVATE: u64 = MountPropagationFlags::PRIVATE.bits() as u64;
const UNBINDABLE: u64 = MountPropagationFlags::UNBINDABLE.bits() as u64;

/// The table, sorted by name; `features` prints the names.
const TABLE: &[(&str, Meaning)] = &[
    ("async", Meaning::Super("async")),
    ("atime", Meaning::Attr(0, ATIME, false)),
    ("bind", Meaning::Bind(false)),
    ("defaults", Meaning::Accept),
    ("dev", Meaning::Attr(0, NODEV, false)),
    ("diratime", Meaning::Attr(0, NODIRATIME, false)),
    ("dirsync", Meaning::Super("dirsync")),
    ("exec", Meaning::Attr(0, NOEXEC, false)),
    ("idmap", Meaning::IdMap(false)),
    ("iversion", Meaning::Accept),
    ("lazytime", Meaning::Super("lazytime")),
    ("loud", Meaning::Accept),
    ("mand", Meaning::Super("mand")),
    ("noatime", Meaning::Attr(NOATIME, ATIME, false)),
    ("nodev", Meaning::Attr(NODEV, 0, false)),
    ("nodiratime", Meaning::Attr(NODIRATIME, 0, false)),
    ("noexec", Meaning::Attr(NOEXEC, 0, false)),
    ("noiversion", Meaning::Accept),
    ("nolazytime", Meaning::Super("nolazytime")),
    ("nomand", Meaning::Super("nomand")),
    ("norelatime", Meaning::Attr(STRICTATIME, ATIME, false)),
    ("nostrictatime", Meaning::Attr(0, ATIME, false)),
    ("nosuid", Meaning::Attr(NOSUID, 0, false)),
    ("nosymfollow", Meaning::Attr(NOSYMFOLLOW, 0, false)),
    ("private", Meaning::Propagation(PRIVATE, false)),
    ("ratime", Meaning::Attr(0, ATIME, true)),
    ("rbind", Meaning::Bind(true)),
    ("rdev", Meaning::Attr(0, NODEV, true)),
    ("rdiratime", Meaning::Attr(0, NODIRATIME, true)),
    ("relatime", Meaning::Attr(0, ATIME, false)),
    ("remount", Meaning::Remount),
    ("rexec", Meaning::Attr(0, NOEXEC, true)),
    ("ridmap", Meaning::IdMap(true)),
    ("rnoatime", Meaning::Attr(NOATIME, ATIME, true)),
    ("rnodev", Meaning::Attr(NODEV, 0, true)),
    ("rnodiratime", Meaning::Attr(NODIRATIME, 0, true)),
    ("rnoexec", Meaning::Attr(NOEXEC, 0, true)),
    ("rnorelatime", Meaning::Attr(STRICTATIME, ATIME, true)),
    ("rnostrictatime", Meaning::Attr(0, ATIME, true)),
    ("rnosuid", Meaning::Attr(NOSUID, 0, true)),
    ("rnosymfollow", Meaning::Attr(NOSYMFOLLOW, 0, true)),
    ("ro", Meaning::Attr(RO, 0, false)),
    ("rprivate", Meaning::Propagation(PRIVATE, true)),
    ("rrelatime", Meaning::Attr(0, ATIME, true)),
    ("rro", Meaning::Attr(RO, 0, true)),
    ("rrw", Meaning::Attr(0, RO, true)),
    ("rshared", Meaning::Propagation(SHARED, true)),
    ("rslave", Meaning::Propagation(SLAVE, true)),
    ("rstrictatime", Meaning::Attr(STRICTATIME, ATIME, true)),
    ("rsuid", Meaning::Attr(0, NOSUID, true)),
    ("rsymfollow", Meaning::Attr(0, NOSYMFOLLOW, true)),
    ("runbindable", Meaning::Propagation(UNBINDABLE, true)),
    ("rw", Meaning::Attr(0, RO, false)),
    ("shared", Meaning::Propagation(SHARED, false)),
    ("silent", Meaning::Accept),
    ("slave", Meaning::Propagation(SLAVE, false)),
    ("strictatime", Meaning::Attr(STRICTATIME, ATIME, false)),
    ("suid", Meaning::Attr(0, NOSUID, false)),
    ("symfollow", Meaning::Attr(0, NOSYMFOLLOW, false)),
    ("sync", Meaning::Super("sync")),
    ("tmpcopyup", Meaning::TmpCopyUp),
    ("unbindable", Meaning::Propagation(UNBINDABLE, false)),
];

/// All option names that the runtime knows itself (features.md `mountOptions`).
pub fn known() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// Attributes to set and to clear; later options win over earlier ones.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Attrs {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear first.
    pub clear: u64,
}

impl Attrs {
    fn add(&mut self, set: u64, clear: u64) {
        // The atime bits are one field: a new value of it replaces an earlier one.
        let field = if (set | clear) & ATIME == 0 { 0 } else { ATIME };
        self.set = self.set & !(clear | field) | set;
        self.clear = self.clear & !set & !field | clear | field;
    }

    /// True when there is nothing to change.
    pub fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// The parsed options of one mount.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// `bind` or `rbind`, or type `bind`.
    pub bind: bool,
    /// `rbind`.
    pub recursive: bool,
    /// `remount`.
    pub remount: bool,
    /// `tmpcopyup`.
    pub copy_up: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub idmap: Option<bool>,
    /// Attributes of the mount itself.
    pub attrs: Attrs,
    /// Attributes of the mount and all below it.
    pub recursive_attrs: Attrs,
    /// Superblock flags for `fsconfig`.
    pub super_flags: Vec<&'static str>,
    /// Propagations to set, in order; `true` = recursively.
    pub propagations: Vec<(u64, bool)>,
    /// Options for the filesystem.
    pub data: Vec<String>,
}

impl MountOptions {
    /// Sorts the options of an entry. An option outside the table is data of the filesystem
    /// ("the runtime SHOULD pass unknown options to the data argument of mount(2)").
    pub fn parse(mount: &Mount) -> Result<Self> {
        let mut out = Self { bind: mount.kind.as_deref() == Some("bind"), ..Self::default() };
        if !mount.uid_mappings.is_empty() {
            out.idmap = Some(false);
        }
        for option in &mount.options {
            if option.is_empty() {
                continue;
            }
            if option.contains('\0') {
                bail!("an option holds a NUL byte");
            }
            out.add(option);
        }
        Ok(out)
    }

    fn add(&mut self, option: &str) {
        let Ok(at) = TABLE.binary_search_by(|(name, _)| (*name).cmp(option)) else {
            self.data.push(option.to_owned());
            return;
        };
        match TABLE[at].1 {
            Meaning::Accept => {}
            Meaning::Attr(set, clear, false) => self.attrs.add(set, clear),
            Meaning::Attr(set, clear, true) => self.recursive_attrs.add(set, clear),
            Meaning::Super(flag) => self.super_flags.push(flag),
            Meaning::Propagation(kind, recursive) => self.propagations.push((kind, recursive)),
            Meaning::Bind(recursive) => {
                self.bind = true;
                self.recursive |= recursive;
            }
            Meaning::Remount => self.remount = true,
            Meaning::TmpCopyUp => self.copy_up = true,
            Meaning::IdMap(recursive) => self.idmap = Some(recursive || self.idmap == Some(true)),
        }
    }

    /// True when the entry changes a mount that is already there.
    pub fn changes_existing(&self) -> bool {
        self.remount
    }

    /// True when the mount has to stay in (or come into) a peer group with the host's.
    pub fn wants_shared(&self) -> bool {
        self.propagations.iter().any(|(kind, _)| *kind == SHARED)
    }

    /// True when the mount itself becomes read-only.
    pub fn readonly(&self) -> bool {
        (self.attrs.set | self.recursive_attrs.set) & RO != 0
    }
}

/// The value of `linux.rootfsPropagation`: kernel flag and whether it is recursive.
pub fn propagation(name: &str) -> Option<(u64, bool)> {
    match TABLE.iter().find(|(n, _)| *n == name)?.1 {
        Meaning::Propagation(kind, recursive) => Some((kind, recursive)),
        _ => None,
    }
}

/// The attribute bit of a read-only mount.
pub const READ_ONLY: u64 = RO;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> MountOptions {
        let options = options.iter().map(ToString::to_string).collect();
        MountOptions::parse(&Mount { destination: "/x".into(), options, ..Mount::default() }).unwrap()
    }

    #[test]
    fn table_is_sorted_and_holds_the_spec() {
        assert!(TABLE.windows(2).all(|w| w[0].0 < w[1].0));
        assert_eq!(TABLE.len(), 62);
    }

    #[test]
    fn later_options_win() {
        assert_eq!(parse(&["ro", "rw"]).attrs, Attrs { set: 0, clear: RO });
        assert_eq!(parse(&["rw", "ro"]).attrs, Attrs { set: RO, clear: 0 });
        assert_eq!(parse(&["noatime", "strictatime"]).attrs, Attrs { set: STRICTATIME, clear: ATIME });
    }

    #[test]
    fn unknown_options_are_data() {
        let o = parse(&["size=1m", "ro", "nosuchopt"]);
        assert_eq!(o.data, ["size=1m", "nosuchopt"]);
    }
}
