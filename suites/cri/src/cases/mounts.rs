//! Mounts of a container: binds, read-only, propagation.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
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
];

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
    submounts_stay_writable(&cri).await.map_err(|s| s.of("container.mount.ro-non-recursive"))?;
    Ok(())
}

/// What is mounted below a source on the host comes along as it was: the host's /dev has such mounts, and nothing has to
/// be written to see whether one could.
async fn submounts_stay_writable(cri: &Cri) -> Verdict {
    let container = cri.run_pod().await?.container().mount("/dev", "/nodes", |m| m.readonly = true);
    let container = container.start().await?;
    let mounts = fact(&container, "mounts").await?["mounts"].as_array().cloned().unwrap_or_default();
    let host = std::fs::read_to_string("/proc/self/mountinfo")?;
    for line in host.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (Some(place), Some(options)) = (fields.get(4), fields.get(5)) else { continue };
        let Some(below) = place.strip_prefix("/dev/").filter(|_| options.split(',').any(|o| o == "rw"))
        else {
            continue;
        };
        let inside = mounts.iter().find(|m| m["mountpoint"] == format!("/nodes/{below}"));
        let Some(options) = inside.and_then(|m| m["options"].as_array()) else { continue };
        check!(
            options.iter().all(|o| o != "ro"),
            "a mount below a read-only one is as on the host",
            "{below} is read-only"
        );
    }
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
    std::fs::write(format!("{dir}/mark"), "from the root")?;
    let relative = pod.container().mount(&dir, "relative", |_| ()).try_create().await?;
    cx.record("container.mount.relative-path", relative.is_ok());
    if let Ok(container) = relative
        && container.start().await.is_ok()
    {
        let found = read(&container, "/relative/mark").await?;
        check_eq!(of "container.mount.relative-container-path"; found.as_deref(), Ok("from the root"), "the file, with a path taken from the root");
    }
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
    // Nothing propagates from a private mount, so asking for it there may be refused.
    let shared = is_shared(&b);
    let container = cri
        .run_pod()
        .await?
        .container()
        .mount(&a, "/a", |m| m.readonly = true)
        .mount(&b, "/b", |m| m.propagation = i32::from(shared))
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

/// Whether a host path is on a shared mount, as propagation needs.
fn is_shared(path: &str) -> bool {
    let Ok(text) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
    let best = text
        .lines()
        .filter_map(|l| {
            let fields: Vec<&str> = l.split(' ').collect();
            let point = fields.get(4)?;
            let inside =
                path.starts_with(*point) && (point.ends_with('/') || path[point.len()..].starts_with('/'));
            inside.then(|| (point.len(), l.contains(" shared:")))
        })
        .max();
    best.is_some_and(|(_, shared)| shared)
}

/// Mounts on the host for as long as this value lives.
struct HostMounts {
    base: String,
}

/// Not by an asynchronous command: the worker reaps every child that it does not know, between two polls.
fn mount_on_host(arguments: &[&str]) -> Verdict {
    let output = std::process::Command::new("mount").args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(Stop::setup(format!("mount {arguments:?}: {text}"))) }
}

impl HostMounts {
    /// A directory on a mount of its own, shared or private, that the endpoint sees too.
    async fn new(cx: &Cx, cri: &Cri, name: &str, kind: &str) -> Result<Self, Stop> {
        let base = host_dir(cri, name)?;
        let own = Self { base: base.clone() };
        mount_on_host(&["-t", "tmpfs", "tmpfs", &base])?;
        mount_on_host(&[&format!("--make-{kind}"), &base])?;
        std::fs::create_dir_all(format!("{base}/p"))?;
        std::fs::write(format!("{base}/p/seen"), "")?;
        let pod = cri.pod().host_network().run().await?;
        let look = script().ask_with("read", json!({"path": "/p/seen"}));
        let made = pod.container().mount(&format!("{base}/p"), "/p", |_| ()).script(&look).run().await;
        let seen = match made {
            Ok(container) => {
                Answers::parse(&container.log_text("stdout")?, cri.tag()).first("read")?.result.is_ok()
            }
            Err(_) => false,
        };
        pod.remove().await.setup()?;
        cx.need(seen, "shared-mount-namespace", "the endpoint does not see mounts of the harness")?;
        Ok(own)
    }

    /// The directory to hand to a container.
    fn dir(&self) -> String {
        format!("{}/p", self.base)
    }

    /// Mounts a file system below the directory, with a file `mark` in it.
    fn below(&self, name: &str) -> Verdict {
        let point = format!("{}/{name}", self.dir());
        std::fs::create_dir_all(&point)?;
        mount_on_host(&["-t", "tmpfs", "tmpfs", &point])?;
        std::fs::write(format!("{point}/mark"), "mounted on the host")?;
        Ok(())
    }
}

impl Drop for HostMounts {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["--recursive", "--lazy", &self.base]).output();
    }
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

/// With host-to-container propagation the container sees later mounts of the host, and keeps its own to itself.
#[case(covers = ["container.mount.propagation-h2c"])]
async fn host_to_container_propagation(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host = HostMounts::new(cx, &cri, "shared", "shared").await?;
    let pod = cri.pod().security(|s| s.privileged = true).run().await?;
    let container = pod.container().security(|s| s.privileged = true);
    let mode = v1::MountPropagation::PropagationHostToContainer as i32;
    let container = container.mount(&host.dir(), "/p", |m| m.propagation = mode).try_create().await?;
    let container = container.must_succeed()?;
    container.start().await.must_succeed()?;
    host.below("later")?;
    let seen = read(&container, "/p/later/mark").await?;
    check_eq!(seen.as_deref(), Ok("mounted on the host"), "a file of a mount that the host made later");
    mount_inside(&container).await?;
    let out = std::path::Path::new(&host.dir()).join("inner/mark").exists();
    check!(!out, "the container's own mount stays inside", "it is on the host");
    Ok(())
}

/// With bidirectional propagation a mount made inside appears on the host and in another container.
#[case(covers = ["container.mount.propagation-bidir"])]
async fn bidirectional_propagation(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host = HostMounts::new(cx, &cri, "shared", "shared").await?;
    let pod = cri.pod().security(|s| s.privileged = true).run().await?;
    let watcher = pod.container().mount(&host.dir(), "/p", |m| m.propagation = 1).try_create().await?;
    let watcher = watcher.must_succeed()?;
    watcher.start().await.must_succeed()?;
    let container = pod.container().security(|s| s.privileged = true);
    let container = container.mount(&host.dir(), "/p", |m| m.propagation = 2).try_create().await?;
    let container = container.must_succeed()?;
    container.start().await.must_succeed()?;
    let mounts = fact(&container, "mounts").await?;
    let mine = mounts["mounts"].as_array().and_then(|l| l.iter().find(|m| m["mountpoint"] == "/p").cloned());
    let slave = mine.unwrap_or_default()["optional"].to_string().contains("master");
    cx.need(
        !slave,
        "shared-mount-namespace",
        "the endpoint's or the handler's mount namespace is a slave of the host's",
    )?;
    mount_inside(&container).await?;
    let out = std::path::Path::new(&host.dir()).join("inner/mark").exists();
    check!(out, "the mount appears on the host", "it does not");
    let seen = read(&watcher, "/p/inner/mark").await?;
    container.ask(&script().act("umount", json!({"path": "/p/inner"}))).await?;
    check!(seen.is_ok(), "the mount appears in the other container", "it does not");
    Ok(())
}

/// Shared propagation over a private source is an error, not silently private.
#[case(covers = ["container.mount.propagation-source-not-shared"])]
async fn propagation_needs_a_shared_source(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host = HostMounts::new(cx, &cri, "private", "private").await?;
    let pod = cri.pod().security(|s| s.privileged = true).run().await?;
    let container = pod.container().security(|s| s.privileged = true);
    let made = container.mount(&host.dir(), "/p", |m| m.propagation = 2).try_create().await?;
    let Ok(container) = made else { return Ok(()) };
    if container.start().await.is_ok() {
        let mounts = fact(&container, "mounts").await?;
        let mine =
            mounts["mounts"].as_array().and_then(|l| l.iter().find(|m| m["mountpoint"] == "/p").cloned());
        let shared = mine.unwrap_or_default()["optional"].to_string().contains("shared");
        check!(shared, "an error, or a shared mount", "a private mount");
    }
    Ok(())
}

/// Recursive read-only needs read-only and private propagation, and covers mounts below.
#[case(covers = [
    "container.mount.rro", "container.mount.rro-needs-readonly", "container.mount.rro-needs-private",
    "container.mount.ro-non-recursive", "status.handler-feature-rro-truthful",
])]
async fn recursive_readonly_rules(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    if !cri.handler_features().await?.is_some_and(|f| f.recursive_read_only_mounts) {
        return cri.not_applicable(
            "recursive-read-only",
            "the handler does not declare recursive read-only mounts",
        );
    }
    let host = match HostMounts::new(cx, &cri, "rro", "private").await {
        Ok(host) => {
            host.below("sub")?;
            Some(host)
        }
        // What is below the mount cannot be shown then; the rules can.
        Err(Stop::Skip { .. }) => None,
        Err(other) => return Err(other),
    };
    let dir = match &host {
        Some(host) => host.dir(),
        None => host_dir(&cri, "plain")?,
    };
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
    if host.is_some() {
        check_eq!(write(&container, "/rro/sub/x", "x").await?, Err(EROFS), "writing into a mount below it");
    }
    let plain = pod.container().mount(&dir, "/ro", |m| m.readonly = true).start().await?;
    check_eq!(write(&plain, "/ro/x", "x").await?, Err(EROFS), "writing into a plain read-only mount");
    if host.is_some() {
        check_eq!(of "container.mount.ro-non-recursive"; write(&plain, "/ro/sub/x", "x").await?, Ok(()), "writing into a mount below a plain read-only one");
    }
    rro(false, 0).must_be_refused().await.map_err(|s| s.of("container.mount.rro-needs-readonly"))?;
    for propagation in [1, 2] {
        rro(true, propagation)
            .must_be_refused()
            .await
            .map_err(|s| s.of("container.mount.rro-needs-private"))?;
    }
    Ok(())
}
