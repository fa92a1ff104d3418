//! Images as volumes.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    images_are_mounted,
    sub_paths_are_mounted,
    bad_image_mounts_are_refused,
    mounts_are_told_and_cleaned,
    images_are_mounted_in_user_namespaces,
];

#[expect(clippy::unnecessary_wraps, reason = "the field is optional")]
fn spec(image: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec { image: image.into(), ..Default::default() })
}

/// Whether the endpoint mounts images: it does so, or says why not in its own words.
pub async fn supported(cri: &Cri, pod: &Pod) -> Result<bool, Stop> {
    let image = cri.plain().await?;
    // Either way of naming it will do: whether both work is a requirement of its own.
    for name in [&image.reference, &image.id] {
        let made = pod.container().mount("", "/volume", |m| {
            m.image = spec(name);
            m.readonly = true;
        });
        if let Ok(container) = made.try_create().await? {
            container.remove().await.setup()?;
            return Ok(true);
        }
    }
    Ok(false)
}

async fn needed(cri: &Cri) -> Result<Pod, Stop> {
    let pod = cri.run_pod().await?;
    if supported(cri, &pod).await? {
        return Ok(pod);
    }
    cri.not_applicable("image-volumes", "a mount with an image and no host path is refused")
}

/// The content of an image is there, read-only, executable, by name or id.
#[case(covers = [
    "container.image-volume.mounts", "container.image-volume.readonly-always", "container.image-volume.exec-allowed",
    "container.image-volume.by-image-ref",
])]
async fn images_are_mounted(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = needed(&cri).await?;
    let image = cri.plain().await?;
    let of = |name: &str| {
        let image = spec(name);
        pod.container().mount("", "/volume", |m| {
            m.image = image;
            m.readonly = true;
        })
    };
    let named = of(&image.reference).start().await?;
    check!(read(&named, "/volume/etc/passwd").await?.is_ok(), "a file of the image", "none");
    let container = of(&image.id).try_create().await?.must_succeed();
    let container = container.map_err(|s| s.of("container.image-volume.by-image-ref"))?;
    container.start().await.must_succeed().map_err(|s| s.of("container.image-volume.by-image-ref"))?;
    check!(of "container.image-volume.by-image-ref"; read(&container, "/volume/etc/passwd").await?.is_ok(), "a file of the image named by id", "none");
    check_eq!(of "container.image-volume.readonly-always"; write(&container, "/volume/x", "x").await?, Err(30), "writing into it");
    let run = script().act("exec", json!({"path": "/volume/probe", "argv": ["probe", "{\"steps\":[]}"]}));
    check_eq!(of "container.image-volume.exec-allowed"; step(&container, &run, "exec").await?.map(|f| f["code"].clone()), Ok(json!(0)), "running a program of it");
    Ok(())
}

/// Only the sub path is mounted, and it cannot lead outside.
#[case(covers = ["container.image-volume.subpath", "container.image-volume.subpath-missing", "container.image-volume.subpath-escape"])]
async fn sub_paths_are_mounted(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = needed(&cri).await?;
    let image = cri.plain().await?.id;
    let sub = |path: &'static str| {
        pod.container().mount("", "/volume", |m| {
            m.image = spec(&image);
            m.readonly = true;
            m.image_sub_path = path.into();
        })
    };
    let container = sub("etc").start().await?;
    check!(read(&container, "/volume/passwd").await?.is_ok(), "a file of the sub path", "none");
    sub("no/such").must_be_refused().await.map_err(|s| s.of("container.image-volume.subpath-missing"))?;
    sub("../../etc").must_be_refused().await.map_err(|s| s.of("container.image-volume.subpath-escape"))?;
    Ok(())
}

/// A writable image mount and a missing image are refused.
#[case(covers = ["container.image-volume.missing-image", "container.image-volume.readonly-false-rejected"])]
async fn bad_image_mounts_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = needed(&cri).await?;
    let reference =
        cri.publish("unpulled", "1", &cri.catalogue().tagged(&format!("unpulled-{}", cri.tag())))?;
    let missing = pod.container().mount("", "/volume", |m| {
        m.image = spec(&reference);
        m.readonly = true;
    });
    missing.must_be_refused().await?;
    check_eq!(cri.registry()?.counters().total, 0, "requests that the registry saw");
    let image = cri.plain().await?.id;
    let writable = pod.container().mount("", "/volume", |m| m.image = spec(&image));
    writable.must_be_refused().await.map_err(|s| s.of("container.image-volume.readonly-false-rejected"))?;
    Ok(())
}

/// The status tells the image of a mount, a used image stays usable, and nothing stays mounted.
#[case(covers = [
    "container.image-volume.status-image-ref", "container.image-volume.in-use-not-removed",
    "container.image-volume.cleaned-up",
])]
async fn mounts_are_told_and_cleaned(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = needed(&cri).await?;
    let image = cri.pull("volume", &cri.catalogue().tagged(&format!("volume-{}", cri.tag()))).await?;
    let container = pod.container().mount("", "/volume", |m| {
        m.image = spec(&image.id);
        m.readonly = true;
    });
    let container = container.start().await?;
    let told = container.status().await?.mounts.into_iter().find_map(|m| m.image).unwrap_or_default();
    check!(told.image_ref == image.id || told.image == image.id, "the image of the mount", "another or none");
    let removal = v1::RemoveImageRequest { image: spec(&image.reference) };
    let removed = cri.client().remove_image(removal).await.is_ok();
    cx.record("container.image-volume.removed-in-use", removed);
    check!(of "container.image-volume.in-use-not-removed"; read(&container, "/volume/etc/passwd").await?.is_ok(), "the volume stays readable", "it does not");
    container.remove().await.setup()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    check!(of "container.image-volume.cleaned-up"; !mounts.contains(&container.id), "no mount stays", "one does");
    Ok(())
}

/// A pod with a user namespace can read an image's files.
#[case(covers = ["container.image-volume.userns"])]
async fn images_are_mounted_in_user_namespaces(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    needed(&cri).await?;
    if !cri.handler_features().await?.is_some_and(|f| f.user_namespaces) {
        return cri.not_applicable("user-namespaces", "the handler does not declare user namespaces");
    }
    let image = cri.plain().await?;
    let container = super::userns::pod(&cri).run().await?.container().mount("", "/volume", |m| {
        m.image = spec(&image.id);
        m.readonly = true;
    });
    let container = container.try_create().await?.must_succeed()?;
    container.start().await.must_succeed()?;
    check!(read(&container, "/volume/etc/passwd").await?.is_ok(), "a file of the image", "none");
    Ok(())
}
