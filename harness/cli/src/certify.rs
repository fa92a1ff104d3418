//! `plimsoll certify` and `plimsoll verify`: bundles that anyone can check and run again.

use crate::args::{CertifyArgs, Global, VerifyArgs};
use crate::output;
use crate::report;
use crate::run;
use crate::suites;
use crate::usage::{self, Failure};
use plimsoll_engine::{Plan, Profile, Selection};
use plimsoll_model::{Event, ExitCode, PlannedCase, Requirement};
use plimsoll_reports::certificate::{self, CertifyError, Files, Harness, Policy, Product};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Files that a bundle may hold; more is no bundle.
const MOST_FILES: usize = 50_000;
/// Bytes that a bundle may hold.
const MOST_BYTES: u64 = 1 << 30;
/// Directories below one another in a bundle.
const DEEPEST: usize = 8;

/// `plimsoll certify`.
pub fn certify(global: &Global, args: &CertifyArgs) -> Result<ExitCode, Failure> {
    if let Some(dir) = &args.new_key {
        return new_key(dir);
    }
    let (Some(vendor), Some(key), Some(target)) = (&args.vendor, &args.key, &args.output) else {
        return Err(Failure::usage("certify needs --vendor, --key and --output"));
    };
    // Everything that can be wrong is looked at before the run, which takes long.
    let product = product(vendor)?;
    let private = fs::read_to_string(key).map_err(|e| usage::file("read", key, &e))?;
    if target.exists() {
        return Err(Failure::usage(format!("{} is there already", target.display()))
            .hint("name a directory that does not exist yet"));
    }
    let run = match &args.run {
        Some(path) => report::read(path)?,
        None => run::certified(global, &args.target, args.challenge.clone())?,
    };
    if let Some(challenge) = &args.challenge
        && run.header.challenge.as_ref() != Some(challenge)
    {
        return Err(Failure::usage("the run does not answer this challenge")
            .hint("make the run with `plimsoll run -P certify --challenge ...`"));
    }
    let files = certificate::build(&run, &product, &harness()?, &private).map_err(|e| refused(&e))?;
    write_bundle(target, &files)?;
    output::line(&format!("{} files in {}", files.len(), target.display()));
    let code = run.footer.as_ref().map_or(ExitCode::Trouble, |f| run::code_of(f.exit_code));
    Ok(code)
}

/// The vendor's words.
pub fn product(path: &Path) -> Result<Product, Failure> {
    let text = fs::read_to_string(path).map_err(|e| usage::file("read", path, &e))?;
    toml::from_str(&text).map_err(|e| {
        Failure::usage(format!("{}: {e}", path.display())).hint(
            "known: vendor, name, version, website_url, repo_url, documentation_url, product_logo_url, type, description",
        )
    })
}

/// Why there is no certificate, as the user reads it.
pub fn refused(error: &CertifyError) -> Failure {
    let hint = match error {
        CertifyError::Key(_) => "`plimsoll certify --new-key DIR` makes a pair",
        CertifyError::Unfit(_) => {
            "a certificate takes one whole run: `plimsoll run -P certify` without filters and retries"
        }
        CertifyError::Write(_) => "",
    };
    Failure::usage(error.to_string()).hint(hint)
}

/// Makes a key pair; never over one that is there.
fn new_key(dir: &Path) -> Result<ExitCode, Failure> {
    let random = Path::new("/dev/urandom");
    let mut seed = [0_u8; 32];
    File::open(random)
        .and_then(|mut f| f.read_exact(&mut seed))
        .map_err(|e| usage::file("read", random, &e))?;
    let (private, public) = certificate::key_pair(&seed).map_err(|e| Failure::trouble(e.to_string()))?;
    fs::create_dir_all(dir).map_err(|e| usage::file("make", dir, &e))?;
    for (name, mode, text) in [("private.pem", 0o600, private), ("public.pem", 0o644, public)] {
        let path = dir.join(name);
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut f| f.write_all(text.as_bytes())).map_err(|e| usage::file("write", &path, &e))?;
        output::line(&path.display().to_string());
    }
    Ok(ExitCode::Success)
}

/// What this executable says of itself. The commit is known when the build was told.
pub fn harness() -> Result<Harness, Failure> {
    let program = run::bundled()?.program;
    let bytes = fs::read(&program).map_err(|e| usage::file("read", &program, &e))?;
    let sha256 = Sha256::digest(&bytes).iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    });
    Ok(Harness {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("PLIMSOLL_COMMIT").unwrap_or_default().to_owned(),
        dirty: option_env!("PLIMSOLL_DIRTY").is_some_and(|d| !d.is_empty() && d != "0"),
        sha256,
        faults: std::env::var_os("PLIMSOLL_FAULT").is_some(),
    })
}

/// Writes the bundle beside its place and renames it, so that it is there whole or not at all.
pub fn write_bundle(target: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| usage::file("make", parent, &e))?;
    let part = tempfile::Builder::new().prefix(".certificate-").tempdir_in(parent);
    let part = part.map_err(|e| usage::file("make a directory in", parent, &e))?;
    for (name, content) in files {
        output::file(&part.path().join(name), content)?;
    }
    fs::set_permissions(part.path(), fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(part.path(), target))
        .map_err(|e| usage::file("write", target, &e))
}

/// `plimsoll verify`.
pub fn verify(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let public = fs::read_to_string(&args.key).map_err(|e| usage::file("read", &args.key, &e))?;
    let files = read_bundle(&args.bundle)?;
    let own = own_plan(&files)?;
    let policy = Policy {
        challenge: args.challenge.as_deref(),
        harnesses: &args.harness,
        plan: Some(&own.0),
        requirements: Some(&own.1),
    };
    let found = certificate::verify(&files, &public, &policy);
    output::data(&if args.json { found.to_json() } else { found.to_text() });
    Ok(if found.conformant { ExitCode::Success } else { ExitCode::GateClosed })
}

/// Cases and requirements of this program's own suites, for the kind of target that the bundle names. What the bundle
/// says is believed only as far as choosing between the kinds; the check compares the rest.
fn own_plan(files: &Files) -> Result<(Vec<PlannedCase>, Vec<Requirement>), Failure> {
    let first = files.get(certificate::JOURNAL).map(|b| String::from_utf8_lossy(b));
    let line: serde_json::Value =
        first.and_then(|t| serde_json::from_str(t.lines().next()?).ok()).unwrap_or_default();
    let event: Option<Event> = serde_json::from_value(line["event"].clone()).ok();
    let mut drives = Vec::new();
    if let Some(Event::Header(header)) = event {
        for (kind, oci) in [(plimsoll_kit::case::Drives::Oci, true), (plimsoll_kit::case::Drives::Cri, false)]
        {
            if header.targets.iter().any(|t| t.spec.is_oci() == oci) {
                drives.push(kind);
            }
        }
    }
    let trouble = |e: plimsoll_engine::PlanError| Failure::trouble(e.to_string());
    let everything = Plan::everything(suites::ALL, &drives).map_err(trouble)?;
    let selection = Selection { profile: Profile::Certify, filters: vec![], partition: None };
    let plan = everything.select(&selection).map_err(trouble)?;
    Ok((plan.cases, plan.catalogue.rows().to_vec()))
}

/// Reads a bundle; links and devices have no place in one.
pub fn read_bundle(root: &Path) -> Result<Files, Failure> {
    let mut files = Files::new();
    let mut left = MOST_BYTES;
    let mut todo: Vec<(PathBuf, String, usize)> = vec![(root.to_owned(), String::new(), 0)];
    while let Some((dir, prefix, depth)) = todo.pop() {
        for entry in fs::read_dir(&dir).map_err(|e| usage::file("read", &dir, &e))? {
            let entry = entry.map_err(|e| usage::file("read", &dir, &e))?;
            let path = entry.path();
            let strange = |why: &str| Failure::usage(format!("{} {why}", path.display()));
            let name = entry.file_name().into_string().map_err(|_| strange("has no name in UTF-8"))?;
            let name = format!("{prefix}{name}");
            let meta = fs::symlink_metadata(&path).map_err(|e| usage::file("read", &path, &e))?;
            if meta.is_dir() && depth < DEEPEST {
                todo.push((path, format!("{name}/"), depth + 1));
                continue;
            }
            if !meta.is_file() {
                return Err(strange("is no plain file and has no place in a bundle"));
            }
            if meta.len() > left || files.len() >= MOST_FILES {
                return Err(Failure::usage(format!("{} is too large for a bundle", root.display())));
            }
            left -= meta.len();
            files.insert(name, fs::read(&path).map_err(|e| usage::file("read", &path, &e))?);
        }
    }
    Ok(files)
}
