//! From a target string to something that can be driven.

use crate::reference::Wanted;
use plimsoll_kit::job::{CgroupLayout, CriTarget, OciTarget, Target};
use plimsoll_model::{SpecVersion, TargetInfo, TargetKind, TargetSpec};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How the bundled reference implementations are called: this executable and the verb before all other arguments.
#[derive(Debug, Clone)]
pub struct Bundled {
    /// This executable.
    pub program: PathBuf,
    /// The verb of the reference OCI runtime, for example `oci`.
    pub oci_verb: String,
    /// The verb of the reference CRI server, for example `cri`.
    pub cri_verb: String,
}

/// A target with all that is known of it so far.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What workers get.
    pub target: Target,
    /// The server to start before anything else; the endpoint of `target` is empty until then.
    pub server: Option<Wanted>,
    /// How that server is killed and comes back; known once it runs.
    pub restarted: Option<crate::reference::Restarted>,
    /// What reports get; version and features are filled in by the preflight.
    pub info: TargetInfo,
}

impl Resolved {
    /// Whether the executable is another one now than when the target was resolved.
    pub fn was_replaced(&self) -> bool {
        let Target::Oci(oci) = &self.target else { return false };
        self.info.sha256.is_some() && sha256_of(&oci.program).ok() != self.info.sha256
    }
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
    let mut server = None;
    let (target, program) = match (spec.is_oci(), spec.kind) {
        (true, kind) => {
            let (program, verb) = match kind {
                TargetKind::Ref => (bundled.program.clone(), Some(bundled.oci_verb.clone())),
                _ => (find_program(spec, &spec.locator)?, None),
            };
            (Target::Oci(oci_target(spec, &program, verb)), Some(program))
        }
        (false, TargetKind::Ref) => {
            server = Some(wanted(spec)?);
            (Target::Cri(cri_target(spec, "")), Some(bundled.program.clone()))
        }
        (false, _) => {
            check_endpoint(spec, &spec.locator)?;
            if let Some(image) = spec.get("image") {
                check_endpoint(spec, image)?;
            }
            (Target::Cri(cri_target(spec, &spec.locator)), None)
        }
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
    Ok(Resolved { target, server, restarted: None, info })
}

fn oci_target(spec: &TargetSpec, program: &Path, verb: Option<String>) -> OciTarget {
    let args = verb.into_iter().chain(spec.all("arg").map(str::to_owned)).collect();
    let env = spec.all("env").filter_map(|e| e.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
    let cgroups = match spec.get("cgroups") {
        Some("legacy") => CgroupLayout::Legacy,
        Some("v2") => CgroupLayout::V2,
        _ => CgroupLayout::Host,
    };
    OciTarget { program: program.to_owned(), args, env: env.collect(), cgroups }
}

fn cri_target(spec: &TargetSpec, endpoint: &str) -> CriTarget {
    CriTarget {
        endpoint: endpoint.to_owned(),
        image_endpoint: spec.get("image").unwrap_or(endpoint).to_owned(),
        handler: spec.get("handler").unwrap_or_default().to_owned(),
    }
}

/// What the parameters of `ref:cri` ask for.
fn wanted(spec: &TargetSpec) -> Result<Wanted, ResolveError> {
    let runtime = spec.get("runtime").map(|name| find_program(spec, name)).transpose()?;
    let named = runtime.as_deref().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    Ok(Wanted {
        handler: spec.get("handler").map(str::to_owned).or(named).unwrap_or_default(),
        runtime,
        args: spec.all("arg").map(str::to_owned).collect(),
        legacy: spec.get("cgroups") == Some("legacy"),
        cni: spec.get("network") == Some("cni"),
    })
}

/// Looks at the socket; connecting is the preflight's.
fn check_endpoint(spec: &TargetSpec, address: &str) -> Result<(), ResolveError> {
    let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
    let fail = |why: String| ResolveError::NoSocket { target: spec.to_string(), path: path.clone(), why };
    match fs::metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(fail("does not exist".into())),
        Err(e) => Err(fail(format!("cannot be looked at: {e}"))),
        Ok(meta) if !meta.file_type().is_socket() => Err(fail("is not a socket".into())),
        Ok(_) if path.as_os_str().len() > 107 => {
            Err(fail("is longer than the 107 bytes that a socket's address has room for".into()))
        }
        Ok(_) => Ok(()),
    }
}

fn find_program(spec: &TargetSpec, name: &str) -> Result<PathBuf, ResolveError> {
    if !name.contains('/') {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
        return std::env::split_paths(&path)
            .chain(usual.iter().map(PathBuf::from))
            .map(|dir| dir.join(name))
            .find(|p| executable(p).is_ok())
            .ok_or_else(|| ResolveError::NotOnPath { target: spec.to_string(), name: name.to_owned() });
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
