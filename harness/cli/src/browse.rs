//! Verbs that only look: list, explain, coverage, doctor, gc, schema, completions, man.

use crate::args::{Cli, Global, ListArgs, SelectArgs, Shape};
use crate::output;
use crate::run::bundled;
use crate::suites;
use crate::usage::Failure;
use clap::CommandFactory;
use plimsoll_engine::{Filter, Plan, Profile, Selection, gc};
use plimsoll_kit::case::Drives;
use plimsoll_model::{ExitCode, PlannedCase, Requirement};
use std::fmt::Write;

/// Every case of this build.
pub fn everything() -> Result<Plan, Failure> {
    Plan::everything(suites::ALL, &[Drives::Oci, Drives::Cri]).map_err(|e| Failure::trouble(e.to_string()))
}

/// From the command line to a selection; also gives the filters as written.
pub fn selection(args: &SelectArgs) -> Result<(Selection, Vec<String>), Failure> {
    let profile: Profile = args.profile.parse().map_err(Failure::usage)?;
    let mut filters = Vec::new();
    let mut written = Vec::new();
    for text in &args.filter {
        filters.push(Filter::parse(text).map_err(|e| Failure::usage(e.to_string()))?);
        written.push(text.clone());
    }
    let names = args.case.iter().map(|c| Filter::exact(c)).chain(args.names.iter().map(|n| Filter::name(n)));
    if let Some(any) = names.reduce(|a, b| Filter::Or(Box::new(a), Box::new(b))) {
        filters.push(any);
        written.extend(args.case.iter().chain(&args.names).cloned());
    }
    Ok((Selection { profile, filters, partition: None }, written))
}

/// `plimsoll list`.
pub fn list(args: &ListArgs) -> Result<ExitCode, Failure> {
    let (selection, _) = selection(&args.select)?;
    let plan = everything()?.select(&selection).map_err(|e| Failure::usage(e.to_string()))?;
    let mut text = String::new();
    match args.format.as_str() {
        "json" => {
            text = serde_json::to_string_pretty(&plan.cases).map_err(|e| Failure::trouble(e.to_string()))?;
            text.push('\n');
        }
        "names" => plan.cases.iter().for_each(|c| text.extend([c.id.as_str(), "\n"])),
        _ => text = table(&plan.cases),
    }
    output::data(&text);
    Ok(if plan.cases.is_empty() { ExitCode::NothingRan } else { ExitCode::Success })
}

/// Cases for people, one per line, and their number.
pub fn table(cases: &[PlannedCase]) -> String {
    let mut text = String::new();
    for case in cases {
        let _ = writeln!(text, "{:<68} {}", case.id.as_str(), case.summary);
    }
    let _ = writeln!(text, "{} cases", cases.len());
    text
}

/// `plimsoll explain`.
pub fn explain(name: &str) -> Result<ExitCode, Failure> {
    let plan = everything()?;
    if let Some(row) = plan.catalogue.get(name) {
        output::data(&explain_requirement(row, &plan));
        return Ok(ExitCode::Success);
    }
    if let Some(case) = plan.cases.iter().find(|c| c.id.as_str() == name) {
        output::data(&explain_case(case, &plan));
        return Ok(ExitCode::Success);
    }
    if let Ok(fault) = plimsoll_faults::find(name) {
        output::line(&format!("{}  {}\nbreaks: {}", fault.id, fault.title, fault.requirements.join(", ")));
        return Ok(ExitCode::Success);
    }
    let near: Vec<&str> = plan
        .catalogue
        .rows()
        .iter()
        .map(|r| r.id.as_str())
        .chain(plan.cases.iter().map(|c| c.id.as_str()))
        .filter(|id| id.contains(name))
        .take(8)
        .collect();
    let hint = if near.is_empty() {
        "`plimsoll list` shows the cases".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    Err(Failure::usage(format!("no requirement, case or fault is called `{name}`")).hint(hint))
}

fn explain_requirement(row: &Requirement, plan: &Plan) -> String {
    let mut text = format!(
        "{}  {}\n  {}\n  clause    {} (line {}), since {}\n  class     {}\n  testable  {}\n  how       {}\n",
        row.level.word(),
        row.id,
        row.text,
        row.clause(),
        row.lines,
        row.since,
        row.class,
        row.testable,
        row.how,
    );
    let cases: Vec<&PlannedCase> = plan.cases.iter().filter(|c| c.covers.contains(&row.id)).collect();
    for case in &cases {
        let _ = writeln!(text, "  case      {}\n            {}", case.id, case.summary);
    }
    if let Some(reason) = plan.waivers.get(&row.id) {
        let _ = writeln!(text, "  waived    {reason}");
    } else if cases.is_empty() {
        text.push_str("  open      no case covers it yet\n");
    }
    for fault in plimsoll_faults::catalogue().iter().filter(|f| f.requirements.contains(&row.id)) {
        let _ = writeln!(text, "  fault     {}  {}", fault.id, fault.title);
    }
    text
}

fn explain_case(case: &PlannedCase, plan: &Plan) -> String {
    let mut text = format!("{}\n  {}\n  source    {}:{}\n", case.id, case.summary, case.file, case.line);
    for row in case.covers.iter().filter_map(|id| plan.catalogue.get(id)) {
        let _ = writeln!(
            text,
            "  {:<9} {}  {}\n            {}",
            row.level.word(),
            row.id,
            row.clause(),
            row.text
        );
    }
    let _ = writeln!(text, "  run it    plimsoll run -t TARGET --case {}", case.id);
    text
}

/// `plimsoll coverage`.
pub fn coverage(format: Shape) -> Result<ExitCode, Failure> {
    let plan = everything()?;
    let coverage = plimsoll_reports::coverage::coverage(plan.catalogue.rows(), &plan.cases, &plan.waivers);
    output::data(&match format {
        Shape::Human => coverage.to_text(),
        Shape::Json => coverage.to_json(),
        Shape::Markdown => coverage.to_markdown(),
    });
    Ok(ExitCode::Success)
}

/// `plimsoll gc`.
pub fn gc(global: &Global, run: Option<&str>) -> Result<ExitCode, Failure> {
    let found = gc::collect(&global.work_dir, run, &bundled()?.program)
        .map_err(|e| crate::usage::file("read", &global.work_dir, &e))?;
    let mut code = ExitCode::Success;
    for one in &found {
        match one {
            gc::Found::Removed(run) => output::line(&format!("removed {run}")),
            gc::Found::Live(run) => output::line(&format!("{run} is still running: left alone")),
            gc::Found::Unknown(path) => {
                output::line(&format!("{} has no journal of a run: left alone", path.display()));
            }
            gc::Found::Stuck(run, what) => {
                code = ExitCode::Trouble;
                output::line(&format!("{run}: could not remove {}", what.join(", ")));
            }
        }
    }
    if found.is_empty() {
        output::line("nothing to remove");
    }
    Ok(code)
}

/// `plimsoll schema`.
pub fn schema(name: &str) -> Result<ExitCode, Failure> {
    let schema = match name {
        "run" => schemars::schema_for!(plimsoll_model::Event),
        "expectations" => schemars::schema_for!(plimsoll_model::Expectations),
        _ => {
            return Err(
                Failure::usage(format!("no schema is called `{name}`")).hint("known: run, expectations")
            );
        }
    };
    output::line(&serde_json::to_string_pretty(&schema).map_err(|e| Failure::trouble(e.to_string()))?);
    Ok(ExitCode::Success)
}

/// `plimsoll completions`.
pub fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "plimsoll", &mut text);
    output::data(&String::from_utf8_lossy(&text));
    ExitCode::Success
}

/// `plimsoll man`.
pub fn man(verb: Option<&str>) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    // Building gives the verbs their full names and the options of every verb.
    command.build();
    let page = match verb {
        None => &command,
        Some(name) => command.find_subcommand(name).ok_or_else(|| {
            let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            Failure::usage(format!("no verb is called `{name}`")).hint(format!("known: {}", known.join(", ")))
        })?,
    };
    let mut text = Vec::new();
    let page = page.clone().name(verb.map_or_else(|| "plimsoll".to_owned(), |v| format!("plimsoll-{v}")));
    clap_mangen::Man::new(page).render(&mut text).map_err(|e| Failure::trouble(e.to_string()))?;
    output::data(&String::from_utf8_lossy(&text));
    Ok(ExitCode::Success)
}
