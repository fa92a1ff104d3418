//! Files, descriptors, streams and terminals.
mod common;

use common::{Live, command, probe, program, run, script, skip, under};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

#[test]
fn stat_of_every_kind() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file"), "12345").expect("write");
    std::fs::set_permissions(at("file"), std::fs::Permissions::from_mode(0o2640)).expect("chmod");
    symlink("file", at("link")).expect("symlink");
    symlink("nowhere", at("dangling")).expect("symlink");
    let stat = |name: &str, follow: bool| json!({ "ask": "stat", "path": at(name), "follow": follow });
    let answers = probe(&json!([
        stat("file", false), stat("link", false), stat("link", true), stat("dangling", true),
        { "ask": "stat", "path": "/dev/null" }, { "ask": "stat", "path": dir.path() },
        { "ask": "readlink", "path": at("link") }, { "ask": "readlink", "path": at("file") },
        { "do": "mknod", "path": at("fifo"), "type": "fifo" }, stat("fifo", false),
    ]));
    let real = std::fs::metadata(at("file")).expect("stat");
    let facts = answers.ok(0);
    assert_eq!(
        (&facts["type"], &facts["octal"], &facts["size"]),
        (&json!("file"), &json!("2640"), &json!(5))
    );
    assert_eq!(
        (&facts["ino"], &facts["uid"], &facts["nlink"]),
        (&json!(real.ino()), &json!(real.uid()), &json!(1))
    );
    assert_eq!(facts["mtime_ns"], real.mtime() * 1_000_000_000 + real.mtime_nsec());
    assert_eq!((&answers.ok(1)["type"], &answers.ok(1)["target"]), (&json!("symlink"), &json!("file")));
    assert_eq!(answers.ok(2)["ino"], facts["ino"]);
    assert_eq!(answers.errno(3), 2);
    let null = answers.ok(4);
    assert_eq!(
        (&null["type"], &null["rdev_major"], &null["rdev_minor"]),
        (&json!("char"), &json!(1), &json!(3))
    );
    assert_eq!(answers.ok(5)["type"], "directory");
    assert_eq!(answers.ok(6)["target"], "file");
    assert_eq!(answers.errno(7), 22);
    assert_eq!(answers.ok(9)["type"], "fifo");
}

#[test]
fn write_read_and_list() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("raw"), b"\xff\x00\x01").expect("write");
    let write = |data: &str, flags: Value| {
        let mut step = json!({ "do": "write", "path": at("f"), "data": data });
        step.as_object_mut().expect("object").extend(flags.as_object().expect("object").clone());
        step
    };
    let answers = probe(&json!([
        write("x", json!({})),
        write("hello", json!({ "create": true, "mode": "0600" })),
        write(" you", json!({ "append": true })),
        { "ask": "read", "path": at("f") },
        { "ask": "read", "path": at("f"), "max": 4 },
        write("", json!({ "truncate": true })),
        { "ask": "read", "path": at("f") },
        { "ask": "read", "path": at("raw") },
        { "do": "write", "path": at("b"), "create": true, "base64": "/wABAg==" },
        { "do": "marker", "path": at("m"), "data": "one" },
        { "do": "marker", "path": at("m"), "data": "two" },
        { "do": "marker", "path": at("m"), "data": "+", "append": true },
        { "ask": "listdir", "path": dir.path() },
        { "ask": "listdir", "path": dir.path(), "max": 2 },
        { "do": "write", "path": at("b"), "base64": "???" },
    ]));
    assert_eq!(answers.errno(0), 2, "not created unless asked");
    assert_eq!(
        *answers.ok(3),
        json!({ "data": "hello you", "encoding": "utf8", "bytes": 9, "truncated": false })
    );
    assert_eq!((&answers.ok(4)["data"], &answers.ok(4)["truncated"]), (&json!("hell"), &json!(true)));
    assert_eq!(answers.ok(6)["bytes"], 0);
    assert_eq!((&answers.ok(7)["data"], &answers.ok(7)["encoding"]), (&json!("/wAB"), &json!("base64")));
    assert_eq!(std::fs::read(at("b")).expect("read"), [0xff, 0, 1, 2]);
    assert_eq!(std::fs::read_to_string(at("m")).expect("read"), "two+");
    let names: Vec<_> =
        answers.ok(12)["entries"].as_array().expect("list").iter().map(|e| e["name"].clone()).collect();
    assert_eq!(names, ["b", "f", "m", "raw"]);
    assert_eq!(
        (&answers.ok(13)["truncated"], answers.ok(13)["entries"].as_array().map(Vec::len)),
        (&json!(true), Some(2))
    );
    assert_eq!(answers.errno(14), 22);
}

#[test]
fn changes_and_refusals() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    let answers = probe(&json!([
        { "do": "mkdir", "path": at("d"), "mode": "0700" }, { "do": "mkdir", "path": at("d") },
        { "do": "symlink", "target": "d", "path": at("l") },
        { "ask": "open", "path": at("l"), "flags": ["r", "nofollow"] },
        { "ask": "open", "path": at("l"), "flags": ["r", "directory"] },
        { "ask": "open", "path": at("d"), "flags": ["w"] },
        { "ask": "open", "path": at("n"), "flags": ["rw", "creat", "excl"] },
        { "ask": "open", "path": at("n"), "flags": ["rw", "creat", "excl"] },
        { "ask": "access", "path": at("n"), "modes": ["r", "w"] }, { "ask": "access", "path": at("none"), "modes": "f" },
        { "do": "chmod", "path": at("n"), "mode": "0111" }, { "do": "unlink", "path": at("d") },
        { "do": "unlink", "path": at("d"), "directory": true }, { "do": "unlink", "path": at("l") },
        { "ask": "xattr", "path": at("n") }, { "ask": "xattr", "path": at("n"), "name": "user.none" },
        { "do": "mknod", "path": at("x"), "type": "teapot" }, { "ask": "open", "path": at("n"), "flags": ["q"] },
        { "do": "copy_self", "to": at("copy"), "mode": "0700" },
    ]));
    assert_eq!(answers.errno(1), 17);
    assert_eq!(answers.errno(3), 40, "ELOOP");
    assert_eq!(answers.ok(4)["type"], "directory");
    assert_eq!(answers.errno(5), 21);
    assert_eq!(answers.errno(7), 17);
    answers.ok(8);
    assert_eq!(answers.errno(9), 2);
    assert_eq!(answers.errno(11), 21);
    answers.ok(12);
    assert!(answers.ok(14)["names"].is_array());
    assert_eq!(answers.errno(15), 61, "ENODATA");
    assert_eq!((answers.errno(16), answers.errno(17)), (22, 22));
    assert_eq!(std::fs::metadata(at("n")).expect("stat").mode() & 0o777, 0o111);
    assert!(!at("d").exists() && at("l").symlink_metadata().is_err());
    assert_eq!(std::fs::read(at("copy")).expect("read"), std::fs::read(program()).expect("read"));
}

#[test]
fn a_fifo_and_an_endless_file_do_not_hang() {
    let dir = tempfile::tempdir().expect("tempdir");
    let fifo = dir.path().join("fifo");
    let answers = probe(&json!([
        { "do": "mknod", "path": fifo, "type": "fifo" },
        { "ask": "read", "path": fifo }, { "do": "write", "path": fifo, "data": "x" },
        { "ask": "read", "path": "/dev/zero", "max": 100_000 },
        { "ask": "touch_read", "path": fifo },
    ]));
    assert_eq!(answers.ok(1)["bytes"], 0, "nobody writes: end of file");
    assert_eq!(answers.errno(2), 6, "nobody reads: ENXIO");
    assert_eq!((&answers.ok(3)["bytes"], &answers.ok(3)["truncated"]), (&json!(100_000), &json!(true)));
}

#[test]
fn descriptors_that_were_handed_over() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("held");
    std::fs::write(&path, "x").expect("write");
    let redirect = format!("exec 5<'{}' 7>>'{}'; exec \"$0\" \"$@\"", path.display(), path.display());
    let answers = under(&["sh", "-c", &redirect], &json!([{ "ask": "fds" }]));
    // Whoever runs the tests may hand descriptors of its own down.
    let numbers = |fds: &[Value]| fds.iter().map(|fd| fd["fd"].as_i64().expect("number")).collect::<Vec<_>>();
    let handed_down = numbers(common::ask("fds")["fds"].as_array().expect("list"));
    let mut fds = answers.ok(0)["fds"].as_array().expect("list").clone();
    fds.retain(|fd| {
        [0, 1, 2, 5, 7].iter().any(|n| fd["fd"] == *n) || !handed_down.iter().any(|n| fd["fd"] == *n)
    });
    assert_eq!(numbers(&fds), [0, 1, 2, 5, 7], "none of the probe's own: {fds:?}");
    let five = &fds[3];
    assert_eq!(
        (&five["access"], &five["link"], &five["cloexec"]),
        (&json!("r"), &json!(path), &json!(false))
    );
    assert_eq!((&fds[4]["access"], &fds[4]["flags"]), (&json!("w"), &json!(["append"])));
    assert_eq!((&fds[0]["type"], &fds[1]["type"]), (&json!("char"), &json!("fifo")));
    let closed = under(
        &["sh", "-c", "exec \"$0\" \"$@\" <&-"],
        &json!([{ "ask": "fds" }, { "do": "close", "fd": 0 }]),
    );
    assert!(closed.ok(0)["fds"].as_array().expect("list").iter().all(|fd| fd["fd"] != 0), "0 stays closed");
    assert_eq!(closed.errno(1), 9);
}

#[test]
fn lines_go_to_the_out_file() {
    let dir = tempfile::tempdir().expect("tempdir");
    let out = dir.path().join("out");
    std::fs::write(&out, "before\n").expect("write");
    let text =
        json!({ "nonce": "n", "out": out, "steps": [{ "do": "print", "text": "raw" }, { "ask": "fds" }] });
    let answers = run(&mut command(&[], text.to_string()));
    assert_eq!((answers.raw.as_str(), answers.code()), ("raw", Some(0)));
    let written = std::fs::read_to_string(&out).expect("read");
    assert!(written.starts_with("before\n"), "appended: {written}");
    let lines = common::parse(written.as_bytes());
    assert_eq!((lines.len(), &lines[2]["done"]), (3, &json!(2)));
    let own: Vec<_> =
        lines[1]["ok"]["fds"].as_array().expect("list").iter().filter(|fd| fd["probe_out"] == true).collect();
    assert_eq!(own.len(), 1);
    assert_eq!((&own[0]["link"], &own[0]["cloexec"]), (&json!(out), &json!(true)));
    let file = dir.path().join("script.json");
    std::fs::write(&file, script(&json!([{ "ask": "umask" }]))).expect("write");
    run(&mut command(&[], format!("@{}", file.display()))).complete(1).ok(0);
    let bad = json!({ "out": "/nonexistent/out", "steps": [] }).to_string();
    let refused = run(&mut command(&[], bad));
    assert_eq!(refused.code(), Some(125));
    assert!(refused.stderr.contains("ENOENT"), "{}", refused.stderr);
}

#[test]
fn standard_input() {
    let mut live = Live::steps(&json!([
        { "ask": "stdin", "max": 3, "timeout_ms": 30_000 }, { "ask": "stdin", "timeout_ms": 100 },
        { "ask": "stdin", "timeout_ms": 30_000 },
    ]));
    live.write(b"abcde");
    let first = live.next();
    assert_eq!((&first["ok"]["data"], &first["ok"]["eof"]), (&json!("abc"), &json!(false)));
    let second = live.next();
    assert_eq!((&second["ok"]["data"], &second["ok"]["timed_out"]), (&json!("de"), &json!(true)));
    live.write(b"\xfe");
    live.stdin = None;
    let third = live.next();
    assert_eq!((&third["ok"]["data"], &third["ok"]["eof"]), (&json!("/g=="), &json!(true)));
    assert_eq!(live.next()["done"], 3);
}

#[test]
fn terminals() {
    let plain = probe(&json!([{ "ask": "stdio_tty" }, { "ask": "winsize", "fd": 1 }]));
    let stdio = plain.ok(0)["stdio"].as_array().expect("list");
    assert!(stdio.iter().all(|fd| fd["isatty"] == false), "{stdio:?}");
    assert_eq!(plain.errno(1), 25);
    let dir = tempfile::tempdir().expect("tempdir");
    let out = dir.path().join("out");
    let steps = json!([{ "ask": "stdio_tty" }, { "ask": "winsize" }, { "ask": "identity" }]);
    let text = json!({ "nonce": "n", "out": out, "steps": steps }).to_string();
    let inner = format!("stty rows 33 cols 99; exec {} '{text}'", program());
    let mut started = Command::new("script");
    started.args(["-q", "-c", &inner, "/dev/null"]).stdin(Stdio::null());
    if started
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(|mut child| common::wait(&mut child))
        .is_err()
    {
        return skip("script(1) is not installed");
    }
    let lines = common::parse(&std::fs::read(&out).expect("read"));
    assert_eq!(lines.len(), 4, "{lines:?}");
    let tty = &lines[0]["ok"];
    let identity = &lines[2]["ok"];
    assert!(tty["stdio"].as_array().expect("list").iter().all(|fd| fd["isatty"] == true), "{tty}");
    assert!(tty["stdio"][0]["name"].as_str().expect("name").starts_with("/dev/pts/"), "{tty}");
    assert_eq!(tty["controlling"]["opened"], true);
    assert_eq!(tty["controlling"]["tty_sid"], identity["sid"]);
    assert_eq!(tty["stdio"][0]["foreground_pgid"], identity["pgid"]);
    assert_eq!((&lines[1]["ok"]["rows"], &lines[1]["ok"]["cols"]), (&json!(33), &json!(99)));
    assert_ne!(identity["tty_nr"], 0);
}

#[test]
fn raw_output_is_exact() {
    let answers = run(&mut command(
        &[],
        script(&json!([
            { "do": "print", "text": "no newline" }, { "do": "print", "text": "\n", "repeat": 3 },
            { "do": "print", "text": "to stderr", "fd": 2 }, { "do": "print", "text": "x", "fd": 77 },
        ])),
    ));
    assert!(answers.raw.starts_with("no newline{"), "{answers:?}");
    assert!(answers.raw.contains("}\n\n\n\n{"), "{answers:?}");
    assert_eq!(answers.stderr, "to stderr");
    assert_eq!(answers.errno(3), 9);
    let flooded = probe(&json!([{ "do": "flood", "bytes": 100_050, "line_len": 100, "fd": 2 }]));
    assert_eq!(*flooded.ok(0), json!({ "bytes": 100_050, "lines": 1001 }));
    assert_eq!(flooded.stderr.len(), 100_050);
    for (number, line) in flooded.stderr.lines().enumerate().take(1000) {
        assert!(line.len() == 99 && line.starts_with(&format!("{number:012} x")), "{line}");
    }
}

#[test]
fn a_reader_that_stops_or_leaves_does_not_hang_or_kill() {
    // Nobody reads standard error while the probe floods it: the pipe fills and the step gives up in time.
    let mut live = Live::steps(&json!([{ "do": "flood", "fd": 2, "bytes": 10_000_000, "timeout_ms": 300 }]));
    let line = live.next();
    assert_eq!(line["errno"], 110, "{line}");
    assert_eq!(live.next()["done"], 1);
    assert!(live.end().success());
    // The reader of standard error has gone: EPIPE instead of death by SIGPIPE.
    let mut live = Live::steps(&json!([
        { "ask": "stdin", "max": 1 }, { "do": "print", "fd": 2, "text": "x" }, { "do": "exit", "code": 9 },
    ]));
    drop(live.child.stderr.take());
    live.write(b"x");
    assert_eq!(live.next()["ok"]["data"], "x");
    assert_eq!(live.next()["errno"], 32);
    assert_eq!(live.next()["ok"]["code"], 9);
    assert_eq!(live.end().code(), Some(9));
}
