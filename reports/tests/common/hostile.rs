//! Hostile strings, and a run that holds one of them in every field that a runtime or a user can fill.

use plimsoll_model::Run;
use serde_json::json;

const TEXTS: &[&str] = &[
    "{{ 7*7 }}",
    "${7*7}",
    "{% raw %}",
    "<%= 7*7 %>",
    "#{7*7}",
    "\u{1b}[2J\u{1b}[H",
    "\u{1b}]0;pwned\u{7}",
    "\u{1b}]8;;http://evil.example\u{1b}\\click\u{1b}]8;;\u{1b}\\",
    "\u{9b}31m",
    "\u{202e}gnp.exe",
    "\u{2066}a\u{2069}",
    "\u{feff}bom",
    "\u{fffe}",
    "\u{ffff}",
    "\u{1ffff}",
    "\u{0}\u{1}\u{2}\u{3}\u{8}\u{b}\u{c}\u{e}\u{1f}",
    "\u{7f}\u{80}\u{85}\u{9f}",
    "\u{2028}\u{2029}",
    "&lt;script&gt;",
    "&amp;&#60;&#x3c;",
    "<![CDATA[x]]>",
    "]]]]>>",
    "]]>]]>]]>",
    "<?xml version=\"1.0\"?>",
    "<!DOCTYPE x [<!ENTITY y SYSTEM \"file:///etc/passwd\">]>&y;",
    "<!-- a -- b -->",
    "--><b>",
    "| a | b |",
    "```\n# head\n```",
    "````",
    "~~~",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<details open>",
    "@everyone #1 owner/repo#2",
    "::error::x",
    "::set-output name=a::b",
    "%0A::error::x",
    "line\n::error::x",
    "a%25b,c:d",
    "# SKIP",
    "# TODO not really",
    "\\# TODO",
    "ok 1 - forged",
    "x\nok 2 - forged",
    "x\n1..0",
    "Bail out! forged",
    "  ---\n  a: b\n  ...",
    "key: value",
    "- item",
    "'single'",
    "\"double\"",
    "back\\slash",
    "\\u003c",
    "'; DROP TABLE runs; --",
    "=1+1",
    "+1",
    "-1",
    "@SUM(1)",
    "\t=1",
    "../../../../etc/passwd",
    "/etc/passwd",
    "C:\\x",
    "a\rb",
    "a\r\nb",
    "\u{a0}",
    "  spaces  ",
    "",
    "-",
    "--help",
    "$(id)",
    "`id`",
    ";id",
    "|id",
    "a\"b\"c",
    "[[ATTACHMENT|/etc/passwd]]",
    "nul\u{0}byte",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "e\u{301}\u{301}\u{301}",
    "ﷺ",
    "# EOF",
    "plimsoll_case_outcome{a=\"b\"} 1",
    "\"} 1\nfake 1",
    "NaN",
    "null",
    "true",
    "1e999",
    "__proto__",
    "constructor",
    "</script><script>1</script>",
    "<!--<script>",
    "<\u{0}script>",
    "<scr<script>ipt>",
    "<SCRIPT SRC=//evil.example/x.js>",
];

/// The strings: scripts in every dress, terminators of every format, controls, Unicode tricks, sheer length.
pub fn strings() -> Vec<String> {
    let call = "document.documentElement.setAttribute('data-pwned','1')";
    let mut list: Vec<String> = Vec::new();
    for quote in [
        "",
        "\"",
        "'",
        "`",
        "\">",
        "'>",
        "-->",
        "]]>",
        "</pre>",
        "</code>",
        "</summary>",
        "</details>",
        "</td>",
        "</title>",
        "</style>",
        "</script>",
        "</textarea>",
        "</svg>",
        "</noscript>",
        "\u{0}",
    ] {
        list.push(format!("{quote}<script>{call}</script>"));
        list.push(format!("{quote}<img src=x onerror=\"{call}\">"));
        list.push(format!("{quote}<svg onload={call}>"));
        list.push(format!("{quote} onfocus={call} autofocus x="));
        list.push(format!("{quote}<iframe srcdoc=\"<script>parent.{call}</script>\">"));
        list.push(format!("{quote}<a href=\"javascript:{call}\">x</a>"));
        list.push(format!("{quote}<style>*{{display:none}}</style>"));
    }
    for text in TEXTS {
        list.push((*text).to_owned());
    }
    list.push("A".repeat(5_000));
    list.push("<b>".repeat(500));
    list.push("\u{1b}]".repeat(500));
    list.push("]]>".repeat(500));
    list
}

/// A run with one case per string; the string stands in every free field.
pub fn run() -> Run {
    let strings = strings();
    let ids: Vec<String> = (0..strings.len()).map(|n| format!("oci-runtime/hostile/string-{n}")).collect();
    let plan: Vec<_> = ids
        .iter()
        .zip(&strings)
        .map(|(id, s)| json!({"id": id, "summary": s, "covers": [s], "severity": "fail", "since": "1.0.0", "file": s, "line": 1,
            "tags": [s]}))
        .collect();
    let requirements: Vec<_> = strings
        .iter()
        .map(|s| {
            json!({"id": s, "file": s, "anchor": s, "lines": s, "level": "MUST", "since": "1.0.0", "class": s,
            "testable": s, "text": s, "how": s})
        })
        .collect();
    let bad = &strings[0];
    let mut lines = vec![super::header(&[], &plan, &requirements)];
    let target = |label: String, s: &String| {
        json!({"label": label, "spec": {"kind": "oci", "locator": s, "params": [["arg", s]]}, "version": s,
            "sha256": s, "features": {s.clone(): s}, "facts": {s.clone(): s}})
    };
    let labels = [format!("{bad}1"), strings[3].clone()];
    lines[0]["targets"] = json!([target(labels[0].clone(), bad), target(labels[1].clone(), &strings[20])]);
    for key in ["run_id", "tool", "profile", "plan_digest", "challenge", "partition"] {
        lines[0][key] = json!(bad);
    }
    lines[0]["started_at"] = json!(bad);
    lines[0]["command"] = json!(strings);
    lines[0]["filters"] = json!(strings);
    lines[0]["waivers"] = json!({bad.clone(): bad});
    for key in ["kernel", "machine", "os", "cgroups"] {
        lines[0]["host"][key] = json!(bad);
    }
    for key in ["lsm", "missing_capabilities"] {
        lines[0]["host"][key] = json!(strings);
    }
    lines[0]["host"]["controllers"] = json!({bad.clone(): strings});
    lines[0]["host"]["facts"] = json!({bad.clone(): strings});
    lines.extend(strings.iter().map(|s| json!({"event": "note", "text": s})));
    for (t, label) in labels.iter().enumerate() {
        for (n, (id, s)) in ids.iter().zip(&strings).enumerate() {
            let (outcome, judgement) = outcome(n + t, s);
            lines.push(json!({"event": "case-finished", "target": label, "case": id, "attempt": 1, "outcome": outcome,
                "judgement": judgement, "duration_ms": 1.5, "facts": {s.clone(): s}, "config": {s.clone(): s},
                "commands": [{"argv": [s, s], "status": s, "ms": 2.0, "stdout": s, "stderr": s}]}));
        }
    }
    lines.extend(
        strings.iter().map(|s| json!({"event": "bench", "name": s, "result": {s.clone(): s, "verdict": s}})),
    );
    lines.push(json!({"event": "bench", "name": "bench", "result": bench(&strings)}));
    let fault = |s: &String| json!({"id": s, "title": s, "level": s, "requirement": s, "outcome": s, "red": [s], "why": s});
    let faults: Vec<_> = strings.iter().map(fault).collect();
    let result = json!({"schema": "plimsoll-selftest/1", "target": bad, "faults": faults, "false_alarms": [{"case": bad, "target": bad}]});
    lines.push(json!({"event": "bench", "name": "selftest", "result": result}));
    super::finish(&lines, 1)
}

/// A benchmark's result in which every name is a hostile string.
fn bench(strings: &[String]) -> serde_json::Value {
    let mut bench = super::bench("pass");
    bench["notes"] = json!(strings);
    bench["void"] = json!(strings[1]);
    bench["scenarios"][0]["arms"][0]["target"] = json!(strings[0]);
    for (s, scenario) in strings.iter().zip(bench["scenarios"].as_array_mut().unwrap()) {
        scenario["title"] = json!(s);
        scenario["name"] = json!(s);
        scenario["cut_short"] = json!(s);
    }
    let curve = &bench["scenarios"][1]["curves"][0].clone();
    let curves = strings.iter().take(40).map(|s| {
        let mut curve = curve.clone();
        for key in ["target", "name", "x", "y", "says"] {
            curve[key] = json!(s);
        }
        curve
    });
    bench["scenarios"][1]["curves"] = curves.collect();
    bench
}

fn outcome(n: usize, s: &str) -> (serde_json::Value, serde_json::Value) {
    match n % 7 {
        0 => (
            json!({"kind": "fail", "violations": [{"requirement": s, "expected": s, "actual": s}]}),
            json!({"kind": "bad"}),
        ),
        1 => (
            json!({"kind": "warn", "violations": [{"requirement": s, "expected": s, "actual": s}]}),
            json!({"kind": "warned"}),
        ),
        2 => (
            json!({"kind": "error", "trouble": {"kind": "harness", "what": s, "hint": s}}),
            json!({"kind": "trouble"}),
        ),
        3 => (json!({"kind": "not-applicable", "capability": s, "reason": s}), json!({"kind": "neutral"})),
        4 => (json!({"kind": "skip", "lack": s, "reason": s}), json!({"kind": "neutral"})),
        5 => (
            json!({"kind": "fail", "violations": [{"requirement": s, "expected": s, "actual": s}]}),
            json!({"kind": "known", "issue": s, "reason": s}),
        ),
        _ => (json!({"kind": "pass"}), json!({"kind": "fixed", "issue": s})),
    }
}
