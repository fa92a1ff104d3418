//! The place of a CRI endpoint: one pod at a time, with one container.

use super::daemon::{Daemon, MARK};
use super::images::Images;
use super::link::{Link, failure};
use crate::cgroup;
use crate::place::{Place, Reading, Residue, Step, best_of_three};
use crate::plan::CriTarget;
use crate::slot::{Failure, Sample};
use crate::sys::now_ns;
use plimsoll_cri_client::v1;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Label of all pods of a run; its value is the place.
const LABEL: &str = "plimsoll.bench";
/// Where the guest is in the images.
pub(super) const GUEST: &str = "/probe";
/// How long a residue may take to settle: endpoints clear some things away after they have answered.
const SETTLE: Duration = Duration::from_secs(2);

/// What all places of a run share.
#[derive(Clone)]
pub struct Home {
    /// The run's directory.
    pub dir: PathBuf,
    /// The root file system of the OCI side: it holds the native copy of the program for the work inside.
    pub root: PathBuf,
    /// The images.
    pub images: Arc<Images>,
}

/// A place for one pod at a time.
pub struct Pod {
    pub(super) target: CriTarget,
    pub(super) home: Home,
    pub(super) timeout: Duration,
    pub(super) guest_clock: bool,
    pub(super) resident: Option<Resident>,
    name: String,
    /// The cgroup of the run or of the scenario, and the one of this place below it.
    parent: String,
    pub(super) cgroup: String,
    counter: u64,
    link: Option<Arc<Ready>>,
    /// Helpers that ran at the first residue: those that come back to it have settled.
    quiet: Option<usize>,
}

/// A connection to an endpoint that has the image and whose daemon is known.
pub(super) struct Ready {
    pub link: Arc<Link>,
    pub daemon: Daemon,
    /// Reference of the image of all pods.
    pub image: String,
    /// CPU time that the daemon's cgroup uses when nothing is asked, ns per second.
    idle: f64,
    /// Whether the endpoint places pods by cgroup paths (not by slices of systemd).
    paths: bool,
}

/// A pod that stays for several measurements.
#[derive(Debug, Clone)]
pub(super) struct Resident {
    pub pod: String,
    pub config: v1::PodSandboxConfig,
    pub container: String,
    pub mark: String,
}

impl Pod {
    /// Prepares a place below `dir`; it connects when it is first used.
    pub fn new(
        target: &CriTarget,
        home: Home,
        parent: &str,
        name: &str,
        timeout: Duration,
    ) -> io::Result<Self> {
        fs::create_dir_all(home.dir.join(name))?;
        Ok(Self {
            target: target.clone(),
            home,
            timeout,
            guest_clock: true,
            resident: None,
            name: name.to_owned(),
            parent: parent.to_owned(),
            cgroup: format!("{parent}/{name}"),
            counter: 0,
            link: None,
            quiet: None,
        })
    }

    /// The cgroup of the whole run, whose CPU time outlives the pods.
    fn run_cgroup(&self) -> String {
        let first = self.parent.trim_start_matches('/').split('/').next().unwrap_or_default();
        format!("/{first}")
    }

    fn ready(&mut self) -> Result<Arc<Ready>, Failure> {
        if let Some(ready) = &self.link {
            return Ok(ready.clone());
        }
        let link = Link::open(&self.target, self.timeout)?;
        let image = self.home.images.plain(&self.target, &link)?;
        let daemon = Daemon::behind(&self.target)?;
        let driver = link.run(link.client.runtime_config(v1::RuntimeConfigRequest {}));
        let systemd = driver
            .is_ok_and(|r| r.linux.is_some_and(|l| l.cgroup_driver == v1::CgroupDriver::Systemd as i32));
        let ready = Arc::new(Ready { link, daemon, image, idle: 0.0, paths: !systemd });
        self.link = Some(ready.clone());
        Ok(ready)
    }

    /// Measures what the daemon uses when nothing is asked; only worth it where CPU time decides.
    fn learn_idle(&mut self) -> Result<(), Failure> {
        let ready = self.ready()?;
        let run = self.run_cgroup();
        let (clock, before) = (Instant::now(), ready.daemon.cpu_ns(&run));
        // This is the measurement itself: a second of nothing.
        std::thread::sleep(Duration::from_millis(500));
        let idle = before.zip(ready.daemon.cpu_ns(&run)).map_or(0.0, |(a, b)| b.saturating_sub(a) as f64)
            / clock.elapsed().as_secs_f64();
        let Ready { link, daemon, image, paths, .. } = &*ready;
        let (link, daemon, image) = (link.clone(), daemon.clone(), image.clone());
        self.link = Some(Arc::new(Ready { link, daemon, image, idle, paths: *paths }));
        Ok(())
    }

    /// A name nobody used before in this run.
    pub(super) fn next_name(&mut self) -> String {
        self.counter += 1;
        format!("{}-{}-{}", self.home.images.tag, self.name, self.counter).to_lowercase()
    }

    /// The configuration of a new pod; its log directory is made.
    pub(super) fn pod_config(&self, ready: &Ready, name: &str) -> Result<v1::PodSandboxConfig, Failure> {
        let logs = self.home.dir.join(&self.name).join(name);
        fs::create_dir_all(&logs).map_err(Failure::io("log directory"))?;
        let options = v1::NamespaceOption { pid: v1::NamespaceMode::Container as i32, ..Default::default() };
        let security =
            v1::LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
        let linux = v1::LinuxPodSandboxConfig {
            cgroup_parent: if ready.paths { self.cgroup.clone() } else { String::new() },
            security_context: Some(security),
            ..Default::default()
        };
        Ok(v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: name.to_owned(),
                namespace: "plimsoll-bench".into(),
                attempt: 0,
            }),
            hostname: name.chars().take(63).collect(),
            log_directory: logs.display().to_string(),
            labels: [(LABEL.to_owned(), self.label())].into(),
            linux: Some(linux),
            ..Default::default()
        })
    }

    /// The configuration of a container whose own process carries `mark` in its environment.
    pub(super) fn container_config(&self, image: &str, mark: &str, command: &[&str]) -> v1::ContainerConfig {
        let options = v1::NamespaceOption { pid: v1::NamespaceMode::Container as i32, ..Default::default() };
        let security =
            v1::LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
        let linux = v1::LinuxContainerConfig { security_context: Some(security), ..Default::default() };
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: mark.to_owned(), attempt: 0 }),
            image: Some(super::images::spec(image)),
            command: command.iter().map(|w| (*w).to_owned()).collect(),
            envs: vec![v1::KeyValue { key: MARK.into(), value: mark.as_bytes().to_vec() }],
            log_path: format!("{mark}.log"),
            labels: [(LABEL.to_owned(), self.label())].into(),
            linux: Some(linux),
            ..Default::default()
        }
    }

    fn label(&self) -> String {
        format!("{}.{}", self.home.images.tag, self.name).to_lowercase()
    }

    /// Runs a step and adds the CPU time of the endpoint to its sample; after a failure everything is removed.
    fn act(&mut self, step: Step) -> Result<Sample, Failure> {
        let ready = self.ready()?;
        let run = self.run_cgroup();
        let (clock, before) = (now_ns(), ready.daemon.cpu_ns(&run));
        let outcome = ready.link.run(self.perform_async(step, &ready));
        let after = ready.daemon.cpu_ns(&run);
        let seconds = (now_ns() - clock) as f64 / 1e9;
        match outcome {
            Ok(mut sample) => {
                if let Some((before, after)) = before.zip(after)
                    && sample.get("cpu.lifecycle").is_none()
                {
                    let used = after.saturating_sub(before) as f64 - ready.idle * seconds;
                    sample.set("cpu.lifecycle", used.max(1_000.0) / 1e6);
                }
                Ok(sample)
            }
            Err(failure) => {
                self.resident = None;
                ready.link.run(self.scrub(&ready));
                // What was left behind has been told; the next lifecycle starts clean.
                self.tidy();
                Err(failure)
            }
        }
    }

    async fn perform_async(&mut self, step: Step, ready: &Ready) -> Result<Sample, Failure> {
        match step {
            Step::ColdStart | Step::Cycle => self.cold_start(ready).await,
            Step::Once => self.once(ready).await,
            Step::Settle => self.settle(ready).await,
            Step::Dismiss => self.dismiss(ready).await.map(|()| Sample::default()),
            Step::Exec => self.exec(ready).await,
            Step::ExecStream => self.exec_stream(ready).await,
            Step::Stop => self.stop(ready).await,
            Step::Network => self.network(ready).await,
            Step::Pull => self.pull(ready).await,
            Step::Log => self.log(ready).await,
            Step::Inside => self.inside(ready).await,
            Step::ColdCache => Err(Failure::new("driver", "which files belong to an endpoint is not known")),
        }
    }

    /// Removes every pod of this place, whatever state it is in.
    async fn scrub(&self, ready: &Ready) {
        let filter = v1::PodSandboxFilter {
            label_selector: [(LABEL.to_owned(), self.label())].into(),
            ..Default::default()
        };
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let Ok(pods) = ready.link.client.list_pod_sandbox(request).await else { return };
        for pod in pods.items {
            let id = pod.id;
            let stop = v1::StopPodSandboxRequest { pod_sandbox_id: id.clone() };
            let _ = ready.link.client.stop_pod_sandbox(stop).await;
            let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: id };
            let _ = ready.link.client.remove_pod_sandbox(remove).await;
        }
    }

    /// Nothing of a pod may be left: neither in the lists nor as a cgroup below this place.
    pub(super) async fn verify_gone(&self, ready: &Ready, pod: &str) -> Result<(), Failure> {
        let filter = v1::PodSandboxFilter { id: pod.to_owned(), ..Default::default() };
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let pods = ready.link.client.list_pod_sandbox(request).await.map_err(failure("ListPodSandbox"))?;
        if !pods.items.is_empty() {
            return Err(Failure::new("clean-up", "the pod is still listed after RemovePodSandbox"));
        }
        if ready.paths {
            let deadline = Instant::now() + SETTLE;
            while cgroup::count_below(&self.cgroup) > 0 {
                if Instant::now() > deadline {
                    let left = cgroup::below(&self.cgroup);
                    let first = left.first().map(|p| p.display().to_string()).unwrap_or_default();
                    return Err(Failure::new("clean-up", format!("cgroup left behind: {first}")));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(())
    }

    fn list_ms<T, E>(ready: &Ready, call: impl Future<Output = Result<T, E>>) -> Result<f64, Failure>
    where
        E: std::fmt::Display,
    {
        let asked = now_ns();
        ready.link.run(call).map_err(|e| Failure::new("list", e.to_string()))?;
        Ok((now_ns() - asked) as f64 / 1e6)
    }
}

impl Place for Pod {
    fn perform(&mut self, step: Step) -> Result<Sample, Failure> {
        self.act(step)
    }

    fn set_guest_clock(&mut self, shared: bool) {
        self.guest_clock = shared;
    }

    fn set_concurrent(&mut self) {
        // Another thread drives it: it gets a connection of its own.
        self.link = None;
    }

    fn enter(&mut self) -> io::Result<()> {
        if self.link.is_none() && self.counter == 0 {
            self.learn_idle().map_err(|f| io::Error::other(f.to_string()))?;
        }
        Ok(())
    }

    fn tidy(&mut self) {
        for dir in cgroup::directories(&self.cgroup) {
            cgroup::remove_tree(&dir);
        }
    }

    fn sibling(&self, name: &str) -> io::Result<Box<dyn Place>> {
        let mut other = Self::new(&self.target, self.home.clone(), &self.parent, name, self.timeout)?;
        other.guest_clock = self.guest_clock;
        other.link.clone_from(&self.link);
        Ok(Box::new(other))
    }

    fn residue(&mut self) -> Vec<Residue> {
        let Ok(ready) = self.ready() else { return Vec::new() };
        let run = self.run_cgroup();
        let deadline = Instant::now() + SETTLE;
        let mut helpers = ready.daemon.helpers(&run).len();
        while self.quiet.is_some_and(|quiet| helpers > quiet) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            helpers = ready.daemon.helpers(&run).len();
        }
        self.quiet.get_or_insert(helpers);
        let daemon = &ready.daemon;
        let names = daemon.entries("/run/netns") + daemon.entries("/var/run/netns");
        let of = |name, y, exact, value: usize| Residue { name, y, exact, value: value as f64 };
        vec![
            of("churn.processes", "processes of the endpoint", true, helpers),
            of("churn.mounts", "mounts that the daemon sees", true, daemon.mounts()),
            of("churn.netns", "named network namespaces", true, names),
            of("churn.cgroups", "cgroups below the run's own", true, cgroup::count_below(&self.parent)),
            of("churn.fds", "descriptors of the daemon", false, daemon.descriptors()),
            Residue {
                name: "churn.kib",
                y: "PSS of the endpoint, KiB",
                exact: false,
                value: daemon.memory_kib(&run).0,
            },
        ]
    }

    fn readings(&mut self) -> Vec<Reading> {
        let Ok(ready) = self.ready() else { return Vec::new() };
        let client = &ready.link.client;
        let containers = best_of_three(|| {
            Self::list_ms(&ready, client.list_containers(v1::ListContainersRequest::default()))
        });
        let pods = best_of_three(|| {
            Self::list_ms(&ready, client.list_pod_sandbox(v1::ListPodSandboxRequest::default()))
        });
        let stats = best_of_three(|| {
            Self::list_ms(&ready, client.list_container_stats(v1::ListContainerStatsRequest::default()))
        });
        let (all, daemon) = ready.daemon.memory_kib(&self.run_cgroup());
        let of = |name, y, value| Reading { name, y, value };
        vec![
            of("density.list", "ListContainers, ms", containers),
            of("density.list-pods", "ListPodSandbox, ms", pods),
            of("density.list-stats", "ListContainerStats, ms", stats),
            of("density.overhead", "PSS of daemon, shims and pauses, KiB", all),
            of("density.daemon", "PSS of the daemon alone, KiB", daemon),
        ]
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if self.resident.take().is_some()
            && let Some(ready) = self.link.clone()
        {
            ready.link.run(self.scrub(&ready));
        }
        self.tidy();
    }
}
