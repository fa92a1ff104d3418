//! The HTML page: content, size, and what a real browser makes of it.

// Helpers of tests end the test where they cannot go on, and say why they skip.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use plimsoll_model::OutcomeKind;
use plimsoll_reports::html::{self, Assets, Options};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn the_page_tells_everything_in_order() {
    let run = common::sample();
    let page = html::render(&run, &Options { baseline: Some(&run), ..Options::default() });
    let mut at = 0;
    for part in [
        "<title>Gate closed: runc 1.1.5+ds1: 4/5 MUST pass",
        "<h1>✗ Gate closed</h1>",
        "<span class=\"f\" aria-hidden=\"true\">✗</span> runc 1.1.5+ds1: 4/5 MUST pass",
        "<span class=\"p\" aria-hidden=\"true\">✓</span> ref-oci",
        "7 cases cover 3 of 4 MUST requirements (75 %).",
        "What failed</h2>",
        "<a href=\"#oci-runtime/kill/stopped-is-error@runc\">oci-runtime/kill/stopped-is-error</a>",
        "What to do</h2>",
        "<code>plimsoll expectations update",
        "<a href=\"#?diff=1\">show only these</a>",
        "<section id=\"targets\"",
        "CAP_SYS_RESOURCE",
        "<section id=\"changes\"",
        "<section id=\"coverage\"",
        "<section id=\"matrix\"",
        "<section id=\"cases\"",
        "id=\"oci-runtime/kill/stopped-is-error@runc\"",
        "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/runtime.md#kill",
        "<dt>expected</dt><dd>exit status ≠ 0</dd>",
        "container C1 &#60;is&#62; not running &#38; gone",
        "plimsoll run -t oci:/usr/sbin/runc --case oci-runtime/kill/stopped-is-error --keep",
        "<section id=\"facts\"",
        "mount-point-created",
        "<section id=\"method\"",
        "no memory controller in cgroup v2",
    ] {
        let found = page[at..].find(part);
        assert!(found.is_some(), "{part} is missing or out of order");
        at += found.unwrap();
    }
    assert_eq!(page, html::render(&run, &Options { baseline: Some(&run), ..Options::default() }));
}

#[test]
fn a_violation_counts_against_the_requirement_that_it_names() {
    let mut run = common::sample();
    let page = html::render(&run, &Options::default());
    assert!(!page.contains("config.root.open</code><br>Nobody tests this one yet.<br><span class=\"small soft\">open: not tested yet</span></th><td class=\"f\">"));
    let violation = plimsoll_model::Violation::new("nothing is left", "a mount").of("config.root.open");
    run.records[0].outcome = plimsoll_model::Outcome::Fail { violations: vec![violation] };
    let page = html::render(&run, &Options::default());
    assert!(page.contains("open: not tested yet</span></th><td class=\"f\">✗ not met</td>"));
}

#[test]
fn benchmarks_and_the_detection_score_have_their_sections() {
    let mut run = common::sample();
    let without = html::render(&run, &Options::default());
    assert!(!without.contains("id=\"benchmarks\"") && !without.contains("id=\"detection\""));
    run.benches.push(("bench".into(), common::bench("inconclusive")));
    run.benches.push(("selftest".into(), common::selftest()));
    let page = html::render(&run, &Options::default());
    for part in [
        "The benchmark cannot tell.",
        "crun against runc: CANNOT TELL: crun starts in a quarter of the time",
        "<title>Cold start: start.entrypoint</title>",
        "bare kernel",
        "throughput.closed",
        "0.250×",
        "Of 2 faults injected in ref:oci that apply here, 1 were found (50 %)",
        "no case looks there",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("never counts"), "the sentinel is not a candidate");
    assert_eq!(page.matches("<svg role=\"img\" ").count(), 3);
    assert_eq!(page, html::render(&run, &Options::default()));
}

/// A runtime is compared with runtimes; that a case of runtimes does not apply to an endpoint is no difference.
#[test]
fn targets_are_compared_with_their_own_kind() {
    let mut run = common::sample();
    assert!(html::render(&run, &Options::default()).contains("The targets differ in "));
    let labels: Vec<String> = run.header.targets.iter().map(|t| t.label.clone()).collect();
    run.header.targets[2].spec = "ref:cri".parse().unwrap();
    for record in run.records.iter_mut().filter(|r| r.target == labels[2]) {
        record.outcome = plimsoll_model::Outcome::NotApplicable {
            capability: "cri-endpoint".into(),
            reason: "the target is driven through another interface".into(),
        };
    }
    let kind = |case: &str, target: &str| {
        let record = run.records.iter().find(|r| r.case.as_str() == case && r.target == target);
        record.map(|r| r.outcome.kind())
    };
    let differing = run.header.plan.iter().map(|c| c.id.as_str());
    let differing = differing.filter(|c| kind(c, &labels[0]) != kind(c, &labels[1])).count();
    assert!(differing > 0 && differing < run.header.plan.len());
    let page = html::render(&run, &Options::default());
    assert!(page.contains(&format!("Targets of one kind differ in {differing} case")), "{differing}");
    assert!(page.contains(&format!("The targets differ in {differing} of the cases: <a")), "{differing}");
    assert_eq!(page.matches("\" data-d>").count(), differing);
}

/// Versions of one product regress; of two products one is slower.
#[test]
fn only_versions_of_one_product_regress() {
    let mut run = common::sample();
    run.benches.push(("bench".into(), common::bench("fail")));
    let page = html::render(&run, &Options::default());
    for part in [
        "✗ A target does worse than the baseline",
        "crun against runc: SLOWER: ",
        "they are different products",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("A regression or a defect") && !page.contains("regressed"));
    run.benches[0].1["targets"][1]["version"] = "runc version 1.2.0".into();
    let page = html::render(&run, &Options::default());
    for part in
        ["✗ A regression or a defect was shown.", "crun against runc: FAIL: ", "A benchmark regressed"]
    {
        assert!(page.contains(part), "{part}");
    }
    run.benches[0].1 = common::bench("pass");
    assert!(html::render(&run, &Options::default()).contains("crun against runc: FASTER: "));
}

#[test]
fn what_the_harness_measures_of_itself_is_no_choice_of_a_target() {
    let mut run = common::sample();
    for record in &mut run.records {
        record.facts.insert("harness.overhead-ms".into(), serde_json::json!(12.5));
    }
    let page = html::render(&run, &Options::default());
    assert!(!page.contains("harness.overhead-ms"), "not among the recorded choices");
    assert!(
        page.contains("12 ms per attempt beyond") || page.contains("12.5 ms per attempt beyond"),
        "but told once"
    );
}

#[test]
fn assets_can_live_beside_the_page() {
    let page = html::render(&common::sample(), &Options { assets: Assets::External, baseline: None });
    assert!(page.contains("<link rel=\"stylesheet\" href=\"report.css\">") && !page.contains("<style>"));
    assert!(page.contains("<script src=\"report.js\" defer></script>"));
    assert!(!page.contains(" style=\""), "a policy without inline styles would drop it");
    assert_eq!(html::assets().map(|(name, _)| name), ["report.css", "report.js"]);
}

#[test]
fn two_thousand_cases_on_six_targets_stay_below_four_megabytes() {
    let page = html::render(&common::large(2000, 6), &Options::default());
    assert!(page.len() < 4_000_000, "{} bytes", page.len());
    assert!(page.contains("case-number-1991-does-what-it-says@runtime-5"));
}

/// Many nodes: only what needs a look has a row, everything is counted, and no link leads nowhere.
#[test]
fn a_page_of_very_many_cells_shows_what_is_not_well() {
    let mut run = common::large(900, 70);
    // `large` fails one case in ten on each target, others on others: here the failures are those of the first target.
    let failed: std::collections::BTreeSet<_> = run
        .records
        .iter()
        .filter(|r| r.target == "runtime-0" && r.outcome.kind() == OutcomeKind::Fail)
        .map(|r| r.case.clone())
        .collect();
    let fail = run.records.iter().find(|r| r.outcome.kind() == OutcomeKind::Fail).unwrap().clone();
    let pass = run.records.iter().find(|r| r.outcome.kind() == OutcomeKind::Pass).unwrap().clone();
    for record in &mut run.records {
        let like = if failed.contains(&record.case) { &fail } else { &pass };
        record.outcome = like.outcome.clone();
        record.judgement = like.judgement.clone();
    }
    let page = html::render(&run, &Options::default());
    assert!(page.contains(&format!("Of 900 cases this page shows {}", failed.len())));
    let ids: std::collections::BTreeSet<&str> =
        page.split(" id=\"").skip(1).map(|p| p.split('"').next().unwrap()).collect();
    for link in page.split("href=\"#").skip(1).map(|p| p.split('"').next().unwrap()) {
        assert!(ids.contains(link), "#{link} leads nowhere");
    }
    for case in &run.header.plan {
        assert_eq!(ids.contains(case.id.as_str()), failed.contains(&case.id), "{}", case.id);
    }
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
}

/// On very many targets a requirement has no cell for each: its row counts them, and names some that do not meet it.
#[test]
fn the_requirements_of_many_targets_are_counted() {
    let mut run = common::large(20, 50);
    let one = run.header.requirements[0].clone();
    for n in 0..400 {
        run.header.requirements.push(plimsoll_model::Requirement { id: format!("more.{n}"), ..one.clone() });
    }
    let covered = "runtime.kill.stopped-errors";
    let not_met = |t: &&plimsoll_model::TargetInfo| {
        let of = run.records.iter().filter(|r| r.target == t.label);
        of.flat_map(|r| r.outcome.violations()).any(|v| v.requirement == covered)
    };
    let failing: Vec<&str> = run.header.targets.iter().filter(not_met).map(|t| t.label.as_str()).collect();
    assert!(!failing.is_empty());
    let page = html::render(&run, &Options::default());
    let row = page.split("<code>").find(|p| p.starts_with(&format!("{covered}</code>"))).unwrap();
    let names = failing.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    assert!(row.contains(&format!("✗ {}: {names}", failing.len())), "{row}");
    assert!(page.contains("<th scope=\"col\">Not met on</th>"));
    assert!(page.matches("<td").count() < 50 * 400, "a cell for each requirement and target");
}

/// A browser with a profile of its own, which goes with it.
struct Browser {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Browser {
    fn find() -> Option<Self> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let mut all =
            std::env::split_paths(&paths).flat_map(|d| [d.join("chromium"), d.join("google-chrome")]);
        let program = all.find(|p| p.is_file());
        if program.is_none() {
            assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "no browser is installed");
            println!("SKIP: no browser is installed");
        }
        Some(Self { program: program?, dir: tempfile::tempdir().unwrap() })
    }

    fn page(&self, name: &str, html: &str) -> String {
        let file = self.dir.path().join(name);
        std::fs::write(&file, html).unwrap();
        format!("file://{}", file.display())
    }

    /// Runs the browser to its end, with a bound, and gives what it printed.
    fn run(&self, args: &[&str], url: &str) -> String {
        let profile = tempfile::tempdir_in(self.dir.path()).unwrap();
        let out = self.dir.path().join("out.txt");
        let mut child = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(args)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(600);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the browser did not end within 600 s");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::read_to_string(out).unwrap()
    }

    fn dom(&self, url: &str) -> String {
        self.run(&["--dump-dom", "--virtual-time-budget=5000"], url)
    }
}

#[test]
fn filters_work_and_a_filtered_view_is_a_link() {
    let Some(browser) = Browser::find() else { return };
    let url = browser.page("report.html", &html::render(&common::sample(), &Options::default()));
    let dom = browser.dom(&url);
    assert!(dom.contains("7 of 7 cases shown"), "the script did not run");
    for (fragment, want) in [
        ("?diff=1", "5 of 7 cases shown"),
        ("?q=kill", "2 of 7 cases shown"),
        ("?outcome=f", "1 of 7 cases shown"),
        ("?outcome=f&target=2", "0 of 7 cases shown"),
        ("?level=s", "1 of 7 cases shown"),
        ("?outcome=nonsense&level=%22", "7 of 7 cases shown"),
    ] {
        let dom = browser.dom(&format!("{url}#{fragment}"));
        assert!(
            dom.contains(want),
            "{fragment}: {:?}",
            dom.find("cases shown").map(|i| &dom[i.saturating_sub(20)..i + 11])
        );
    }
    let dom = browser.dom(&format!("{url}#oci-runtime/kill/stopped-is-error@runc"));
    assert!(
        dom.contains("<details id=\"oci-runtime/kill/stopped-is-error\" open=\"\">"),
        "the link opens its case"
    );
}

#[test]
fn without_a_script_everything_is_still_there() {
    let Some(browser) = Browser::find() else { return };
    // A policy without scripts and styles, as some artifact servers impose.
    let page = html::render(&common::sample(), &Options::default());
    let (before, rest) = page.split_once("content=\"default-src").unwrap();
    let strict = format!("{before}content=\"default-src 'none'\">{}", rest.split_once('>').unwrap().1);
    let dom = browser.dom(&browser.page("report.html", &strict));
    assert!(
        dom.contains("<form class=\"filter\" id=\"filter\" hidden=\"\">"),
        "filters that cannot work are hidden"
    );
    assert!(dom.contains("aria-live=\"polite\"></output>") && dom.contains("exit 0, stderr empty"));
}

/// A page in a frame of this width, asked by a script of ours: what it writes into `data-said` of the root.
fn asked(browser: &Browser, page: &str, width: u32, question: &str) -> String {
    let inner = page.replace('&', "&amp;").replace('"', "&quot;");
    let outer = format!(
        "<!doctype html><body style=margin:0><iframe srcdoc=\"{inner}\" width={width} height=900 style=border:0></iframe>\
         <script>document.querySelector('iframe').addEventListener('load', function (e) {{ var d = e.target.contentDocument;\
         document.documentElement.setAttribute('data-said', 'said ' + (function () {{ {question} }})()); }});</script>"
    );
    let dom = browser.dom(&browser.page("outer.html", &outer));
    let said = dom.split_once("data-said=\"").map_or("", |(_, rest)| rest.split('"').next().unwrap());
    said.strip_prefix("said ").unwrap_or_else(|| panic!("no answer")).to_owned()
}

fn rich() -> String {
    let mut run = common::sample();
    run.benches.push(("bench".into(), common::bench("pass")));
    run.benches.push(("selftest".into(), common::selftest()));
    html::render(&run, &Options { baseline: Some(&run), ..Options::default() })
        .replace("<details", "<details open")
}

#[test]
fn a_narrow_screen_scrolls_in_one_direction() {
    let Some(browser) = Browser::find() else { return };
    // Tables scroll in boxes of their own; the page itself does not.
    let said = asked(&browser, &rich(), 320, "return d.documentElement.scrollWidth;");
    assert!(said.parse::<u32>().unwrap() <= 320, "{said} px wide");
    let wide = "<!doctype html><p style=\"width:400px\">x</p>";
    let said = asked(&browser, wide, 320, "return d.documentElement.scrollWidth;");
    assert!(said.parse::<u32>().unwrap() > 320, "the control is too wide, and the question finds it");
}

#[test]
fn everything_can_be_reached_with_the_keyboard() {
    let Some(browser) = Browser::find() else { return };
    let question = "var bad = [], n = 0, order = -1;\
        d.querySelectorAll('a[href],summary,input,select,button,[tabindex]').forEach(function (e) {\
          if (e.closest('[hidden]')) return; n += 1; e.focus();\
          if (d.activeElement !== e || e.tabIndex > 0) bad.push(e.outerHTML.slice(0, 80)); });\
        d.querySelectorAll('.scroll,.matrix').forEach(function (e) { if (e.tabIndex !== 0) bad.push('scroll box'); });\
        d.querySelectorAll('label').forEach(function (l) { if (!l.control) bad.push('label without a field'); });\
        var first = d.querySelector('a[href],button,input'); if (first.className !== 'skip') bad.push('no skip link first');\
        return n + ' ' + bad.join('|');";
    let said = asked(&browser, &rich(), 1000, question);
    let (number, bad) = said.split_once(' ').unwrap();
    assert!(number.parse::<u32>().unwrap() > 50 && bad.is_empty(), "{said}");
}

#[test]
fn every_link_into_the_page_leads_somewhere() {
    for run in [common::sample(), common::hostile::run()] {
        let page = html::render(&run, &Options { baseline: Some(&run), ..Options::default() });
        let ids: std::collections::BTreeSet<&str> =
            page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let links = page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
        let dead: Vec<&str> = links.filter(|l| !l.starts_with('?') && !ids.contains(l)).collect();
        assert!(dead.is_empty(), "{dead:?}");
    }
}

/// The accessibility checker axe-core, where `PLIMSOLL_AXE` names its `axe.min.js`.
#[test]
fn an_accessibility_checker_finds_nothing_serious() {
    let Some(axe) = std::env::var_os("PLIMSOLL_AXE") else {
        println!("SKIP: PLIMSOLL_AXE does not name axe.min.js");
        return;
    };
    let Some(browser) = Browser::find() else { return };
    let mut run = common::sample();
    run.benches.push(("bench".into(), common::bench("pass")));
    run.benches.push(("selftest".into(), common::selftest()));
    let page = html::render(&run, &Options { baseline: Some(&run), ..Options::default() });
    let (before, rest) = page.split_once("<meta http-equiv=").unwrap();
    let check = "<script>axe.run().then(function (r) { var bad = r.violations.filter(function (v) { return v.impact === 'serious' \
        || v.impact === 'critical'; }); document.documentElement.setAttribute('data-axe', 'done ' + r.passes.length + ' ' + \
        JSON.stringify(bad.map(function (v) { return [v.id, v.nodes.map(function (n) { return n.html.slice(0, 120); })]; }))); });</script>";
    let script = std::fs::read_to_string(axe).unwrap();
    let page = format!("{before}{}", rest.split_once('>').unwrap().1).replace("<details", "<details open");
    let page = page.replace("</body>", &format!("<script>{script}</script>{check}</body>"));
    for more in ["--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"] {
        let url = browser.page("axe.html", &page);
        let dom = browser.run(&["--dump-dom", "--virtual-time-budget=60000", more], &url);
        let found = dom.split_once("data-axe=\"").map_or("", |(_, rest)| rest.split('"').next().unwrap());
        assert!(found.starts_with("done ") && found.ends_with(" []"), "{more}: {found}");
    }
}

/// Whether a hostile string ran: each marks the root element.
fn is_marked(dom: &str) -> bool {
    let root = dom.split_once("<html").map_or("", |(_, rest)| rest);
    root.split('>').next().is_some_and(|tag| tag.contains("data-pwned"))
}

#[test]
fn no_hostile_string_runs_a_script() {
    let Some(browser) = Browser::find() else { return };
    assert!(common::hostile::strings().len() >= 200);
    let run = common::hostile::run();
    // Escaping alone must do, should a browser know no policies; the inlined policy is at work in the filter test.
    let page = html::render(&run, &Options { assets: Assets::Inline, baseline: Some(&run) });
    let (before, rest) = page.split_once("<meta http-equiv=").unwrap();
    let open = format!("{before}{}", rest.split_once('>').unwrap().1);
    let closed = html::render(&run, &Options { assets: Assets::External, baseline: Some(&run) });
    for (name, text) in html::assets() {
        std::fs::write(browser.dir.path().join(name), text).unwrap();
    }
    for (name, page) in [("open.html", open), ("closed.html", closed)] {
        let dom = browser.dom(&browser.page(name, &page));
        assert!(!is_marked(&dom), "{name}: a hostile string ran as a script");
        assert!(dom.contains("cases shown</output>"), "{name}: the page's own script did not run");
        assert!(!dom.contains("<img") && !dom.contains("<iframe"), "{name}: an element was smuggled in");
    }
    // The control: without the policy and without escaping the same browser runs the same string.
    let naked = format!("<!doctype html><body>{}", common::hostile::strings()[0]);
    assert!(is_marked(&browser.dom(&browser.page("naked.html", &naked))));
}

#[test]
fn pictures_can_be_taken() {
    let Some(dir) = std::env::var_os("PLIMSOLL_SCREENSHOTS").map(PathBuf::from) else { return };
    let Some(browser) = Browser::find() else { return };
    let mut run = common::sample();
    run.benches.push(("bench".into(), common::bench("pass")));
    run.benches.push(("selftest".into(), common::selftest()));
    let page = html::render(&run, &Options { baseline: Some(&run), ..Options::default() });
    let url = browser.page("report.html", &page.replace("<details", "<details open"));
    let shoot = |url: &str, name: &str, size: &str, more: &[&str]| {
        let file = format!("--screenshot={}", Path::new(&dir).join(name).display());
        let size = format!("--window-size={size}");
        let args = [&[file.as_str(), size.as_str(), "--hide-scrollbars", "--virtual-time-budget=5000"], more]
            .concat();
        browser.run(&args, url);
        assert!(Path::new(&dir).join(name).is_file());
    };
    shoot(&url, "light.png", "1280,9000", &[]);
    shoot(&url, "dark.png", "1280,9000", &["--blink-settings=preferredColorScheme=0"]);
    let mut measured = run.clone();
    measured.records.clear();
    measured.header.plan.clear();
    let page = html::render(&measured, &Options::default()).replace("<details", "<details open");
    let bench = browser.page("bench.html", &page);
    shoot(&bench, "bench-light.png", "1280,5000", &[]);
    shoot(&bench, "bench-dark.png", "1280,5000", &["--blink-settings=preferredColorScheme=0"]);
    // The window cannot be narrower than 500 px, a frame can.
    let frame =
        format!("<body style=margin:0><iframe src=\"{url}\" width=320 height=12000 style=border:0></iframe>");
    let url = browser.page("frame.html", &frame);
    shoot(&url, "narrow.png", "500,12000", &[]);
}
