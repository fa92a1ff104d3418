//! The context of one attempt of one case.

use crate::container::{Builder, Container};
use crate::cri::Cri;
use crate::exec::Call;
use crate::host;
use crate::job::{CgroupLayout, Job, OciTarget, Target};
use crate::probe::{PROBE, Script};
use crate::reaper::Reaper;
use crate::runtime::Runtime;
use crate::stop::Stop;
use plimsoll_model::{HostFacts, SpecVersion};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a case may touch. Cheap to clone: builders and containers hold a copy.
#[derive(Debug, Clone)]
pub struct Cx {
    pub(crate) inner: Rc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) job: Job,
    pub(crate) runtime: Runtime,
    params: BTreeMap<String, String>,
    facts: RefCell<BTreeMap<String, Value>>,
    pub(crate) config: RefCell<Option<Value>>,
    pub(crate) containers: RefCell<Vec<Container>>,
    pub(crate) cri: RefCell<Option<Cri>>,
    pub(crate) host_mounts: RefCell<Vec<PathBuf>>,
    counter: Cell<u32>,
    random: Cell<u64>,
}

impl Cx {
    /// Prepares the attempt's directory: the probe, the shared directory, the runtime's state directory.
    pub fn new(job: Job, params: BTreeMap<String, String>, reaper: Reaper) -> Result<Self, Stop> {
        let probe = job.dir.join("probe");
        fs::write(&probe, PROBE)?;
        fs::set_permissions(&probe, fs::Permissions::from_mode(0o755))?;
        let shared = job.dir.join("shared");
        fs::create_dir_all(&shared)?;
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777))?;
        let target = match job.target.clone() {
            Target::Oci(target) => target,
            // A driver that can start nothing: cases for endpoints do not use it.
            Target::Cri(_) => OciTarget {
                program: PathBuf::new(),
                args: Vec::new(),
                env: Vec::new(),
                cgroups: CgroupLayout::Host,
            },
        };
        let runtime = Runtime::new(target, &job.dir, job.limits, reaper)?;
        let random = Cell::new(job.seed);
        let inner = Inner {
            job,
            runtime,
            params,
            facts: RefCell::default(),
            config: RefCell::default(),
            containers: RefCell::default(),
            host_mounts: RefCell::default(),
            cri: RefCell::default(),
            counter: Cell::new(0),
            random,
        };
        Ok(Self { inner: Rc::new(inner) })
    }

    /// The value of the case's matrix; empty when the case has no such key.
    pub fn param(&self, key: &str) -> &str {
        self.inner.params.get(key).map(String::as_str).unwrap_or_default()
    }

    /// A container to be built from a valid default bundle whose program is the probe with this script.
    pub fn container(&self, script: Script) -> Builder {
        Builder::new(self.clone(), script)
    }

    /// The endpoint under test. Trouble when the target is an OCI runtime.
    pub fn cri(&self) -> Result<Cri, Stop> {
        if let Some(cri) = &*self.inner.cri.borrow() {
            return Ok(cri.clone());
        }
        let cri = Cri::new(&self.inner.job)?;
        *self.inner.cri.borrow_mut() = Some(cri.clone());
        Ok(cri)
    }

    /// The endpoint, if the case has asked for it.
    pub fn cri_so_far(&self) -> Option<Cri> {
        self.inner.cri.borrow().clone()
    }

    /// Removes what the case made on an endpoint and gives what stays. Nothing to do for an OCI runtime.
    pub async fn finish_cri(&self) -> Vec<String> {
        let cri = self.inner.cri.borrow_mut().take();
        match cri {
            Some(cri) => crate::cri::finish(&cri).await,
            None => Vec::new(),
        }
    }

    /// The driver of the runtime under test.
    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// A fresh container id.
    pub fn new_id(&self) -> String {
        self.inner.counter.set(self.inner.counter.get() + 1);
        format!("pl-{}-{}", self.inner.job.tag, self.inner.counter.get())
    }

    /// The attempt's own directory, on a tmpfs of its own.
    pub fn dir(&self) -> &Path {
        &self.inner.job.dir
    }

    /// A directory that hooks and containers may write to; mode 0777.
    pub fn shared(&self) -> PathBuf {
        self.inner.job.dir.join("shared")
    }

    /// Mounts a tmpfs at `at` (made if need be) in the attempt's own mount namespace, in a peer group of its own when
    /// `shared`. It is unmounted before leftovers are looked for.
    pub fn host_tmpfs(&self, at: &Path, shared: bool) -> Result<(), Stop> {
        use nix::mount::{MsFlags, mount};
        fs::create_dir_all(at)?;
        let none = None::<&str>;
        mount(Some("plimsoll"), at, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
        self.inner.host_mounts.borrow_mut().push(at.to_owned());
        let propagation = if shared { MsFlags::MS_SHARED } else { MsFlags::MS_PRIVATE };
        mount(none, at, none, propagation, none)?;
        Ok(())
    }

    /// Makes the host's mount at `at` update access times at every read, which is no mount's default.
    pub fn host_strictatime(&self, at: &Path) -> Result<(), Stop> {
        use nix::mount::{MsFlags, mount};
        let none = None::<&str>;
        mount(none, at, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_STRICTATIME, none)?;
        Ok(())
    }

    /// The probe on the host.
    pub fn probe_path(&self) -> PathBuf {
        self.inner.job.dir.join("probe")
    }

    /// The nonce of this attempt.
    pub fn nonce(&self) -> &str {
        &self.inner.job.tag
    }

    /// The cgroup below which all containers of this attempt live, absolute below each hierarchy's mount.
    pub fn cgroup(&self) -> &str {
        &self.inner.job.cgroup
    }

    /// What the host is.
    pub fn host(&self) -> &HostFacts {
        &self.inner.job.host
    }

    /// What the target declares of itself: the features document, when it has one.
    pub fn features(&self) -> Option<&Value> {
        self.inner.job.features.as_ref()
    }

    /// The specification version that the target declares.
    pub fn declared_version(&self) -> Option<&SpecVersion> {
        self.inner.job.spec_version.as_ref()
    }

    /// The version that this case writes by default: the highest `since` of what it covers, 1.0.2 at least.
    pub fn oci_version(&self) -> String {
        self.inner.job.oci_version.to_string()
    }

    /// The bounds of this attempt.
    pub fn limits(&self) -> crate::job::Limits {
        self.inner.job.limits
    }

    /// Records MAY-level behaviour as a fact; reports compare it over targets and never judge it.
    pub fn record(&self, key: &str, value: impl Into<Value>) {
        self.inner.facts.borrow_mut().insert(key.to_owned(), value.into());
    }

    /// All recorded facts.
    pub fn facts(&self) -> BTreeMap<String, Value> {
        self.inner.facts.borrow().clone()
    }

    /// All calls of the runtime so far.
    pub fn calls(&self) -> Vec<Call> {
        self.inner.runtime.calls()
    }

    /// The last configuration that was written.
    pub fn last_config(&self) -> Option<Value> {
        self.inner.config.borrow().clone()
    }

    /// A number from the attempt's seed; the sequence is the same whenever the seed is.
    pub fn random(&self) -> u64 {
        // SplitMix64: one addition and three mixing steps, enough for shuffles and names.
        let state = self.inner.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.inner.random.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Skips the case unless the host has what it needs.
    pub fn need(&self, present: bool, lack: &str, reason: &str) -> Result<(), Stop> {
        if present { Ok(()) } else { Err(Stop::Skip { lack: lack.to_owned(), reason: reason.to_owned() }) }
    }

    /// Skips the case unless the harness has this capability.
    pub fn need_capability(&self, name: &str) -> Result<(), Stop> {
        let missing = self.host().missing_capabilities.iter().any(|c| c == name);
        let lack = name.to_lowercase().replace('_', "-");
        self.need(!missing, &lack, &format!("the harness itself lacks {name}"))
    }

    /// Skips the case unless this controller is there in the layout that the runtime sees; gives its hierarchy.
    pub fn need_controller(&self, name: &str) -> Result<PathBuf, Stop> {
        host::controller_mount(name).ok_or_else(|| Stop::Skip {
            lack: format!("cgroup-{name}"),
            reason: format!("no mounted cgroup hierarchy has the {name} controller"),
        })
    }

    /// Skips the case unless this version 1 controller is there; gives its hierarchy.
    pub fn need_v1(&self, name: &str) -> Result<PathBuf, Stop> {
        let found = host::hierarchies().into_iter().find(|h| h.controllers.iter().any(|c| c == name));
        found.map(|h| h.mount).ok_or_else(|| Stop::Skip {
            lack: format!("cgroup-v1-{name}"),
            reason: format!("no version 1 hierarchy has the {name} controller"),
        })
    }

    /// Skips the case unless the runtime sees a pure version 2 layout with this controller; gives the mount.
    pub fn need_v2(&self, name: &str) -> Result<PathBuf, Stop> {
        let all = host::hierarchies();
        let pure = all.iter().all(|h| h.unified);
        let mount = all.iter().find(|h| h.unified).filter(|_| pure).map(|h| h.mount.clone());
        let has = |m: &PathBuf| {
            let text = fs::read_to_string(m.join("cgroup.controllers")).unwrap_or_default();
            name.is_empty() || text.split_whitespace().any(|c| c == name)
        };
        mount.filter(has).ok_or_else(|| Stop::Skip {
            lack: if name.is_empty() { "cgroup-v2".into() } else { format!("cgroup-v2-{name}") },
            reason: "the host's cgroup layout is not a pure version 2 one with that controller".into(),
        })
    }

    /// Skips the case unless a path exists on the host.
    pub fn need_path(&self, path: &str, lack: &str) -> Result<(), Stop> {
        self.need(Path::new(path).exists(), lack, &format!("{path} does not exist on this host"))
    }
}
