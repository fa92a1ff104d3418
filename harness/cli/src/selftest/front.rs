//! What stands between the suites and the target: nothing, or something that breaks one rule.

use crate::usage::Failure;
use plimsoll_engine::Between;
use plimsoll_engine::target::{Bundled, resolve_all};
use plimsoll_faults::Fault;
use plimsoll_kit::case::Drives;
use plimsoll_kit::job::{CgroupLayout, OciTarget, Target};
use plimsoll_model::{TargetKind, TargetSpec};
use std::path::{Path, PathBuf};

/// Layers of faults that are not the OCI wrapper's.
const NOT_OF_THE_WRAPPER: [&str; 3] = ["inside", "bench", "cri"];

/// The target, and how it is broken.
#[derive(Debug)]
pub struct Front {
    spec: TargetSpec,
    /// The runtime to wrap; absent for a CRI endpoint, which gets a proxy in front of it.
    oci: Option<OciTarget>,
    bundled: Bundled,
    inside: Option<PathBuf>,
}

/// A target as the engine is to drive it.
#[derive(Debug)]
pub struct Driven {
    /// How the engine finds it.
    pub spec: TargetSpec,
    /// What the engine puts in front of it.
    pub between: Option<Between>,
}

impl Front {
    /// Resolves the target.
    pub fn new(spec: &TargetSpec, bundled: &Bundled, inside: Option<&Path>) -> Result<Self, Failure> {
        let resolved =
            resolve_all(std::slice::from_ref(spec), bundled).map_err(|e| Failure::usage(e.to_string()))?;
        let oci = resolved.into_iter().find_map(|r| match r.target {
            Target::Oci(oci) => Some(oci),
            Target::Cri(_) => None,
        });
        if oci.is_none() && inside.is_some() {
            return Err(Failure::usage("--inside is about an OCI runtime").hint("give it with -t ref:oci"));
        }
        let inside = inside.map(program_with_points).transpose()?;
        Ok(Self { spec: spec.clone(), oci, bundled: bundled.clone(), inside })
    }

    /// Whether a fault can be injected into this target.
    pub fn takes(&self, fault: &Fault) -> bool {
        match fault.layer.as_str() {
            "cri" => self.oci.is_none(),
            "inside" => self.inside.is_some(),
            layer => self.oci.is_some() && !NOT_OF_THE_WRAPPER.contains(&layer),
        }
    }

    /// Names of the suites that judge such a target.
    pub fn suites(&self) -> Vec<&'static str> {
        let drives = if self.oci.is_some() { Drives::Oci } else { Drives::Cri };
        crate::suites::ALL.iter().filter(|s| s.drives == drives).map(|s| s.name).collect()
    }

    /// How many faults may be tried at the same time: an endpoint that is not ours is shared by all of them.
    pub fn parallel(&self, wanted: usize) -> usize {
        if self.spec.kind == TargetKind::Cri { 1 } else { wanted }
    }

    /// The target as it is.
    pub fn unbroken(&self) -> Driven {
        Driven { spec: self.spec.clone(), between: None }
    }

    /// The target with one fault.
    pub fn broken(&self, fault: &Fault) -> Driven {
        let own = self.bundled.program.clone();
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        if let Some(oci) = &self.oci {
            return Driven { spec: self.wrapped(oci, fault), between: None };
        }
        let args = words(&["faults", "cri-proxy", "--fault", &fault.id]);
        Driven { spec: self.spec.clone(), between: Some(Between { program: own, args }) }
    }

    fn wrapped(&self, oci: &OciTarget, fault: &Fault) -> TargetSpec {
        let (program, first) = match (&self.inside, fault.layer.as_str()) {
            (Some(program), "inside") => (program, &[][..]),
            _ => (&oci.program, oci.args.as_slice()),
        };
        let mut params: Vec<(String, String)> = vec![];
        let mut arg = |text: &str| params.push(("arg".into(), text.to_owned()));
        for text in ["faults", "--fault", &fault.id, "--target", &program.display().to_string()] {
            arg(text);
        }
        for text in first {
            arg("--target-arg");
            arg(text);
        }
        arg("--");
        let layout = match oci.cgroups {
            CgroupLayout::Host => "host",
            CgroupLayout::Legacy => "legacy",
            CgroupLayout::V2 => "v2",
        };
        params.push(("cgroups".into(), layout.into()));
        params.extend(self.spec.get("spec").map(|s| ("spec".to_owned(), s.to_owned())));
        params.extend(oci.env.iter().map(|(k, v)| ("env".to_owned(), format!("{k}={v}"))));
        params.push(("name".into(), "faulty".into()));
        let locator = self.bundled.program.display().to_string();
        TargetSpec { kind: TargetKind::Oci, locator, params }
    }
}

/// The program that `--inside` names; it has to say that it has fault points.
fn program_with_points(path: &Path) -> Result<PathBuf, Failure> {
    let fail = |why: String| {
        Failure::usage(format!("--inside {}: {why}", path.display()))
            .hint("build one with `cargo build -p plimsoll-oci --features faults`")
    };
    let program = path.canonicalize().map_err(|e| fail(e.to_string()))?;
    let output =
        std::process::Command::new(&program).arg("--version").output().map_err(|e| fail(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.lines().any(|l| l.starts_with("faults:")) {
        return Ok(program);
    }
    Err(fail("it has no fault points: its --version has no line `faults:`".to_owned()))
}
