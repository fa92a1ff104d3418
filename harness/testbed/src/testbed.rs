//! Starting, and above all stopping.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_cri_client::{CallError, Client, Options as ClientOptions, Target, v1};
use plimsoll_images::registry::Registry;
use plimsoll_images::standard::Catalogue;
use tempfile::TempDir;

use crate::config::{self, Handler, Layout};
use crate::{cgroup, process, sys};

/// What a testbed is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// containerd's executable; found on `PATH` when `None`.
    pub containerd: Option<PathBuf>,
    /// Where the CNI plugins are.
    pub cni_bin: PathBuf,
    /// Handlers; the first is the default one.
    pub handlers: Vec<Handler>,
    /// The guest program, which is the pause container too.
    pub probe: Vec<u8>,
    /// Directory for the temporary directory; must not be below `/run`.
    pub base: PathBuf,
    /// Third byte of the pods' addresses, 10.213.N.0/24; by the process id when `None`.
    pub subnet: Option<u8>,
    /// Time to become ready, and to stop.
    pub deadline: Duration,
    /// Show version 1 cgroups only on a hybrid host, which crun needs.
    pub hide_unified: bool,
}

impl Options {
    /// Every runtime that is installed, the guest program from the caller.
    pub fn new(probe: Vec<u8>) -> Self {
        Self {
            containerd: None,
            cni_bin: "/usr/lib/cni".into(),
            handlers: Handler::installed(),
            probe,
            base: std::env::temp_dir(),
            subnet: None,
            deadline: Duration::from_secs(60),
            hide_unified: true,
        }
    }
}

/// A testbed could not be started or not be cleared away.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// Something must be installed.
    #[error("{0} is not here; install it or leave the testbed out")]
    Missing(String),
    /// The file system refused.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: String,
        /// Why it failed.
        source: io::Error,
    },
    /// containerd did not come up.
    #[error("containerd did not become ready: {reason}\nlast lines of its log:\n{log}")]
    NotReady {
        /// What was seen.
        reason: String,
        /// Tail of the log.
        log: String,
    },
    /// Something stayed behind.
    #[error("after the stop there is still: {0}")]
    Leftover(String),
}

fn io_error(step: impl Into<String>) -> impl FnOnce(io::Error) -> TestbedError {
    let step = step.into();
    move |source| TestbedError::Io { step, source }
}

/// A running containerd. [`Testbed::stop`] clears all away and tells what it could not; dropping does the
/// same without telling.
pub struct Testbed {
    layout: Layout,
    dir: Option<TempDir>,
    child: Option<Child>,
    namespace: Option<PathBuf>,
    program: PathBuf,
    options: Options,
    registry: Option<Registry>,
    made_cni_state: bool,
    owns_cgroup: bool,
}

impl Testbed {
    /// Starts containerd and waits until it is ready and holds the pause image.
    pub async fn start(options: Options) -> Result<Self, TestbedError> {
        let program = match &options.containerd {
            Some(path) => path.clone(),
            None => process::find("containerd").ok_or_else(|| TestbedError::Missing("containerd".into()))?,
        };
        if !options.cni_bin.join("ptp").is_file() {
            return Err(TestbedError::Missing(format!(
                "the CNI plugin ptp in {}",
                options.cni_bin.display()
            )));
        }
        if options.handlers.is_empty() {
            return Err(TestbedError::Missing("any OCI runtime (runc, crun or runsc)".into()));
        }
        let dir = tempfile::Builder::new().prefix("plimsoll-bed-").tempdir_in(&options.base);
        let dir = dir.map_err(io_error(format!("making a directory in {}", options.base.display())))?;
        let layout = Layout { base: dir.path().to_owned() };
        let registry = Registry::start().map_err(io_error("starting the registry of the pause image"))?;
        let pause = registry.add("plimsoll/pause", "1", &Catalogue::new(options.probe.clone()).pause());
        let mut bed = Self {
            layout,
            dir: Some(dir),
            child: None,
            namespace: None,
            program,
            options,
            registry: Some(registry),
            made_cni_state: false,
            owns_cgroup: !cgroup::present(),
        };
        bed.write(&pause)?;
        bed.launch().await?;
        bed.side_load(&pause).await?;
        Ok(bed)
    }

    /// The runtime and image service.
    pub fn socket(&self) -> PathBuf {
        self.layout.socket()
    }

    /// The target of a handler; the empty name is the default handler.
    pub fn target(&self, handler: &str) -> Target {
        Target::new(self.socket()).with_handler(handler)
    }

    /// Handlers by name.
    pub fn handlers(&self) -> impl Iterator<Item = &str> {
        self.options.handlers.iter().map(|h| h.name.as_str())
    }

    /// containerd's own log.
    pub fn log(&self) -> PathBuf {
        self.layout.log()
    }

    /// Kills the daemon, leaves its containers alone, and starts it again.
    pub async fn restart(&mut self) -> Result<(), TestbedError> {
        self.halt(Signal::SIGKILL);
        self.launch().await
    }

    /// Stops everything and removes it. An error says what is left.
    pub async fn stop(mut self) -> Result<(), TestbedError> {
        let client = Client::lazy(&self.target(""), ClientOptions::default());
        remove_pods(&client.with_deadline(Duration::from_secs(10)), self.options.deadline).await;
        self.end()
    }

    fn write(&mut self, pause: &str) -> Result<(), TestbedError> {
        let base = &self.layout.base;
        for name in ["root", "state", "cni", "bin", "ipam"] {
            let path = base.join(name);
            fs::create_dir_all(&path).map_err(io_error(format!("making {}", path.display())))?;
        }
        let write = |path: PathBuf, text: String| {
            fs::write(&path, text).map_err(io_error(format!("writing {}", path.display())))
        };
        let subnet = self.options.subnet.unwrap_or_else(next_subnet);
        let port_mappings =
            self.options.cni_bin.join("portmap").is_file() && process::find("iptables").is_some();
        write(
            self.layout.cni_conf().join("10-plimsoll.conflist"),
            config::cni(&self.layout, subnet, port_mappings),
        )?;
        for handler in &self.options.handlers {
            let path = self.layout.wrapper(handler);
            write(path.clone(), config::wrapper(handler))?;
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, mode)
                .map_err(io_error(format!("making {} executable", path.display())))?;
        }
        let text = config::containerd(&self.layout, &self.options.handlers, pause, &self.options.cni_bin);
        write(self.layout.config(), text)?;
        // A mount point is needed to cover it; removed again at the end if it was not there.
        let cni_state = Path::new("/var/lib/cni");
        if !cni_state.exists() {
            self.made_cni_state = fs::create_dir(cni_state).is_ok();
        }
        Ok(())
    }

    async fn launch(&mut self) -> Result<(), TestbedError> {
        let open = |step: &str| {
            File::options()
                .create(true)
                .append(true)
                .open(self.layout.log())
                .map_err(io_error(step.to_owned()))
        };
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(self.layout.config())
            .stdin(Stdio::null())
            .stdout(open("opening the log")?)
            .stderr(open("opening the log")?)
            .current_dir(&self.layout.base);
        match &self.namespace {
            // A restart must come back to the same mounts.
            Some(_) => self.reenter(&mut command)?,
            None => sys::private_mounts(&mut command, self.options.hide_unified && sys::is_hybrid()),
        }
        let child = command.spawn().map_err(io_error(format!("starting {}", self.program.display())))?;
        let pid = child.id();
        self.child = Some(child);
        if self.namespace.is_none() {
            self.namespace = process::namespace(pid);
        }
        self.ready().await
    }

    fn reenter(&self, command: &mut Command) -> Result<(), TestbedError> {
        let Some(holder) = self.namespace.as_ref().and_then(process::member) else {
            return Err(TestbedError::Missing(
                "a process that holds the testbed's mount namespace (run a pod before a restart)".into(),
            ));
        };
        sys::join_mounts(command, holder).map_err(io_error("opening the testbed's mount namespace"))
    }

    async fn ready(&mut self) -> Result<(), TestbedError> {
        let end = Instant::now() + self.options.deadline;
        loop {
            let brief = ClientOptions { connect: Duration::from_secs(2), ..ClientOptions::default() };
            let reason = match self.ask(brief).await {
                Ok(None) => return Ok(()),
                Ok(Some(reason)) => reason,
                Err(error) => error.to_string(),
            };
            let exited = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
            if let Some(status) = exited {
                return Err(self.not_ready(format!("it ended with {status}")));
            }
            if Instant::now() > end {
                return Err(self.not_ready(reason));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// `None` when ready, else what is not.
    async fn ask(&self, options: ClientOptions) -> Result<Option<String>, CallError> {
        let (client, _) = Client::connect(&self.target(""), options).await?;
        let status = client.status(v1::StatusRequest::default()).await?;
        let conditions = status.status.unwrap_or_default().conditions;
        let off = conditions.iter().find(|c| c.r#type.ends_with("Ready") && !c.status);
        Ok(off.map(|c| format!("{} is false: {} {}", c.r#type, c.reason, c.message)))
    }

    async fn side_load(&self, pause: &str) -> Result<(), TestbedError> {
        let client = Client::lazy(&self.target(""), ClientOptions::default());
        let image = v1::ImageSpec { image: pause.to_owned(), ..Default::default() };
        let request = v1::PullImageRequest { image: Some(image), ..Default::default() };
        match client.pull_image(request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.not_ready(format!("the pause image could not be loaded: {error}"))),
        }
    }

    fn not_ready(&self, reason: String) -> TestbedError {
        let log = fs::read_to_string(self.layout.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(15)..].join("\n");
        TestbedError::NotReady { reason, log }
    }

    /// Ends the daemon and reaps it.
    fn halt(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let _ = kill(Pid::from_raw(child.id() as i32), signal);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    fn end(&mut self) -> Result<(), TestbedError> {
        let mut left = Vec::new();
        self.halt(Signal::SIGTERM);
        if let Some(namespace) = self.namespace.take() {
            let pids = process::clear(&namespace, self.options.deadline);
            if !pids.is_empty() {
                left.push(format!("processes {pids:?}"));
            }
        }
        if self.dir.is_some() {
            let log = fs::read_to_string(self.layout.log()).unwrap_or_default();
            let cgroups = cgroup::clear(&log, self.owns_cgroup);
            left.extend(cgroups.iter().map(|path| format!("cgroup {}", path.display())));
        }
        if let Some(registry) = self.registry.take() {
            registry.stop();
        }
        if let Some(dir) = self.dir.take() {
            let path = dir.path().to_owned();
            if let Err(error) = dir.close() {
                left.push(format!("{} ({error})", path.display()));
            }
        }
        if std::mem::take(&mut self.made_cni_state) {
            // Fails when another testbed or program uses it by now, which is right.
            let _ = fs::remove_dir("/var/lib/cni");
        }
        if left.is_empty() { Ok(()) } else { Err(TestbedError::Leftover(left.join("; "))) }
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Another range for each testbed of this process, and likely another one in another process.
fn next_subnet() -> u8 {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    (std::process::id() as u8).wrapping_mul(31).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Removes every pod, so that the server itself gives networks, mounts and cgroups back.
async fn remove_pods(client: &Client, limit: Duration) {
    let end = Instant::now() + limit;
    let Ok(pods) = client.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await else { return };
    for pod in pods.items {
        if Instant::now() > end {
            return;
        }
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() };
        let _ = client.stop_pod_sandbox(request).await;
        let _ = client.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await;
    }
}
