//! What a container is configured with: command, directory, environment, stop signal.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    commands_and_arguments,
    no_command_is_an_error,
    arguments_are_exact,
    working_directories,
    variables_are_set,
    variables_of_the_image,
    odd_variables,
    stop_signals,
    stop_signals_of_the_image,
    realtime_stop_signals,
];

async fn argv(builder: ContainerBuilder, tag: &str) -> Result<Vec<String>, Stop> {
    let container = builder.run().await?;
    let answers = Answers::parse(&container.log_text("stdout")?, tag);
    let list = answers.facts("argv")?["argv"].as_array().cloned().unwrap_or_default();
    Ok(list.iter().skip(2).map(|v| v.as_str().unwrap_or_default().to_owned()).collect())
}

/// Command and arguments replace those of the image as the interface says.
#[case(covers = [
    "container.command.override-entrypoint", "container.command.args-override-cmd", "container.command.neither",
    "container.command.command-drops-cmd",
])]
async fn commands_and_arguments(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let text = ask(["argv"]).text(cri.tag(), None);
    let image =
        cri.pull("entrypoint", &cri.catalogue().entrypoint(&["/probe", &text], &["from", "image"])).await?;
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let command = words(&["/probe", &text, "own"]);
    let rows = [
        ("container.command.neither", vec![], vec![], &["from", "image"][..]),
        ("container.command.args-override-cmd", vec![], words(&["given"]), &["given"][..]),
        ("container.command.command-drops-cmd", command.clone(), vec![], &["own"][..]),
        ("container.command.override-entrypoint", command, words(&["given"]), &["own", "given"][..]),
    ];
    for (id, command, args, expected) in rows {
        let builder = pod.container().image(&image.id).with(|c| {
            c.command = command;
            c.args = args;
        });
        check_eq!(of id; argv(builder, cri.tag()).await?, expected, "arguments of the process");
    }
    Ok(())
}

/// No command in the request and none in the image is an error.
#[case(covers = ["container.command.none-anywhere"])]
async fn no_command_is_an_error(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let image = cri.pull("bare", &cri.catalogue().no_command()).await?;
    cri.run_pod().await?.container().image(&image.id).with(|c| c.command.clear()).must_be_refused().await?;
    Ok(())
}

/// Arguments pass byte for byte.
#[case(covers = ["container.command.exact-argv"])]
async fn arguments_are_exact(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let odd = ["", " ", "a b", "\"q\"", "'", "$HOME", "line\nline", "\u{e9}\u{1f6a2}", "--flag", "*"];
    let builder = cri
        .run_pod()
        .await?
        .container()
        .script(&ask(["argv"]))
        .with(|c| c.args = odd.map(ToOwned::to_owned).to_vec());
    check_eq!(argv(builder, cri.tag()).await?, odd, "arguments of the process");
    Ok(())
}

/// The process starts in the directory asked for, in the image's, or in the root.
#[case(covers = ["container.workdir.set", "container.workdir.default-image", "container.workdir.created"])]
async fn working_directories(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let image = cri.pull("workdir", &cri.catalogue().working_dir()).await?;
    let plain = cri.plain().await?;
    for (id, image, dir, expected) in [
        ("container.workdir.set", &plain, "/tmp", "/tmp"),
        ("container.workdir.default-image", &plain, "", "/"),
        ("container.workdir.default-image", &image, "", "/work/dir"),
        ("container.workdir.created", &plain, "/new/dir", "/new/dir"),
    ] {
        let builder = pod.container().image(&image.id).with(|c| c.working_dir = dir.into());
        let answers = builder.answers(&ask(["cwd"])).await.map_err(|s| s.of(id))?;
        check_eq!(of id; answers.facts("cwd")?["cwd"], expected, "directory with {dir:?}");
    }
    Ok(())
}

fn variable(key: &str, value: &[u8]) -> v1::KeyValue {
    v1::KeyValue { key: key.into(), value: value.to_vec() }
}

async fn environment(builder: ContainerBuilder) -> Result<Vec<String>, Stop> {
    let answers = builder.answers(&ask(["env"])).await?;
    let list = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    Ok(list.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned)).collect())
}

/// Variables are set, also empty ones, and there is a path when nobody gives one.
#[case(covers = ["container.env.set", "container.env.empty-value", "container.env.path-default"])]
async fn variables_are_set(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let env = environment(
        pod.container().with(|c| c.envs = vec![variable("ONE", b"1 and =x"), variable("EMPTY", b"")]),
    )
    .await?;
    check!(env.contains(&"ONE=1 and =x".to_owned()), "the variable", "{env:?}");
    check!(of "container.env.empty-value"; env.contains(&"EMPTY=".to_owned()), "EMPTY=", "none");
    let bare = cri.pull("bare", &cri.catalogue().no_command()).await?;
    let env = environment(pod.container().image(&bare.id)).await?;
    check!(of "container.env.path-default"; env.iter().any(|v| v.starts_with("PATH=/")), "a PATH", "none");
    Ok(())
}

/// Variables of the image stay unless the request overrides them.
#[case(covers = ["container.env.overrides-image"])]
async fn variables_of_the_image(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let image = cri.pull("env", &cri.catalogue().env()).await?;
    let env = environment(
        cri.run_pod()
            .await?
            .container()
            .image(&image.id)
            .with(|c| c.envs = vec![variable("PLIMSOLL_BOTH", b"request")]),
    )
    .await?;
    let values: Vec<_> = env.iter().filter(|v| v.starts_with("PLIMSOLL")).collect();
    check_eq!(values, ["PLIMSOLL_IMAGE=yes", "PLIMSOLL_BOTH=request"], "variables");
    Ok(())
}

/// Of a variable given twice the last one wins, and a value may be any bytes.
#[case(covers = ["container.env.duplicates-last-wins", "container.env.binary-value"])]
async fn odd_variables(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let env = environment(
        pod.container().with(|c| c.envs = vec![variable("TWICE", b"a"), variable("TWICE", b"b")]),
    )
    .await?;
    let twice: Vec<_> = env.iter().filter(|v| v.starts_with("TWICE")).collect();
    check_eq!(twice, ["TWICE=b"], "the variable");
    let raw = pod
        .container()
        .with(|c| c.envs = vec![variable("RAW", b"\xff\xfe")])
        .script(&ask(["env"]))
        .try_create()
        .await?;
    cx.record("container.env.binary", raw.is_ok());
    if let (Ok(container), true) = (raw, cri.has("RestorePod").await?) {
        // The release that brought this rpc made the value bytes.
        container.start().await.must_succeed().map_err(|s| s.of("container.env.binary-value"))?;
        container.exited().await?;
        let answers = Answers::parse(&container.log_text("stdout")?, cri.tag());
        let env = answers.facts("env")?["env"].to_string();
        check!(of "container.env.binary-value"; env.contains("UkFXPf/+"), "RAW with its two bytes", "{env}");
    }
    Ok(())
}

/// A stop signal in the request is sent and told.
#[case(covers = ["container.stop-signal.custom", "container.stop-signal.status", ])]
async fn stop_signals(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let usr1 = v1::Signal::Sigusr1 as i32;
    let waiting = script().act("pause_forever", json!({"on": ["USR1"], "ignore": ["TERM"], "code": 9}));
    let container = pod.container().with(|c| c.stop_signal = usr1).script(&waiting).start().await?;
    container.logs("ready").await?;
    let told = container.status().await?.stop_signal;
    container.stop(5).await.must_succeed()?;
    let code = container.status().await?.exit_code;
    if told == 0 && code != 9 {
        return cri.not_applicable("stop-signal", "a stop signal in the request is neither told nor sent");
    }
    check_eq!(of "container.stop-signal.status"; told, usr1, "signal in the status");
    check_eq!(code, 9, "exit code of the command that waits for USR1");
    Ok(())
}

/// The image's stop signal is sent when the request has none.
#[case(covers = ["container.stop-signal.image-default"])]
async fn stop_signals_of_the_image(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let image = cri.pull("signal", &cri.catalogue().stop_signal("SIGUSR1")).await?;
    let waiting = script().act("pause_forever", json!({"on": ["USR1"], "ignore": ["TERM"], "code": 9}));
    let container = cri.run_pod().await?.container().image(&image.id).script(&waiting).start().await?;
    container.logs("ready").await?;
    container.stop(5).await.must_succeed()?;
    check_eq!(container.status().await?.exit_code, 9, "exit code of the command that waits for USR1");
    Ok(())
}

/// A real-time signal is sent as the stop signal where it is taken.
#[case(covers = ["container.stop-signal.realtime"])]
async fn realtime_stop_signals(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let signal = v1::Signal::Sigrtminplus3 as i32;
    let told = pod.container().with(|c| c.stop_signal = signal).create().await?.status().await?.stop_signal;
    if told == 0 {
        return cri
            .not_applicable("stop-signal", "the status of a container with a stop signal does not tell one");
    }
    let waiting = script().act("pause_forever", json!({"on": ["RTMIN+3"], "ignore": ["TERM"], "code": 9}));
    let container = pod.container().with(|c| c.stop_signal = signal).script(&waiting).start().await?;
    container.logs("ready").await?;
    container.stop(5).await.must_succeed()?;
    check_eq!(container.status().await?.exit_code, 9, "exit code of the command that waits for RTMIN+3");
    Ok(())
}
