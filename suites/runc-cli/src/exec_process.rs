//! exec with a process object, and with a terminal.

use super::support::{document, environment, need_flag, process, running};
use plimsoll_kit::console::ConsoleSocket;
use plimsoll_kit::prelude::*;
use plimsoll_kit::wait::Poll;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    process_object_is_applied,
    confinement_of_a_process_object_is_applied,
    privileges_of_a_process_object_are_applied,
    malformed_process_is_error,
    terminal_of_a_process_object,
    terminal_by_the_flag,
];

const FORMS: &[Variant] = &[Variant::new("--process", &[]), Variant::new("-p", &[])];

/// Arguments, environment, directory and user are those of the process object.
#[case(covers = ["cli.exec.process"], matrix(flag = FORMS))]
async fn process_object_is_applied(cx: &mut Cx) -> Verdict {
    if cx.param("flag") == "-p" {
        need_flag(cx, "exec", "p").await?;
    }
    let container = running(cx).await?;
    let nonce = format!("{}-process", container.nonce());
    let mut object = process(&probe::ask(["env", "cwd", "identity"]), &nonce);
    object["cwd"] = json!("/etc");
    object["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [2001] });
    let path = document(cx, "process.json", &object)?;
    let call = container.exec_args(&[cx.param("flag"), &path], &[]).await?;
    call.must_succeed()?;
    let answers = Answers::parse(&call.stdout, &nonce);
    check!(answers.is_done(), "the program runs to its end", "{}", describe(&call.stdout));
    let env = environment(&answers)?;
    check!(env.iter().any(|e| e == "FROM=process"), "the object's environment", "{env:?}");
    check!(!env.iter().any(|e| e.starts_with("TERM=")), "nothing of the configuration's", "{env:?}");
    check_eq!(answers.facts("cwd")?["cwd"], json!("/etc"), "the directory");
    let identity = answers.facts("identity")?;
    check_eq!(identity["uid"], json!(1000), "the user");
    check_eq!(identity["gid"], json!(1001), "the group");
    let groups = identity["groups"].as_array().cloned().unwrap_or_default();
    check!(groups.contains(&json!(2001)), "the supplementary group", "{groups:?}");
    Ok(())
}

/// A resource limit and `no_new_privs` are those of the process object.
#[case(covers = ["cli.exec.process"])]
async fn confinement_of_a_process_object_is_applied(cx: &mut Cx) -> Verdict {
    let container =
        cx.container(probe::pause()).set("/process/noNewPrivileges", false).setup().running().await?;
    let nonce = format!("{}-confined", container.nonce());
    let mut object = process(&probe::ask(["rlimits", "no_new_privs"]), &nonce);
    object["noNewPrivileges"] = json!(true);
    object["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 77, "hard": 88 }]);
    let answers = answers_of(cx, &container, &object, &nonce).await?;
    let limit = &answers.facts("rlimits")?["RLIMIT_NOFILE"];
    check_eq!(limit["cur"], json!(77), "the soft limit of open files");
    check_eq!(limit["max"], json!(88), "the hard limit of open files");
    check_eq!(answers.facts("no_new_privs")?["no_new_privs"], json!(true), "no_new_privs");
    Ok(())
}

/// The sets of capabilities are those of the process object.
#[case(covers = ["cli.exec.process"])]
async fn privileges_of_a_process_object_are_applied(cx: &mut Cx) -> Verdict {
    cx.need_capability("CAP_KILL")?;
    let container = running(cx).await?;
    let nonce = format!("{}-privileges", container.nonce());
    let mut object = process(&probe::ask(["caps"]), &nonce);
    let own = json!(["CAP_KILL"]);
    object["capabilities"] = json!({ "bounding": own, "permitted": own, "effective": own });
    let answers = answers_of(cx, &container, &object, &nonce).await?;
    for set in ["bounding", "permitted", "effective"] {
        check_eq!(answers.facts("caps")?[set]["names"], own, "the {set} set");
    }
    Ok(())
}

/// Runs a process object in the foreground; it has to work.
async fn answers_of(cx: &Cx, container: &Container, object: &Value, nonce: &str) -> Result<Answers, Stop> {
    let path = document(cx, "process.json", object)?;
    let call = container.exec_args(&["--process", &path], &[]).await?;
    call.must_succeed()?;
    let answers = Answers::parse(&call.stdout, nonce);
    check!(answers.is_done(), "the program runs to its end", "{}", describe(&call.stdout));
    Ok(answers)
}

/// A process object that is not JSON is an error.
#[case(covers = ["cli.exec.process"])]
async fn malformed_process_is_error(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let path = cx.dir().join("process.json");
    std::fs::write(&path, "{ \"args\": [")?;
    container.exec_args(&["--process", &path.display().to_string()], &[]).await?.must_fail()?;
    Ok(())
}

/// Waits until the other side of the terminal says that it is one.
async fn has_terminal(cx: &Cx, socket: &ConsoleSocket, nonce: &str) -> Verdict {
    let console = socket.receive(cx.limits().wait()).await?;
    let answers = wait_until("the process answers on its terminal", cx.limits().wait(), async || {
        cx.runtime().reaper().sweep();
        let answers = Answers::parse(&console.output(), nonce);
        Ok(if answers.is_done() { Poll::Ready(answers) } else { Poll::NotYet(console.output()) })
    })
    .await?;
    for stream in 0..3 {
        let is = &answers.facts("stdio_tty")?["stdio"][stream]["isatty"];
        check_eq!(*is, json!(true), "descriptor {stream} is a terminal");
    }
    check_eq!(answers.facts("stdio_tty")?["controlling"]["opened"], json!(true), "it is the controlling one");
    Ok(())
}

/// The terminal of a detached process object goes over the console socket.
#[case(covers = ["cli.exec.console-socket"])]
async fn terminal_of_a_process_object(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let socket = ConsoleSocket::listen(&cx.dir().join("exec.sock"))?;
    let nonce = format!("{}-tty", container.nonce());
    let mut object = process(&probe::ask(["stdio_tty"]), &nonce);
    object["terminal"] = json!(true);
    let path = document(cx, "process.json", &object)?;
    let at = socket.path().display().to_string();
    let flags = ["--detach", "--console-socket", &at, "--process", &path];
    container.exec_args(&flags, &[]).await?.must_succeed()?;
    has_terminal(cx, &socket, &nonce).await
}

/// The flag gives a detached process a terminal.
#[case(covers = ["cli.exec.tty"])]
async fn terminal_by_the_flag(cx: &mut Cx) -> Verdict {
    need_flag(cx, "exec", "tty").await?;
    let container = running(cx).await?;
    let socket = ConsoleSocket::listen(&cx.dir().join("exec.sock"))?;
    let nonce = format!("{}-tty", container.nonce());
    let at = socket.path().display().to_string();
    let text = probe::ask(["stdio_tty"]).text(&nonce, None);
    let flags = ["--detach", "--tty", "--console-socket", &at];
    container.exec_args(&flags, &["/probe", &text]).await?.must_succeed()?;
    has_terminal(cx, &socket, &nonce).await
}
