//! The runc-compatible command line.

mod args;
mod commands;
mod help;
mod more;
mod signals;

use crate::error::{Error, Result};
use crate::log;
use args::{Flag, Parsed};
use std::ffi::OsString;
use std::path::PathBuf;

/// Global flags, before the command.
const GLOBAL: &[Flag] = &[
    Flag::value("root", None),
    Flag::value("log", None),
    Flag::value("log-format", None),
    Flag::value("log-level", None),
    Flag::value("criu", None),
    Flag::value("rootless", None),
    Flag::value("cgroup-manager", None),
    Flag::switch("debug", None),
    Flag::switch("systemd-cgroup", None),
    Flag::switch("version", Some('v')),
    Flag::switch("help", Some('h')),
];

/// What the global flags say.
pub struct Global {
    /// Directory of the states.
    pub root: PathBuf,
    /// The criu program.
    pub criu: PathBuf,
    /// `--systemd-cgroup`.
    pub systemd_cgroup: bool,
}

/// Runs one command line (without the program name) and returns the exit code.
///
/// The process must be single-threaded: it forks and enters namespaces.
pub fn run(args: impl Iterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.collect();
    match dispatch(&args) {
        Ok(code) => code,
        Err(Failed { error, code }) => {
            log::error(&error.to_string());
            code
        }
    }
}

/// An error with its exit code.
pub struct Failed {
    error: Error,
    code: u8,
}

impl Failed {
    /// A failure that exits with this code.
    pub fn with_code(error: Error, code: u8) -> Self {
        Self { error, code }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, code: 1 }
    }
}

fn dispatch(args: &[OsString]) -> Result<u8, Failed> {
    let global = Parsed::until_word(GLOBAL, args)?;
    let name = global.words.first().and_then(|w| w.to_str()).unwrap_or_default().to_owned();
    if global.on("version") {
        help::print_version();
        return Ok(0);
    }
    if global.on("help") || name.is_empty() || name == "help" || name == "h" {
        help::print(global.words.get(1).and_then(|w| w.to_str()));
        return Ok(0);
    }
    let Some(command) = commands::find(&name) else {
        return Err(Failed::with_code(Error::new(format!("no help topic for '{name}': unknown command")), 3));
    };
    let rest = &global.words[1..];
    let parsed = if command.stops_at_second_word {
        Parsed::until_second_word(command.flags, rest)
    } else {
        Parsed::anywhere(command.flags, rest)
    };
    let parsed = parsed.map_err(|e| e.wrap(&name))?;
    if parsed.on("help") {
        help::print(Some(&name));
        return Ok(0);
    }
    if command.forks {
        crate::protect::seal(commands::preserved(&parsed)?)?;
    }
    logging(&global)?;
    if let Some(manager) = global.text("cgroup-manager")?
        && !matches!(manager, "cgroupfs" | "systemd" | "disabled")
    {
        return Err(Error::new(format!("unknown cgroup manager {manager:?}")).into());
    }
    let global = Global {
        root: root_dir(&global),
        criu: global.path("criu").unwrap_or_else(|| PathBuf::from("criu")),
        systemd_cgroup: global.on("systemd-cgroup") || global.text("cgroup-manager")? == Some("systemd"),
    };
    (command.run)(&global, &parsed)
}

fn logging(global: &Parsed) -> Result<()> {
    let json = match global.text("log-format")? {
        None | Some("text" | "") => false,
        Some("json") => true,
        Some(other) => crate::bail!("unknown log-format {other:?} (text or json)"),
    };
    let debug = global.on("debug") || matches!(global.text("log-level")?, Some("debug" | "trace"));
    let path = global.path("log").filter(|p| !p.as_os_str().is_empty());
    log::init(path.as_deref(), json, debug)
}

/// `--root`, else a place that a reboot empties.
fn root_dir(global: &Parsed) -> PathBuf {
    if let Some(root) = global.path("root") {
        return root;
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !rustix::process::geteuid().is_root() => PathBuf::from(dir).join("plimsoll-oci"),
        _ => PathBuf::from("/run/plimsoll-oci"),
    }
}
