//! Every row of the table is tried on samples: a fault that changes nothing would count as survived.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;

use serde_json::Value;

use crate::catalogue::{self, Fault};
use crate::context::Context;
use crate::cri::interface::{Kind, interface};
use crate::cri::script;
use crate::engine::edit_arguments;
use crate::invocation::Invocation;
use crate::json::edit::{Edit, Vars};
use crate::json::path::Path;
use crate::step::{Action, ArgEdit, Cond, Step};
use crate::target::Target;

const MAXIMAL: &str = include_str!("../tests/data/maximal.json");
const DOCUMENTS: &str = include_str!("../tests/data/documents.json");
const REQUIREMENTS: &str = include_str!("../catalogue/requirements.tsv");

struct Sample;

impl Vars for Sample {
    fn get(&self, name: &str) -> Option<String> {
        Some(format!("/{name}"))
    }
}

fn sample_config(fault: &Fault) -> Value {
    let mut config: Value = serde_json::from_str(MAXIMAL).unwrap();
    for text in fault.sample.split(" ; ").filter(|t| !t.is_empty()) {
        let before = config.clone();
        Edit::parse(text).unwrap_or_else(|e| panic!("{}: {e}", fault.id)).apply(&mut config, &Sample);
        assert!(before != config, "{}: sample edit {text:?} changes nothing", fault.id);
    }
    config
}

/// Conditions about the configuration are judged; all others count as met.
fn may_hold(step: &Step, config: &Value) -> bool {
    step.when.iter().all(|cond| match cond {
        Cond::Config(path) => path.count(config) > 0,
        Cond::NoConfig(path) => path.count(config) == 0,
        _ => true,
    })
}

fn changes(value: &Value, edit: &Edit) -> bool {
    let mut copy = value.clone();
    edit.apply(&mut copy, &Sample);
    copy != *value
}

fn argument_edit_works(edit: &ArgEdit) -> bool {
    let lines = [
        "--root /r --log /l create --bundle /b --pid-file /p --console-socket /s c1",
        "--root /r kill c1 USR1",
        "--root /r delete --force c1",
        "--root /r exec -e A=B --env A=B --cwd / -u 1 --user 1 -g 1 --additional-gids 1 -t --tty -d --detach --pid-file /p \
         --no-new-privs c1 x",
        "--root /r update --memory 1 --cpu-shares 1 --cpu-share 1 --cpu-quota 1 --pids-limit 1 c1",
        "--root /r delete -f c1",
        "--root /r state a/b",
        "--root /r --log-format json state c1",
        "--root /r create --preserve-fds=1 c1",
        "--root /r run --keep c1",
        "--root /r exec --cap CAP_CHOWN -c CAP_KILL --preserve-fds 1 c1 x",
        "--root /r list --quiet -q",
    ];
    // Where a bundle is looked for is shown by a test of its own.
    matches!(edit, ArgEdit::FindBundle | ArgEdit::CallerEnv)
        || lines.iter().any(|line| {
            let inv = Invocation::parse(line.split_whitespace().map(OsString::from).collect());
            let target = Target { program: "/bin/false".into(), args: Vec::new() };
            let mut copy = inv.clone();
            edit_arguments(edit, &mut copy, &Context::new(&inv, &target));
            copy.words != inv.words
        })
}

fn step_works(step: &Step, config: &Value, documents: &HashMap<String, Vec<Value>>) -> bool {
    if !may_hold(step, config) {
        return false;
    }
    match &step.action {
        Action::Config(edit) | Action::Retry(edit) => changes(config, edit),
        Action::Process(edit) => changes(&config["process"], edit),
        Action::Resources(edit) => changes(&config["linux"]["resources"], edit),
        Action::Output(verbs, edit) => {
            documents.iter().any(|(verb, all)| verbs.has(verb) && all.iter().any(|d| changes(d, edit)))
        }
        Action::Argv(_, edit) => argument_edit_works(edit),
        Action::Hook(kinds, _) => {
            config["hooks"].as_object().is_some_and(|hooks| hooks.keys().any(|kind| kinds.has(kind)))
        }
        Action::Notify(_) => config.pointer("/linux/seccomp/listenerPath").is_some(),
        Action::Proxy(step) => proxy_step_works(step),
        _ => true,
    }
}

/// A message with every field set, to some depth.
fn full_message(name: &str, depth: usize) -> Value {
    let mut message = serde_json::Map::new();
    for field in interface().messages.get(name).into_iter().flatten() {
        let one = match &field.kind {
            Kind::Text => Value::from("a/b@sha256"),
            Kind::Octets => Value::from("hex:00"),
            Kind::Integer => Value::from(7),
            Kind::Boolean => Value::from(true),
            Kind::Double => Value::from(1.5),
            Kind::TextMap => serde_json::json!({"a": "b"}),
            Kind::Message(_) if depth == 0 => continue,
            Kind::Message(inner) => full_message(inner, depth - 1),
        };
        let other = if one.is_string() { Value::from("c") } else { one.clone() };
        message.insert(field.name.clone(), if field.repeated { Value::from(vec![one, other]) } else { one });
    }
    Value::Object(message)
}

/// Whether an edit finds its place in a full message, or would if values were as its filters want.
fn reaches(edit: &Edit, text: &str, message: &str) -> bool {
    let full = full_message(message, 8);
    if changes(&full, edit) {
        return true;
    }
    let path = text.split_whitespace().nth(1).unwrap_or("/");
    let bare: String =
        path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect();
    let parent =
        bare.rsplit_once('/').map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent });
    Path::parse(parent).is_ok_and(|p| p.count(&full) > 0)
}

fn proxy_step_works(step: &script::Step) -> bool {
    step.rpcs.iter().all(|rpc| {
        let facts = &interface().rpcs[rpc];
        match &step.op {
            script::Op::Request(edit, text) => reaches(edit, text, &facts.request),
            script::Op::Response(edit, text) => reaches(edit, text, &facts.response),
            script::Op::Filter(path) | script::Op::Keep(path) => {
                let mut bare = path.clone();
                bare.steps.iter_mut().for_each(|s| s.filters.clear());
                bare.count(&full_message(&facts.response, 8)) > 0
            }
            _ => true,
        }
    })
}

#[test]
fn the_table_is_well_formed() {
    let faults = catalogue::checked().unwrap();
    assert!(faults.len() > 500, "{} faults", faults.len());
    let mut names = HashSet::new();
    for fault in faults {
        assert!(
            names.insert(&fault.id) && (fault.alias.is_empty() || names.insert(&fault.alias)),
            "{} repeats",
            fault.id
        );
        assert!(!fault.title.is_empty() && !fault.title.ends_with('.'), "{}: title", fault.id);
        let layers = [
            "config", "hook", "argv", "output", "exit", "leak", "time", "exec", "update", "features",
            "inside", "cri",
        ];
        assert!(layers.contains(&fault.layer.as_str()), "{}: layer {:?}", fault.id, fault.layer);
        assert!(catalogue::find(&fault.id).is_ok());
    }
}

#[test]
fn every_fault_changes_what_it_claims() {
    let documents: HashMap<String, Vec<Value>> = serde_json::from_str(DOCUMENTS).unwrap();
    let mut inert = Vec::new();
    for fault in catalogue::catalogue() {
        let config = sample_config(fault);
        if !fault.steps.iter().any(|step| step_works(step, &config, &documents)) {
            inert.push(fault.id.as_str());
        }
    }
    assert!(inert.is_empty(), "faults that do nothing on the samples: {inert:#?}");
}

/// A fault about bad input sleeps until the input is bad, or it would break more than it says.
#[test]
fn faults_of_acceptance_leave_a_sound_configuration_alone() {
    let sound: Value = serde_json::from_str(include_str!("../tests/data/sound.json")).unwrap();
    for fault in catalogue::catalogue().iter().filter(|f| f.id.ends_with("-accepted")) {
        for step in fault.steps.iter().filter(|s| may_hold(s, &sound)) {
            if let Action::Config(edit) = &step.action {
                assert!(!changes(&sound, edit), "{} alters a sound configuration", fault.id);
            }
        }
    }
}

fn levels() -> Vec<(&'static str, &'static str, &'static str)> {
    let row = |line: &'static str| {
        let mut fields = line.split('\t');
        (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap())
    };
    REQUIREMENTS.lines().skip(1).map(row).collect()
}

#[test]
fn every_binding_requirement_has_a_fault_or_a_reason() {
    let covered: HashSet<&str> =
        catalogue::catalogue().iter().flat_map(|f| f.requirements.iter().map(String::as_str)).collect();
    let waived: HashSet<&str> = catalogue::uncoverable().iter().map(|(r, _)| *r).collect();
    let missing: Vec<_> = levels()
        .into_iter()
        .filter(|(_, level, class)| *class == "property" || !matches!(*level, "MAY" | "MAY NOT" | "OPTIONAL"))
        .filter(|(id, ..)| !covered.contains(id) && !waived.contains(id))
        .collect();
    assert!(missing.is_empty(), "neither fault nor reason: {missing:#?}");
}

#[test]
fn reasons_are_about_requirements_without_a_fault() {
    for (requirement, reason) in catalogue::uncoverable() {
        assert!(reason.len() > 20, "{requirement}: no reason");
        assert!(
            !catalogue::catalogue().iter().any(|f| f.requirements.iter().any(|r| r == requirement)),
            "{requirement} has a fault and a reason for having none"
        );
    }
}

#[test]
fn requirements_of_faults_exist() {
    let known: HashSet<&str> = levels().into_iter().map(|(id, ..)| id).collect();
    for fault in catalogue::catalogue() {
        // Other catalogues: the command line, security, CRI.
        let foreign = |r: &str| r.starts_with("cli.") || r.starts_with("sec.") || fault.layer == "cri";
        for requirement in fault.requirements.iter().filter(|r| !foreign(r)) {
            assert!(known.contains(requirement.as_str()), "{}: {requirement} is unknown", fault.id);
        }
    }
}
