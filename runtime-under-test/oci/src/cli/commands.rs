//! The commands: their flags and what they do.

use super::args::{Flag, Parsed};
use super::help::out;
use super::{Failed, Global, signals};
use crate::bail;
use crate::container::create::{Request, create};
use crate::container::run::{Foreground, run};
use crate::container::{Inherited, ops};
use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::path::PathBuf;

type Outcome = Result<u8, Failed>;

/// One command.
pub struct Command {
    /// Name.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Words after the flags.
    pub usage: &'static str,
    /// Flags.
    pub flags: &'static [Flag],
    /// True when a foreign command line follows the container id.
    pub stops_at_second_word: bool,
    /// True when it forks into a container.
    pub forks: bool,
    /// What it does.
    pub run: fn(&Global, &Parsed) -> Outcome,
}

const HELP: Flag = Flag::switch("help", Some('h'));

const CREATE: &[Flag] = &[
    Flag::value("bundle", Some('b')),
    Flag::value("console-socket", None),
    Flag::value("pidfd-socket", None),
    Flag::value("pid-file", None),
    Flag::switch("no-pivot", None),
    Flag::switch("no-new-keyring", None),
    Flag::value("preserve-fds", None),
    HELP,
];

const RUN: &[Flag] = &[
    Flag::value("bundle", Some('b')),
    Flag::value("console-socket", None),
    Flag::value("pidfd-socket", None),
    Flag::value("pid-file", None),
    Flag::switch("no-pivot", None),
    Flag::switch("no-new-keyring", None),
    Flag::value("preserve-fds", None),
    Flag::switch("detach", Some('d')),
    Flag::switch("keep", None),
    Flag::switch("no-subreaper", None),
    HELP,
];

const ID: &str = "<container-id>";

const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        about: "create a container",
        usage: ID,
        flags: CREATE,
        stops_at_second_word: false,
        forks: true,
        run: do_create,
    },
    Command {
        name: "start",
        about: "start the program of a created container",
        usage: ID,
        flags: &[HELP],
        stops_at_second_word: false,
        forks: false,
        run: do_start,
    },
    Command {
        name: "run",
        about: "create and start a container",
        usage: ID,
        flags: RUN,
        stops_at_second_word: false,
        forks: true,
        run: do_run,
    },
    Command {
        name: "state",
        about: "print the state of a container",
        usage: ID,
        flags: &[HELP],
        stops_at_second_word: false,
        forks: false,
        run: do_state,
    },
    Command {
        name: "kill",
        about: "send a signal to a container",
        usage: "<container-id> [signal]",
        flags: &[Flag::switch("all", Some('a')), HELP],
        stops_at_second_word: false,
        forks: false,
        run: do_kill,
    },
    Command {
        name: "delete",
        about: "delete a stopped container",
        usage: ID,
        flags: &[Flag::switch("force", Some('f')), HELP],
        stops_at_second_word: false,
        forks: false,
        run: do_delete,
    },
    Command {
        name: "pause",
        about: "freeze all processes of a container",
        usage: ID,
        flags: &[HELP],
        stops_at_second_word: false,
        forks: false,
        run: do_pause,
    },
    Command {
        name: "resume",
        about: "thaw a paused container",
        usage: ID,
        flags: &[HELP],
        stops_at_second_word: false,
        forks: false,
        run: do_resume,
    },
    Command {
        name: "list",
        about: "list containers",
        usage: "",
        flags: &[Flag::value("format", Some('f')), Flag::switch("quiet", Some('q')), HELP],
        stops_at_second_word: false,
        forks: false,
        run: do_list,
    },
    Command {
        name: "ps",
        about: "list the processes of a container",
        usage: "<container-id> [ps options]",
        flags: &[Flag::value("format", Some('f')), HELP],
        stops_at_second_word: true,
        forks: false,
        run: do_ps,
    },
];

/// The command of this name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name == name)
}

/// All commands.
pub fn all() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter()
}

/// How many descriptors the caller hands through.
pub fn preserved(args: &Parsed) -> Result<u32> {
    Ok(Inherited::new(args.parsed("preserve-fds")?.unwrap_or(0))?.total)
}

fn refuse_systemd(global: &Global) -> Result<()> {
    if global.systemd_cgroup {
        let bus = ["/run/systemd/private", "/run/dbus/system_bus_socket"];
        if !bus.iter().any(|b| std::path::Path::new(b).exists()) {
            bail!(
                "--systemd-cgroup: no systemd answers on this host (no bus at {}); use cgroupfs",
                bus.join(" or ")
            );
        }
        bail!("--systemd-cgroup is not supported by this runtime; use cgroupfs");
    }
    Ok(())
}

fn request(global: &Global, args: &Parsed) -> Result<Request> {
    refuse_systemd(global)?;
    Ok(Request {
        id: args.id(false)?.to_owned(),
        root: global.root.clone(),
        bundle: args.path("bundle").unwrap_or_else(|| PathBuf::from(".")),
        console_socket: args.path("console-socket").filter(|p| !p.as_os_str().is_empty()),
        pid_file: args.path("pid-file").filter(|p| !p.as_os_str().is_empty()),
        pidfd_socket: args.path("pidfd-socket").filter(|p| !p.as_os_str().is_empty()),
        no_pivot: args.on("no-pivot"),
        no_new_keyring: args.on("no-new-keyring"),
        inherited: Inherited::new(args.parsed("preserve-fds")?.unwrap_or(0))?,
        run: false,
        foreground: false,
    })
}

fn do_create(global: &Global, args: &Parsed) -> Outcome {
    create(&request(global, args)?)?;
    Ok(0)
}

fn do_run(global: &Global, args: &Parsed) -> Outcome {
    let how = Foreground {
        detach: args.on("detach"),
        keep: args.on("keep"),
        no_subreaper: args.on("no-subreaper"),
    };
    let request = Request { run: true, foreground: !how.detach, ..request(global, args)? };
    Ok(run(&request, how)? as u8)
}

fn do_start(global: &Global, args: &Parsed) -> Outcome {
    ops::start(&global.root, args.id(false)?)?;
    Ok(0)
}

fn do_state(global: &Global, args: &Parsed) -> Outcome {
    let state = ops::state(&global.root, args.id(false)?)?;
    out(&format!("{}\n", serde_json::to_string_pretty(&state).map_err(Error::from)?));
    Ok(0)
}

fn do_kill(global: &Global, args: &Parsed) -> Outcome {
    let id = args.id(true)?;
    if args.words.len() > 2 {
        return Err(Error::new("kill takes a container id and at most one signal").into());
    }
    let signal = match args.words.get(1) {
        Some(word) => signals::parse(&word.to_string_lossy())?,
        None => libc::SIGTERM,
    };
    ops::kill(&global.root, id, signal, args.on("all"))?;
    Ok(0)
}

fn do_delete(global: &Global, args: &Parsed) -> Outcome {
    ops::delete(&global.root, args.id(false)?, args.on("force"))?;
    Ok(0)
}

fn do_pause(global: &Global, args: &Parsed) -> Outcome {
    ops::pause(&global.root, args.id(false)?)?;
    Ok(0)
}

fn do_resume(global: &Global, args: &Parsed) -> Outcome {
    ops::resume(&global.root, args.id(false)?)?;
    Ok(0)
}

fn do_list(global: &Global, args: &Parsed) -> Outcome {
    let rows = ops::list(&global.root)?;
    if args.on("quiet") {
        out(&join_lines(rows.iter().map(|r| r.record.id.clone())));
        return Ok(0);
    }
    match args.text("format")?.unwrap_or("table") {
        "json" => {
            let list: Vec<_> = rows.iter().map(|r| r.record.printed(r.status)).collect();
            out(&format!("{}\n", serde_json::Value::from(list)));
        }
        "table" | "" => {
            let mut text = format!(
                "{:<24} {:<8} {:<10} {:<32} {:<32} OWNER\n",
                "ID", "PID", "STATUS", "BUNDLE", "CREATED"
            );
            for Row { record, status } in &rows {
                let pid = if *status == crate::state::Status::Stopped { 0 } else { record.pid };
                let (id, bundle) = (&record.id, record.bundle.display());
                let _ = writeln!(
                    text,
                    "{id:<24} {pid:<8} {:<10} {bundle:<32} {:<32} #{}",
                    status.name(),
                    record.created,
                    record.owner
                );
            }
            out(&text);
        }
        other => return Err(Error::new(format!("invalid format option {other:?} (table or json)")).into()),
    }
    Ok(0)
}

use ops::Row;

fn do_ps(global: &Global, args: &Parsed) -> Outcome {
    let pids = ops::pids(&global.root, args.id(true)?)?;
    match args.text("format")?.unwrap_or("table") {
        "json" => {
            out(&format!("{}\n", serde_json::json!(pids)));
            return Ok(0);
        }
        "table" | "" => {}
        other => return Err(Error::new(format!("invalid format option {other:?} (table or json)")).into()),
    }
    let options: Vec<_> = match &args.words[1..] {
        [] => vec!["-ef".into()],
        some => some.to_vec(),
    };
    let output = std::process::Command::new("ps")
        .args(&options)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| Error::new(format!("ps: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let Some(column) = header.split_whitespace().position(|h| h == "PID") else {
        return Err(Error::new("couldn't find PID field in ps output").into());
    };
    let ours = |line: &&str| {
        line.split_whitespace()
            .nth(column)
            .and_then(|p| p.parse().ok())
            .is_some_and(|p: i32| pids.contains(&p))
    };
    out(&format!("{header}\n"));
    out(&join_lines(lines.filter(ours).map(str::to_owned)));
    Ok(0)
}

fn join_lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |text, line| text + &line + "\n")
}
