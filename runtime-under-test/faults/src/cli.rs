//! The command line of the wrapper: its own flags first, everything else is the runtime's.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use serde_json::json;

use crate::catalogue::{Fault, NONE, catalogue, find, uncoverable};
use crate::error::{TROUBLE, Trouble};
use crate::step::Action;
use crate::target::{Reinvoke, Target};
use crate::{bench, engine, helpers};

/// Runs `plimsoll-faults` with the words after the program's name; gives the exit status.
pub fn run(args: Vec<OsString>) -> u8 {
    run_as(&[], args)
}

/// As [`run`], for an executable in which the wrapper is a subcommand: `prefix` is what has to stand
/// between the program's name and the wrapper's arguments when it starts itself again.
pub fn run_as(prefix: &[&str], args: Vec<OsString>) -> u8 {
    if let Some(result) = helpers::run(&args) {
        return report(result);
    }
    if args.first().is_some_and(|a| a == "cri-proxy") {
        return report(crate::cri::command::run(&args[1..]));
    }
    report(main(prefix, args))
}

fn report(result: Result<u8, Trouble>) -> u8 {
    match result {
        Ok(code) => code,
        Err(trouble) => {
            let _ = writeln!(std::io::stderr(), "plimsoll-faults: {trouble}");
            TROUBLE
        }
    }
}

struct Options {
    fault: String,
    target: Target,
    rest: Vec<OsString>,
}

enum Request {
    Run(Options),
    List { as_json: bool },
    Explain(String),
}

fn parse(args: Vec<OsString>) -> Result<Request, Trouble> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let mut fault = variable("PLIMSOLL_FAULT").map(|v| v.to_string_lossy().into_owned());
    let mut program = variable("PLIMSOLL_FAULT_TARGET").map(PathBuf::from);
    let mut target_args = Vec::new();
    let mut words = args.into_iter().peekable();
    let missing = |flag: &str| Trouble::Usage(format!("{flag} needs a value"));
    while let Some(word) = words.peek().map(|w| w.to_string_lossy().into_owned()) {
        let (flag, inline) =
            word.split_once('=').map_or((word.as_str(), None), |(f, v)| (f, Some(OsString::from(v))));
        if !matches!(flag, "--fault" | "--target" | "--target-arg" | "--list" | "--explain" | "--") {
            break;
        }
        words.next();
        let value = |words: &mut dyn Iterator<Item = OsString>| {
            inline.clone().or_else(|| words.next()).ok_or_else(|| missing(flag))
        };
        match flag {
            "--fault" => fault = Some(value(&mut words)?.to_string_lossy().into_owned()),
            "--target" => program = Some(PathBuf::from(value(&mut words)?)),
            "--target-arg" => target_args.push(value(&mut words)?),
            "--list" => return Ok(Request::List { as_json: words.next().is_some_and(|w| w == "--json") }),
            "--explain" => return Ok(Request::Explain(value(&mut words)?.to_string_lossy().into_owned())),
            _ => break,
        }
    }
    let program = program.ok_or_else(|| Trouble::Usage("no runtime to wrap is named".to_owned()))?;
    let target = Target { program, args: target_args };
    Ok(Request::Run(Options {
        fault: fault.unwrap_or_else(|| NONE.to_owned()),
        target,
        rest: words.collect(),
    }))
}

fn main(prefix: &[&str], args: Vec<OsString>) -> Result<u8, Trouble> {
    match parse(args)? {
        Request::List { as_json } => {
            print(&if as_json { list_json() } else { list_text() });
            Ok(0)
        }
        Request::Explain(id) => {
            print(&explain(&look_up(&id)?));
            Ok(0)
        }
        Request::Run(options) if options.fault == NONE => Err(options.target.exec(&options.rest)),
        Request::Run(options) => {
            let fault = look_up(&options.fault)?;
            refuse_foreign(&fault)?;
            if let Some(trouble) = inject_inside(&fault, &options) {
                return Err(trouble);
            }
            engine::perform(&fault, &options.target, &Reinvoke::with_prefix(prefix)?, options.rest)
        }
    }
}

fn look_up(id: &str) -> Result<Fault, Trouble> {
    find(id).map_err(|_| Trouble::UnknownFault(id.to_owned()))
}

/// A fault that this program cannot inject must not look like one that nobody noticed.
fn refuse_foreign(fault: &Fault) -> Result<(), Trouble> {
    match fault.steps.first().map(|s| &s.action) {
        Some(Action::Proxy(_)) => {
            Err(Trouble::NotHere { id: fault.id.clone(), why: "it belongs to the CRI proxy".to_owned() })
        }
        _ => Ok(()),
    }
}

/// Hands a fault on to a target that has it inside: the reference runtime built with feature `faults`,
/// which says so in its `--version` output.
fn inject_inside(fault: &Fault, options: &Options) -> Option<Trouble> {
    let Some(Action::Inside(point)) = fault.steps.first().map(|s| &s.action) else { return None };
    let version = match options.target.call(&["--version".into()]) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(trouble) => return Some(trouble),
    };
    if !version.lines().any(|line| line.starts_with("faults:")) {
        let why = format!(
            "it is the point inside:{point} of the reference runtime, and this target does not print `faults:` \
             with --version; wrap a plimsoll-oci that was built with feature `faults`"
        );
        return Some(Trouble::NotHere { id: fault.id.clone(), why });
    }
    let mut command = options.target.command(&options.rest);
    let source = command.env("PLIMSOLL_INSIDE_FAULT", point).exec();
    Some(options.target.cannot_start(source))
}

fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn list_text() -> String {
    let mut text = String::new();
    let table = catalogue().iter().map(|f| (f.id.as_str(), f.title.as_str()));
    let injections = bench::FORMS.iter().copied();
    for (id, title) in
        std::iter::once((NONE, "nothing is broken: the control")).chain(table).chain(injections)
    {
        let _ = writeln!(text, "{id:<56} {title}");
    }
    text
}

fn list_json() -> String {
    let faults: Vec<_> = catalogue()
        .iter()
        .map(|f| {
            json!({"id": f.id, "alias": f.alias, "layer": f.layer, "requirements": f.requirements,
                "needs": f.needs, "title": f.title, "how": f.how})
        })
        .collect();
    let waived: Vec<_> = uncoverable()
        .iter()
        .map(|(requirement, reason)| json!({"requirement": requirement, "reason": reason}))
        .collect();
    let injections: Vec<_> =
        bench::FORMS.iter().map(|(form, title)| json!({"form": form, "title": title})).collect();
    format!("{:#}\n", json!({"faults": faults, "uncoverable": waived, "injections": injections}))
}

fn explain(fault: &Fault) -> String {
    let mut text = format!("{}\n  {}\n  layer: {}\n", fault.id, fault.title, fault.layer);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name}: {value}");
        }
    };
    line("also known as", &fault.alias);
    line("breaks", &fault.requirements.join(", "));
    line("needs", &fault.needs);
    line("how", &fault.how);
    text
}
