//! The log files that the kubelet reads.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    lines_have_the_format,
    long_lines_are_split,
    a_last_line_without_its_end,
    bytes_are_kept,
    files_are_where_they_belong,
    without_a_file_the_container_runs,
    paths_do_not_escape,
    existing_files_are_appended,
    bursts_are_complete,
    streams_do_not_mix,
    reopen_follows_a_rename,
    reopen_without_a_rename_appends,
    reopen_of_nothing_is_refused,
    rotation_loses_no_line,
    terminals_log_to_stdout,
];

fn print(text: &str, fd: u32) -> Script {
    script().act("print", json!({"text": text, "fd": fd}))
}

/// Each line has a time, a stream, the tag F and its content; times do not go back.
#[case(covers = [
    "log.format.line", "log.format.timestamp-nano", "log.format.timestamp-monotonic", "log.format.tag-full",
    "log.format.stream-names", "log.format.empty-lines",
])]
async fn lines_have_the_format(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let script = print("one\n\nthree\n", 1).act("print", json!({"text": "error\n", "fd": 2}));
    let container = cri.run_pod().await?.container().script(&script).run().await?;
    let lines = container.log()?;
    let out: Vec<_> = lines.iter().filter(|l| l.stream == "stdout").collect();
    let content: Vec<_> = out.iter().map(|l| String::from_utf8_lossy(&l.content).into_owned()).collect();
    check_eq!(of "log.format.empty-lines"; content.get(1).map(String::as_str), Some(""), "the second line");
    check_eq!(
        content.iter().take(3).map(String::as_str).collect::<Vec<_>>(),
        ["one", "", "three"],
        "the first three lines of stdout"
    );
    check!(of "log.format.tag-full"; out.iter().all(|l| l.full), "the tag F on whole lines", "another tag");
    let err: Vec<_> = lines.iter().filter(|l| l.stream == "stderr").collect();
    check!(of "log.format.stream-names"; err.len() == 1 && err[0].content == b"error", "one line of stderr", "{}", err.len());
    let times: Vec<_> = out.iter().map(|l| l.time.clone()).collect();
    check!(of "log.format.timestamp-nano"; times.iter().all(|t| is_rfc3339(t)), "times in RFC 3339 with nanoseconds and a zone", "{:?}", times.first());
    check!(of "log.format.timestamp-monotonic"; times.is_sorted_by(|a, b| instant(a) <= instant(b)), "times that do not go back", "they do");
    Ok(())
}

/// `2006-01-02T15:04:05.999999999Z07:00`: up to nine digits of a second, and a zone.
fn is_rfc3339(time: &str) -> bool {
    let Some((seconds, rest)) = time.split_at_checked(19) else { return false };
    let shape = "dddd-dd-ddTdd:dd:dd".chars().zip(seconds.chars());
    let digits = rest.strip_prefix('.').map_or(0, |r| r.chars().take_while(char::is_ascii_digit).count());
    let zone = &rest[if digits > 0 { digits + 1 } else { 0 }..];
    let offset = zone.strip_prefix(['+', '-']).is_some_and(|z| z.len() == 5 && z.as_bytes()[2] == b':');
    shape.into_iter().all(|(s, c)| if s == 'd' { c.is_ascii_digit() } else { s == c })
        && digits <= 9
        && (zone == "Z" || offset)
}

/// A time as something that can be compared: the fraction is padded, the zone is the same in one file.
fn instant(time: &str) -> (String, String) {
    let (seconds, rest) = time.split_once('.').unwrap_or((time, ""));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (seconds.to_owned(), format!("{digits:0<9}"))
}

/// A long line is split into bounded parts with the tag P, the last with F, and nothing is lost.
#[case(covers = ["log.format.tag-partial", "log.format.long-line-limit"])]
async fn long_lines_are_split(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let script = script()
        .act("print", json!({"text": "0123456789", "repeat": 10_000, "fd": 2}))
        .act("print", json!({"text": "\n", "fd": 2}));
    let container = cri.run_pod().await?.container().script(&script).run().await?;
    let lines = container.log()?;
    let parts: Vec<_> = lines.iter().filter(|l| !l.full).collect();
    check!(of "log.format.long-line-limit"; parts.iter().all(|p| p.content.len() <= 64 << 10) && !parts.is_empty(), "parts of a bounded size", "{} parts", parts.len());
    let text = container.log_text("stderr")?;
    let first = text.lines().find(|l| l.starts_with("0123456789")).unwrap_or_default();
    check_eq!(first.len(), 100_000, "length of the joined line");
    check!(first.as_bytes().chunks(10).all(|c| c == b"0123456789"), "the content of the line", "another");
    Ok(())
}

/// Output that does not end with a newline is in the log when the container has ended.
#[case(covers = ["log.format.no-trailing-newline"])]
async fn a_last_line_without_its_end(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().script(&print("abc", 2)).run().await?;
    let lines = container.log()?;
    let last = lines.iter().find(|l| l.stream == "stderr");
    check!(
        last.is_some_and(|l| l.content == b"abc"),
        "the text without additions",
        "{:?}",
        last.map(|l| &l.content)
    );
    Ok(())
}

/// NUL, carriage return, UTF-8 and invalid bytes are kept.
#[case(covers = ["log.format.binary-safe"])]
async fn bytes_are_kept(cx: &mut Cx) -> Verdict {
    use base64::Engine as _;
    let cri = cx.cri()?;
    let bytes = b"a\x00b\rc\xff\xfed \xc3\xa9\n";
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let script = script().act("print", json!({"base64": text, "fd": 2}));
    let container = cri.run_pod().await?.container().script(&script).run().await?;
    check_eq!(container.log_bytes("stderr")?, bytes.to_vec(), "bytes in the log");
    Ok(())
}

/// The log is at the log directory and path, also in a sub directory, and there when the start returns.
#[case(covers = ["log.path.location", "log.path.subdir", "log.file.created-at-create-or-start", "log.file.permissions", "container.status.log-path", "sandbox.log-directory.created-or-exists"])]
async fn files_are_where_they_belong(cx: &mut Cx) -> Verdict {
    use std::os::unix::fs::PermissionsExt as _;
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    std::fs::create_dir_all(pod.log_directory().join("name"))?;
    let container = pod
        .container()
        .with(|c| c.log_path = "name/0.log".into())
        .script(&print("here\n", 1))
        .create()
        .await?;
    container.start().await.must_succeed().map_err(|s| s.of("log.path.subdir"))?;
    check!(of "log.file.created-at-create-or-start"; container.log_file().is_file(), "the log file", "none");
    container.exited().await?;
    check!(container.log_text("stdout")?.contains("here"), "the output in the log", "something else");
    let told = container.status().await?.log_path;
    check_eq!(of "container.status.log-path"; told, container.log_file().display().to_string(), "log_path in the status");
    let mode = std::fs::metadata(container.log_file())?.permissions().mode() & 0o777;
    cx.record("log.file-mode", format!("{mode:o}"));
    Ok(())
}

/// Without a log path or directory there is no file, and big output does not block.
#[case(covers = ["log.path.empty", "log.path.no-log-directory", ])]
async fn without_a_file_the_container_runs(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let big = script().act("flood", json!({"bytes": 2_000_000})).exit(5);
    let container = pod.container().with(|c| c.log_path.clear()).script(&big).try_create().await?;
    let container = container.must_succeed()?;
    container.start().await.must_succeed()?;
    container.exited().await?;
    check_eq!(container.status().await?.exit_code, 5, "exit code");
    check_eq!(
        std::fs::read_dir(pod.log_directory()).map_or(0, Iterator::count),
        0,
        "files in the log directory"
    );
    let bare = cri.pod().host_network().with(|c| c.log_directory.clear()).try_run().await.must_succeed();
    let bare = bare.map_err(|s| s.of("log.path.no-log-directory"))?;
    let container =
        bare.container().script(&big).run().await.map_err(|s| s.of("log.path.no-log-directory"))?;
    check_eq!(of "log.path.no-log-directory"; container.status().await?.exit_code, 5, "exit code");
    Ok(())
}

/// A log path that climbs out of the directory is refused or stays inside.
#[case(covers = ["log.path.traversal"])]
async fn paths_do_not_escape(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let climbing = pod.container().with(|c| c.log_path = "../escaped.log".into()).script(&print("x\n", 1));
    if let Ok(container) = climbing.try_create().await? {
        let _ = container.start().await;
    }
    check!(!cri.dir().join("escaped.log").exists(), "no file outside the log directory", "there is one");
    Ok(())
}

/// An existing file is appended to.
#[case(covers = ["log.file.append-on-existing"])]
async fn existing_files_are_appended(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let line = "2026-01-01T00:00:00.000000000Z stdout F before\n";
    std::fs::write(pod.log_directory().join("again.log"), line)?;
    let container =
        pod.container().with(|c| c.log_path = "again.log".into()).script(&print("after\n", 1)).run().await?;
    let text = container.log_text("stdout")?;
    check!(
        text.starts_with("before\n") && text.contains("after\n"),
        "both lines",
        "{:?}",
        text.lines().next()
    );
    Ok(())
}

/// Ten megabytes written just before the end are whole in the log when the state is EXITED.
#[case(covers = ["log.file.complete-on-exit", "log.throughput.no-block"])]
async fn bursts_are_complete(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let start = Instant::now();
    let flood = script().act("flood", json!({"bytes": 10_000_000, "line_len": 100, "fd": 2}));
    let container = pod.container().script(&flood).run().await?;
    check!(of "log.throughput.no-block"; start.elapsed() < Duration::from_secs(20), "10 MB are written in 20 s", "after {} s", start.elapsed().as_secs());
    let lines = container.log_text("stderr")?;
    check_eq!(lines.lines().count(), 100_000, "lines in the log");
    let ordered = lines.lines().enumerate().all(|(n, l)| l.starts_with(&format!("{n:012}")));
    check!(ordered, "every line once and in order", "not so");
    Ok(())
}

/// Lines of the two streams are never mixed into each other.
#[case(covers = ["log.interleave"])]
async fn streams_do_not_mix(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    // Its answers go elsewhere: in one pipe the container itself could mix them into its parent's lines.
    let child =
        json!({"nonce": "child", "out": "/tmp/child", "steps": [{"do": "flood", "fd": 2, "bytes": 200_000}]});
    let both = script()
        .act("spawn", json!({"script": child, "wait": false}))
        .act("flood", json!({"fd": 1, "bytes": 200_000}))
        .act("sleep", json!({"ms": 300}));
    let container = cri.run_pod().await?.container().script(&both).run().await?;
    for stream in ["stdout", "stderr"] {
        let text = container.log_text(stream)?;
        let mut lines: Vec<&str> =
            text.lines().filter(|l| l.as_bytes().first().is_some_and(u8::is_ascii_digit)).collect();
        // The child may be killed with the container, in the middle of its last line.
        lines.pop();
        let whole = lines.iter().all(|l| l.len() == 99 && l[13..].chars().all(|c| c == 'x'));
        check!(whole, format!("whole lines in {stream}"), "a mixed one");
    }
    Ok(())
}

async fn ticking(pod: &Pod) -> Result<Container, Stop> {
    let mut ticks = script();
    for n in 0..200 {
        ticks = ticks.act("print", json!({"text": format!("tick {n}\n")})).act("sleep", json!({"ms": 10}));
    }
    pod.container().script(&ticks).start().await
}

async fn reopen(container: &Container) -> Result<(), plimsoll_kit::cri::CallError> {
    let request = v1::ReopenContainerLogRequest { container_id: container.id.clone() };
    container.cri().client().reopen_container_log(request).await.map(|_| ())
}

/// After a rename a new file appears and takes the new lines; the old one stops growing.
#[case(covers = ["container.reopen-log.new-file"])]
async fn reopen_follows_a_rename(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = ticking(&cri.run_pod().await?).await?;
    container.logs("tick 5").await?;
    let old = container.log_file().with_extension("old");
    std::fs::rename(container.log_file(), &old)?;
    reopen(&container).await.must_succeed()?;
    check!(container.log_file().is_file(), "a new file", "none");
    let size = std::fs::metadata(&old)?.len();
    container.logs("tick").await?;
    check_eq!(std::fs::metadata(&old)?.len(), size, "size of the old file");
    Ok(())
}

/// Reopening without a rename appends and never truncates.
#[case(covers = ["container.reopen-log.no-rename"])]
async fn reopen_without_a_rename_appends(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = ticking(&cri.run_pod().await?).await?;
    container.logs("tick 5").await?;
    let size = std::fs::metadata(container.log_file())?.len();
    reopen(&container).await.must_succeed()?;
    check!(std::fs::metadata(container.log_file())?.len() >= size, "the file does not shrink", "it does");
    Ok(())
}

/// Reopening is refused for an unknown container, and consistent for an ended one.
#[case(covers = ["container.reopen-log.not-found", "container.reopen-log.not-running"])]
async fn reopen_of_nothing_is_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let request = v1::ReopenContainerLogRequest { container_id: NOBODY.into() };
    cri.client().reopen_container_log(request).await.must_fail_with(&[Code::NotFound])?;
    let container = cri.run_pod().await?.container().script(&print("x\n", 1)).run().await?;
    std::fs::rename(container.log_file(), container.log_file().with_extension("old"))?;
    let reopened = reopen(&container).await.is_ok();
    check_eq!(of "container.reopen-log.not-running"; container.log_file().exists(), reopened, "whether there is a new file");
    Ok(())
}

/// Twenty rotations lose no line and double none.
#[case(covers = ["container.reopen-log.no-loss"])]
async fn rotation_loses_no_line(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = ticking(&cri.run_pod().await?).await?;
    let mut text = String::new();
    for n in 0..20 {
        container.logs("tick").await?;
        let old = container.log_file().with_extension(n.to_string());
        std::fs::rename(container.log_file(), &old)?;
        reopen(&container).await.must_succeed()?;
        text.push_str(&String::from_utf8_lossy(&std::fs::read(&old)?));
    }
    container.exited().await?;
    text.push_str(&String::from_utf8_lossy(&std::fs::read(container.log_file())?));
    let ticks: Vec<&str> = text.lines().filter_map(|l| l.split("F tick ").nth(1)).collect();
    let expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    check_eq!(ticks, expected, "numbers of the lines");
    Ok(())
}

/// The output of a terminal is logged as stdout.
#[case(covers = ["container.tty.log-crlf", "container.tty.allocated", "container.tty.false"])]
async fn terminals_log_to_stdout(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let ask = script().ask("stdio_tty").act("print", json!({"text": "to error\n", "fd": 2}));
    let container = pod.container().with(|c| c.tty = true).script(&ask).run().await?;
    check!(container.log()?.iter().all(|l| l.stream == "stdout"), "only stdout in the log", "stderr too");
    let text = container.log_text("stdout")?;
    check!(text.contains("to error"), "all output in the log", "some is missing");
    let facts = Answers::parse(&text, cri.tag());
    check!(of "container.tty.allocated"; facts.facts("stdio_tty")?["stdio"].as_array().is_some_and(|s| s.iter().all(|f| f["isatty"] == true)), "a terminal on 0, 1 and 2", "not on all");
    let without = pod.container().answers(&script().ask("stdio_tty")).await?;
    check!(of "container.tty.false"; without.facts("stdio_tty")?["stdio"].as_array().is_some_and(|s| s.iter().all(|f| f["isatty"] == false)), "no terminal", "one");
    Ok(())
}
