//! Flags of exec that change the process.

use super::support::{environment, extra_fds, need_flag, running};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs::{self, File};

/// The file's table of contents.
pub static CASES: &[Case] = &[
    configuration_is_the_default,
    capabilities_of_the_configuration_are_the_default,
    environment_is_extended,
    last_value_of_a_name_wins,
    user_is_applied,
    home_comes_from_the_user,
    groups_are_added,
    directory_is_applied,
    capability_is_added,
    no_new_privileges_is_applied,
    preserved_descriptors_arrive,
];

/// Runs questions with flags; both have to work.
async fn asked(container: &Container, flags: &[&str], questions: &[&str]) -> Result<Answers, Stop> {
    let (call, answers) = container.exec(flags, &probe::ask(questions.iter().copied())).await?;
    call.must_succeed()?;
    check!(answers.is_done(), "the program runs to its end", "{}", call.describe());
    Ok(answers)
}

/// Without flags environment, directory and user are those of the configuration.
#[case(covers = ["cli.exec.defaults"])]
async fn configuration_is_the_default(cx: &mut Cx) -> Verdict {
    let builder = cx
        .container(probe::pause())
        .set("/process/cwd", "/tmp")
        .set("/process/env/-", "OF=configuration")
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let container = builder.setup().running().await?;
    let answers = asked(&container, &[], &["env", "cwd", "identity"]).await?;
    let env = environment(&answers)?;
    check!(env.iter().any(|e| e == "OF=configuration"), "the configuration's environment", "{env:?}");
    let known = ["PATH=", "TERM=", "OF=", "HOME="];
    let more: Vec<&String> = env.iter().filter(|e| !known.iter().any(|k| e.starts_with(k))).collect();
    check!(more.is_empty(), "no variable that the configuration does not have", "{more:?}");
    check_eq!(answers.facts("cwd")?["cwd"], json!("/tmp"), "the directory");
    check_eq!(answers.facts("identity")?["uid"], json!(1000), "the user");
    check_eq!(answers.facts("identity")?["gid"], json!(1000), "the group");
    Ok(())
}

/// Without flags the capabilities are those of the configuration, in the sets that a program starts with.
#[case(covers = ["cli.exec.defaults"])]
async fn capabilities_of_the_configuration_are_the_default(cx: &mut Cx) -> Verdict {
    let own = ["CAP_CHOWN", "CAP_KILL"];
    for capability in own {
        cx.need_capability(capability)?;
    }
    let container = cx.container(probe::pause()).capabilities(&own).setup().running().await?;
    let answers = asked(&container, &[], &["caps"]).await?;
    for set in ["bounding", "permitted", "effective"] {
        let mut names = answers.facts("caps")?[set]["names"].as_array().cloned().unwrap_or_default();
        names.sort_by_key(Value::to_string);
        check_eq!(json!(names), json!(own), "the {set} set");
    }
    Ok(())
}

/// A variable that a flag names is added to those of the configuration.
#[case(covers = ["cli.exec.env"])]
async fn environment_is_extended(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let answers = asked(&container, &["--env", "ONE=1", "--env", "TWO=a b=c"], &["env"]).await?;
    let env = environment(&answers)?;
    for wanted in ["ONE=1", "TWO=a b=c", "TERM=xterm"] {
        check!(env.iter().any(|e| e == wanted), format!("{wanted} in the environment"), "{env:?}");
    }
    Ok(())
}

/// A variable of a flag replaces the one of the configuration.
#[case(covers = ["cli.exec.env"])]
async fn last_value_of_a_name_wins(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let answers = asked(&container, &["--env", "TERM=other"], &["env"]).await?;
    let env = environment(&answers)?;
    // What a program finds: the first of a name for getenv, the last for shells. So there may be only one.
    let terms: Vec<&String> = env.iter().filter(|e| e.starts_with("TERM=")).collect();
    check_eq!(terms, ["TERM=other"], "the values of TERM");
    Ok(())
}

const USERS: &[Variant] =
    &[Variant::new("1000", &[]), Variant::new("1000:1001", &[]), Variant::new("0:5", &[])];

/// User and group are those of the flag.
#[case(covers = ["cli.exec.user"], matrix(user = USERS))]
async fn user_is_applied(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let user = cx.param("user");
    let answers = asked(&container, &["--user", user], &["identity"]).await?;
    let identity = answers.facts("identity")?;
    let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
    check_eq!(identity["uid"].to_string(), uid, "the user");
    check_eq!(identity["euid"].to_string(), uid, "the effective user");
    if !gid.is_empty() {
        check_eq!(identity["gid"].to_string(), gid, "the group");
    }
    Ok(())
}

/// HOME is the directory that the root file system's passwd gives the user.
#[case(covers = ["cli.exec.home"])]
async fn home_comes_from_the_user(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let answers = asked(&container, &["--user", "1000"], &["env"]).await?;
    let env = environment(&answers)?;
    check!(env.iter().any(|e| e == "HOME=/home/user"), "HOME=/home/user", "{env:?}");
    Ok(())
}

/// Supplementary groups of the flag are the process's.
#[case(covers = ["cli.exec.additional-gids"])]
async fn groups_are_added(cx: &mut Cx) -> Verdict {
    need_flag(cx, "exec", "additional-gids").await?;
    let container = running(cx).await?;
    let flags = ["--additional-gids", "2001", "--additional-gids", "2002"];
    let answers = asked(&container, &flags, &["identity"]).await?;
    let groups = answers.facts("identity")?["groups"].as_array().cloned().unwrap_or_default();
    for gid in [2001, 2002] {
        check!(groups.contains(&json!(gid)), format!("{gid} among the groups"), "{groups:?}");
    }
    Ok(())
}

/// The working directory is that of the flag.
#[case(covers = ["cli.exec.cwd"])]
async fn directory_is_applied(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let answers = asked(&container, &["--cwd", "/etc"], &["cwd"]).await?;
    check_eq!(answers.facts("cwd")?["cwd"], json!("/etc"), "the directory");
    Ok(())
}

/// A capability of the flag is in the bounding, permitted and effective sets.
#[case(covers = ["cli.exec.cap"])]
async fn capability_is_added(cx: &mut Cx) -> Verdict {
    need_flag(cx, "exec", "cap").await?;
    cx.need_capability("CAP_CHOWN")?;
    let container = running(cx).await?;
    let answers = asked(&container, &["--cap", "CAP_CHOWN"], &["caps"]).await?;
    let caps = answers.facts("caps")?;
    for set in ["bounding", "permitted", "effective"] {
        let names = caps[set]["names"].as_array().cloned().unwrap_or_default();
        check!(names.contains(&json!("CAP_CHOWN")), format!("CAP_CHOWN in the {set} set"), "{names:?}");
    }
    Ok(())
}

/// The flag keeps the process from gaining privileges.
#[case(covers = ["cli.exec.no-new-privs"])]
async fn no_new_privileges_is_applied(cx: &mut Cx) -> Verdict {
    need_flag(cx, "exec", "no-new-privs").await?;
    let builder = cx.container(probe::pause()).set("/process/noNewPrivileges", false);
    let container = builder.setup().running().await?;
    let answers = asked(&container, &["--no-new-privs"], &["no_new_privs"]).await?;
    check_eq!(answers.facts("no_new_privs")?["no_new_privs"], json!(true), "no_new_privs");
    Ok(())
}

/// Descriptors from 3 on reach the process when they are to be preserved, and no more of them.
#[case(covers = ["cli.exec.preserve-fds"])]
async fn preserved_descriptors_arrive(cx: &mut Cx) -> Verdict {
    need_flag(cx, "exec", "preserve-fds").await?;
    let container = running(cx).await?;
    let path = cx.dir().join("passed");
    fs::write(&path, "passed")?;
    let open = || File::open(&path).map(Into::into);
    let nonce = format!("{}-fds", container.nonce());
    let text = probe::ask(["fds"]).text(&nonce, None);
    let args = ["exec", "--preserve-fds", "1", container.id(), "/probe", &text];
    let options = CallOptions { fds: vec![(open()?, 3), (open()?, 4)], ..CallOptions::default() };
    let call = cx.runtime().call_with(&args, options).await?;
    call.must_succeed()?;
    check_eq!(
        extra_fds(&Answers::parse(&call.stdout, &nonce))?,
        vec![3],
        "the process's descriptors above 2"
    );
    Ok(())
}
