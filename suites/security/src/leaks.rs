//! What must not come in from outside: descriptors, environment, groups, keys.

use super::support::{canary, descriptors, extra_fds, inode, open_inodes};
use plimsoll_kit::exec::Exec;
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    program_gets_no_descriptor,
    created_container_holds_no_descriptor,
    exec_gets_no_descriptor,
    mount_sources_are_not_held_open,
    program_gets_no_variable,
    exec_gets_no_variable,
    groups_are_those_of_the_configuration,
    session_keyring_is_its_own,
];

const COUNT: i32 = 20;

/// Of twenty descriptors that the caller left open none reaches the program.
#[case(covers = ["sec.fds.no-leak-init"])]
async fn program_gets_no_descriptor(cx: &mut Cx) -> Verdict {
    let fds = descriptors(&canary(cx)?, COUNT)?;
    let builder = cx.container(probe::ask(["fds"]));
    let builder = fds.into_iter().fold(builder, |b, (fd, number)| b.pass_fd(fd, number));
    let open = extra_fds(&builder.answers().await?)?;
    check!(open.is_empty(), "no descriptor above 2", "{open:?}");
    Ok(())
}

/// A created container does not hold the caller's descriptors while it waits for its start.
#[case(covers = ["sec.fds.no-leak-init"])]
async fn created_container_holds_no_descriptor(cx: &mut Cx) -> Verdict {
    let dir = canary(cx)?;
    let builder = cx.container(probe::pause());
    let builder =
        descriptors(&dir, COUNT)?.into_iter().fold(builder, |b, (fd, number)| b.pass_fd(fd, number));
    let container = builder.created().await?;
    let held = open_inodes(&container)?.contains(&inode(&dir)?);
    check!(!held, "the canary is closed", "the created container holds it open");
    Ok(())
}

/// Of twenty descriptors that the caller left open none reaches a process of exec.
#[case(covers = ["sec.fds.no-leak-exec"])]
async fn exec_gets_no_descriptor(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let nonce = format!("{}-fds", container.nonce());
    let text = probe::ask(["fds"]).text(&nonce, None);
    let fds = descriptors(&canary(cx)?, COUNT)?;
    let options = CallOptions { fds, ..CallOptions::default() };
    let call = cx.runtime().call_with(&["exec", container.id(), "/probe", &text], options).await?;
    call.must_succeed()?;
    let open = extra_fds(&Answers::parse(&call.stdout, &nonce))?;
    check!(open.is_empty(), "no descriptor above 2", "{open:?}");
    Ok(())
}

/// A created container does not hold the sources of its mounts open.
#[case(covers = ["sec.bind-source-fds-closed"])]
async fn mount_sources_are_not_held_open(cx: &mut Cx) -> Verdict {
    let mut builder = cx.container(probe::pause());
    let mut sources = Vec::new();
    for n in 0..10 {
        let source = cx.dir().join(format!("source{n}"));
        std::fs::create_dir_all(&source)?;
        builder = builder.mount(json!({
            "destination": format!("/mnt/{n}"), "type": "bind",
            "source": source.display().to_string(), "options": ["rbind"]
        }));
        sources.push(inode(&source)?);
    }
    let container = builder.created().await?;
    let open = open_inodes(&container)?;
    let held = sources.iter().filter(|s| open.contains(s)).count();
    check_eq!(held, 0, "sources that are held open");
    Ok(())
}

const CANARY: &str = "PLIMSOLL_CANARY";

fn has_canary(answers: &Answers) -> Result<bool, Stop> {
    Ok(answers.facts("env")?.to_string().contains(CANARY))
}

/// A variable of the runtime's own environment does not reach the program.
#[case(covers = ["sec.env-not-leaked"])]
async fn program_gets_no_variable(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::ask(["env"])).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let options = CallOptions { env: vec![(CANARY.into(), "1".into())], ..CallOptions::default() };
    container.create_by(&["--bundle", &bundle], container.id(), options).await?.ready("create")?;
    container.start().await?.ready("start")?;
    check!(!has_canary(&container.finished_answers().await?)?, "no variable of the caller", "it is there");
    Ok(())
}

/// A variable of the runtime's own environment does not reach a process of exec.
#[case(covers = ["sec.env-not-leaked"])]
async fn exec_gets_no_variable(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let nonce = format!("{}-env", container.nonce());
    let text = probe::ask(["env"]).text(&nonce, None);
    let options = CallOptions { env: vec![(CANARY.into(), "1".into())], ..CallOptions::default() };
    let call = cx.runtime().call_with(&["exec", container.id(), "/probe", &text], options).await?;
    call.must_succeed()?;
    check!(!has_canary(&Answers::parse(&call.stdout, &nonce))?, "no variable of the caller", "it is there");
    Ok(())
}

/// The program's supplementary groups are those of the configuration and its own.
#[case(covers = ["sec.groups-not-leaked"])]
async fn groups_are_those_of_the_configuration(cx: &mut Cx) -> Verdict {
    let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": [2001] });
    let answers = cx.container(probe::ask(["identity"])).set("/process/user", user).answers().await?;
    let groups = answers.facts("identity")?["groups"].as_array().cloned().unwrap_or_default();
    let foreign: Vec<&Value> = groups.iter().filter(|g| **g != json!(1000) && **g != json!(2001)).collect();
    check!(foreign.is_empty(), "the configuration's groups only", "{groups:?}");
    Ok(())
}

/// The program's session keyring is not the caller's.
#[case(covers = ["sec.keyring-new-session"])]
async fn session_keyring_is_its_own(cx: &mut Cx) -> Verdict {
    let script = probe::ask(["keyring"]);
    let own = Exec::new(&cx.probe_path(), cx.dir().join("own-keyring")).args([script.text("own", None)]);
    let own = Answers::parse(&own.run(cx.runtime().reaper()).await?.stdout, "own");
    let own = own.first("keyring")?.result.clone().ok().map(|facts| facts["id"].clone());
    cx.need(own.is_some(), "keyrings", "the harness itself cannot ask for its keyring")?;
    let answers = cx.container(script).answers().await?;
    let inside = answers.first("keyring")?.result.clone().ok().map(|facts| facts["id"].clone());
    check!(inside.is_none() || inside != own, "another session keyring", "{inside:?}");
    Ok(())
}
