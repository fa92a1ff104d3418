//! The documents of a bundle that follow from the run and the harness alone.

use plimsoll_model::{ExitCode, OutcomeKind, Run};
use serde_json::json;
use std::fmt::Write as _;

use super::{Files, Harness, Product};
use crate::markdown::{escape, fenced};
use crate::text::{clean, one_line, shell};
use crate::{html, junit, verdict};

/// Every document but the vendor's own words, the journal, the manifest and the attestation.
pub(super) fn all(run: &Run, harness: &Harness) -> Files {
    let mut files = Files::new();
    let mut add = |name: &str, text: String| files.insert(name.to_owned(), text.into_bytes());
    add("README.md", readme(run, harness));
    add("results.yaml", results(run, harness));
    add("report.html", html::render(run, &html::Options::default()));
    add("junit.xml", junit::render_all(run, &junit::Options::default()));
    add("environment.json", environment(run, harness));
    add("requirements.json", pretty(&json!(run.header.requirements)));
    add("waivers.json", pretty(&json!(run.header.waivers)));
    for record in run.records.iter().filter(|r| r.outcome.kind() != OutcomeKind::Pass) {
        add(&format!("evidence/{}", junit::evidence_path(record)), junit::evidence(record, &run.header));
    }
    files
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// `PRODUCT.yaml`. A JSON string is a YAML scalar in double quotes.
pub(super) fn product(product: &Product) -> String {
    let mut out = String::new();
    for (key, value) in [
        ("vendor", &product.vendor),
        ("name", &product.name),
        ("version", &product.version),
        ("website_url", &product.website_url),
        ("repo_url", &product.repo_url),
        ("documentation_url", &product.documentation_url),
        ("product_logo_url", &product.product_logo_url),
        ("type", &product.kind),
        ("description", &product.description),
    ] {
        let _ = writeln!(out, "{key}: {}", json!(one_line(value)));
    }
    out
}

fn environment(run: &Run, harness: &Harness) -> String {
    let header = &run.header;
    pretty(&json!({"harness": harness, "host": header.host, "targets": header.targets}))
}

fn results(run: &Run, harness: &Harness) -> String {
    let mut out = String::new();
    let code: ExitCode = verdict::exit_code(run);
    let header = &run.header;
    for (key, value) in [
        ("tool", one_line(&header.tool)),
        ("run", one_line(&header.run_id)),
        ("started", one_line(&header.started_at)),
        ("profile", one_line(&header.profile)),
        ("plan_digest", one_line(&header.plan_digest)),
        ("verdict", verdict::sentence(run)),
    ] {
        let _ = writeln!(out, "{key}: {}", json!(value));
    }
    // JSON is YAML: a reader of either takes these lines.
    let host = json!({"os": one_line(&header.host.os), "kernel": one_line(&header.host.kernel),
        "machine": one_line(&header.host.machine), "cgroups": one_line(&header.host.cgroups)});
    let reservations: Vec<String> = super::statement::reservations(run).iter().map(|r| one_line(r)).collect();
    let _ = writeln!(out, "result: {}", json!(super::statement::result(run)));
    let _ = writeln!(out, "reservations: {}", json!(reservations));
    let _ = writeln!(out, "host: {host}");
    let _ = writeln!(out, "tool_is_dirty: {}", harness.dirty);
    let _ = writeln!(out, "exit_code: {}\nresults:", code.code());
    for record in &run.records {
        let _ = writeln!(
            out,
            "  - target: {}\n    case: {}\n    outcome: {}",
            json!(one_line(&record.target)),
            json!(record.case.as_str()),
            json!(record.outcome.kind().word())
        );
        let message = record.outcome.message();
        if !message.is_empty() {
            let _ = writeln!(out, "    message: {}", json!(one_line(&message)));
        }
    }
    out
}

fn readme(run: &Run, harness: &Harness) -> String {
    let header = &run.header;
    let argv: Vec<String> = header.command.iter().map(|a| shell(&one_line(a))).collect();
    let mut out = String::from("# Conformance results\n\n");
    let _ = writeln!(out, "{}\n", escape(&verdict::sentence(run)));
    let _ = writeln!(
        out,
        "## Run it again\n\nWith the same `plimsoll` (version {}, sha256 `{}`):\n",
        escape(&harness.version),
        clean(&harness.sha256).replace('`', "")
    );
    let seed = if argv.iter().any(|a| a.starts_with("--seed")) {
        String::new()
    } else {
        format!(" --seed {}", header.seed)
    };
    out.push_str(&fenced(&format!("plimsoll {}{seed}", argv.join(" "))));
    out.push_str("\nas root, on a host like this one:\n\n");
    let host = &header.host;
    for (key, value) in [
        ("system", &host.os),
        ("kernel", &host.kernel),
        ("machine", &host.machine),
        ("cgroups", &host.cgroups),
    ] {
        let _ = writeln!(out, "- {key}: {}", escape(value));
    }
    out.push_str("\nwith these targets:\n\n");
    for target in &header.targets {
        let digest = target.sha256.as_deref().unwrap_or("no digest: an endpoint");
        let _ = writeln!(
            out,
            "- {}: {} ({}), sha256 {}",
            escape(&target.label),
            escape(&target.version),
            escape(&target.spec.to_string()),
            escape(digest)
        );
    }
    out.push_str("\n## Check it\n\n");
    out.push_str(&fenced("plimsoll verify . --key vendor.pub"));
    out.push_str(
        "\nThe check covers the signature, every file's digest, the hash chain of `journal.jsonl`, the completeness of the\n\
         results, and that every report here follows from the journal byte for byte.\n",
    );
    out
}
