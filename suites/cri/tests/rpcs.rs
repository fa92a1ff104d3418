//! Every rpc of the interface is called by this suite, and by something that judges: the interface's own file is
//! counted against the sources of the cases. Where an rpc is absent, the cases say so by its capability.

#![allow(clippy::unwrap_used)] // a test

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Rpcs that the interface has at the level that this suite knows.
const RPCS: usize = 43;

/// `RunPodSandbox` as `run_pod_sandbox`, which is its name in the client.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (n, c) in name.char_indices() {
        if c.is_ascii_uppercase() && n > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn rpcs(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|l| l.trim().strip_prefix("rpc "));
    names.map(|l| l.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
}

/// The functions of a source by name, with their text. A name that occurs twice keeps both texts.
fn functions(source: &str) -> Vec<(String, String)> {
    let items = source.split("\n}\n");
    let named = items.filter_map(|item| {
        let (_, after) = item.split_once("fn ")?;
        let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        Some((name, item.to_owned()))
    });
    named.collect()
}

fn judges(text: &str) -> bool {
    ["check!(", "check_eq!(", "check_ne!(", ".must_", "Stop::violation"]
        .iter()
        .any(|word| text.contains(word))
}

/// Which rpcs are called, and judged by the function that calls them or by one that calls that function.
fn judged(all: &[(String, String)], rpc: &str) -> bool {
    let calls = |text: &str, name: &str| text.contains(&format!("{name}("));
    let direct: Vec<_> = all.iter().filter(|(_, t)| calls(t, &format!(".{}", snake(rpc)))).collect();
    direct.iter().any(|(name, text)| {
        judges(text) || all.iter().any(|(other, t)| other != name && calls(t, name) && judges(t))
    })
}

#[test]
fn all_rpcs_are_called_and_judged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = root.join("../../harness/proto/cri/v1/api.proto");
    let rpcs = rpcs(&std::fs::read_to_string(proto).unwrap());
    assert_eq!(rpcs.len(), RPCS, "another level of the interface: {rpcs:?}");
    let files = std::fs::read_dir(root.join("src/cases")).unwrap();
    let sources: BTreeMap<_, _> =
        files.map(|f| f.unwrap().path()).map(|p| (p.clone(), std::fs::read_to_string(p).unwrap())).collect();
    let all: Vec<_> = sources.values().flat_map(|text| functions(text)).collect();
    let missing: Vec<_> = rpcs.iter().filter(|rpc| !judged(&all, rpc)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "rpcs that no case calls and judges");
}

#[test]
fn a_call_that_nobody_judges_does_not_count() {
    let source = |body: &str| functions(&format!("async fn a(cx: &mut Cx) -> Verdict {{\n{body}\n}}\n"));
    assert!(!judged(&source("client.version(x).await"), "Version"));
    assert!(judged(&source("client.version(x).await.must_succeed()?;"), "Version"));
    assert!(!judged(&source("client.version(x).await.must_succeed()?;"), "Status"));
    let helper = "fn get() {\nclient.version(x)\n}\nasync fn case() {\nget().await.must_fail()?;\n}\n";
    assert!(judged(&functions(helper), "Version"));
}
