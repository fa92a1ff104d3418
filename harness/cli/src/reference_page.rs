//! Keeps harness/docs/CLI.md true: the page is made from the command line's own definition.

use crate::args::Cli;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;
use std::path::Path;

/// Set to write the page instead of comparing it.
const WRITE: &str = "PLIMSOLL_WRITE_DOCS";

const HEAD: &str = "# The command line

Made from the program's own definition; a test compares. After a change:
`PLIMSOLL_WRITE_DOCS=1 cargo test -p plimsoll the_page_of_the_command_line_is_true`.

Targets are explained in the [README](../../README.md), outcomes and the file of known failures in
[OUTCOMES](OUTCOMES.md), files in [FORMATS](FORMATS.md).
";

fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut text = HEAD.to_owned();
    section(&command, "plimsoll", &mut text);
    let codes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "\n## Exit codes\n\n{}.", codes.trim_start_matches("Exit codes: "));
    text
}

fn section(command: &Command, name: &str, text: &mut String) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let stop = if about.ends_with('.') { "" } else { "." };
    let _ = write!(text, "\n## `{name}`\n\n{about}{stop}\n");
    let positional = command.get_positionals().map(|a| row(&format!("`{}`", value(a)), a));
    let global = name == "plimsoll";
    let options = command.get_opts().filter(|a| global || !a.is_global_set());
    let flags = command.get_arguments().filter(|a| !a.is_positional() && !a.get_action().takes_values());
    let flags = flags.filter(|a| !matches!(a.get_id().as_str(), "help" | "version"));
    let rows: Vec<String> = positional
        .chain(options.chain(flags).filter(|a| !a.is_hide_set()).map(|a| row(&written(a), a)))
        .collect();
    if !rows.is_empty() {
        let _ = write!(text, "\n| argument | meaning |\n|---|---|\n{}", rows.concat());
    }
    for verb in command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set()) {
        section(verb, &format!("{name} {}", verb.get_name()), text);
    }
}

fn value(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.first().map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string)
}

fn written(arg: &Arg) -> String {
    let long = arg.get_long().map(|l| format!("--{l}"));
    let short = arg.get_short().map(|s| format!("-{s}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let value = if arg.get_action().takes_values() { format!(" {}", value(arg)) } else { String::new() };
    format!("`{}{value}`", names.join(", "))
}

fn row(written: &str, arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut help = help.replace('\n', " ").replace('|', "\\|");
    if !help.is_empty() && !help.ends_with('.') {
        help.push('.');
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    let values = arg.get_possible_values();
    if arg.get_action().takes_values() && !values.is_empty() {
        let names: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
        let _ = write!(help, " One of {}.", names.join(", "));
    }
    if arg.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(help, " Default: `{}`.", defaults.join(" "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(help, " Also from `{}`.", variable.to_string_lossy());
    }
    format!("| {written} | {help} |\n")
}

#[test]
fn the_page_of_the_command_line_is_true() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CLI.md"));
    let page = page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "harness/docs/CLI.md is not what the program says; set {WRITE}=1 to write it");
}
