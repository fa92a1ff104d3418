//! The commands: their flags and what they do.

use super::args::{Flag, Parsed};
use super::help::out;
use super::{Failed, Global, more, signals};
use crate::container::create::{Request, create};
use crate::container::run::{Foreground, run};
use crate::container::{Inherited, ops};
use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Exit code of a command.
pub type Outcome = Result<u8, Failed>;

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

const EXEC: &[Flag] = &[
    Flag::value("process", Some('p')),
    Flag::value("console-socket", None),
    Flag::value("pidfd-socket", None),
    Flag::value("pid-file", None),
    Flag::value("cwd", None),
    Flag::value("env", Some('e')),
    Flag::switch("tty", Some('t')),
    Flag::value("user", Some('u')),
    Flag::value("additional-gids", Some('g')),
    Flag::switch("detach", Some('d')),
    Flag::value("process-label", None),
    Flag::value("apparmor", None),
    Flag::switch("no-new-privs", None),
    Flag::value("cap", Some('c')),
    Flag::value("preserve-fds", None),
    Flag::value("cgroup", None),
    Flag::switch("ignore-paused", None),
    Flag::switch("no-subreaper", None),
    HELP,
];

const UPDATE: &[Flag] = &[
    Flag::value("resources", Some('r')),
    Flag::value("blkio-weight", None),
    Flag::value("cpu-period", None),
    Flag::value("cpu-quota", None),
    Flag::value("cpu-burst", None),
    Flag::value("cpu-share", None),
    Flag::value("cpu-rt-period", None),
    Flag::value("cpu-rt-runtime", None),
    Flag::value("cpu-idle", None),
    Flag::value("cpuset-cpus", None),
    Flag::value("cpuset-mems", None),
    Flag::value("memory", None),
    Flag::value("memory-reservation", None),
    Flag::value("memory-swap", None),
    Flag::value("kernel-memory", None),
    Flag::value("kernel-memory-tcp", None),
    Flag::value("pids-limit", None),
    Flag::value("l3-cache-schema", None),
    Flag::value("mem-bw-schema", None),
    HELP,
];

const CHECKPOINT: &[Flag] = &[
    Flag::value("image-path", None),
    Flag::value("work-path", None),
    Flag::value("parent-path", None),
    Flag::value("manage-cgroups-mode", None),
    Flag::switch("leave-running", None),
    Flag::switch("tcp-established", None),
    Flag::switch("ext-unix-sk", None),
    Flag::switch("shell-job", None),
    Flag::switch("file-locks", None),
    Flag::switch("link-remap", None),
    Flag::switch("auto-dedup", None),
    Flag::switch("pre-dump", None),
    HELP,
];

const RESTORE: &[Flag] = &[
    Flag::value("bundle", Some('b')),
    Flag::value("image-path", None),
    Flag::value("work-path", None),
    Flag::value("pid-file", None),
    Flag::value("manage-cgroups-mode", None),
    Flag::switch("tcp-established", None),
    Flag::switch("ext-unix-sk", None),
    Flag::switch("shell-job", None),
    Flag::switch("file-locks", None),
    Flag::switch("link-remap", None),
    Flag::switch("auto-dedup", None),
    Flag::switch("detach", Some('d')),
    Flag::switch("no-subreaper", None),
    Flag::switch("no-pivot", None),
    HELP,
];

const fn command(
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    flags: &'static [Flag],
    run: fn(&Global, &Parsed) -> Outcome,
) -> Command {
    Command { name, about, usage, flags, stops_at_second_word: false, forks: false, run }
}

const COMMANDS: &[Command] = &[
    Command { forks: true, ..command("create", "create a container", ID, CREATE, do_create) },
    command("start", "start the program of a created container", ID, &[HELP], do_start),
    Command { forks: true, ..command("run", "create and start a container", ID, RUN, do_run) },
    Command {
        forks: true,
        stops_at_second_word: true,
        ..command(
            "exec",
            "run one more process in a container",
            "<container-id> [command [args]]",
            EXEC,
            more::exec,
        )
    },
    command("state", "print the state of a container", ID, &[HELP], do_state),
    command(
        "kill",
        "send a signal to a container",
        "<container-id> [signal]",
        &[Flag::switch("all", Some('a')), HELP],
        do_kill,
    ),
    command("delete", "delete a stopped container", ID, &[Flag::switch("force", Some('f')), HELP], do_delete),
    command("pause", "freeze all processes of a container", ID, &[HELP], do_pause),
    command("resume", "thaw a paused container", ID, &[HELP], do_resume),
    command(
        "list",
        "list containers",
        "",
        &[Flag::value("format", Some('f')), Flag::switch("quiet", Some('q')), HELP],
        do_list,
    ),
    Command {
        stops_at_second_word: true,
        ..command(
            "ps",
            "list the processes of a container",
            "<container-id> [ps options]",
            &[Flag::value("format", Some('f')), HELP],
            do_ps,
        )
    },
    command("update", "change the resources of a container", ID, UPDATE, more::update),
    command(
        "events",
        "print statistics and out-of-memory events",
        ID,
        &[Flag::switch("stats", None), Flag::value("interval", None), HELP],
        more::events,
    ),
    Command {
        forks: true,
        ..command(
            "checkpoint",
            "write a running container to images (criu)",
            ID,
            CHECKPOINT,
            more::checkpoint,
        )
    },
    Command {
        forks: true,
        ..command("restore", "make a container from images (criu)", ID, RESTORE, more::restore)
    },
    command("features", "print what this runtime supports", "", &[HELP], more::features),
    command(
        "spec",
        "write a configuration to begin with",
        "",
        &[Flag::value("bundle", Some('b')), Flag::switch("rootless", None), HELP],
        more::spec,
    ),
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

fn request(global: &Global, args: &Parsed) -> Result<Request> {
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
        systemd: global.systemd_cgroup,
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
        None => {
            ops::stop_signal(&global.root, id)?.map_or(Ok(libc::SIGTERM), |name| signals::parse(&name))?
        }
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
