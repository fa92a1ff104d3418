//! Devices of a container, by path and by CDI name.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    devices_are_added,
    device_permissions,
    bad_devices_are_refused,
    device_directories_and_links,
    unknown_cdi_devices_are_refused,
    cdi_devices_are_injected,
];

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

/// Numbers of the host's disks and partitions.
fn host_disks() -> Result<Vec<(u32, u32)>, Stop> {
    let text = std::fs::read_to_string("/proc/partitions")?;
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    Ok(text.lines().filter_map(pair).collect())
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
    let plain = cri.run_pod().await?.container().start().await?;
    let extra = script().ask_with("open", json!({"path": "/dev/kmsg", "flags": ["r"]}));
    check_eq!(of "container.device.not-given-denied"; step(&plain, &extra, "open").await?.map(|_| ()), Err(2),
        "opening a device of the host that was not given");
    for (major, minor) in host_disks()?.into_iter().take(3) {
        let disk = script()
            .act("mknod", json!({"path": "/tmp/host-disk", "type": "block", "major": major, "minor": minor}))
            .ask_with("open", json!({"path": "/tmp/host-disk", "flags": ["r"]}))
            .act("unlink", json!({"path": "/tmp/host-disk"}));
        let opened = container.ask(&disk).await?.first("open")?.errno();
        check!(of "security.devices.no-host-block"; opened != 0, format!("the host's disk {major}:{minor} cannot be opened"), "it can");
    }
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

/// A CDI specification in a directory of the endpoint, for as long as this value lives.
struct CdiSpec {
    file: std::path::PathBuf,
    made: Option<std::path::PathBuf>,
}

impl Drop for CdiSpec {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        if let Some(dir) = &self.made {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// Directories of CDI specifications in a verbose status: under a key that speaks of both.
fn cdi_dirs(value: &Value, key: &str, found: &mut Vec<String>) {
    let key = key.to_lowercase();
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| cdi_dirs(v, k, found)),
        Value::Array(list) if key.contains("cdi") && key.contains("dir") => {
            found.extend(list.iter().filter_map(|v| v.as_str().map(ToOwned::to_owned)));
        }
        _ => {}
    }
}

impl CdiSpec {
    /// Writes a specification to the last directory that the endpoint names: later ones win.
    async fn write(cri: &Cri, spec: &Value) -> Result<Self, Stop> {
        let info = cri.client().status(v1::StatusRequest { verbose: true }).await.must_succeed()?.info;
        let mut dirs = Vec::new();
        for text in info.values() {
            cdi_dirs(&serde_json::from_str(text).unwrap_or_default(), "", &mut dirs);
        }
        let Some(dir) = dirs.pop().map(std::path::PathBuf::from) else {
            return cri.not_applicable(
                "cdi-directory",
                "the verbose status names no directory of CDI specifications",
            );
        };
        let made = (!dir.exists()).then(|| dir.clone());
        std::fs::create_dir_all(&dir)?;
        let file = dir.join(format!("plimsoll-{}.json", cri.tag()));
        let own = Self { file: file.clone(), made };
        std::fs::write(file, spec.to_string())?;
        Ok(own)
    }
}

/// A CDI device brings its variables, nodes and mounts, also when it is named twice.
#[case(covers = ["container.cdi.injected", "container.cdi.duplicates"])]
async fn cdi_devices_are_injected(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let volume = host_file(&cri, "cdi/mark", "by cdi")?;
    let spec = json!({
        "cdiVersion": "0.6.0",
        "kind": format!("plimsoll.test/{}", cri.tag()),
        "containerEdits": {"env": ["CDI_COMMON=yes"]},
        "devices": [{"name": "one", "containerEdits": {
            "env": ["CDI_ONE=1"],
            "deviceNodes": [{"path": "/dev/cdi-zero", "hostPath": "/dev/zero", "permissions": "rw"}],
            "mounts": [{"hostPath": volume, "containerPath": "/cdi-mark", "options": ["ro", "bind"]}],
        }}],
    });
    let _spec = CdiSpec::write(&cri, &spec).await?;
    let name = v1::CdiDevice { name: format!("plimsoll.test/{}=one", cri.tag()) };
    let container = cri.run_pod().await?.container().with(|c| c.cdi_devices = vec![name.clone(), name]);
    let container = container.try_create().await?.must_succeed()?;
    container.start().await.must_succeed()?;
    let questions = ask(["env"])
        .ask_with("stat", json!({"path": "/dev/cdi-zero"}))
        .ask_with("open", json!({"path": "/dev/cdi-zero", "flags": ["rw"]}))
        .ask_with("read", json!({"path": "/cdi-mark"}));
    let answers = container.ask(&questions).await?;
    let env = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    let times = |text: &str| env.iter().filter(|v| *v == text).count();
    check!(
        times("CDI_ONE=1") > 0 && times("CDI_COMMON=yes") > 0,
        "the variables of the device and its kind",
        "{env:?}"
    );
    let stat = answers.facts("stat")?;
    check!(stat["rdev_major"] == 1 && stat["rdev_minor"] == 5, "the device 1:5", "{stat}");
    check_eq!(answers.first("open")?.errno(), 0, "errno of opening it");
    check_eq!(answers.facts("read")?["data"], "by cdi", "content of the mounted file");
    check_eq!(of "container.cdi.duplicates"; times("CDI_ONE=1"), 1, "times that the variable is there");
    Ok(())
}
