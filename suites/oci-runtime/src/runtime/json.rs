//! glossary.md, JSON: the encoding, repeated member names, and the order of members.

use super::support::strict_json;
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    other_encodings_are_errors,
    utf8_is_read_exactly,
    state_is_utf8,
    repeated_names_are_errors,
    hooks_get_no_repeated_names,
    order_of_members_is_irrelevant,
    no_json_is_error,
];

/// The text of a good configuration whose program is the probe.
fn good_text(cx: &Cx) -> Result<String, Stop> {
    let written = cx.container(probe::exit(0)).written()?;
    Ok(written.container.config().to_string())
}

const ENCODINGS: &[Variant] = &[
    Variant::new("utf-16-le", &[]),
    Variant::new("utf-16-be", &[]),
    Variant::new("utf-32-le", &[]),
    Variant::new("latin-1", &[]),
    Variant::new("overlong-utf-8", &[]),
];

/// A configuration in another encoding than UTF-8 is an error.
#[case(covers = ["json.encoding.utf8"], matrix(encoding = ENCODINGS))]
async fn other_encodings_are_errors(cx: &mut Cx) -> Verdict {
    let text = good_text(cx)?;
    let inside_a_string = |bytes: &[u8]| {
        // Within the hostname, where no reader can mistake it for syntax.
        let (before, after) = text.split_once("plimsoll").unwrap_or((&text, ""));
        [before.as_bytes(), b"pl", bytes, b"x", after.as_bytes()].concat()
    };
    let bytes: Vec<u8> = match cx.param("encoding") {
        "utf-16-le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "utf-16-be" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        "utf-32-le" => text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
        "latin-1" => inside_a_string(&[0xFC]),
        _ => inside_a_string(&[0xC0, 0xAF]),
    };
    cx.container(probe::exit(0)).raw_config(bytes).rejected().await?;
    Ok(())
}

const TEXTS: &[Variant] = &[
    Variant::new("two-bytes", &[]),
    Variant::new("three-bytes", &[]),
    Variant::new("four-bytes", &[]),
    Variant::new("escaped", &[]),
    Variant::new("surrogate-pair", &[]),
];

/// UTF-8 text and JSON escapes in the configuration reach the program exactly.
#[case(covers = ["json.encoding.utf8"], matrix(text = TEXTS))]
async fn utf8_is_read_exactly(cx: &mut Cx) -> Verdict {
    let (written, meant) = match cx.param("text") {
        "two-bytes" => ("ü", "ü"),
        "three-bytes" => ("☂", "☂"),
        "four-bytes" => ("🦀", "🦀"),
        "escaped" => ("\\u00fc\\t\\\"\\/", "ü\t\"/"),
        _ => ("\\ud83e\\udd80", "🦀"),
    };
    let written_container =
        cx.container(probe::ask(["env"])).set("/process/env", json!(["PLIMSOLL=PLACE"])).written()?;
    let container = &written_container.container;
    let text = container.config().to_string().replace("PLIMSOLL=PLACE", &format!("PLIMSOLL={written}"));
    container.bundle().write_bytes("config.json", text.as_bytes())?;
    let (call, container) = written_container.create().await?;
    call.must_succeed()?;
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    let env = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    let seen = env.iter().find(|e| e.as_str().is_some_and(|e| e.starts_with("PLIMSOLL=")));
    check_eq!(seen, Some(&json!(format!("PLIMSOLL={meant}"))), "the variable in the program's environment");
    Ok(())
}

/// The state operation writes UTF-8, with annotations beyond ASCII intact.
#[case(covers = ["json.encoding.utf8"])]
async fn state_is_utf8(cx: &mut Cx) -> Verdict {
    let value = "ü ☂ 🦀 \u{1}\"";
    let container =
        cx.container(probe::pause()).set("/annotations", json!({ "com.example": value })).created().await?;
    let state = container.state().await?;
    check_eq!(state.raw.pointer("/annotations/com.example"), Some(&json!(value)), "the annotation");
    Ok(())
}

const REPEATED: &[Variant] = &[
    Variant::new("hostname", &[]),
    Variant::new("ociVersion", &[]),
    Variant::new("process", &[]),
    Variant::new("annotation", &[]),
];

/// A configuration with a repeated member name is an error.
#[case(covers = ["json.no-duplicate-names"], tags = ["parser-leniency"], matrix(name = REPEATED))]
async fn repeated_names_are_errors(cx: &mut Cx) -> Verdict {
    let written =
        cx.container(probe::exit(0)).set("/annotations", json!({ "com.example.a": "1" })).written()?;
    let config = written.container.config();
    let text = config.to_string();
    let repeat = |name: &str, value: &Value| {
        let member = format!("\"{name}\":{value}");
        text.replacen(&member, &format!("{member},{member}"), 1)
    };
    let changed = match cx.param("name") {
        "annotation" => repeat("com.example.a", &json!("1")),
        name => repeat(name, &config[name]),
    };
    check_ne!(changed, text, "the configuration with a repeated name");
    cx.container(probe::exit(0)).raw_config(changed).rejected().await?;
    Ok(())
}

/// The state that a hook is handed has no repeated member names.
#[case(covers = ["json.no-duplicate-names", "hooks.create-runtime.invoked"])]
async fn hooks_get_no_repeated_names(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::CreateRuntime);
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    let answers = container.hook_answers(&hook)?;
    check!(of "hooks.create-runtime.invoked"; answers.is_done(), "the hook runs", "it did not");
    let text = answers.facts("stdin")?["data"].as_str().unwrap_or_default().to_owned();
    strict_json(&text).map_err(|e| Stop::violation("JSON without repeated names", e)).map(|_| ())
}

/// Reverses or shuffles the members of all objects within a value.
fn reordered(value: &Value, order: &mut impl FnMut(usize) -> usize) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|v| reordered(v, order)).collect(),
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().map(|(k, v)| (k.clone(), reordered(v, order))).collect();
            for i in (1..members.len()).rev() {
                members.swap(i, order(i + 1));
            }
            Value::Object(members.into_iter().collect())
        }
        other => other.clone(),
    }
}

const ORDERS: &[Variant] = &[
    Variant::new("reversed", &[]),
    Variant::new("shuffled-1", &[]),
    Variant::new("shuffled-2", &[]),
    Variant::new("shuffled-3", &[]),
];

/// The order of members in the configuration changes nothing in the container.
#[case(covers = ["json.member-order-irrelevant"], matrix(order = ORDERS))]
async fn order_of_members_is_irrelevant(cx: &mut Cx) -> Verdict {
    let questions = ["argv", "hostname", "caps", "no_new_privs", "rlimits", "mounts"];
    let ask = || {
        cx.container(probe::ask(questions))
            .set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }]))
            .set("/annotations", json!({ "com.example.a": "1", "com.example.b": "2" }))
    };
    let plain = ask().setup().answers().await?;
    let written = ask().written()?;
    let reverse = cx.param("order") == "reversed";
    let mut next = |n: usize| if reverse { 0 } else { (cx.random() % n as u64) as usize };
    let config = reordered(written.container.config(), &mut next);
    written.container.bundle().write(&config)?;
    let (call, container) = written.create().await?;
    call.must_succeed()?;
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    for question in questions {
        if question == "argv" || question == "mounts" {
            continue;
        }
        check_eq!(
            answers.facts(question)?,
            plain.facts(question)?,
            "{question} with another order of members"
        );
    }
    let points = |a: &Answers| -> Result<Vec<Value>, Stop> {
        let mounts = a.facts("mounts")?["mounts"].as_array().cloned().unwrap_or_default();
        Ok(mounts.iter().map(|m| json!([m["mountpoint"], m["fstype"], m["options"]])).collect())
    };
    check_eq!(points(&answers)?, points(&plain)?, "mount points with another order of members");
    Ok(())
}

const BROKEN: &[Variant] = &[
    Variant::new("truncated", &[]),
    Variant::new("trailing-comma", &[]),
    Variant::new("array", &[]),
    Variant::new("string", &[]),
    Variant::new("null", &[]),
    Variant::new("comment", &[]),
    Variant::new("deeply-nested", &[]),
];

/// What is not a JSON object is no configuration: an error.
#[case(covers = ["valid-values.error", "bundle.config-json.required"], matrix(text = BROKEN))]
async fn no_json_is_error(cx: &mut Cx) -> Verdict {
    let text = good_text(cx)?;
    let broken = match cx.param("text") {
        "truncated" => text[..text.len() / 2].to_owned(),
        "trailing-comma" => format!("{},}}", &text[..text.len() - 1]),
        "array" => format!("[{text}]"),
        "string" => "\"config\"".to_owned(),
        "null" => "null".to_owned(),
        "comment" => format!("/* comment */ {text}"),
        _ => format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
    };
    cx.container(probe::exit(0)).raw_config(broken).rejected().await?;
    Ok(())
}
