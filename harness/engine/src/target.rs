//! From a target string to something that can be driven.

use plimsoll_kit::job::{CgroupLayout, CriTarget, OciTarget, Target};
use plimsoll_model::{SpecVersion, TargetInfo, TargetKind, TargetSpec};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How the bundled reference implementations are called: this executable and the verb before all other arguments.
#[derive(Debug, Clone)]
pub struct Bundled {
    /// This executable.
    pub program: PathBuf,
    /// The verb of the reference OCI runtime, for example `oci`.
    pub oci_verb: String,
}

/// A target with all that is known of it so far.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What workers get.
    pub target: Target,
    /// What reports get; version and features are filled in by the preflight.
    pub info: TargetInfo,
}

/// A target that cannot be driven. The message names what, why and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name is on no directory of `PATH`.
    #[error("target `{target}`: no executable `{name}` on PATH; give its path, as in oci:/usr/bin/{name}")]
    NotOnPath {
        /// The target.
        target: String,
        /// The name.
        name: String,
    },
    /// The path is not an executable file.
    #[error("target `{target}`: {path} {why}; give the path of an OCI runtime's executable")]
    NotExecutable {
        /// The target.
        target: String,
        /// The path.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// The endpoint is not there.
    #[error("target `{target}`: {path} {why}; give the socket of a running CRI endpoint")]
    NoSocket {
        /// The target.
        target: String,
        /// The path.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// Two targets would share a column.
    #[error("two targets are called `{0}`; name one of them with ?name=...")]
    SameLabel(String),
}

/// Resolves all targets; labels are unique afterwards.
pub fn resolve_all(specs: &[TargetSpec], bundled: &Bundled) -> Result<Vec<Resolved>, ResolveError> {
    let mut all: Vec<Resolved> = Vec::new();
    for spec in specs {
        let resolved = resolve(spec, bundled)?;
        if all.iter().any(|r| r.info.label == resolved.info.label) {
            return Err(ResolveError::SameLabel(resolved.info.label));
        }
        all.push(resolved);
    }
    Ok(all)
}

fn resolve(spec: &TargetSpec, bundled: &Bundled) -> Result<Resolved, ResolveError> {
    let (target, program) = if spec.is_oci() {
        let (program, mut args) = match spec.kind {
            TargetKind::Ref => (bundled.program.clone(), vec![bundled.oci_verb.clone()]),
            _ => (find_program(spec)?, Vec::new()),
        };
        args.extend(spec.all("arg").map(str::to_owned));
        let env =
            spec.all("env").filter_map(|e| e.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
        let cgroups = match spec.get("cgroups") {
            Some("legacy") => CgroupLayout::Legacy,
            Some("v2") => CgroupLayout::V2,
            _ => CgroupLayout::Host,
        };
        let target = OciTarget { program: program.clone(), args, env: env.collect(), cgroups };
        (Target::Oci(target), Some(program))
    } else {
        (Target::Cri(find_endpoint(spec)?), None)
    };
    let info = TargetInfo {
        label: spec.label(),
        spec: spec.clone(),
        version: String::new(),
        spec_version: spec.get("spec").and_then(|v| v.parse::<SpecVersion>().ok()),
        sha256: program.and_then(|p| sha256_of(&p).ok()),
        features: None,
        facts: BTreeMap::new(),
        unfit: None,
    };
    Ok(Resolved { target, info })
}

fn find_program(spec: &TargetSpec) -> Result<PathBuf, ResolveError> {
    let name = &spec.locator;
    if !name.contains('/') {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
        return std::env::split_paths(&path)
            .chain(usual.iter().map(PathBuf::from))
            .map(|dir| dir.join(name))
            .find(|p| executable(p).is_ok())
            .ok_or_else(|| ResolveError::NotOnPath { target: spec.to_string(), name: name.clone() });
    }
    let path = PathBuf::from(name);
    let fail =
        |why: String| ResolveError::NotExecutable { target: spec.to_string(), path: path.clone(), why };
    executable(&path).map_err(&fail)?;
    path.canonicalize().map_err(|e| fail(e.to_string()))
}

fn executable(path: &Path) -> Result<(), String> {
    let meta = fs::metadata(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {e}"),
    })?;
    if !meta.is_file() {
        return Err("is not a file".to_owned());
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err("is not executable".to_owned());
    }
    Ok(())
}

fn find_endpoint(spec: &TargetSpec) -> Result<CriTarget, ResolveError> {
    let path = PathBuf::from(spec.locator.trim_start_matches("unix://"));
    if spec.kind != TargetKind::Ref && !path.exists() {
        return Err(ResolveError::NoSocket { target: spec.to_string(), path, why: "does not exist".into() });
    }
    Ok(CriTarget {
        endpoint: spec.locator.clone(),
        image_endpoint: spec.get("image").unwrap_or(&spec.locator).to_owned(),
        handler: spec.get("handler").unwrap_or_default().to_owned(),
    })
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(crate::plan::hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}
