//! Layered configuration: flags over variables over the chosen gate over the project's file over the user's file over
//! the reference file in this program.
//!
//! Values reach the verbs as defaults of the command line's arguments, so that there is one place that decides what
//! an option is.

mod keys;
mod layers;

use crate::args::{Cli, ConfigVerb, Verb};
use crate::output;
use crate::usage::Failure;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use layers::{Layers, Origin, Setting};
use plimsoll_model::ExitCode;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

/// What [`parse`] can end with beside a command line.
#[derive(Debug)]
pub enum Ended {
    /// The command line is wrong, or asks for help.
    Clap(clap::Error),
    /// A file or a variable is wrong.
    Failure(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read(named: Option<&PathBuf>) -> Result<Layers, Failure> {
    let named =
        named.cloned().or_else(|| variable("PLIMSOLL_CONFIG").filter(|t| !t.is_empty()).map(PathBuf::from));
    let sources = layers::sources(named.as_deref(), layers::home(&variable).as_deref())?;
    Layers::read(&sources, env!("CARGO_PKG_VERSION"))
}

/// Reads the command line with what the configuration says as defaults.
pub fn parse(arguments: &[OsString]) -> Result<Cli, Ended> {
    // The first look finds mistakes of the command line itself, and which files and which gate are meant.
    let first = Cli::command().try_get_matches_from(arguments).map_err(Ended::Clap)?;
    let layers = read(first.get_one("config"))?;
    for warning in &layers.warnings {
        output::note(&format!("warning: {warning}"));
    }
    let gate = first.subcommand_matches("run").and_then(|m| m.get_one::<String>("gate"));
    let settings = layers.effective(gate.map(String::as_str), &variable)?;
    check_words(&settings)?;
    let matches = with_defaults(&settings).try_get_matches_from(arguments).map_err(Ended::Clap)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(Ended::Clap)?;
    cli.global.resolved = resolved(&settings, &matches);
    if let (Some(Verb::Run(run)), Some(inner)) = (&mut cli.verb, matches.subcommand_matches("run")) {
        run.target_given = inner.value_source("target") == Some(ValueSource::CommandLine);
    }
    Ok(cli)
}

/// Words that an option does not know are told by the place where they stand, not as if a flag had been given.
fn check_words(settings: &[Setting]) -> Result<(), Failure> {
    let command = Cli::command();
    for setting in settings {
        let owner = command.find_subcommand(setting.key.table).unwrap_or(&command);
        let Some(argument) = owner.get_arguments().find(|a| *a.get_id() == setting.key.argument()) else {
            continue;
        };
        let known: Vec<String> =
            argument.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
        let strange = setting.texts.iter().find(|t| !known.is_empty() && !known.contains(t));
        if let Some(text) = strange {
            let path = setting.key.path();
            return Err(Failure::usage(format!("{}: `{path}` does not know `{text}`", setting.origin))
                .hint(format!("known: {}", known.join(", "))));
        }
    }
    Ok(())
}

fn with_defaults(settings: &[Setting]) -> clap::Command {
    let mut command = Cli::command();
    for setting in settings {
        let (id, texts) = (setting.key.argument(), setting.texts.clone());
        if texts.is_empty() {
            continue;
        }
        let set = move |a: clap::Arg| a.default_values(texts.clone());
        command = match setting.key.table {
            "" => command.mut_arg(id, set),
            table => command.mut_subcommand(table, |c| c.mut_arg(id.clone(), set.clone())),
        };
        // `list` shows what `run` would run.
        if ["run.profile", "run.filter"].contains(&setting.key.path().as_str()) {
            let (id, texts) = (setting.key.argument(), setting.texts.clone());
            command = command.mut_subcommand("list", |c| c.mut_arg(id, |a| a.default_values(texts)));
        }
    }
    command
}

/// Flags that would say what files and variables said, for the command line in the run file: whoever repeats it does
/// not have them.
fn resolved(settings: &[Setting], matches: &ArgMatches) -> Vec<String> {
    let Some((verb, inner)) = matches.subcommand() else { return Vec::new() };
    let mut flags = Vec::new();
    for setting in settings.iter().filter(|s| s.origin != Origin::Default && s.key.table == verb) {
        let id = setting.key.argument();
        if setting.key.name == "gate" || inner.value_source(&id) == Some(ValueSource::CommandLine) {
            continue;
        }
        flags.extend(setting.texts.iter().map(|text| format!("--{}={text}", setting.key.name)));
    }
    flags
}

/// `plimsoll config`.
pub fn verb(named: Option<&PathBuf>, verb: &ConfigVerb) -> Result<ExitCode, Failure> {
    match verb {
        ConfigVerb::Default => output::data(layers::DEFAULT),
        ConfigVerb::Show { origin, gate } => {
            let layers = read(named)?;
            let settings = layers.effective(gate.as_deref(), &variable)?;
            check_words(&settings)?;
            output::data(&show(&settings, &layers, *origin));
        }
    }
    Ok(ExitCode::Success)
}

/// The effective values as a file that would set them, each with its origin as a comment.
fn show(settings: &[Setting], layers: &Layers, origins: bool) -> String {
    let mut out = String::new();
    let mut table = "";
    let line = |out: &mut String, s: &Setting| {
        let text = format!("{} = {}", s.key.name, s.value);
        let _ = if origins { writeln!(out, "{text:<44} # {}", s.origin) } else { writeln!(out, "{text}") };
    };
    for setting in settings {
        if setting.key.table != table {
            table = setting.key.table;
            let _ = writeln!(out, "\n[{table}]");
        }
        line(&mut out, setting);
    }
    for (name, gate) in &layers.gates {
        let _ = writeln!(out, "\n[gate.{name}]");
        if !gate.description.is_empty() {
            let _ = writeln!(out, "description = {}", toml::Value::String(gate.description.clone()));
        }
        let last = |i: usize, s: &Setting| !gate.settings[i + 1..].iter().any(|later| later.key == s.key);
        gate.settings.iter().enumerate().filter(|(i, s)| last(*i, s)).for_each(|(_, s)| line(&mut out, s));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::layers::{DEFAULT, Layers, Origin, Source};
    use super::{show, with_defaults};
    use crate::args::Cli;
    use clap::CommandFactory;

    fn layers(project: &str) -> Layers {
        let source = Source { origin: Origin::Project("p.toml".into()), text: project.into() };
        Layers::read(&[source], "0.1.0").unwrap()
    }

    fn value(
        layers: &Layers,
        gate: Option<&str>,
        variables: &[(&str, &str)],
        path: &str,
    ) -> (String, Origin) {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let all = layers.effective(gate, &variable).unwrap();
        let setting = all.into_iter().find(|s| s.key.path() == path).unwrap();
        (setting.texts.join(" "), setting.origin)
    }

    #[test]
    fn the_reference_file_says_what_the_command_line_does_without_it() {
        let layers = Layers::read(&[], "0.1.0").unwrap();
        assert_eq!(layers.warnings, Vec::<String>::new());
        let settings = layers.effective(None, &|_| None).unwrap();
        let (bare, set) = (Cli::command(), with_defaults(&settings));
        for setting in &settings {
            let defaults = |command: &clap::Command| -> Vec<String> {
                let owner = command.find_subcommand(setting.key.table).unwrap_or(command);
                let id = setting.key.argument();
                let argument = owner.get_arguments().find(|a| *a.get_id() == id);
                let argument = argument.unwrap_or_else(|| panic!("no argument {id}"));
                argument.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect()
            };
            assert_eq!(defaults(&bare), setting.texts, "{}", setting.key.path());
            assert_eq!(defaults(&set), setting.texts, "{}", setting.key.path());
        }
    }

    #[test]
    fn every_key_stands_in_the_reference_file_and_on_the_command_line() {
        let command = Cli::command();
        for key in super::keys::KEYS {
            let told =
                DEFAULT.lines().any(|l| l.trim_start_matches("# ").starts_with(&format!("{} = ", key.name)));
            assert!(told, "{} is not in default.toml", key.path());
            let owner = command.find_subcommand(key.table).unwrap_or(&command);
            assert!(owner.get_arguments().any(|a| *a.get_id() == key.argument()), "no flag {}", key.path());
        }
    }

    #[test]
    fn the_layers_lie_in_order() {
        let layers = layers("[run]\nprofile = \"smoke\"\nretries = 5\n[gate.release]\nretries = 2\n");
        assert_eq!(value(&layers, None, &[], "run.profile").0, "smoke");
        let (retries, origin) = value(&layers, Some("release"), &[], "run.retries");
        assert_eq!(
            (retries.as_str(), origin.to_string().as_str()),
            ("2", "gate release (project file p.toml)")
        );
        // The reference file's gate still says what the project does not.
        assert_eq!(value(&layers, Some("release"), &[], "run.profile").0, "full");
        assert_eq!(value(&layers, Some("release"), &[], "run.strict").0, "true");
        let variables = [("PLIMSOLL_RETRIES", "7"), ("PLIMSOLL_GATE", "pr"), ("PLIMSOLL_STRICT", "1")];
        assert_eq!(value(&layers, None, &variables, "run.retries").0, "7");
        assert_eq!(
            value(&layers, None, &variables, "run.profile").0,
            "must",
            "the gate that the variable names"
        );
        assert_eq!(
            value(&layers, None, &variables, "run.strict").1,
            Origin::Variable("PLIMSOLL_STRICT".into())
        );
    }

    #[test]
    fn unknown_keys_are_warned_of_with_what_was_meant() {
        let layers =
            layers("colour = \"never\"\nprofile = \"must\"\n[run]\nretrys = 1\n[gate.x]\nxyzzy = 1\n");
        let want = [
            "unknown key `colour`; did you mean `color`?",
            "unknown key `profile`; did you mean `run.profile`?",
            "unknown key `run.retrys`; did you mean `retries`?",
            "unknown key `gate.x.xyzzy`; `plimsoll config default` lists the keys",
        ];
        for text in want {
            assert!(layers.warnings.iter().any(|w| w.contains(text)), "{text}: {:?}", layers.warnings);
        }
        assert_eq!(layers.warnings.len(), want.len());
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_that_names_its_place() {
        for (text, want) in [
            ("run = 1", "`run` takes a table"),
            ("[run]\njobs = \"two\"", "`run.jobs` takes a whole number"),
            ("[run]\ntimeout-scale = -1.0", "`run.timeout-scale` takes a number above 0"),
            ("[gate.x]\nstrict = 1", "`gate.x.strict` takes true or false"),
            ("min-version = \"9.0\"", "it needs plimsoll 9.0, and this is 0.1.0"),
            ("min-version = \"new\"", "`min-version` takes a version"),
            ("[run", "project file p.toml"),
        ] {
            let source = Source { origin: Origin::Project("p.toml".into()), text: text.into() };
            let failure = Layers::read(&[source], "0.1.0").unwrap_err();
            assert!(failure.what.contains(want) && !failure.hint.is_empty(), "{text}: {failure:?}");
        }
        let source = Source { origin: Origin::Project("p".into()), text: "min-version = \"0.1\"".into() };
        assert!(Layers::read(&[source], "0.1.0").is_ok());
    }

    #[test]
    fn what_is_shown_sets_the_same_again() {
        let first =
            layers("[run]\ntarget = [\"a\\\"b\", \"c\"]\n[gate.mine]\ndescription = \"x\"\njobs = 3\n");
        let text = show(&first.effective(None, &|_| None).unwrap(), &first, true);
        let second = layers(&text);
        assert_eq!(second.warnings, Vec::<String>::new(), "{text}");
        let values = |l: &Layers| -> Vec<Vec<String>> {
            l.effective(Some("mine"), &|_| None).unwrap().into_iter().map(|s| s.texts).collect()
        };
        assert_eq!(values(&first), values(&second));
    }
}
