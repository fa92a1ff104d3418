//! Images: list, status, remove, file systems.

use crate::prelude::*;
use futures_util::future::join_all;
use plimsoll_kit::cri::images_kit::ImageSet;

/// The table of this file.
pub static CASES: &[Case] = &[
    pulled_images_are_there,
    images_are_found_by_every_name,
    tags_share_one_image,
    status_of_nothing_is_empty,
    users_are_told,
    removal_takes_every_name,
    removal_of_nothing_succeeds,
    removals_in_parallel,
    shared_layers_stay,
    stream_equals_list,
    file_systems_are_told,
];

pub(super) fn unique(cri: &Cri, name: &str) -> ImageSet {
    cri.catalogue().tagged(&format!("{name}-{}", cri.tag()))
}

pub(super) fn spec(image: &str) -> Option<v1::ImageSpec> {
    (!image.is_empty()).then(|| v1::ImageSpec { image: image.into(), ..Default::default() })
}

async fn list(cri: &Cri, name: &str) -> Result<Vec<v1::Image>, Stop> {
    let filter = spec(name).map(|image| v1::ImageFilter { image: Some(image) });
    Ok(cri.client().list_images(v1::ListImagesRequest { filter }).await.must_succeed()?.images)
}

async fn remove(cri: &Cri, name: &str) -> Result<(), plimsoll_kit::cri::CallError> {
    cri.client().remove_image(v1::RemoveImageRequest { image: spec(name) }).await.map(|_| ())
}

/// A pulled image is listed at once, once, with its names, digests and size.
#[case(covers = [
    "image.pull.by-tag", "image.pull.returns-ref", "image.pull.visible-on-return", "image.list.all",
    "image.list.empty-filter", "image.list.repo-tags", "image.list.repo-digests", "image.list.size-gt-zero",
    "image.list.pinned", "image.pull.auth-missing", "image.pull.sandbox-config", "image.pull.runtime-handler-empty",
])]
async fn pulled_images_are_there(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let set = unique(&cri, "there");
    let reference = cri.publish("there", "1", &set)?;
    let id = cri.try_pull(&reference).await.must_succeed()?;
    check!(of "image.pull.returns-ref"; !id.is_empty(), "an image_ref", "an empty one");
    let all = list(&cri, "").await?;
    let mine: Vec<_> = all.iter().filter(|i| i.id == id).collect();
    check_eq!(of "image.pull.visible-on-return"; mine.len(), 1, "entries of the image");
    check!(of "image.list.repo-tags"; mine[0].repo_tags.contains(&reference), "the tag", "{}", mine[0].repo_tags.len());
    let digest = format!("@{}", set.root().digest);
    check!(of "image.list.repo-digests"; mine[0].repo_digests.iter().any(|d| d.ends_with(&digest)), "the manifest's digest", "another");
    check!(of "image.list.pinned"; !mine[0].pinned, "an ordinary image is not pinned", "it is");
    check!(of "image.list.size-gt-zero"; all.iter().all(|i| i.size > 0), "sizes above zero", "zero");
    check_eq!(set.config_digest().as_deref(), Some(id.as_str()), "the id is the digest of the configuration");
    cx.record("image.pinned", all.iter().filter(|i| i.pinned).count());
    let filter = Some(v1::ImageFilter { image: Some(v1::ImageSpec::default()) });
    let empty = cri.client().list_images(v1::ListImagesRequest { filter }).await.must_succeed()?.images;
    let told = cri.registry()?.seen().iter().filter(|s| s.authorization != "none").count();
    check_eq!(of "image.pull.auth-missing"; told, 0, "requests with credentials that nobody gave");
    let second = cri.publish("second", "1", &unique(&cri, "second"))?;
    cri.removes(&second);
    let image = Some(v1::ImageSpec { image: second, runtime_handler: String::new(), ..Default::default() });
    let sandbox_config = Some(cri.pod().config().clone());
    let request = v1::PullImageRequest { image, sandbox_config, auth: None };
    let second = cri.client().pull_image(request).await.must_succeed();
    let second = second.map_err(|s| s.of("image.pull.runtime-handler-empty"))?.image_ref;
    let all: Vec<_> = list(&cri, "").await?.into_iter().map(|i| i.id).collect();
    check!(of "image.list.all"; all.contains(&id) && all.contains(&second), "both images", "not both");
    check!(of "image.list.empty-filter"; empty.iter().any(|i| i.id == id), "every image with an empty filter", "not this one");
    Ok(())
}

/// An image is found by tag, digest and id, and the same id is told everywhere.
#[case(covers = [
    "image.status.by-id", "image.status.by-tag-digest", "image.list.filter-name", "image.list.filter-unknown",
    "image.id-consistent", "image.pull.by-digest", "image.pull.tag-and-digest", "image.status.id-prefix",
    "image.status.verbose-info", "image.pull.no-tag-latest",
])]
async fn images_are_found_by_every_name(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let set = unique(&cri, "named");
    let reference = cri.publish("named", "latest", &set)?;
    let bare = reference.trim_end_matches(":latest").to_owned();
    let id = cri.try_pull(&bare).await.must_succeed().map_err(|s| s.of("image.pull.no-tag-latest"))?;
    let tags = cri.image_status(&bare).await.must_succeed()?.unwrap_or_default().repo_tags;
    check!(of "image.pull.no-tag-latest"; tags.contains(&reference), "the tag latest", "{} tags, not that one", tags.len());
    let by_digest = format!("{bare}@{}", set.root().digest);
    for (name, id_of) in [
        (&reference, "image.status.by-tag-digest"),
        (&by_digest, "image.status.by-tag-digest"),
        (&id, "image.status.by-id"),
    ] {
        let found = cri.image_status(name).await.must_succeed()?.map(|i| i.id);
        check!(of id_of; found.as_deref() == Some(id.as_str()), "the image", "another or none");
        let listed = list(&cri, name).await?;
        check!(of "image.list.filter-name"; listed.len() == 1 && listed[0].id == id, "only the image", "{} images", listed.len());
    }
    check!(of "image.list.filter-unknown"; list(&cri, "127.0.0.1:1/no/such:1").await?.is_empty(), "no image", "some");
    let again = cri.try_pull(&by_digest).await.must_succeed().map_err(|s| s.of("image.pull.by-digest"))?;
    check_eq!(of "image.pull.by-digest"; again, id, "image_ref of a pull by digest");
    let both = format!("{reference}@{}", set.root().digest);
    let again = cri.try_pull(&both).await.must_succeed().map_err(|s| s.of("image.pull.tag-and-digest"))?;
    check_eq!(of "image.pull.tag-and-digest"; again, id, "image_ref of a pull by tag and digest");
    let container = cri.run_pod().await?.container().image(&id).create().await?;
    let (status, listed) = (container.status().await?, container.listed().await?.unwrap_or_default());
    for (told, place) in [(status.image_id, "ContainerStatus"), (listed.image_id, "ListContainers")] {
        // The field is younger than the others: an endpoint that does not know it leaves it empty.
        check!(of "image.id-consistent"; told.is_empty() || told == id, format!("the id in {place}.image_id"), "{told}");
    }
    check_eq!(of "image.id-consistent"; listed.image_ref, status.image_ref, "image_ref in ListContainers");
    let short = id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    cx.record("image.id-prefix", cri.image_status(&short).await.is_ok_and(|i| i.is_some()));
    let request = v1::ImageStatusRequest { image: spec(&id), verbose: true };
    let info = cri.client().image_status(request).await.must_succeed()?.info;
    check!(of "image.status.verbose-info"; info.values().all(|v| serde_json::from_str::<Value>(v).is_ok()), "JSON values", "another text");
    Ok(())
}

/// Names of the same content, also of two repositories, are one image.
#[case(covers = ["image.list.once-per-image", "image.id-same-across-registries"])]
async fn tags_share_one_image(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let set = unique(&cri, "shared");
    let mut ids = Vec::new();
    for (name, tag) in [("one", "1"), ("one", "2"), ("two", "1")] {
        let reference = cri.publish(name, tag, &set)?;
        ids.push(cri.try_pull(&reference).await.must_succeed()?);
    }
    check!(of "image.id-same-across-registries"; ids.windows(2).all(|w| w[0] == w[1]), "one id", "several");
    let mine: Vec<_> = list(&cri, "").await?.into_iter().filter(|i| i.id == ids[0]).collect();
    check_eq!(mine.len(), 1, "entries of the image");
    let all = list(&cri, "").await?;
    let ids: std::collections::BTreeSet<_> = all.iter().map(|i| i.id.as_str()).collect();
    check_eq!(ids.len(), all.len(), "number of different images in the list");
    check_eq!(mine[0].repo_tags.len(), 3, "tags of the entry");
    Ok(())
}

/// An absent image is an empty answer; an empty name does no harm.
#[case(covers = ["image.status.absent-nil", "image.status.empty-ref", "image.remove.empty-ref"])]
async fn status_of_nothing_is_empty(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let absent = cri.image_status("127.0.0.1:1/no/such:1").await.must_succeed()?;
    check!(absent.is_none(), "no image", "one");
    let empty = cri.client().image_status(v1::ImageStatusRequest::default()).await;
    check!(of "image.status.empty-ref"; empty.as_ref().map_or_else(plimsoll_kit::cri::CallError::is_answer, |a| a.image.is_none()), "an error or no image", "an image");
    let before = list(&cri, "").await?.len();
    let removal = cri.client().remove_image(v1::RemoveImageRequest::default()).await;
    check!(of "image.remove.empty-ref"; removal.is_ok() || removal.is_err_and(|e| e.is_answer()), "an answer", "none");
    check!(of "image.remove.empty-ref"; list(&cri, "").await?.len() + 3 >= before, "nothing is removed", "images are");
    Ok(())
}

/// The image's user is told by number or by name, never both, without its group.
#[case(covers = ["image.status.uid", "image.status.username", "image.status.uid-username-exclusive", "image.status.user-group-stripped"])]
async fn users_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    for (n, (user, uid, name, id)) in [
        ("1234", Some(1234), "", "image.status.uid"),
        ("plimsoll", None, "plimsoll", "image.status.username"),
        ("1234:2001", Some(1234), "", "image.status.user-group-stripped"),
        ("plimsoll:extra", None, "plimsoll", "image.status.user-group-stripped"),
    ]
    .into_iter()
    .enumerate()
    {
        let pulled = cri.pull(&format!("user-{n}"), &cri.catalogue().user(user)).await?;
        let status = cri.image_status(&pulled.id).await.must_succeed()?.unwrap_or_default();
        check!(of "image.status.uid-username-exclusive"; status.uid.is_none() || status.username.is_empty(), "a number or a name", "both");
        check_eq!(of id; (status.uid.map(|u| u.value), status.username.as_str()), (uid, name), "user of an image with USER {user}");
    }
    Ok(())
}

/// Removing an image by any name removes all its names, at once.
#[case(covers = [
    "image.remove.by-tag", "image.remove.by-id", "image.remove.by-digest", "image.remove.all-registries",
    "image.remove.immediately-gone", "image.remove.twice-ok", ])]
async fn removal_takes_every_name(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    for (way, id) in
        [("tag", "image.remove.by-tag"), ("id", "image.remove.by-id"), ("digest", "image.remove.by-digest")]
    {
        let set = unique(&cri, way);
        let mut references = Vec::new();
        for (name, tag) in [("one", "1"), ("one", "2"), ("two", "1")] {
            let reference = cri.publish(&format!("{name}-{way}"), tag, &set)?;
            cri.try_pull(&reference).await.setup()?;
            references.push(reference);
        }
        let image = set.config_digest().unwrap_or_default();
        let name = match way {
            "tag" => references[0].clone(),
            "id" => image.clone(),
            _ => format!("{}@{}", references[0].rsplit_once(':').map_or("", |(n, _)| n), set.root().digest),
        };
        remove(&cri, &name).await.must_succeed().map_err(|s| s.of(id))?;
        check!(of "image.remove.immediately-gone"; list(&cri, "").await?.iter().all(|i| i.id != image), "the image is not listed", "it is");
        check!(of "image.remove.all-registries"; cri.image_status(&references[2]).await.must_succeed()?.is_none(), "the name in the other repository is gone", "it is there");
        for reference in references.iter().chain([&image]) {
            check!(of id; cri.image_status(reference).await.must_succeed()?.is_none(), "no name of the image is left", "one is");
        }
        remove(&cri, &name).await.must_succeed().map_err(|s| s.of("image.remove.twice-ok"))?;
    }
    Ok(())
}

/// Removing what is not there succeeds.
#[case(covers = ["image.remove.not-found-ok"])]
async fn removal_of_nothing_succeeds(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    remove(&cri, "127.0.0.1:1/no/such:1").await.must_succeed()?;
    remove(&cri, &format!("sha256:{NOBODY}")).await.must_succeed()?;
    Ok(())
}

/// Removals at the same time succeed, and the image is gone after each.
#[case(covers = ["image.remove.concurrent"])]
async fn removals_in_parallel(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pulled = cri.pull("many", &unique(&cri, "many")).await?;
    for answer in join_all((0..5).map(|_| remove(&cri, &pulled.id))).await {
        answer.must_succeed()?;
    }
    check!(cri.image_status(&pulled.id).await.must_succeed()?.is_none(), "no image", "one");
    Ok(())
}

/// An image that shares layers with a removed one still runs.
#[case(covers = ["image.remove.shared-layers"])]
async fn shared_layers_stay(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let gone = cri.pull("gone", &unique(&cri, "gone")).await?;
    let kept = cri.pull("kept", &unique(&cri, "kept")).await?;
    remove(&cri, &gone.id).await.must_succeed()?;
    let container = cri.run_pod().await?.container().image(&kept.id).try_create().await?.must_succeed()?;
    container.start().await.must_succeed()?;
    Ok(())
}

/// The stream of images has what the list has.
#[case(covers = ["image.list.stream"])]
async fn stream_equals_list(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("StreamImages").await?;
    let pulled = cri.pull("streamed", &unique(&cri, "streamed")).await?;
    let filter = Some(v1::ImageFilter { image: spec(&pulled.reference) });
    let messages = cri
        .client()
        .stream_images(v1::StreamImagesRequest { filter })
        .await
        .must_succeed()?
        .all()
        .await
        .must_succeed()?;
    check!(messages.iter().all(|m| !m.images.is_empty()), "messages with items", "an empty one");
    let ids: Vec<_> = messages.into_iter().flat_map(|m| m.images).map(|i| i.id).collect();
    check_eq!(ids, [pulled.id], "streamed images");
    Ok(())
}

/// The file systems of images are told with place and use.
#[case(covers = [
    "imagefs.info.present", "imagefs.info.timestamp", "imagefs.info.mountpoint", "imagefs.info.used-bytes",
    "imagefs.info.inodes", "imagefs.info.container-filesystems",
])]
async fn file_systems_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.plain().await?;
    let get = || async { cri.client().image_fs_info(v1::ImageFsInfoRequest {}).await.must_succeed() };
    let info = get().await?;
    let Some(first) = info.image_filesystems.first().cloned() else {
        return Err(Stop::violation("an image file system", "none"));
    };
    check!(of "imagefs.info.timestamp"; first.timestamp > 1_500_000_000_000_000_000 && first.timestamp <= now_ns(), "nanoseconds since 1970", "{}", first.timestamp);
    let place = first.fs_id.unwrap_or_default().mountpoint;
    check!(of "imagefs.info.mountpoint"; std::path::Path::new(&place).exists(), "an existing path", "another");
    check!(of "imagefs.info.inodes"; first.inodes_used.is_some(), "inodes", "none");
    cx.record("image.container-filesystems", info.container_filesystems.len());
    let before = first.used_bytes.map_or(0, |u| u.value);
    cri.pull("big", &cri.catalogue().big(12 << 20)).await?;
    wait_until("the use has grown by the pulled image", Duration::from_secs(40), async || {
        let used = get().await?.image_filesystems.first().and_then(|f| f.used_bytes).map_or(0, |u| u.value);
        if used > before { Ok(Poll::Ready(())) } else { Ok(Poll::NotYet("no more than before".into())) }
    })
    .await
    .map_err(|s| s.of("imagefs.info.used-bytes"))
}
