//! The rules that a well-typed configuration still has to keep (config.md "Valid values": "if a value
//! is invalid or unsupported, the runtime MUST generate an error").

use super::{Hooks, IdMapping, Linux, Mount, NamespaceKind, Process, Spec};
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::process::{rlimit, sched};
use crate::rootfs::options::MountOptions;

/// Oldest version accepted (features.md `ociVersionMin`).
pub const VERSION_MIN: &str = "1.0.0";
/// Newest version accepted (features.md `ociVersionMax`), also the version of the state documents.
pub const VERSION_MAX: &str = "1.3.0";

const MAX_MINOR: u64 = 3;
const MAX_NAME: usize = 64;

/// Checks a whole configuration.
pub fn spec(spec: &Spec) -> Result<()> {
    oci_version(&spec.oci_version)?;
    let Some(root) = spec.root.as_ref() else {
        bail!("root is missing; it is REQUIRED on Linux");
    };
    path_text("root.path", &root.path)?;
    for (i, m) in spec.mounts.iter().enumerate() {
        mount(spec, m).with_context(|| format!("mounts[{i}] ({})", m.destination))?;
    }
    if let Some(p) = spec.process.as_ref() {
        process(p)?;
    }
    names(spec)?;
    if let Some(h) = spec.hooks.as_ref() {
        hooks(h)?;
    }
    for (key, value) in &spec.annotations {
        if key.is_empty() {
            bail!("annotations: a key must not be empty");
        }
        no_nul("annotations", value)?;
    }
    linux(spec, &spec.linux)
}

/// Major and minor of a `SemVer` 2.0.0 version.
pub fn version(text: &str) -> Result<(u64, u64)> {
    let bad =
        || Error::new(format!("ociVersion {text:?} is not a SemVer 2.0.0 version such as {VERSION_MAX}"));
    let (rest, build) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
    for identifiers in [build, pre].into_iter().flatten() {
        if identifiers
            .split('.')
            .any(|i| i.is_empty() || !i.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        {
            return Err(bad());
        }
    }
    let number = |part: &str| -> Result<u64> {
        let plain = !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'));
        part.parse().ok().filter(|_| plain).ok_or_else(bad)
    };
    let numbers = core.split('.').map(number).collect::<Result<Vec<_>>>()?;
    match numbers[..] {
        [major, minor, _] => Ok((major, minor)),
        _ => Err(bad()),
    }
}

/// config.md "Specification version": any 1.M up to the newest known is accepted, nothing else.
fn oci_version(text: &str) -> Result<()> {
    match version(text)? {
        (1, minor) if minor <= MAX_MINOR => Ok(()),
        _ => bail!("unsupported ociVersion {text:?}: this runtime takes {VERSION_MIN} to {VERSION_MAX}"),
    }
}

fn no_nul(what: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        bail!("{what} holds a NUL byte");
    }
    Ok(())
}

fn path_text(what: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        bail!("{what} is empty");
    }
    no_nul(what, text)
}

fn absolute(what: &str, text: &str) -> Result<()> {
    path_text(what, text)?;
    if !text.starts_with('/') {
        bail!("{what} {text:?} is not an absolute path");
    }
    Ok(())
}

fn mount(spec: &Spec, m: &Mount) -> Result<()> {
    path_text("destination", &m.destination)?;
    if let Some(source) = m.source.as_ref() {
        no_nul("source", source)?;
    }
    let options = MountOptions::parse(m)?;
    match (m.uid_mappings.is_empty(), m.gid_mappings.is_empty()) {
        (true, false) => bail!("gidMappings need uidMappings beside them"),
        (false, true) => bail!("uidMappings need gidMappings beside them"),
        _ => {}
    }
    mappings("uidMappings", &m.uid_mappings)?;
    mappings("gidMappings", &m.gid_mappings)?;
    // "If there are no mappings and the container has no user namespace, an error MUST be generated."
    if options.idmap.is_some() && m.uid_mappings.is_empty() && !spec.has_namespace(NamespaceKind::User) {
        bail!("option idmap needs mappings of the mount or a user namespace");
    }
    if options.bind && m.source.as_ref().is_none_or(String::is_empty) {
        bail!("a bind mount needs a source");
    }
    if !options.bind && !options.changes_existing() && m.kind.as_ref().is_none_or(String::is_empty) {
        bail!("type is missing (only bind mounts go without)");
    }
    Ok(())
}

/// Checks the process section alone (also for `exec --process`).
pub fn process(p: &Process) -> Result<()> {
    absolute("process.cwd", &p.cwd)?;
    match p.args.as_ref() {
        Some(args) if !args.is_empty() => args.iter().try_for_each(|a| no_nul("process.args", a))?,
        _ => bail!("process.args needs at least one entry"),
    }
    p.env.iter().try_for_each(|e| no_nul("process.env", e))?;
    if p.terminal
        && let Some(size) = p.console_size.as_ref()
    {
        super::object::one::<_, super::ConsoleSize>(size).context("process.consoleSize")?;
    }
    rlimit::validate(&p.rlimits)?;
    if let Some(adj) = *p.oom_score_adj
        && !(-1000..=1000).contains(&adj)
    {
        bail!("process.oomScoreAdj {adj} is outside -1000 to 1000");
    }
    if let Some(s) = p.scheduler.as_ref() {
        sched::scheduler(s).context("process.scheduler")?;
    }
    if let Some(io) = p.io_priority.as_ref() {
        sched::io_priority(io).context("process.ioPriority")?;
    }
    if let Some(affinity) = p.exec_cpu_affinity.as_ref() {
        for (name, list) in [("initial", &affinity.initial), ("final", &affinity.last)] {
            if let Some(list) = list.as_ref() {
                sched::bit_list(list).with_context(|| format!("process.execCPUAffinity.{name}"))?;
            }
        }
    }
    if let Some(umask) = *p.user.umask
        && umask > 0o777
    {
        bail!("process.user.umask {umask} is larger than 511 (0777)");
    }
    // (uid_t)-1 means "unchanged" to the kernel, so it is nobody's id.
    if p.user.uid == u32::MAX || p.user.gid == u32::MAX || p.user.additional_gids.contains(&u32::MAX) {
        bail!("process.user holds the invalid id 4294967295");
    }
    Ok(())
}

fn names(spec: &Spec) -> Result<()> {
    for (what, value) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        let Some(value) = value.as_ref().filter(|v| !v.is_empty()) else { continue };
        no_nul(what, value)?;
        if value.len() > MAX_NAME {
            bail!("{what} is longer than {MAX_NAME} bytes");
        }
        if !spec.has_namespace(NamespaceKind::Uts) {
            bail!("{what} needs a uts namespace; without one it would change the host's");
        }
    }
    Ok(())
}

fn hooks(hooks: &Hooks) -> Result<()> {
    for (list, entries) in hooks.lists() {
        for (i, hook) in entries.iter().enumerate() {
            let what = format!("hooks.{list}[{i}]");
            absolute(&format!("{what}.path"), &hook.path)?;
            if let Some(seconds) = *hook.timeout
                && seconds <= 0
            {
                bail!("{what}.timeout is {seconds}; it must be greater than zero");
            }
            let words = hook.args.iter().flatten().chain(hook.env.iter().flatten());
            words.map(|w| no_nul(&what, w)).collect::<Result<Vec<_>>>()?;
        }
    }
    Ok(())
}

fn linux(spec: &Spec, l: &Linux) -> Result<()> {
    namespaces(l)?;
    user_mappings(spec, l)?;
    for (clock, offset) in &l.time_offsets {
        if clock != "monotonic" && clock != "boottime" {
            bail!("linux.timeOffsets: unknown clock {clock:?} (monotonic or boottime)");
        }
        if offset.nanosecs >= 1_000_000_000 {
            bail!("linux.timeOffsets.{clock}.nanosecs is a whole second or more");
        }
    }
    if !l.time_offsets.is_empty() && !spec.new_namespace(NamespaceKind::Time) {
        bail!("linux.timeOffsets need a new time namespace");
    }
    devices(l)?;
    net_devices(spec, l)?;
    for (what, paths) in [("linux.maskedPaths", &l.masked_paths), ("linux.readonlyPaths", &l.readonly_paths)]
    {
        paths.iter().try_for_each(|p| absolute(what, p))?;
    }
    for (name, value) in &l.sysctl {
        crate::process::sysctl::check(spec, name, value)?;
    }
    if let Some(p) = l.rootfs_propagation.as_ref().filter(|p| !p.is_empty()) {
        crate::rootfs::options::propagation(p).ok_or_else(|| {
            Error::new(format!("linux.rootfsPropagation {p:?} is not shared, slave, private or unbindable"))
        })?;
    }
    if let Some(p) = l.personality.as_ref() {
        sched::persona(p).context("linux.personality")?;
    }
    if let Some(p) = l.memory_policy.as_ref() {
        sched::memory_policy(p).context("linux.memoryPolicy")?;
    }
    if let Some(rdt) = l.intel_rdt.as_ref() {
        crate::rdt::validate(rdt).context("linux.intelRdt")?;
    }
    for (what, value) in [("linux.seccomp", &l.seccomp), ("linux.resources", &l.resources)] {
        if value.as_ref().is_some_and(|v| !v.is_object()) {
            bail!("{what} is not an object");
        }
    }
    if let Some(path) = l.cgroups_path.as_ref() {
        no_nul("linux.cgroupsPath", path)?;
    }
    Ok(())
}

/// config-linux.md "Namespaces": absolute paths, no type twice.
fn namespaces(l: &Linux) -> Result<()> {
    for (i, n) in l.namespaces.iter().enumerate() {
        if let Some(path) = &n.path {
            absolute(&format!("linux.namespaces[{i}].path"), path)?;
        }
        if l.namespaces[..i].iter().any(|other| other.kind == n.kind) {
            bail!("linux.namespaces lists type {} twice", n.kind.file());
        }
    }
    Ok(())
}

fn user_mappings(spec: &Spec, l: &Linux) -> Result<()> {
    mappings("linux.uidMappings", &l.uid_mappings)?;
    mappings("linux.gidMappings", &l.gid_mappings)?;
    let mapped = !l.uid_mappings.is_empty() || !l.gid_mappings.is_empty();
    if mapped && !spec.has_namespace(NamespaceKind::User) {
        bail!("linux.uidMappings and gidMappings need a user namespace");
    }
    if spec.new_namespace(NamespaceKind::User) && (l.uid_mappings.is_empty() || l.gid_mappings.is_empty()) {
        bail!("a new user namespace needs linux.uidMappings and linux.gidMappings");
    }
    Ok(())
}

fn mappings(what: &str, list: &[IdMapping]) -> Result<()> {
    for m in list {
        let fits = |first: u32| first.checked_add(m.size).is_some();
        if m.size == 0 {
            bail!("{what}: size 0 maps nothing");
        }
        if !fits(m.container_id) || !fits(m.host_id) {
            bail!("{what}: the range runs over the largest id");
        }
    }
    Ok(())
}

fn devices(l: &Linux) -> Result<()> {
    for (i, d) in l.devices.iter().enumerate() {
        let what = format!("linux.devices[{i}]");
        absolute(&format!("{what}.path"), &d.path)?;
        if d.kind != super::FileType::Fifo && (d.major.is_none() || d.minor.is_none()) {
            bail!("{what} ({}) needs major and minor", d.path);
        }
        if let Some(mode) = *d.file_mode
            && mode & !0o17_7777 != 0
        {
            bail!("{what}.fileMode {mode} is no file mode");
        }
    }
    Ok(())
}

fn net_devices(spec: &Spec, l: &Linux) -> Result<()> {
    if l.net_devices.is_empty() {
        return Ok(());
    }
    if !spec.has_namespace(NamespaceKind::Network) {
        bail!("linux.netDevices need a network namespace");
    }
    let valid = |n: &str| {
        !n.is_empty()
            && n.len() < 16
            && n != "."
            && n != ".."
            && !n.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0')
    };
    for (host, device) in &l.net_devices {
        let inside = device.name.as_ref().filter(|n| !n.is_empty()).unwrap_or(host);
        if !valid(host) || !valid(inside) || host.contains('%') {
            bail!("linux.netDevices: {host:?} -> {inside:?} is not a valid device name");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_semver_of_major_one_is_accepted() {
        for good in ["1.0.0", "1.0.2-dev", "1.0.0-rc1", "1.1.0", "1.2.1", "1.3.0", "1.3.0+dev", "1.3.7"] {
            assert!(oci_version(good).is_ok(), "{good}");
        }
        for bad in [
            "", "1", "1.0", "v1.0.0", "1.0.0.0", "banana", "1.4.0", "2.0.0", "0.9.0", "01.0.0", "1.0.0-",
            " 1.0.0",
        ] {
            assert!(oci_version(bad).is_err(), "{bad}");
        }
    }
}
