//! What must not come in from outside: descriptors, environment, groups, keys.

use super::support::{canary, descriptors, extra_fds, inode, open_directories, open_inodes};
use plimsoll_kit::exec::{Exec, capture};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use plimsoll_kit::wait::Poll;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    program_gets_no_descriptor,
    created_container_holds_no_descriptor,
    created_container_holds_no_directory_of_the_host,
    exec_gets_no_descriptor,
    detached_exec_gets_no_descriptor,
    mount_sources_are_not_held_open,
    mapped_mount_sources_are_not_held_open,
    program_gets_no_variable,
    exec_gets_no_variable,
    hook_gets_no_variable,
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

/// A created container holds no directory open that lies outside of its root file system.
#[case(covers = ["sec.fds.no-leak-init"])]
async fn created_container_holds_no_directory_of_the_host(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let open = open_directories(&container)?;
    check!(open.is_empty(), "no directory of the host is open", "{open:?}");
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

/// Of twenty descriptors that the caller left open none reaches a process of exec that goes on by itself.
#[case(covers = ["sec.fds.no-leak-exec"])]
async fn detached_exec_gets_no_descriptor(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let nonce = format!("{}-fds", container.nonce());
    let text = probe::ask(["fds"]).text(&nonce, None);
    let stem = cx.dir().join("beside");
    let fds = descriptors(&canary(cx)?, COUNT)?;
    let options = CallOptions { fds, output: Some(stem.clone()), ..CallOptions::default() };
    let args = ["exec", "--detach", container.id(), "/probe", &text];
    cx.runtime().call_with(&args, options).await?;
    let answers = wait_until("the process answers", cx.limits().wait(), async || {
        let answers = Answers::parse(&capture(&stem.with_extension("out"), 1 << 20)?, &nonce);
        Ok(if answers.is_done() { Poll::Ready(answers) } else { Poll::NotYet("no answer".into()) })
    })
    .await?;
    let open = extra_fds(&answers)?;
    check!(open.is_empty(), "no descriptor above 2", "{open:?}");
    Ok(())
}

/// Ten directories, and a container with each as a mount; `change` makes the mount what the case is about.
fn with_sources(cx: &Cx, change: impl Fn(&mut Value)) -> Result<(Builder, Vec<(u64, u64)>), Stop> {
    let mut builder = cx.container(probe::pause());
    let mut sources = Vec::new();
    for n in 0..10 {
        let source = cx.dir().join(format!("source{n}"));
        std::fs::create_dir_all(&source)?;
        let mut mount = json!({
            "destination": format!("/source{n}"), "type": "bind", "source": source, "options": ["rbind"]
        });
        change(&mut mount);
        builder = builder.mount(mount);
        sources.push(inode(&source)?);
    }
    Ok((builder, sources))
}

/// A created container does not hold the sources of its mounts open.
#[case(covers = ["sec.bind-source-fds-closed"])]
async fn mount_sources_are_not_held_open(cx: &mut Cx) -> Verdict {
    let (builder, sources) = with_sources(cx, |_| ())?;
    let open = open_inodes(&builder.created().await?)?;
    let held = sources.iter().filter(|s| open.contains(s)).count();
    check_eq!(held, 0, "sources that are held open");
    Ok(())
}

/// A created container does not hold the sources of its id-mapped mounts open.
#[case(covers = ["sec.bind-source-fds-closed"])]
async fn mapped_mount_sources_are_not_held_open(cx: &mut Cx) -> Verdict {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    let (builder, sources) = with_sources(cx, |mount| {
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map.clone();
    })?;
    let owner = |root: &std::path::Path| std::os::unix::fs::chown(root, Some(100_000), Some(100_000));
    let (call, container) = builder.rootfs(owner).user_namespace(100_000).attempt().await?;
    if !call.succeeded() {
        return Err(Stop::NotApplicable {
            capability: "id-mapped-mounts".into(),
            reason: format!("create with id-mapped mounts: {}", call.describe()),
        });
    }
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

const INSIDE: &[Variant] = &[Variant::new("createContainer", &[]), Variant::new("startContainer", &[])];

/// A variable of the runtime's own environment does not reach a hook that runs in the container's namespaces.
#[case(covers = ["sec.env-not-leaked"], matrix(kind = INSIDE))]
async fn hook_gets_no_variable(cx: &mut Cx) -> Verdict {
    let kind = HookKind::from_key(cx.param("kind")).unwrap_or(HookKind::StartContainer);
    let hook = Hook::new(kind).asks(["env"]).with("env", json!(["OWN=1"]));
    let container = cx.container(probe::exit(0)).hook(hook.clone()).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let options = CallOptions { env: vec![(CANARY.into(), "1".into())], ..CallOptions::default() };
    container.create_by(&["--bundle", &bundle], container.id(), options).await?.ready("create")?;
    let options = CallOptions { env: vec![(CANARY.into(), "1".into())], ..CallOptions::default() };
    cx.runtime().call_with(&["start", container.id()], options).await?.ready("start")?;
    container.wait_stopped().await?;
    let answers = container.hook_answers(&hook)?;
    if !answers.is_done() {
        return Err(Stop::NotApplicable {
            capability: format!("hooks.{}", kind.key()),
            reason: "the hook did not run".into(),
        });
    }
    check!(!has_canary(&answers)?, "no variable of the caller", "it is there");
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
