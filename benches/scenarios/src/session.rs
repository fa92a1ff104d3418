//! What a run sets up once and takes down at its end: directories, cgroup parent, floor server, arms.

use crate::arm::Arm;
use crate::bundle::{self, Guest};
use crate::cgroup::Parent;
use crate::cri;
use crate::environment::Key;
use crate::error::BenchError;
use crate::place::{Place, Step};
use crate::plan::{BenchPlan, Interface, Target};
use crate::result::TargetInfo;
use crate::slot::Slot;
use crate::sys;
use crate::sys::floor::{FloorPlan, FloorServer};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The live parts of a run. Fields are dropped in this order: containers before what holds them.
pub struct Session {
    /// One per target, then the sentinel if there is one.
    pub arms: Vec<Arm>,
    /// The floor, if wanted and possible.
    pub floor: Option<FloorServer>,
    /// The cgroup above all containers of the run.
    pub parent: Parent,
    /// The root file system of all containers.
    pub root: PathBuf,
    /// The comparability key.
    pub key: Key,
    /// The targets as they are.
    pub infos: Vec<TargetInfo>,
    /// Things a reader should know.
    pub notes: Vec<String>,
    /// What CRI endpoints pull from, if there are any.
    images: Option<std::sync::Arc<cri::Images>>,
    dir: tempfile::TempDir,
}

impl Session {
    /// Sets everything up and lets each target prove itself with one lifecycle.
    pub fn open(plan: &BenchPlan) -> Result<Self, BenchError> {
        check(plan)?;
        if plan.interface() == Interface::Oci {
            rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
                .map_err(|e| BenchError::System { what: "become a child subreaper", source: e.into() })?;
        }
        let base = fs::canonicalize(&plan.work_dir)
            .map_err(BenchError::file("find the work directory", &plan.work_dir))?;
        let dir = tempfile::Builder::new()
            .prefix("plimsoll-bench-")
            .tempdir_in(&base)
            .map_err(BenchError::file("make a private directory in", &base))?;
        let root = dir.path().join("rootfs");
        let inside = plan.inside.as_deref().filter(|_| plan.scenarios.iter().any(|s| s == "inside"));
        bundle::make_root(&root, &plan.guest, inside)
            .map_err(BenchError::file("prepare the root file system with", &plan.guest))?;
        let mut notes = Vec::new();
        let floor = plan.floor.then(|| start_floor(&root, &mut notes)).flatten();
        // After the floor's fork, before any thread: all threads inherit the mask.
        sys::process::Reaper::block_signal();
        let tag = dir.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = Parent::claim(format!("/{tag}")).map_err(BenchError::system("claim a cgroup"))?;
        let scheduler = if plan.fifo { "fifo" } else { "other" };
        let key = Key::of_host(scheduler, &digest(&plan.guest)?.0, dir.path());
        let images = match plan.interface() {
            Interface::Oci => None,
            Interface::Cri => {
                parent.create_everywhere().map_err(BenchError::system("make the run's cgroup"))?;
                let inside = plan.inside.as_deref().filter(|_| plan.scenarios.iter().any(|s| s == "inside"));
                Some(cri::Images::serve(&plan.guest, inside, &tag, &plan.load)?)
            }
        };
        let infos = Vec::new();
        let mut session = Self { arms: Vec::new(), floor, parent, root, key, infos, notes, images, dir };
        for target in &plan.targets {
            session.add_arm(target, plan)?;
        }
        if plan.sentinel {
            let copy = plan.targets[0].clone().named(&format!("{}'", plan.targets[0].name()));
            session.add_arm(&copy, plan)?;
            session.infos.pop();
        }
        Ok(session)
    }

    /// A new place; `name` must be unique in the run. It lies below the run's cgroup, or below another one of
    /// the run.
    pub fn place(
        &self,
        target: &Target,
        name: &str,
        parent: Option<&str>,
        timeout: Duration,
    ) -> Result<Box<dyn Place>, BenchError> {
        let parent = parent.unwrap_or(self.parent.path());
        let dir = self.dir.path();
        let file = BenchError::file("prepare a place in", dir);
        Ok(match target {
            Target::Oci(oci) => {
                Box::new(Slot::new(oci, dir, &self.root, parent, name, timeout).map_err(file)?)
            }
            Target::Cri(cri) => {
                let images = self
                    .images
                    .clone()
                    .ok_or_else(|| BenchError::Plan("a CRI endpoint in a run of OCI runtimes".into()))?;
                let home = cri::Home { dir: dir.to_owned(), root: self.root.clone(), images };
                Box::new(cri::Pod::new(cri, home, parent, name, timeout).map_err(file)?)
            }
        })
    }

    fn add_arm(&mut self, target: &Target, plan: &BenchPlan) -> Result<(), BenchError> {
        let fail = |reason: String| BenchError::Target { target: target.name().to_owned(), reason };
        let identity = match target {
            Target::Oci(oci) => Identity::of_program(&oci.program)?,
            Target::Cri(cri) => cri::identity(cri).map_err(|f| fail(f.to_string()))?,
        };
        let place = self.place(target, &format!("a{}", self.arms.len()), None, plan.timeout)?;
        let arm = Arm::start(place, plan.fifo)?;
        // The kernel refuses real-time processes in a cpu cgroup that has no real-time budget.
        let hint = if plan.fifo { " (with SCHED_FIFO; try without it)" } else { "" };
        let guest_clock = arm.call(prove)?.map_err(|f| fail(format!("{f}{hint}")))?;
        self.notes.extend(identity.note.map(|note| format!("{}: {note}", target.name())));
        self.infos.push(TargetInfo {
            target: target.clone(),
            version: identity.version,
            digest: identity.digest,
            bytes: identity.bytes,
            guest_clock,
        });
        self.arms.push(arm);
        Ok(())
    }

    /// Takes everything down and reports what could not be removed.
    pub fn close(self) -> Result<(), BenchError> {
        let Self { arms, floor, parent, dir, images, .. } = self;
        drop(arms);
        drop(images);
        drop(floor);
        let path = parent.path().to_owned();
        drop(parent);
        if let Some(left) = crate::cgroup::directories(&path).first() {
            let busy = io::Error::other("still busy: a container of the run lives on");
            return Err(BenchError::File { what: "remove the cgroup", path: left.clone(), source: busy });
        }
        let at = dir.path().to_owned();
        dir.close().map_err(BenchError::file("remove", at))
    }
}

/// What a target is, for the reports and for the refusal to continue another one's run.
pub(crate) struct Identity {
    /// First line of its version.
    pub version: String,
    /// SHA-256 of its executable in hex.
    pub digest: String,
    /// Size of the executable, bytes.
    pub bytes: u64,
    /// What a reader should know.
    pub note: Option<String>,
}

impl Identity {
    fn of_program(program: &Path) -> Result<Self, BenchError> {
        let (digest, bytes) = digest(program)?;
        Ok(Self { version: version(program), digest, bytes, note: None })
    }
}

/// Whether the guest's stamps are usable; fails when the target cannot do a lifecycle at all.
fn prove(place: &mut dyn Place) -> Result<bool, crate::slot::Failure> {
    match place.perform(Step::ColdStart) {
        Ok(_) => Ok(true),
        Err(failure) if failure.why.contains("outside the lifecycle") => {
            // A guest kernel of its own has a clock of its own: use the arrival of the first byte.
            place.set_guest_clock(false);
            place.perform(Step::ColdStart).map(|_| false)
        }
        Err(failure) => Err(failure),
    }
}

fn check(plan: &BenchPlan) -> Result<(), BenchError> {
    let wrong = |text: String| Err(BenchError::Plan(text));
    if plan.targets.is_empty() {
        return wrong("no target: give at least one runtime".into());
    }
    if plan.scenarios.is_empty() {
        return wrong("no scenario".into());
    }
    for (i, target) in plan.targets.iter().enumerate() {
        if plan.targets[..i].iter().any(|t| t.name() == target.name()) {
            return wrong(format!("two targets are named `{}`; name one of them otherwise", target.name()));
        }
        if target.interface() != plan.interface() {
            return wrong(
                "OCI runtimes and CRI endpoints do different work: compare each kind in a run of its own"
                    .into(),
            );
        }
        if let Target::Oci(oci) = target
            && (!oci.program.is_absolute() || !oci.program.is_file())
        {
            return wrong(format!("{} is not an absolute path of a program", oci.program.display()));
        }
    }
    for name in plan.metrics.iter().flatten() {
        if crate::metric::find(name).is_none_or(|m| m.role == crate::metric::Role::Shown) {
            return wrong(format!("`{name}` is no metric that decides; see the list in benches/README.md"));
        }
    }
    for name in &plan.scenarios {
        let known = crate::scenario::SCENARIOS.iter().filter(|s| s.is_for(plan.interface()));
        if !known.clone().any(|s| s.name == name) {
            let known: Vec<&str> = known.map(|s| s.name).collect();
            return wrong(format!("these targets have no scenario `{name}`; they have {}", known.join(", ")));
        }
    }
    Ok(())
}

fn start_floor(root: &Path, notes: &mut Vec<String>) -> Option<FloorServer> {
    let server = FloorPlan::new(root, &Guest::Stamp.argv()).and_then(|plan| FloorServer::start(&plan));
    let works = |server: &FloorServer| match server.lifecycle(5_000) {
        Ok(Some((reply, _))) if reply.code == 0 && reply.errno == 0 => None,
        Ok(Some((reply, _))) => Some(format!("code {}, error number {}", reply.code, reply.errno)),
        Ok(None) => Some("no answer".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    let trouble = match &server {
        Ok(server) => works(server),
        Err(error) => Some(error.to_string()),
    };
    match trouble {
        None => server.ok(),
        Some(why) => {
            notes.push(format!("no floor: the bare clone3 start does not work here ({why})"));
            None
        }
    }
}

/// SHA-256 in hex, and the size.
pub(crate) fn digest(path: &Path) -> Result<(String, u64), BenchError> {
    let mut file = fs::File::open(path).map_err(BenchError::file("read", path))?;
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(BenchError::file("read", path))?;
    let mut hex = String::new();
    for byte in hash.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok((hex, bytes))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first line of `--version`, or a remark; with a deadline like everything else.
fn version(program: &Path) -> String {
    let child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return "(unknown)".into() };
    let deadline = sys::now_ns() + 5_000_000_000;
    let handle = sys::process::exit_handle(child.id() as i32);
    let ended =
        handle.ok().and_then(|h| sys::process::await_exit(&h, None, &mut Some(0), deadline).ok().flatten());
    if ended.is_none() {
        let _ = child.kill();
    }
    let output = child.wait_with_output().map(|o| o.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    text.lines().next().map_or_else(|| "(unknown)".to_owned(), |l| l.chars().take(120).collect())
}
