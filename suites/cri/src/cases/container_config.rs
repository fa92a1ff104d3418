//! What a container is configured with: command, directory, environment, mounts, devices.

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
    host_paths_are_mounted,
    readonly_mounts,
    symlinked_sources,
    missing_sources,
    bad_mounts_are_refused,
    nested_mounts_in_any_order,
    mounts_stay_inside_the_root,
    mounts_come_back,
    private_propagation,
    host_to_container_propagation,
    bidirectional_propagation,
    propagation_needs_a_shared_source,
    recursive_readonly_rules,
    devices_are_added,
    device_permissions,
    bad_devices_are_refused,
    device_directories_and_links,
    unknown_cdi_devices_are_refused,
    stop_signals,
    stop_signals_of_the_image,
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
    Ok(())
}

/// A host directory or file is mounted and can be written to.
#[case(covers = ["container.mount.bind-rw", "container.mount.file"])]
async fn host_paths_are_mounted(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let dir = host_dir(&cri, "volume")?;
    let file = host_file(&cri, "single", "one")?;
    let container = cri
        .run_pod()
        .await?
        .container()
        .mount(&dir, "/volume", |_| ())
        .mount(&file, "/not/in/image", |_| ())
        .start()
        .await?;
    check_eq!(write(&container, "/volume/new", "inside").await?, Ok(()), "writing into the volume");
    check_eq!(std::fs::read_to_string(format!("{dir}/new"))?, "inside", "the file on the host");
    check_eq!(of "container.mount.file"; read(&container, "/not/in/image").await?.as_deref(), Ok("one"), "the mounted file");
    Ok(())
}

const EROFS: i32 = 30;

/// A read-only mount refuses writes, and only itself.
#[case(covers = ["container.mount.readonly", "container.mount.ro-non-recursive"])]
async fn readonly_mounts(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let (dir, sub) = (host_dir(&cri, "ro")?, host_dir(&cri, "other")?);
    std::fs::create_dir_all(format!("{dir}/sub"))?;
    let container = cri
        .run_pod()
        .await?
        .container()
        .mount(&dir, "/ro", |m| m.readonly = true)
        .mount(&sub, "/ro/sub", |_| ())
        .start()
        .await?;
    check_eq!(write(&container, "/ro/x", "x").await?, Err(EROFS), "writing into the read-only mount");
    check_eq!(of "container.mount.ro-non-recursive"; write(&container, "/ro/sub/x", "x").await?, Ok(()), "writing into the mount below it");
    Ok(())
}

/// A host path that is a link is followed.
#[case(covers = ["container.mount.host-path-symlink"])]
async fn symlinked_sources(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let dir = host_dir(&cri, "real")?;
    std::fs::write(format!("{dir}/mark"), "here")?;
    let link = cri.dir().join("link");
    std::os::unix::fs::symlink(&dir, &link)?;
    let container =
        cri.run_pod().await?.container().mount(&link.display().to_string(), "/m", |_| ()).start().await?;
    check_eq!(read(&container, "/m/mark").await?.as_deref(), Ok("here"), "the file behind the link");
    Ok(())
}

/// A missing host path is an error.
#[case(covers = ["container.mount.host-path-missing"])]
async fn missing_sources(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let missing = cri.dir().join("missing").display().to_string();
    let made = cri.run_pod().await?.container().mount(&missing, "/m", |_| ()).try_create().await?;
    cx.record("container.mount.missing-host-path", if made.is_ok() { "created" } else { "refused" });
    made.must_fail()?;
    Ok(())
}

/// A mount without a source, or with two, is refused.
#[case(covers = ["container.mount.host-path-empty", "container.mount.host-path-and-image", "container.mount.relative-container-path"])]
async fn bad_mounts_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let dir = host_dir(&cri, "volume")?;
    pod.container().mount("", "/m", |_| ()).must_be_refused().await?;
    let relative = pod.container().mount(&dir, "relative", |_| ()).try_create().await?;
    cx.record("container.mount.relative-path", relative.is_ok());
    if super::image_volumes::supported(&cri, &pod).await? {
        let image = cri.plain().await?.id;
        let both = pod
            .container()
            .mount(&dir, "/m", |m| m.image = Some(v1::ImageSpec { image, ..Default::default() }));
        both.must_be_refused().await.map_err(|s| s.of("container.mount.host-path-and-image"))?;
    }
    Ok(())
}

/// Mounts inside each other work in any order.
#[case(covers = ["container.mount.order-nested"])]
async fn nested_mounts_in_any_order(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let (outer, inner) = (host_dir(&cri, "outer/b")?, host_file(&cri, "inner/mark", "inner")?);
    let outer = outer.trim_end_matches("/b").to_owned();
    let inner = inner.trim_end_matches("/mark").to_owned();
    let container = cri
        .run_pod()
        .await?
        .container()
        .mount(&inner, "/a/b", |_| ())
        .mount(&outer, "/a", |_| ())
        .start()
        .await?;
    check_eq!(read(&container, "/a/b/mark").await?.as_deref(), Ok("inner"), "the file in the inner mount");
    Ok(())
}

/// A mount point behind a link of the image does not leave the container's root.
#[case(covers = ["container.mount.over-symlink-inside"])]
async fn mounts_stay_inside_the_root(cx: &mut Cx) -> Verdict {
    use plimsoll_kit::cri::images_kit::Layer;
    let cri = cx.cri()?;
    let target = host_dir(&cri, "target")?;
    let source = host_file(&cri, "source/mark", "x")?;
    let image = cri.catalogue().waiting().layer(Layer::new().symlink("evil", &target)).build();
    let image = cri.pull("evil", &image).await?;
    let made = cri
        .run_pod()
        .await?
        .container()
        .image(&image.id)
        .mount(source.trim_end_matches("/mark"), "/evil/point", |_| ())
        .try_create()
        .await?;
    if let Ok(container) = made {
        let _ = container.start().await;
    }
    check!(
        !std::path::Path::new(&format!("{target}/point")).exists(),
        "nothing appears on the host",
        "the mount point does"
    );
    Ok(())
}

/// The status lists the mounts that were asked for, and no others.
#[case(covers = ["container.mount.status-roundtrip", "container.status.mounts", ])]
async fn mounts_come_back(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let (a, b) = (host_dir(&cri, "a")?, host_dir(&cri, "b")?);
    let container = cri
        .run_pod()
        .await?
        .container()
        .mount(&a, "/a", |m| m.readonly = true)
        .mount(&b, "/b", |m| m.propagation = 1)
        .create()
        .await?;
    let mounts = container.status().await?.mounts;
    let shape = |list: &[v1::Mount]| {
        let mut rows: Vec<_> = list
            .iter()
            .map(|m| (m.container_path.clone(), m.host_path.clone(), m.readonly, m.propagation))
            .collect();
        rows.sort();
        rows
    };
    check_eq!(of "container.status.mounts"; mounts.len(), 2, "number of mounts");
    check!(shape(&mounts) == shape(&container.config.mounts), "the mounts that were asked for", "others");
    Ok(())
}

/// Whether the attempt's directory is on a shared mount, as propagation needs.
fn shared_base(cri: &Cri) -> bool {
    let Ok(text) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
    let dir = cri.dir().display().to_string();
    let best = text
        .lines()
        .filter_map(|l| {
            let fields: Vec<&str> = l.split(' ').collect();
            let point = fields.get(4)?;
            let inside =
                dir.starts_with(*point) && (point.ends_with('/') || dir[point.len()..].starts_with('/'));
            inside.then(|| (point.len(), l.contains(" shared:")))
        })
        .max();
    best.is_some_and(|(_, shared)| shared)
}

async fn propagating(cri: &Cri, mode: v1::MountPropagation) -> Result<(String, Container, Container), Stop> {
    let dir = host_dir(cri, "propagated")?;
    let pod = cri.run_pod().await?;
    let watcher = pod
        .container()
        .mount(&dir, "/p", |m| m.propagation = v1::MountPropagation::PropagationHostToContainer as i32);
    let watcher = watcher.start().await?;
    let container =
        pod.container().security(|s| s.privileged = mode == v1::MountPropagation::PropagationBidirectional);
    let container = container.mount(&dir, "/p", |m| m.propagation = mode as i32).start().await?;
    Ok((dir, container, watcher))
}

async fn mount_inside(container: &Container) -> Verdict {
    let mount = script()
        .act("mkdir", json!({"path": "/p/inner"}))
        .act("mount", json!({"source": "tmpfs", "target": "/p/inner", "fstype": "tmpfs"}))
        .act("marker", json!({"path": "/p/inner/mark"}));
    container.ask(&mount).await?.facts("marker").map(|_| ())
}

/// With private propagation a mount made inside stays inside.
#[case(covers = ["container.mount.propagation-private"])]
async fn private_propagation(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let dir = host_dir(&cri, "private")?;
    let pod = cri.pod().security(|s| s.privileged = true).run().await?;
    let container =
        pod.container().security(|s| s.privileged = true).mount(&dir, "/p", |_| ()).start().await?;
    mount_inside(&container).await?;
    check!(
        !std::path::Path::new(&format!("{dir}/inner/mark")).exists(),
        "the mount does not leave the container",
        "it does"
    );
    let optional = fact(&container, "mounts").await?;
    let mine = optional["mounts"]
        .as_array()
        .and_then(|l| l.iter().find(|m| m["mountpoint"] == "/p").cloned())
        .unwrap_or_default();
    check!(
        !mine["optional"].to_string().contains("shared") && !mine["optional"].to_string().contains("master"),
        "a private mount",
        "{}",
        mine["optional"]
    );
    Ok(())
}

/// With host-to-container propagation a mount made inside does not leave.
#[case(covers = ["container.mount.propagation-h2c"])]
async fn host_to_container_propagation(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cx.need(shared_base(&cri), "shared-mount", "the temporary directory is not on a shared mount")?;
    let (_, container, _) = propagating(&cri, v1::MountPropagation::PropagationHostToContainer).await?;
    let mounts = fact(&container, "mounts").await?;
    let mine = mounts["mounts"]
        .as_array()
        .and_then(|l| l.iter().find(|m| m["mountpoint"] == "/p").cloned())
        .unwrap_or_default();
    check!(
        mine["optional"].to_string().contains("master"),
        "a slave of the host's mount",
        "{}",
        mine["optional"]
    );
    Ok(())
}

/// With bidirectional propagation a mount made inside appears in another container.
#[case(covers = ["container.mount.propagation-bidir"])]
async fn bidirectional_propagation(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cx.need(shared_base(&cri), "shared-mount", "the temporary directory is not on a shared mount")?;
    let dir = host_dir(&cri, "propagated")?;
    let pod = cri.pod().security(|s| s.privileged = true).run().await?;
    let watcher = pod.container().mount(&dir, "/p", |m| m.propagation = 1).start().await?;
    let container = pod
        .container()
        .security(|s| s.privileged = true)
        .mount(&dir, "/p", |m| m.propagation = 2)
        .start()
        .await?;
    mount_inside(&container).await?;
    let seen = read(&watcher, "/p/inner/mark").await?;
    container.ask(&script().act("umount", json!({"path": "/p/inner"}))).await?;
    check!(seen.is_ok(), "the mount appears in the other container", "it does not");
    Ok(())
}

/// Shared propagation over a private source is an error, not silently private.
#[case(covers = ["container.mount.propagation-source-not-shared"])]
async fn propagation_needs_a_shared_source(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    // /proc/sys/fs is on a mount that no system makes shared with containers.
    let pod = cri.pod().security(|s| s.privileged = true).run().await?;
    cx.need(!shared_base(&cri), "private-mount", "the temporary directory is on a shared mount")?;
    let dir = host_dir(&cri, "private")?;
    let made = pod
        .container()
        .security(|s| s.privileged = true)
        .mount(&dir, "/p", |m| m.propagation = 2)
        .try_create()
        .await?;
    let refused = match made {
        Err(_) => true,
        Ok(container) => {
            container.start().await.is_err() || {
                let mounts = fact(&container, "mounts").await?;
                mounts["mounts"].to_string().contains("shared")
            }
        }
    };
    check!(refused, "an error, or a shared mount", "a private mount");
    Ok(())
}

/// Recursive read-only needs read-only and private propagation, and covers mounts below.
#[case(covers = ["container.mount.rro", "container.mount.rro-needs-readonly", "container.mount.rro-needs-private"])]
async fn recursive_readonly_rules(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    if !cri.handler_features().await?.is_some_and(|f| f.recursive_read_only_mounts) {
        return cri.not_applicable(
            "recursive-read-only",
            "the handler does not declare recursive read-only mounts",
        );
    }
    let dir = host_dir(&cri, "rro")?;
    let pod = cri.run_pod().await?;
    let rro = |readonly: bool, propagation: i32| {
        pod.container().mount(&dir, "/rro", move |m| {
            m.readonly = readonly;
            m.recursive_read_only = true;
            m.propagation = propagation;
        })
    };
    let container = rro(true, 0).start().await?;
    check_eq!(write(&container, "/rro/x", "x").await?, Err(EROFS), "writing into the mount");
    rro(false, 0).must_be_refused().await.map_err(|s| s.of("container.mount.rro-needs-readonly"))?;
    for propagation in [1, 2] {
        rro(true, propagation)
            .must_be_refused()
            .await
            .map_err(|s| s.of("container.mount.rro-needs-private"))?;
    }
    Ok(())
}

fn device(host: &str, inside: &str, permissions: &str) -> v1::Device {
    v1::Device { host_path: host.into(), container_path: inside.into(), permissions: permissions.into() }
}

/// A device of the host is there with its numbers and can be used.
#[case(covers = ["container.device.add", "container.device.ownership"])]
async fn devices_are_added(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri
        .run_pod()
        .await?
        .container()
        .with(|c| c.devices = vec![device("/dev/zero", "/dev/mine", "rwm")])
        .start()
        .await?;
    let both = script()
        .ask_with("stat", json!({"path": "/dev/mine"}))
        .ask_with("open", json!({"path": "/dev/mine", "flags": ["rw"]}));
    let answers = container.ask(&both).await?;
    let stat = answers.facts("stat")?;
    check!(
        stat["type"] == "char" && stat["rdev_major"] == 1 && stat["rdev_minor"] == 5,
        "the device 1:5",
        "{stat}"
    );
    check_eq!(answers.first("open")?.errno(), 0, "errno of opening it");
    cx.record("container.device.owner", stat["uid"].clone());
    Ok(())
}

/// The permissions of a device are kept.
#[case(covers = ["container.device.permissions", "container.device.not-given-denied", "security.devices.no-host-block"])]
async fn device_permissions(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri
        .run_pod()
        .await?
        .container()
        .with(|c| c.devices = vec![device("/dev/kmsg", "/dev/readonly", "r")])
        .start()
        .await?;
    let writing = script().ask_with("open", json!({"path": "/dev/readonly", "flags": ["w"]}));
    check_eq!(
        step(&container, &writing, "open").await?.map(|_| ()),
        Err(1),
        "opening for writing with permissions r"
    );
    let block = script()
        .act("mknod", json!({"path": "/tmp/disk", "type": "block", "major": 7, "minor": 0}))
        .ask_with("open", json!({"path": "/tmp/disk", "flags": ["r"]}));
    let answers = container.ask(&block).await?;
    let unusable = answers.first("mknod")?.errno() != 0 || answers.first("open")?.errno() != 0;
    check!(of "container.device.not-given-denied"; unusable, "a block device that was not given cannot be used", "it can");
    Ok(())
}

/// A device that the host does not have is an error.
#[case(covers = ["container.device.missing-host"])]
async fn bad_devices_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let bad = device("/dev/plimsoll-no-such", "/dev/x", "rwm");
    cri.run_pod().await?.container().with(|c| c.devices = vec![bad]).must_be_refused().await?;
    Ok(())
}

/// A directory of devices is expanded, and a link is followed.
#[case(covers = ["container.device.directory", "container.device.symlink"])]
async fn device_directories_and_links(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let link = cri.dir().join("null");
    std::os::unix::fs::symlink("/dev/null", &link)?;
    let pod = cri.run_pod().await?;
    let by_link = device(&link.display().to_string(), "/dev/linked", "rwm");
    let container = pod
        .container()
        .with(|c| c.devices = vec![by_link])
        .try_create()
        .await?
        .must_succeed()
        .map_err(|s| s.of("container.device.symlink"))?;
    container.start().await.must_succeed().map_err(|s| s.of("container.device.symlink"))?;
    let stat = step(&container, &script().ask_with("stat", json!({"path": "/dev/linked"})), "stat").await?;
    check!(of "container.device.symlink"; stat.as_ref().is_ok_and(|s| s["type"] == "char"), "a device", "{stat:?}");
    cx.need_path("/dev/net/tun", "tun")?;
    let container = pod
        .container()
        .with(|c| c.devices = vec![device("/dev/net", "/dev/several", "rwm")])
        .try_create()
        .await?
        .must_succeed()?;
    container.start().await.must_succeed()?;
    let stat =
        step(&container, &script().ask_with("stat", json!({"path": "/dev/several/tun"})), "stat").await?;
    check!(stat.as_ref().is_ok_and(|s| s["type"] == "char"), "the device of the directory", "{stat:?}");
    Ok(())
}

/// A CDI device that cannot be resolved is an error.
#[case(covers = ["container.cdi.unknown-error"])]
async fn unknown_cdi_devices_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let name = v1::CdiDevice { name: "plimsoll.test/none=nothing".into() };
    let made = cri.run_pod().await?.container().with(|c| c.cdi_devices = vec![name]).try_create().await?;
    let refused = match made {
        Err(_) => true,
        Ok(container) => container.start().await.is_err(),
    };
    if !refused && !cri.has("RuntimeConfig").await? {
        return cri.not_applicable("cdi", "an endpoint without newer rpcs ignores the field");
    }
    check!(refused, "an error", "the field is ignored");
    Ok(())
}

/// A stop signal in the request is sent and told.
#[case(covers = ["container.stop-signal.custom", "container.stop-signal.status", ])]
async fn stop_signals(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let usr1 = v1::Signal::Sigusr1 as i32;
    let container = pod.container().with(|c| c.stop_signal = usr1).create().await?;
    if container.status().await?.stop_signal == 0 {
        return cri
            .not_applicable("stop-signal", "the status of a container with a stop signal does not tell one");
    }
    check_eq!(of "container.stop-signal.status"; container.status().await?.stop_signal, usr1, "signal in the status");
    let waiting = script().act("pause_forever", json!({"on": ["USR1"], "ignore": ["TERM"], "code": 9}));
    let container = pod.container().with(|c| c.stop_signal = usr1).script(&waiting).start().await?;
    container.logs("ready").await?;
    container.stop(5).await.must_succeed()?;
    check_eq!(container.status().await?.exit_code, 9, "exit code of the command that waits for USR1");
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
