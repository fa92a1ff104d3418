//! The bundled reference CRI server: started for a run, in surroundings of its own, and cleared away with it.

use crate::journal::{Made, RunDir};
use crate::sandbox;
use crate::target::Bundled;
use plimsoll_kit::cri::{Client, Options, address, v1};
use plimsoll_kit::job::{CgroupLayout, CriTarget};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden verb under which the executable enters a server's surroundings and becomes the server.
pub const SERVER_VERB: &str = "__server";
/// Longest time until the server must be ready, before scaling.
const READY: Duration = Duration::from_secs(30);
/// Time that the server gets to end by itself.
const STOP: Duration = Duration::from_secs(5);
/// Longest time for which a case may hold the restart of a killed server back.
const HOLD: Duration = Duration::from_secs(60);
/// Its CNI configuration, below its directory.
const CNI: &str = "cni";
/// Bytes of the server's log that a message shows.
const LOG_TAIL: usize = 2048;

/// What kind of server is wanted; from the parameters of `ref:cri`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The OCI runtime behind it; the bundled one when absent.
    pub runtime: Option<PathBuf>,
    /// Name of the handler for that runtime.
    pub handler: String,
    /// Arguments of that runtime before its command.
    pub args: Vec<String>,
    /// Whether version 1 cgroups only are shown.
    pub legacy: bool,
    /// Whether pods get their links from the installed CNI plugins, as other servers here have them.
    pub cni: bool,
}

/// How the server process is started; the hidden verb reads it from standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) cgroup: String,
    pub(crate) cgroups: CgroupLayout,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) hold: PathBuf,
}

/// Starts a process that enters the surroundings and becomes the program; what it says goes to `log`.
pub(crate) fn spawn(own: &Path, start: &Start, log: File) -> io::Result<Child> {
    let mut child = Command::new(own)
        .arg(SERVER_VERB)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()?;
    let text = serde_json::to_string(start).unwrap_or_default();
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    Ok(child)
}

/// The file that holds the restart of a killed server back, in the server's directory.
fn hold(dir: &Path) -> PathBuf {
    dir.join("hold")
}

/// A server that is started again when it dies. The cases' endpoint may be that of a program in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarted {
    /// The file that holds the restart back as long as it is there.
    pub hold: PathBuf,
    /// The server's own socket.
    pub socket: PathBuf,
}

/// A server that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A file or a process could not be made.
    #[error("the reference CRI server could not be started: {step}: {error}")]
    Io {
        /// What was being done.
        step: String,
        /// Why it failed.
        error: io::Error,
    },
    /// It did not become ready.
    #[error("the reference CRI server did not become ready: {reason}; last lines of its log: {log}")]
    NotReady {
        /// What was seen.
        reason: String,
        /// Tail of its log.
        log: String,
    },
}

/// A running reference CRI server. Dropping it kills the server; [`Server::stop`] ends everything that it has made.
#[derive(Debug)]
pub struct Server {
    child: Child,
    dir: PathBuf,
    cgroup: String,
    bridge: String,
}

impl Server {
    /// Starts server number `n` of a run and waits until it is ready. `scale` stretches the deadline.
    pub async fn start(
        bundled: &Bundled,
        run: &mut RunDir,
        n: usize,
        wanted: &Wanted,
        scale: f64,
    ) -> Result<Self, ServerError> {
        let io = |step: &str| {
            let step = step.to_owned();
            move |error| ServerError::Io { step, error }
        };
        let dir = run.path().join(format!("s{n}"));
        let cgroup = format!("{}/s{n}", run.intent.cgroup);
        let bridge = format!("plb{}{n}", run.intent.run);
        run.record(&Made::Bridge { name: bridge.clone() }).map_err(io("writing the journal"))?;
        fs::create_dir_all(&dir).map_err(io("making its directory"))?;
        if wanted.cni {
            let place = dir.join(CNI);
            fs::create_dir_all(&place).map_err(io("making its network configuration"))?;
            fs::write(place.join("10-plimsoll.conflist"), conflist(&dir, &bridge))
                .map_err(io("writing its network configuration"))?;
        }
        let config = dir.join("cri.toml");
        fs::write(&config, settings(&dir, &cgroup, &bridge, wanted)).map_err(io("writing its settings"))?;
        let log = File::create(dir.join("log")).map_err(io("making its log"))?;
        let start = Start {
            cgroup: cgroup.clone(),
            cgroups: if wanted.legacy { CgroupLayout::Legacy } else { CgroupLayout::Host },
            program: bundled.program.clone(),
            args: vec![bundled.cri_verb.clone(), "--config".into(), config.display().to_string()],
            hold: hold(&dir),
        };
        let child = spawn(&bundled.program, &start, log).map_err(io("starting its process"))?;
        let mut server = Self { child, dir, cgroup, bridge };
        match server.ready(READY.mul_f64(scale.max(1.0))).await {
            Ok(()) => Ok(server),
            Err(reason) => {
                let log = server.log_tail();
                server.stop();
                Err(ServerError::NotReady { reason, log })
            }
        }
    }

    /// Where it is reached.
    pub fn endpoint(&self) -> String {
        endpoint(&self.dir)
    }

    /// What a case needs that kills it.
    pub fn restarted(&self) -> Restarted {
        Restarted { hold: hold(&self.dir), socket: socket(&self.dir) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did so by itself, with the tail of its log.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the reference CRI server ended by itself with {status}: {}", self.log_tail()))
    }

    async fn ready(&mut self, limit: Duration) -> Result<(), String> {
        let endpoint = self.endpoint();
        let target = CriTarget {
            image_endpoint: endpoint.clone(),
            endpoint: endpoint.clone(),
            handler: String::new(),
        };
        let end = Instant::now() + limit;
        loop {
            // The socket appears with its final mode; until then there is nothing to connect to.
            let seen = if Path::new(endpoint.trim_start_matches("unix://")).exists() {
                let client = Client::lazy(&address(&target), Options::default());
                match client.with_deadline(Duration::from_secs(5)).status(v1::StatusRequest::default()).await
                {
                    Ok(status) => match not_ready(&status) {
                        None => return Ok(()),
                        Some(condition) => condition,
                    },
                    Err(error) => error.to_string(),
                }
            } else {
                "it has made no socket yet".to_owned()
            };
            if let Some(status) = self.child.try_wait().ok().flatten() {
                return Err(format!("it ended with {status}"));
            }
            if Instant::now() > end {
                return Err(format!("within {} s: {seen}", limit.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn log_tail(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(file) = File::open(self.dir.join("log")) {
            let length = file.metadata().map_or(0, |m| m.len());
            let _ = io::Seek::seek(&mut &file, io::SeekFrom::Start(length.saturating_sub(LOG_TAIL as u64)));
            let _ = file.take(LOG_TAIL as u64).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Asks it to end, then ends whatever it has started and removes its cgroups, its bridge and its files. Gives
    /// what could not be removed.
    pub fn stop(&mut self) -> Vec<PathBuf> {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        if matches!(self.child.try_wait(), Ok(None)) {
            // To the group: what supervises the server waits for it, the server ends in good order.
            let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGTERM);
            let end = Instant::now() + STOP;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGKILL);
        let _ = self.child.wait();
        let mut stuck = sandbox::clear_cgroups(&self.cgroup);
        crate::sys::remove_bridge(&self.bridge);
        if fs::remove_dir_all(&self.dir).is_err() && self.dir.exists() {
            stuck.push(self.dir.clone());
        }
        stuck
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("cri.sock")
}

fn endpoint(dir: &Path) -> String {
    format!("unix://{}", socket(dir).display())
}

/// The condition that is false; `None` when all hold.
pub fn not_ready(status: &v1::StatusResponse) -> Option<String> {
    let conditions = status.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let off = conditions.iter().find(|c| c.r#type.ends_with("Ready") && !c.status)?;
    Some(format!("its condition {} is false: {} {}", off.r#type, off.reason, off.message))
}

/// The server's settings: everything below its directory, its cgroup and its bridge.
fn settings(dir: &Path, cgroup: &str, bridge: &str, wanted: &Wanted) -> String {
    use std::fmt::Write as _; // writing to a string cannot fail
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let path = |name: &str| quote(&dir.join(name).display().to_string());
    let mut text = format!(
        "socket = {}\nroot = {}\nstate = {}\ncgroup_root = {}\n",
        path("cri.sock"),
        path("root"),
        path("st"),
        quote(cgroup),
    );
    if wanted.runtime.is_some() {
        let _ = writeln!(text, "default_runtime = {}", quote(&wanted.handler));
    }
    if wanted.cni {
        let _ = writeln!(text, "[network]\nmode = \"cni\"\ncni_conf_dir = {}", path(CNI));
    } else {
        let (bridge, subnet) = (quote(bridge), quote(&free_subnet(bridge)));
        let _ = writeln!(text, "[network]\nmode = \"builtin\"\nbridge = {bridge}\nsubnet = {subnet}");
    }
    if let Some(runtime) = &wanted.runtime {
        let args: Vec<String> = wanted.args.iter().map(|a| quote(a)).collect();
        let (handler, path) = (quote(&wanted.handler), quote(&runtime.display().to_string()));
        let _ = writeln!(text, "[runtimes.{handler}]\npath = {path}\nargs = [{}]", args.join(", "));
    }
    text
}

/// Point-to-point links with host-local addresses: what a private containerd is given as well.
fn conflist(dir: &Path, name: &str) -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": name,
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": dir.join("ipam"),
                "ranges": [[{ "subnet": free_subnet(name) }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
    .to_string()
}

/// A range of 1021 pod addresses that no route of this host covers yet; which one depends on `name`, so that runs at
/// the same time differ.
fn free_subnet(name: &str) -> String {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let used: Vec<(u32, u32)> = routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |i: usize| u32::from_str_radix(fields.get(i)?, 16).ok().map(u32::swap_bytes);
            Some((number(1)?, number(7)?)).filter(|(_, mask)| *mask != 0)
        })
        .collect();
    // FNV-1a: spreads names over the 4096 ranges below 10.64.0.0/10.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let candidate = |step: u32| 0x0A40_0000 | (hash.wrapping_add(step) & 0xFFF) << 10;
    let overlaps =
        |base: u32| used.iter().any(|(net, mask)| base & mask == net & mask || net & 0xFFFF_FC00 == base);
    let base = (0..4096).map(candidate).find(|b| !overlaps(*b)).unwrap_or_else(|| candidate(0));
    format!("{}/22", std::net::Ipv4Addr::from(base))
}

/// The hidden verb: enters the surroundings read from standard input, runs the server there, and starts it again when
/// somebody has killed it, unless the file `hold` is there. Ends when the server ends in another way.
pub fn main() -> u8 {
    let mut text = String::new();
    let start: Start = match io::stdin().read_to_string(&mut text).map(|_| serde_json::from_str(&text)) {
        Ok(Ok(start)) => start,
        _ => return 2,
    };
    match sandbox::enter_server(&start.cgroup, start.cgroups).and_then(|()| supervise(&start)) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "the server or its surroundings could not be made: {error}");
            3
        }
    }
}

fn supervise(start: &Start) -> io::Result<u8> {
    // The group gets the signal that ends the server; this process stays until the server has ended. The server
    // replaces what it inherits of this.
    crate::sys::ignore_termination()?;
    loop {
        let mut command = Command::new(&start.program);
        command.args(&start.args).stdin(Stdio::null());
        crate::sys::die_with_this(&mut command);
        let status = command.status()?;
        if status.signal() != Some(nix::libc::SIGKILL) {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3));
        }
        let end = Instant::now() + HOLD;
        while start.hold.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Wanted, free_subnet, settings};
    use std::path::Path;

    #[test]
    fn settings_quote_what_they_are_given() {
        let wanted = Wanted {
            runtime: Some("/bin/a \"b\"".into()),
            handler: "odd.name".into(),
            args: vec!["--x=\\".into()],
            legacy: false,
            cni: false,
        };
        let text = settings(Path::new("/tmp/d"), "/plimsoll-1/s0", "plb1", &wanted);
        for part in [
            "socket = \"/tmp/d/cri.sock\"",
            "[runtimes.\"odd.name\"]",
            "path = \"/bin/a \\\"b\\\"\"",
            "args = [\"--x=\\\\\"]",
            "default_runtime = \"odd.name\"",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn subnets_lie_in_their_range_and_differ() {
        let (a, b) = (free_subnet("plb0000000a0"), free_subnet("plb0000000b0"));
        assert!(a != b && a.ends_with("/22") && a.starts_with("10."), "{a} {b}");
    }
}
