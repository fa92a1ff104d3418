//! Writing `linux.resources` to a container's cgroups.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::devices::{self, DeviceRule};
use super::json::invalid;
use super::resources::Resources;
use super::setting::{Setting, write_all};
use super::{Cgroup, Error, bpf, sys, v1, v2};

/// Where a controller is for a container.
enum Place {
    V1(PathBuf),
    V2(PathBuf),
}

/// A container's cgroups with what the unified one offers, which is read once.
struct Writer<'a> {
    cgroup: &'a Cgroup,
    unified: Option<(PathBuf, String)>,
}

impl<'a> Writer<'a> {
    fn of(cgroup: &'a Cgroup) -> Self {
        let unified = cgroup.unified().map(|node| {
            let dir = node.dir();
            let on = crate::files::read_kernel(dir.join("cgroup.controllers")).unwrap_or_default();
            (dir, on)
        });
        Self { cgroup, unified }
    }

    /// The place of a controller by its name in v1 and in v2; an empty name is none.
    fn place(&self, v1: &str, v2: &str) -> Option<Place> {
        if let Some(dir) = self.cgroup.v1_dir(v1) {
            return Some(Place::V1(dir));
        }
        let (dir, on) = self.unified.as_ref()?;
        on.split_whitespace().any(|c| c == v2).then(|| Place::V2(dir.clone()))
    }

    /// Writes one controller's values in the form of the version that has it. A controller that is absent is an error
    /// only when something is asked of it.
    fn controller(
        &self,
        v1_name: &str,
        v2_name: &str,
        v1: impl Fn(v1::Read<'_>) -> Result<Vec<Setting>, Error>,
        v2: impl Fn(v1::Read<'_>) -> Result<Vec<Setting>, Error>,
    ) -> Result<(), Error> {
        match self.place(v1_name, v2_name) {
            Some(Place::V1(dir)) => {
                write_all(&dir, &v1(&|file| crate::files::read_kernel(dir.join(file)).ok())?)
            }
            Some(Place::V2(dir)) => {
                write_all(&dir, &v2(&|file| crate::files::read_kernel(dir.join(file)).ok())?)
            }
            None => {
                let v2_only = self.cgroup.is_v2();
                let asked = if v2_only { v2(&|_| None) } else { v1(&|_| None) }?;
                let Some(setting) = asked.first() else { return Ok(()) };
                let lack = if v2_name.is_empty() && v2_only {
                    "has no meaning on cgroup v2"
                } else {
                    "is not available to the container on this host"
                };
                Err(invalid(&setting.field, format!("needs the cgroup controller {v1_name}, which {lack}")))
            }
        }
    }
}

impl Cgroup {
    /// Writes everything asked for. `new` is a container's first time, when devices are closed even without a list.
    pub(super) fn write_resources(&self, resources: &Resources, new: bool) -> Result<(), Error> {
        if new || resources.devices.is_some() {
            self.write_devices(resources.devices.as_deref())?;
        }
        let r = resources;
        let to = Writer::of(self);
        to.controller("cpuset", "cpuset", |_| Ok(v1::cpuset(&r.cpu)), |_| Ok(v1::cpuset(&r.cpu)))?;
        to.controller("memory", "memory", |f| v1::memory(&r.memory, f), |f| v2::memory(&r.memory, f))?;
        to.controller("cpu", "cpu", |_| Ok(v1::cpu(&r.cpu)), |f| v2::cpu(&r.cpu, f))?;
        let pids = |_: v1::Read<'_>| Ok(r.pids.map(v1::pids).unwrap_or_default());
        to.controller("pids", "pids", pids, pids)?;
        to.controller("blkio", "io", |f| Ok(v1::block_io(&r.block_io, f)), |f| v2::block_io(&r.block_io, f))?;
        let huge_v1 = |_: v1::Read<'_>| Ok(v1::hugepages(&r.hugepages));
        to.controller("hugetlb", "hugetlb", huge_v1, |_| Ok(v2::hugepages(&r.hugepages)))?;
        let class = |_: v1::Read<'_>| Ok(v1::net_class(&r.network));
        to.controller("net_cls", "", class, class)?;
        let priorities = |_: v1::Read<'_>| Ok(v1::net_priorities(&r.network));
        to.controller("net_prio", "", priorities, priorities)?;
        let rdma = |_: v1::Read<'_>| Ok(v1::rdma(&r.rdma));
        to.controller("rdma", "rdma", rdma, rdma)?;
        self.write_unified(resources)
    }

    /// The raw files of the unified hierarchy.
    fn write_unified(&self, resources: &Resources) -> Result<(), Error> {
        let settings = v2::unified(resources);
        let Some(first) = settings.first() else { return Ok(()) };
        let Some(node) = self.unified() else {
            return Err(invalid(&first.field, "is for cgroup v2, and this host has only cgroup v1"));
        };
        let dir = node.dir();
        for setting in &settings {
            if !dir.join(&setting.file).exists() {
                let controller = setting.file.split('.').next().unwrap_or_default();
                let why = format!(
                    "names a file that the cgroup does not have: the controller {controller} is not available in the unified hierarchy, or the kernel does not know the file"
                );
                return Err(invalid(&setting.field, why));
            }
        }
        write_all(&dir, &settings)
    }

    /// The device allow-list: v1's files where that controller is mounted, else a program on the unified cgroup.
    fn write_devices(&self, rules: Option<&[DeviceRule]>) -> Result<(), Error> {
        // Without privilege the kernel takes neither; device nodes cannot be made then to begin with.
        if self.unprivileged {
            return Ok(());
        }
        let normal = devices::normalise(rules.unwrap_or_default());
        if let Some(node) = self.nodes.iter().find(|n| !n.unified && n.has("devices")) {
            let dir = node.dir();
            let list = crate::files::read_kernel(dir.join("devices.list")).unwrap_or_default();
            return write_device_lines(&dir, &devices::v1_writes(&list, &devices::exceptions(&normal)?));
        }
        if let Some(node) = self.unified() {
            return attach(&node.dir(), &normal);
        }
        match rules {
            Some([_, ..]) => {
                Err(invalid("linux.resources.devices", "needs cgroups, and none are mounted here"))
            }
            _ => Ok(()),
        }
    }
}

/// How many instructions the eBPF program for the `devices` of a `linux.resources` object has, defaults included.
///
/// # Errors
/// [`Error::Invalid`] for a list that breaks the spec.
pub fn device_program_length(resources: &Value) -> Result<usize, Error> {
    let rules = Resources::parse(resources)?.devices.unwrap_or_default();
    Ok(bpf::program(&devices::normalise(&rules)).len())
}

/// What `devices.list` of a cgroup v1 reads for the `devices` of a `linux.resources` object, defaults included.
///
/// # Errors
/// [`Error::Invalid`] for a list that breaks the spec, or that cgroup v1 cannot express.
pub fn device_list(resources: &Value) -> Result<Vec<String>, Error> {
    let rules = Resources::parse(resources)?.devices.unwrap_or_default();
    let list = devices::exceptions(&devices::normalise(&rules))?;
    let all = list.allow.then(|| "a *:* rwm".to_owned());
    Ok(all.into_iter().chain(list.exceptions.iter().map(devices::line)).collect())
}

/// Each line is a write of its own; lines of the same file share a descriptor.
fn write_device_lines(dir: &Path, lines: &[(&'static str, String)]) -> Result<(), Error> {
    let mut open: Option<(&str, fs::File)> = None;
    for (name, line) in lines {
        let path = dir.join(name);
        let mut write = || {
            if open.as_ref().is_none_or(|(file, _)| file != name) {
                open = Some((name, fs::File::options().write(true).open(&path)?));
            }
            open.as_mut().map_or(Ok(()), |(_, file)| file.write_all(line.as_bytes()))
        };
        write().map_err(|source| Error::Io {
            what: format!("linux.resources.devices: cannot write {line:?} to"),
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn attach(dir: &Path, rules: &[DeviceRule]) -> Result<(), Error> {
    sys::attach_device_program(dir, &bpf::program(rules)).map_err(|source| Error::Io {
        what: "linux.resources.devices: attach the device program to".into(),
        path: dir.to_owned(),
        source,
    })
}
