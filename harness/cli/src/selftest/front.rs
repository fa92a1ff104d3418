//! What stands between the suites and the target: nothing, or something that breaks one rule.

use crate::usage::Failure;
use plimsoll_engine::target::{Bundled, resolve_all};
use plimsoll_faults::Fault;
use plimsoll_kit::job::{self, CgroupLayout, OciTarget};
use plimsoll_model::{TargetKind, TargetSpec};
use std::path::{Path, PathBuf};

/// Layers of faults that are not the OCI wrapper's.
const NOT_OF_THE_WRAPPER: [&str; 3] = ["inside", "bench", "cri"];

/// The target, and how it is broken.
#[derive(Debug)]
pub struct Front {
    spec: TargetSpec,
    oci: OciTarget,
    bundled: Bundled,
    inside: Option<PathBuf>,
}

/// A target that can be driven for as long as this lives.
#[derive(Debug)]
pub struct Driven {
    /// How the engine finds it.
    pub spec: TargetSpec,
}

impl Front {
    /// Resolves the target.
    pub fn new(spec: &TargetSpec, bundled: &Bundled, inside: Option<&Path>) -> Result<Self, Failure> {
        let resolved =
            resolve_all(std::slice::from_ref(spec), bundled).map_err(|e| Failure::usage(e.to_string()))?;
        let Some(job::Target::Oci(oci)) = resolved.into_iter().next().map(|r| r.target) else {
            return Err(Failure::usage("selftest breaks OCI runtimes").hint("give an oci: target or ref:oci"));
        };
        let inside = inside.map(|path| program_with_points(path)).transpose()?;
        Ok(Self { spec: spec.clone(), oci, bundled: bundled.clone(), inside })
    }

    /// Whether a fault can be injected into this target.
    pub fn takes(&self, fault: &Fault) -> bool {
        match fault.layer.as_str() {
            "inside" => self.inside.is_some(),
            layer => !NOT_OF_THE_WRAPPER.contains(&layer),
        }
    }

    /// Names of the suites that judge such a target.
    pub fn suites(&self) -> Vec<&'static str> {
        crate::suites::ALL
            .iter()
            .filter(|s| s.drives == plimsoll_kit::case::Drives::Oci)
            .map(|s| s.name)
            .collect()
    }

    /// How many faults may be tried at the same time.
    pub fn parallel(&self, wanted: usize) -> usize {
        wanted
    }

    /// Cases at the same time under one fault.
    pub fn jobs(&self) -> usize {
        2
    }

    /// The target as it is.
    pub fn unbroken(&self) -> Result<Driven, Failure> {
        Ok(Driven { spec: self.spec.clone() })
    }

    /// The target behind the wrapper with one fault.
    pub fn broken(&self, fault: &Fault) -> Result<Driven, Failure> {
        let (program, first) = match (&self.inside, fault.layer.as_str()) {
            (Some(program), "inside") => (program, &[][..]),
            _ => (&self.oci.program, self.oci.args.as_slice()),
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
        let layout = match self.oci.cgroups {
            CgroupLayout::Host => "host",
            CgroupLayout::Legacy => "legacy",
            CgroupLayout::V2 => "v2",
        };
        params.push(("cgroups".into(), layout.into()));
        params.extend(self.spec.get("spec").map(|s| ("spec".to_owned(), s.to_owned())));
        params.extend(self.oci.env.iter().map(|(k, v)| ("env".to_owned(), format!("{k}={v}"))));
        params.push(("name".into(), "faulty".into()));
        let locator = self.bundled.program.display().to_string();
        Ok(Driven { spec: TargetSpec { kind: TargetKind::Oci, locator, params } })
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
