//! config.md, annotations: what they may be, what they must be, and that unknown ones do nothing.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    reach_the_state_unchanged,
    absent_or_empty_is_accepted,
    known_keys_are_accepted,
    unknown_keys_are_ignored,
    other_shapes_are_errors,
    other_values_are_errors,
    empty_key_is_error,
    stop_signal_is_used_by_kill,
];

const VALUES: &[Variant] = &[
    Variant::new("plain", &["annotations"]),
    Variant::new("json", &["annotations.any-structure"]),
    Variant::new("newlines", &["annotations.any-structure"]),
    Variant::new("non-ascii", &["annotations.any-structure"]),
    Variant::new("long", &["annotations.any-structure"]),
    Variant::new("empty", &["annotations.value-may-be-empty"]),
];

/// A value of an annotation reaches the state exactly as it is.
#[case(covers = ["state.annotations.present"], matrix(value = VALUES))]
async fn reach_the_state_unchanged(cx: &mut Cx) -> Verdict {
    let value = match cx.param("value") {
        "plain" => "value".to_owned(),
        "json" => "{\"a\": [1, 2.50, \"x\"] }".to_owned(),
        "newlines" => "a\nb\r\n\tc".to_owned(),
        "non-ascii" => "grüße ☂ 🦀".to_owned(),
        "long" => "0123456789abcdef".repeat(1024),
        _ => String::new(),
    };
    let key = "com.example.value";
    let container = cx.container(probe::pause()).set("/annotations", json!({ key: value })).created().await?;
    let state = container.state().await?;
    check_eq!(state.raw["annotations"][key], json!(value), "the annotation in the state");
    Ok(())
}

const FORMS: &[Variant] = &[Variant::new("absent", &[]), Variant::new("empty", &[])];

/// Annotations may be absent or an empty object.
#[case(covers = ["annotations.absent-or-empty"], matrix(form = FORMS))]
async fn absent_or_empty_is_accepted(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0));
    let builder = if cx.param("form") == "empty" {
        builder.set("/annotations", json!({}))
    } else {
        builder.with(|_| {})
    };
    builder.stopped().await?;
    Ok(())
}

/// The keys of org.opencontainers.image that a configuration may carry.
const IMAGE_KEYS: [&str; 8] = [
    "org.opencontainers.image.os",
    "org.opencontainers.image.architecture",
    "org.opencontainers.image.variant",
    "org.opencontainers.image.os.version",
    "org.opencontainers.image.os.features",
    "org.opencontainers.image.author",
    "org.opencontainers.image.created",
    "org.opencontainers.image.stopSignal",
];

/// The keys that the specification knows are accepted and shown in the state.
#[case(covers = ["annotations.known-org-keys-accepted"])]
async fn known_keys_are_accepted(cx: &mut Cx) -> Verdict {
    let mut given = serde_json::Map::new();
    for key in IMAGE_KEYS {
        let value = match key {
            "org.opencontainers.image.created" => "2024-01-05T00:00:00Z",
            "org.opencontainers.image.stopSignal" => "SIGTERM",
            "org.opencontainers.image.os" => "linux",
            _ => "x",
        };
        given.insert(key.to_owned(), json!(value));
    }
    let container =
        cx.container(probe::pause()).set("/annotations", Value::Object(given.clone())).created().await?;
    let state = container.state().await?;
    for (key, value) in &given {
        check_eq!(state.raw["annotations"][key], *value, "the annotation {key} in the state");
    }
    Ok(())
}

const UNKNOWN: &[Variant] = &[
    Variant::new("reverse-domain", &[]),
    Variant::new("reserved-prefix", &[]),
    Variant::new("no-domain", &[]),
    Variant::new("odd-characters", &[]),
];

/// An annotation with an unknown key changes nothing in the container.
#[case(covers = ["annotations.unknown-ignored"], matrix(key = UNKNOWN))]
async fn unknown_keys_are_ignored(cx: &mut Cx) -> Verdict {
    let key = match cx.param("key") {
        "reverse-domain" => "com.example.plimsoll.unknown",
        "reserved-prefix" => "org.opencontainers.plimsoll.unknown",
        "no-domain" => "plimsoll-unknown",
        _ => "a b/c:☂",
    };
    let questions = ["hostname", "caps", "no_new_privs", "identity", "umask"];
    let plain = cx.container(probe::ask(questions)).answers().await?;
    let annotated =
        cx.container(probe::ask(questions)).set("/annotations", json!({ key: "value" })).answers().await?;
    for question in questions {
        check_eq!(annotated.facts(question)?, plain.facts(question)?, "{question} with the annotation");
    }
    Ok(())
}

const SHAPES: &[Variant] = &[
    Variant::new("array", &[]),
    Variant::new("array-of-pairs", &[]),
    Variant::new("string", &[]),
    Variant::new("number", &[]),
    Variant::new("boolean", &[]),
];

/// Annotations that are no map are an error.
#[case(covers = ["annotations.is-map"], matrix(shape = SHAPES))]
async fn other_shapes_are_errors(cx: &mut Cx) -> Verdict {
    let value = match cx.param("shape") {
        "array" => json!(["com.example.a"]),
        "array-of-pairs" => json!([["com.example.a", "1"]]),
        "string" => json!("com.example.a=1"),
        "number" => json!(1),
        _ => json!(true),
    };
    cx.container(probe::exit(0)).set("/annotations", value).rejected().await?;
    Ok(())
}

const TYPES: &[Variant] = &[
    Variant::new("number", &[]),
    Variant::new("boolean", &[]),
    Variant::new("object", &[]),
    Variant::new("array", &[]),
    Variant::new("null", &[]),
];

/// An annotation whose value is no string is an error.
#[case(covers = ["annotations.values-strings"], tags = ["parser-leniency"], matrix(value = TYPES))]
async fn other_values_are_errors(cx: &mut Cx) -> Verdict {
    let value = match cx.param("value") {
        "number" => json!(1),
        "boolean" => json!(true),
        "object" => json!({ "a": "b" }),
        "array" => json!(["a"]),
        _ => Value::Null,
    };
    cx.container(probe::exit(0)).set("/annotations", json!({ "com.example.a": value })).rejected().await?;
    Ok(())
}

/// An annotation with an empty key is an error.
#[case(covers = ["annotations.key-not-empty"], tags = ["parser-leniency"])]
async fn empty_key_is_error(cx: &mut Cx) -> Verdict {
    cx.container(probe::exit(0)).set("/annotations", json!({ "": "value" })).rejected().await?;
    Ok(())
}

/// The kill operation without a signal sends the one that the stopSignal annotation names.
#[case(covers = ["annotations.stop-signal"])]
async fn stop_signal_is_used_by_kill(cx: &mut Cx) -> Verdict {
    let script =
        probe::script().act("wait", json!({ "signals": ["USR1", "TERM"], "timeout_ms": 10_000 })).pause();
    let container = cx
        .container(script)
        .set("/annotations", json!({ "org.opencontainers.image.stopSignal": "SIGUSR1" }))
        .created()
        .await?;
    container.start().await?.must_succeed()?;
    wait_until("the program waits for its signals", cx.limits().wait(), async || {
        let ready = container.output()?.contains("\"ready\":true");
        Ok(if ready {
            plimsoll_kit::wait::Poll::Ready(())
        } else {
            plimsoll_kit::wait::Poll::NotYet("not yet".into())
        })
    })
    .await?;
    let call = cx.runtime().verb("kill", container.id()).await?;
    if !call.succeeded() {
        // The signal is an argument of the operation; a runtime need not have a default.
        cx.record("annotations.stop-signal", "kill needs a signal");
        call.must_fail()?;
        return Ok(());
    }
    let answers = container.wait_for_answer("wait").await?;
    let seen = answers.facts("wait")?["signal"].clone();
    cx.record("annotations.stop-signal", seen.clone());
    check_eq!(seen, json!("SIGUSR1"), "the signal that kill sends by default");
    Ok(())
}
