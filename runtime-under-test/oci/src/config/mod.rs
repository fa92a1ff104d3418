//! `config.json` of a bundle: parsing and the rules that make it valid.
//!
//! - bundle.md: the file is named exactly `config.json` and lies at the top of the bundle.
//! - glossary.md "JSON": UTF-8, and no object repeats a member name, at any depth.
//! - config.md "Valid values": a value of the wrong type or outside its range is an error.
//! - config.md "Extensibility": unknown members are ignored.

#[cfg(test)]
mod fuzz;
mod hooks;
mod linux;
mod object;
mod process;
mod strict;
#[cfg(test)]
mod tests;
pub mod validate;

pub use hooks::{Hook, Hooks};
pub use linux::{
    Device, FileType, IdMapping, IntelRdt, Linux, MemoryPolicy, NamespaceKind, NetDevice, Personality,
    TimeOffset,
};
pub use process::{Capabilities, ConsoleSize, CpuAffinity, IoPriority, Process, Rlimit, Scheduler, User};

use crate::error::{Context, Error, Result};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::Path;

/// An optional member. Unlike `Option`, a JSON `null` is a value of the wrong type, not an absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opt<T>(pub Option<T>);

impl<T> Default for Opt<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> std::ops::Deref for Opt<T> {
    type Target = Option<T>;
    fn deref(&self) -> &Option<T> {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Opt<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        T::deserialize(d).map(|v| Self(Some(v)))
    }
}

/// The whole configuration (config.md).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Specification version of the bundle; REQUIRED.
    pub oci_version: String,
    /// Root filesystem; REQUIRED on Linux (checked in [`validate`]).
    #[serde(default, deserialize_with = "object::optional")]
    pub root: Opt<Root>,
    /// Mounts beyond the root, in order.
    #[serde(default, deserialize_with = "object::list")]
    pub mounts: Vec<Mount>,
    /// Container process; may be absent until `start`.
    #[serde(default, deserialize_with = "object::optional")]
    pub process: Opt<Process>,
    /// Host name in the UTS namespace.
    #[serde(default)]
    pub hostname: Opt<String>,
    /// Domain name in the UTS namespace.
    #[serde(default)]
    pub domainname: Opt<String>,
    /// Lifecycle hooks.
    #[serde(default, deserialize_with = "object::optional")]
    pub hooks: Opt<Hooks>,
    /// Free key-value pairs, shown again in the state.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Linux settings.
    #[serde(default, deserialize_with = "object::one")]
    pub linux: Linux,
}

/// `root` (config.md "Root").
#[derive(Debug, Clone, Deserialize)]
pub struct Root {
    /// Absolute, or relative to the bundle.
    pub path: String,
    /// Whether `/` is read-only inside.
    #[serde(default)]
    pub readonly: bool,
}

/// One entry of `mounts` (config.md "Mounts").
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Path inside the container; relative means relative to `/`.
    pub destination: String,
    /// Device, path or name of the source.
    #[serde(default)]
    pub source: Opt<String>,
    /// Filesystem type; ignored for bind mounts.
    #[serde(default, rename = "type")]
    pub kind: Opt<String>,
    /// Options of the table in config.md; the rest is filesystem data.
    #[serde(default)]
    pub options: Vec<String>,
    /// Owner mapping of the mount.
    #[serde(default, deserialize_with = "object::list")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group mapping of the mount.
    #[serde(default, deserialize_with = "object::list")]
    pub gid_mappings: Vec<IdMapping>,
}

impl Spec {
    /// Parses and validates the bytes of a `config.json`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        let text = strict::utf8(bytes).context("config.json")?;
        let object::Object(spec): object::Object<Self> = serde_json::from_str(text).context("config.json")?;
        strict::no_duplicates(text).context("config.json")?;
        validate::spec(&spec).context("config.json")?;
        Ok(spec)
    }

    /// Parses the copy of a configuration that was valid when its container was made.
    pub fn from_copy(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).context("saved configuration")
    }

    /// The member `linux.<name>` of the raw document, for modules with their own parser.
    pub fn has_namespace(&self, kind: NamespaceKind) -> bool {
        self.linux.namespaces.iter().any(|n| n.kind == kind)
    }

    /// True when a namespace of this kind is listed without a path, i.e. will be new.
    pub fn new_namespace(&self, kind: NamespaceKind) -> bool {
        self.linux.namespaces.iter().any(|n| n.kind == kind && n.path.is_none())
    }

    /// True when `ociVersion` is at least `major.minor.0` (pre-releases count as their release).
    pub fn version_at_least(&self, major: u64, minor: u64) -> bool {
        validate::version(&self.oci_version).is_ok_and(|(a, b)| (a, b) >= (major, minor))
    }
}

/// Reads `config.json` of the bundle: its bytes and their meaning.
pub fn load(bundle: &Path) -> Result<(Vec<u8>, Spec)> {
    let path = bundle.join("config.json");
    let bytes = std::fs::read(&path).map_err(|e| {
        Error::new(format!("{}: {e} (a bundle is a directory with a config.json at its top)", path.display()))
    })?;
    let spec = Spec::from_slice(&bytes).with_context(|| format!("bundle {}", bundle.display()))?;
    Ok((bytes, spec))
}

/// Reads a process document (`exec --process`).
pub fn load_process(bytes: &[u8]) -> Result<Process> {
    let text = strict::utf8(bytes).context("process document")?;
    let object::Object(process): object::Object<Process> =
        serde_json::from_str(text).context("process document")?;
    strict::no_duplicates(text).context("process document")?;
    validate::process(&process).context("process document")?;
    Ok(process)
}
