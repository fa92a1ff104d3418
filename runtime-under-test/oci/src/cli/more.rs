//! `exec`, `update`, `events`, `features` and `spec`.

use super::args::Parsed;
use super::commands::Outcome;
use super::help::out;
use super::{Failed, Global};
use crate::bail;
use crate::container::Inherited;
use crate::container::criu;
use crate::container::exec::{self, Changes, Request};
use crate::container::update::{self, Setting, bytes};
use crate::error::{Context, Error, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// `exec`. A failure before the program runs exits with 255, so that it is not taken for the program's.
pub fn exec(global: &Global, args: &Parsed) -> Outcome {
    let request = exec_request(global, args).map_err(|e| Failed::with_code(e, 255))?;
    match exec::exec(&request) {
        Ok(code) => Ok(code as u8),
        Err(e) => Err(Failed::with_code(e.wrap("exec failed"), 255)),
    }
}

fn exec_request(global: &Global, args: &Parsed) -> Result<Request> {
    let words = args.words.iter().skip(1);
    let words =
        words.map(|w| w.to_str().map(str::to_owned).ok_or_else(|| Error::new("an argument is not UTF-8")));
    let text = |name: &str| Ok::<_, Error>(args.text(name)?.map(str::to_owned));
    let gid =
        |g: &String| g.parse().map_err(|_| Error::new(format!("--additional-gids {g:?} is not a group id")));
    Ok(Request {
        id: args.id(true)?.to_owned(),
        root: global.root.clone(),
        process: args.path("process").filter(|p| !p.as_os_str().is_empty()),
        args: words.collect::<Result<_>>()?,
        changes: Changes {
            user: text("user")?,
            additional_gids: args.all("additional-gids")?.iter().map(gid).collect::<Result<_>>()?,
            env: args.all("env")?,
            cwd: text("cwd")?,
            caps: args.all("cap")?,
            tty: args.on("tty"),
            no_new_privs: args.on("no-new-privs"),
            apparmor: text("apparmor")?,
            label: text("process-label")?,
        },
        detach: args.on("detach"),
        pid_file: args.path("pid-file").filter(|p| !p.as_os_str().is_empty()),
        console_socket: args.path("console-socket").filter(|p| !p.as_os_str().is_empty()),
        pidfd_socket: args.path("pidfd-socket").filter(|p| !p.as_os_str().is_empty()),
        cgroup: args.all("cgroup")?,
        ignore_paused: args.on("ignore-paused"),
        inherited: Inherited::new(args.parsed("preserve-fds")?.unwrap_or(0))?,
    })
}

/// Flags whose value is a plain number.
const NUMBERS: [(&str, &[&str]); 10] = [
    ("blkio-weight", &["blockIO", "weight"]),
    ("cpu-period", &["cpu", "period"]),
    ("cpu-quota", &["cpu", "quota"]),
    ("cpu-burst", &["cpu", "burst"]),
    ("cpu-share", &["cpu", "shares"]),
    ("cpu-rt-period", &["cpu", "realtimePeriod"]),
    ("cpu-rt-runtime", &["cpu", "realtimeRuntime"]),
    ("cpu-idle", &["cpu", "idle"]),
    ("pids-limit", &["pids", "limit"]),
    ("kernel-memory", &["memory", "kernel"]),
];

/// `update`.
pub fn update(global: &Global, args: &Parsed) -> Outcome {
    let mut settings: Vec<Setting> = Vec::new();
    for (flag, path) in NUMBERS {
        if let Some(value) = args.parsed::<i64>(flag)? {
            settings.push((path, json!(value)));
        }
    }
    let sizes: [(&str, &[&str]); 4] = [
        ("memory", &["memory", "limit"]),
        ("memory-reservation", &["memory", "reservation"]),
        ("memory-swap", &["memory", "swap"]),
        ("kernel-memory-tcp", &["memory", "kernelTCP"]),
    ];
    for (flag, path) in sizes {
        if let Some(text) = args.text(flag)? {
            let size = bytes(text).with_context(|| format!("--{flag}"))?;
            settings.push((path, json!(size)));
        }
    }
    let lists: [(&str, &[&str]); 2] = [("cpuset-cpus", &["cpu", "cpus"]), ("cpuset-mems", &["cpu", "mems"])];
    for (flag, path) in lists {
        if let Some(text) = args.text(flag)? {
            settings.push((path, json!(text)));
        }
    }
    for flag in ["l3-cache-schema", "mem-bw-schema"] {
        if args.text(flag)?.is_some_and(|t| !t.is_empty()) {
            return Err(Error::new(format!(
                "--{flag}: changing Intel RDT of a running container is not supported"
            ))
            .into());
        }
    }
    let document = args.path("resources");
    update::update(&global.root, args.id(false)?, document.as_deref(), settings)?;
    Ok(0)
}

/// `events`.
pub fn events(global: &Global, args: &Parsed) -> Outcome {
    let id = args.id(false)?;
    let line = |value: &Value| out(&format!("{value}\n"));
    if args.on("stats") {
        line(&update::stats(&global.root, id)?);
        return Ok(0);
    }
    let interval = match args.text("interval")? {
        Some(text) => duration(text)?,
        None => Duration::from_secs(5),
    };
    update::events(&global.root, id, interval, line)?;
    Ok(0)
}

/// A duration such as `5s`, `500ms`, `1m`; a plain number is seconds.
fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => bail!("--interval {text:?} is not a duration such as 5s"),
    };
    let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)).filter(|n| *n > 0);
    total
        .map(Duration::from_millis)
        .ok_or_else(|| Error::new(format!("--interval {text:?} is not a duration above zero")))
}

/// `features`.
pub fn features(_: &Global, _: &Parsed) -> Outcome {
    let document = crate::features::document();
    out(&format!("{}\n", serde_json::to_string_pretty(&document).map_err(Error::from)?));
    Ok(0)
}

/// `spec`: writes `config.json`, never over an existing one.
pub fn spec(_: &Global, args: &Parsed) -> Outcome {
    let path = args.path("bundle").unwrap_or_else(|| PathBuf::from(".")).join("config.json");
    if path.exists() {
        return Err(Error::new(format!("file {} exists. Remove it first", path.display())).into());
    }
    let document = crate::template::document(args.on("rootless"));
    let text = serde_json::to_string_pretty(&document).map_err(Error::from)?;
    crate::state::write_atomic(&path, text.as_bytes(), 0o644)?;
    Ok(0)
}

/// Switches that criu knows under the same name.
const CRIU_SWITCHES: [(&str, &str); 6] = [
    ("tcp-established", "--tcp-established"),
    ("ext-unix-sk", "--ext-unix-sk"),
    ("shell-job", "--shell-job"),
    ("file-locks", "--file-locks"),
    ("link-remap", "--link-remap"),
    ("auto-dedup", "--auto-dedup"),
];

fn criu_request(global: &Global, args: &Parsed) -> Result<criu::Request> {
    let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| format!("{}", path.display()));
    Ok(criu::Request {
        criu: global.criu.clone(),
        id: args.id(false)?.to_owned(),
        root: global.root.clone(),
        images: absolute(args.path("image-path").unwrap_or_else(|| PathBuf::from("checkpoint")))?,
        work: args.path("work-path").map(absolute).transpose()?,
        switches: CRIU_SWITCHES.iter().filter(|(flag, _)| args.on(flag)).map(|(_, switch)| *switch).collect(),
        manage_cgroups: args.text("manage-cgroups-mode")?.unwrap_or("soft").to_owned(),
        leave_running: args.on("leave-running"),
        pre_dump: args.on("pre-dump"),
        parent: args.path("parent-path"),
        bundle: args.path("bundle").unwrap_or_else(|| PathBuf::from(".")),
        detach: args.on("detach"),
        pid_file: args.path("pid-file").filter(|p| !p.as_os_str().is_empty()),
    })
}

/// `checkpoint`.
pub fn checkpoint(global: &Global, args: &Parsed) -> Outcome {
    criu::checkpoint(&criu_request(global, args)?)?;
    Ok(0)
}

/// `restore`.
pub fn restore(global: &Global, args: &Parsed) -> Outcome {
    if global.systemd_cgroup {
        return Err(Error::new("restore makes its cgroups itself: leave --systemd-cgroup out").into());
    }
    Ok(criu::restore(&criu_request(global, args)?)? as u8)
}
