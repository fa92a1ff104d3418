//! What to benchmark, against what, and within which bounds.

use crate::metric::Profile;
use crate::result::BenchRun;
use crate::scenario::Kind;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Which cgroup hierarchies the runtime gets to see, in a mount namespace of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupView {
    /// The host's, as they are.
    #[default]
    Host,
    /// Version 1 only: the cgroup2 tree of a hybrid host is unmounted.
    Legacy,
    /// Version 2 only, mounted in place of everything else.
    V2,
}

/// Which interface is driven; the targets of one run share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// The command line of an OCI runtime.
    Oci,
    /// The gRPC services of a CRI endpoint.
    Cri,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Target {
    /// An OCI runtime.
    Oci(OciTarget),
    /// A CRI endpoint with one of its handlers.
    Cri(CriTarget),
}

impl Target {
    /// Its short name.
    pub fn name(&self) -> &str {
        match self {
            Self::Oci(oci) => &oci.name,
            Self::Cri(cri) => &cri.name,
        }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        match &mut self {
            Self::Oci(oci) => name.clone_into(&mut oci.name),
            Self::Cri(cri) => name.clone_into(&mut cri.name),
        }
        self
    }

    /// How it is driven.
    pub const fn interface(&self) -> Interface {
        match self {
            Self::Oci(_) => Interface::Oci,
            Self::Cri(_) => Interface::Cri,
        }
    }

    /// What it sees of the cgroups; an endpoint's daemon sees what it sees.
    pub const fn cgroups(&self) -> CgroupView {
        match self {
            Self::Oci(oci) => oci.cgroups,
            Self::Cri(_) => CgroupView::Host,
        }
    }
}

/// A CRI endpoint to measure. It must be running; whoever started it stops it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CriTarget {
    /// Short name for the reports; unique within a run.
    pub name: String,
    /// Socket of the runtime service.
    pub socket: PathBuf,
    /// Socket of the image service, when it is another one.
    pub image_socket: Option<PathBuf>,
    /// Runtime handler; empty for the endpoint's default.
    pub handler: String,
}

/// An OCI runtime to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciTarget {
    /// Short name for the reports; unique within a run.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Arguments before the subcommand, `--root` not among them.
    pub args: Vec<String>,
    /// Environment, besides `PATH`.
    pub env: Vec<(String, String)>,
    /// The cgroups it sees.
    pub cgroups: CgroupView,
}

/// A whole benchmark run.
#[derive(Debug, Clone)]
pub struct BenchPlan {
    /// The first is the baseline; the others are compared with it.
    pub targets: Vec<Target>,
    /// Names of scenarios; see [`crate::scenario::SCENARIOS`].
    pub scenarios: Vec<String>,
    /// The guest program: static, understands `stamp` and `stamp-pause`.
    pub guest: PathBuf,
    /// A static program whose `main` calls [`crate::inject::wrapper_main`] first, for the scenario `inside`; this
    /// program itself unless said otherwise.
    pub inside: Option<PathBuf>,
    /// The command line that does this run again, for the reports.
    pub replay: Option<String>,
    /// Where to put bundles and state; a private directory is made inside and removed at the end.
    pub work_dir: PathBuf,
    /// Only these metrics decide, of those that a scenario lets decide; all of them when absent.
    pub metrics: Option<Vec<String>>,
    /// Margins and error rates.
    pub profile: Profile,
    /// Seed of every random choice.
    pub seed: u64,
    /// Adds a copy of the baseline as an arm: if the two differ, the run is void.
    pub sentinel: bool,
    /// Measures the floor in each block of start scenarios.
    pub floor: bool,
    /// Runs the lifecycles in `SCHED_FIFO`.
    pub fifo: bool,
    /// Longest time for one scenario.
    pub budget: Duration,
    /// Longest time for one lifecycle.
    pub timeout: Duration,
    /// Bounds of the load scenarios.
    pub load: LoadPlan,
    /// An earlier run of the same comparison whose evidence is continued.
    pub continues: Option<Box<BenchRun>>,
}

/// Bounds of the load scenarios.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Numbers of workers for closed-loop throughput.
    pub workers: Vec<usize>,
    /// How long each level of closed-loop throughput runs.
    pub level: Duration,
    /// Latency bound for open-loop load (quantile and milliseconds).
    pub objective: (f64, f64),
    /// Most live containers in the density scenario.
    pub density: usize,
    /// Memory cap of the density scenario's cgroup, MiB.
    pub density_memory_mib: u64,
    /// Lifecycles per batch and number of batches for churn.
    pub churn: (usize, usize),
    /// Content of the layer that the image scenario pulls, MiB.
    #[serde(default)]
    pub image_mib: usize,
    /// Output of the container in the log scenario, KiB.
    #[serde(default)]
    pub log_kib: usize,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self {
            workers: vec![1, 2, 4, 8, 16],
            level: Duration::from_secs(3),
            objective: (0.99, 500.0),
            density: 100,
            density_memory_mib: 2_048,
            churn: (10, 15),
            image_mib: 8,
            log_kib: 4_096,
        }
    }
}

impl BenchPlan {
    /// How many metrics decide in the whole run, over all scenarios and candidates: each is a question whose
    /// answer may be a false alarm.
    pub fn questions(&self) -> usize {
        let per_candidate: usize = self
            .scenarios
            .iter()
            .filter_map(|name| crate::scenario::find(name))
            .map(|scenario| match scenario.kind {
                Kind::Paired(paired) => self.decides(paired.decides(self.interface())).len(),
                Kind::Throughput => self.load.workers.len(),
                Kind::OpenLoop | Kind::Density | Kind::Churn => 0,
            })
            .sum();
        per_candidate * self.targets.len().saturating_sub(1)
    }

    /// How the targets are driven.
    pub fn interface(&self) -> Interface {
        self.targets.first().map_or(Interface::Oci, Target::interface)
    }

    /// Those of a scenario's deciding metrics that this plan lets decide.
    pub fn decides(&self, all: &[&'static str]) -> Vec<&'static str> {
        let wanted = |name: &&str| self.metrics.as_ref().is_none_or(|list| list.iter().any(|m| m == name));
        all.iter().copied().filter(wanted).collect()
    }

    /// A plan with the default bounds.
    pub fn new(targets: Vec<Target>, scenarios: Vec<String>, guest: PathBuf) -> Self {
        Self {
            targets,
            scenarios,
            guest,
            inside: std::env::current_exe().ok(),
            replay: None,
            work_dir: std::env::temp_dir(),
            metrics: None,
            profile: Profile::named("release").unwrap_or_else(|| unreachable!("a built-in profile")),
            seed: 1,
            sentinel: false,
            floor: true,
            fifo: false,
            budget: Duration::from_secs(60),
            timeout: Duration::from_secs(20),
            load: LoadPlan::default(),
            continues: None,
        }
    }
}
