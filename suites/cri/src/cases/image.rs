//! Images: list, status, pull, remove.

use crate::prelude::*;
use futures_util::future::join_all;
use plimsoll_kit::cri::images_kit::registry::{Access, Action, Credentials, Rule, Target};
use plimsoll_kit::cri::images_kit::{Compression, ImageSet, Layer, hostile};

/// The table of this file.
pub static CASES: &[Case] = &[
    pulled_images_are_there,
    images_are_found_by_every_name,
    tags_share_one_image,
    status_of_nothing_is_empty,
    users_are_told,
    pulls_again_fetch_nothing,
    tags_move,
    bad_references_are_refused,
    unreachable_registries,
    pulls_end_with_their_deadline,
    pulls_in_parallel,
    platforms_are_chosen,
    formats_are_read,
    corrupt_images_are_refused,
    whiteouts_are_applied,
    layers_do_not_escape,
    basic_credentials,
    bearer_credentials,
    wrong_credentials,
    credentials_stay_where_they_belong,
    handlers_of_images,
    removal_takes_every_name,
    removal_of_nothing_succeeds,
    removals_in_parallel,
    shared_layers_stay,
    stream_equals_list,
    file_systems_are_told,
];

fn unique(cri: &Cri, name: &str) -> ImageSet {
    cri.catalogue().tagged(&format!("{name}-{}", cri.tag()))
}

fn spec(image: &str) -> Option<v1::ImageSpec> {
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
    check!(of "image.list.size-gt-zero"; all.iter().all(|i| i.size > 0), "sizes above zero", "zero");
    check_eq!(set.config_digest().as_deref(), Some(id.as_str()), "the id is the digest of the configuration");
    cx.record("image.pinned", all.iter().filter(|i| i.pinned).count());
    let filter = Some(v1::ImageFilter { image: Some(v1::ImageSpec::default()) });
    let empty = cri.client().list_images(v1::ListImagesRequest { filter }).await.must_succeed()?.images;
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
        check_eq!(of id; (status.uid.map(|u| u.value), status.username.as_str()), (uid, name), "user of an image with USER {user}");
    }
    Ok(())
}

/// Pulling again gives the same image without fetching a blob.
#[case(covers = ["image.pull.idempotent"])]
async fn pulls_again_fetch_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pulled = cri.pull("again", &unique(&cri, "again")).await?;
    let registry = cri.registry()?;
    registry.reset();
    let again = cri.try_pull(&pulled.reference).await.must_succeed()?;
    check_eq!(again, pulled.id, "image_ref of the second pull");
    check_eq!(registry.counters().blobs, 0, "blobs fetched by the second pull");
    Ok(())
}

/// After its tag moved, a pull gives the new image, and the old one loses the tag.
#[case(covers = ["image.pull.tag-moved"])]
async fn tags_move(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let reference = cri.publish("moving", "1", &unique(&cri, "old"))?;
    let old = cri.try_pull(&reference).await.must_succeed()?;
    cri.removes(&old);
    cri.publish("moving", "1", &unique(&cri, "new"))?;
    let new = cri.try_pull(&reference).await.must_succeed()?;
    check_ne!(new, old, "image_ref after the tag moved");
    let found = cri.image_status(&reference).await.must_succeed()?.map(|i| i.id);
    check_eq!(found, Some(new), "image of the tag");
    let tags = cri.image_status(&old).await.must_succeed()?.map_or(0, |i| i.repo_tags.len());
    check_eq!(tags, 0, "tags of the old image");
    Ok(())
}

/// A missing image and a malformed name are errors.
#[case(covers = ["image.pull.not-found", "image.pull.bad-reference"])]
async fn bad_references_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host = cri.registry()?.host();
    let error = cri.try_pull(&format!("{host}/no/such:1")).await.must_fail()?;
    cx.record("image.pull-not-found", format!("{:?}", error.code));
    let error = cri.try_pull("UPPER//x").await.must_fail().map_err(|s| s.of("image.pull.bad-reference"))?;
    cx.record("image.pull-bad-reference", format!("{:?}", error.code));
    Ok(())
}

/// An unreachable registry is told in the words that a kubelet looks for.
#[case(covers = ["image.pull.registry-unavailable", ])]
async fn unreachable_registries(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let error = cri.try_pull("127.0.0.1:1/no/registry:1").await.must_fail()?;
    check!(
        error.code == Code::Unknown && error.message.starts_with("RegistryUnavailable"),
        "Unknown, with a message that begins with RegistryUnavailable",
        "{:?} with another message",
        error.code
    );
    Ok(())
}

/// A pull over its deadline ends, leaves no image, and can be done again.
#[case(covers = ["image.pull.deadline", "image.pull.cancel-cleans", ])]
async fn pulls_end_with_their_deadline(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let layer = Layer::new().file("slow", cri.tag().repeat(5000), 0o644);
    let set = cri.catalogue().waiting().layer_as(layer, Compression::None).build();
    let reference = cri.publish("slow", "1", &set)?;
    let registry = cri.registry()?;
    registry.fault(Rule::new(Action::Drip(2000)).on(Target::Blob));
    cri.removes(&reference);
    let request = v1::PullImageRequest { image: spec(&reference), ..Default::default() };
    let error =
        cri.client().with_deadline(Duration::from_secs(1)).pull_image(request).await.must_fail_deadline()?;
    cx.record("image.pull-deadline", format!("{error:?}"));
    check!(of "image.pull.cancel-cleans"; cri.image_status(&reference).await.must_succeed()?.is_none(), "no image", "one");
    registry.clear_faults();
    cri.try_pull(&reference).await.must_succeed()?;
    Ok(())
}

/// A call that should run into its deadline.
trait Deadline {
    fn must_fail_deadline(self) -> Result<Code, Stop>;
}

impl<T> Deadline for Result<T, plimsoll_kit::cri::CallError> {
    fn must_fail_deadline(self) -> Result<Code, Stop> {
        match self {
            Ok(_) => Err(Stop::violation("the call ends with its deadline", "it succeeded")),
            Err(error) if error.kind == Kind::Deadline || error.code == Code::DeadlineExceeded => {
                Ok(error.code)
            }
            Err(error) => Err(Stop::violation("DeadlineExceeded", format!("{:?}", error.code))),
        }
    }
}

/// Pulls of one image, and of images that share layers, succeed at the same time.
#[case(covers = ["image.pull.concurrent-same", "image.pull.concurrent-shared-layers"])]
async fn pulls_in_parallel(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let reference = cri.publish("same", "1", &unique(&cri, "same"))?;
    let mut ids = std::collections::BTreeSet::new();
    for answer in join_all((0..10).map(|_| cri.try_pull(&reference))).await {
        ids.insert(answer.must_succeed()?);
    }
    check_eq!(ids.len(), 1, "different answers");
    let mut references = Vec::new();
    for n in 0..3 {
        references.push(cri.publish(&format!("layered-{n}"), "1", &unique(&cri, &format!("layered-{n}")))?);
    }
    for answer in join_all(references.iter().map(|r| cri.try_pull(r))).await {
        answer.must_succeed().map_err(|s| s.of("image.pull.concurrent-shared-layers"))?;
    }
    Ok(())
}

/// Of an index the node's platform is taken; without it the pull fails.
#[case(covers = ["image.pull.multi-arch", "image.pull.no-matching-platform"])]
async fn platforms_are_chosen(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let set = cri.catalogue().multi_platform();
    let pulled = cri.pull("multi", &set).await?;
    check_eq!(Some(pulled.id), set.config_digest(), "image_ref");
    let foreign = cri.publish("foreign", "1", &hostile::foreign_platform(&cri.catalogue().base()))?;
    cri.try_pull(&foreign).await.must_fail().map_err(|s| s.of("image.pull.no-matching-platform"))?;
    Ok(())
}

/// OCI and docker manifests work, and so do plain, gzip and zstd layers.
#[case(covers = ["image.pull.docker-schema2", "image.pull.zstd"])]
async fn formats_are_read(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    for (name, set) in
        [("docker", cri.catalogue().docker()), ("tar", cri.catalogue().compressed(Compression::None))]
    {
        let reference = cri.publish(name, "1", &set)?;
        let id = cri.try_pull(&reference).await.must_succeed()?;
        pod.container().image(&id).start().await?;
    }
    let zstd = cri.publish("zstd", "1", &cri.catalogue().compressed(Compression::Zstd))?;
    cx.record("image.pull-zstd", cri.try_pull(&zstd).await.is_ok());
    Ok(())
}

/// Content that is not what its digest says is refused, and nothing is stored.
#[case(covers = ["image.pull.corrupt-blob"])]
async fn corrupt_images_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    // A layer of its own: content that the endpoint already holds would not be fetched.
    let base = |name: &str| Layer::new().file("own", format!("{name}-{}", cri.tag()), 0o644);
    for (name, set) in [
        ("layer", hostile::wrong_layer_digest(&base("layer"))),
        ("config", hostile::wrong_config_digest(&base("config"))),
        ("diff-id", hostile::wrong_diff_id(&base("diff-id"))),
        ("size", hostile::wrong_layer_size(&base("size"))),
        ("manifest", hostile::broken_manifest()),
    ] {
        let reference = cri.publish(name, "1", &set)?;
        cri.try_pull(&reference).await.must_fail()?;
        check!(
            cri.image_status(&reference).await.must_succeed()?.is_none(),
            "no image after a refused pull",
            "one"
        );
    }
    Ok(())
}

/// Whiteouts hide files of lower layers.
#[case(covers = ["image.pull.whiteouts"])]
async fn whiteouts_are_applied(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pulled = cri.pull("whiteouts", &cri.catalogue().whiteouts()).await?;
    let container = cri.run_pod().await?.container().image(&pulled.id).start().await?;
    for (path, content) in [
        ("/gone/file", None),
        ("/gone/stays", Some("lower")),
        ("/opaque/old", None),
        ("/opaque/new", Some("upper")),
        ("/back", Some("again")),
        ("/dir", Some("file")),
    ] {
        let found = read(&container, path).await?.ok();
        check_eq!(found.as_deref(), content, "content of {path}");
    }
    Ok(())
}

/// Layers that climb, link out or take devices write nothing outside the container.
#[case(covers = ["image.pull.path-traversal"])]
async fn layers_do_not_escape(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let base = cri.catalogue().base();
    let dir = host_dir(&cri, "outside")?;
    let victim = host_file(&cri, "outside/victim", "still here")?;
    let mark = format!("{dir}/mark");
    let sets = [
        ("climbing", hostile::climbing_name(&base, &mark)),
        ("absolute", hostile::absolute_name(&base, &mark)),
        ("link", hostile::through_symlink(&base, &dir, "mark")),
        ("lower-link", hostile::through_symlink_of_lower_layer(&base, &dir, "mark")),
        ("whiteout", hostile::climbing_whiteout(&base, &victim)),
        ("parent", hostile::whiteout_of_parent(&base)),
        ("hardlink", hostile::hardlink_out(&base, &victim)),
    ];
    let mut outcomes = Vec::new();
    for (name, set) in sets {
        let reference = cri.publish(name, "1", &set)?;
        let pulled = cri.try_pull(&reference).await;
        outcomes.push(format!("{name}: {}", if pulled.is_ok() { "defused" } else { "refused" }));
        check!(
            !std::path::Path::new(&mark).exists(),
            "nothing is written outside",
            "a file of the {name} image is"
        );
        check!(
            std::fs::read_to_string(&victim).is_ok_and(|t| t == "still here"),
            "files of the host stay",
            "one is gone after the {name} image"
        );
    }
    cx.record("image.hostile-layers", outcomes);
    cri.client().version(v1::VersionRequest::default()).await.must_succeed()?;
    Ok(())
}

fn password(username: &str, password: &str) -> v1::AuthConfig {
    v1::AuthConfig { username: username.into(), password: password.into(), ..Default::default() }
}

/// A name and a password are used, also in their encoded form.
#[case(covers = ["image.pull.auth-basic", "image.pull.auth-base64", "image.pull.auth-not-persisted"])]
async fn basic_credentials(cx: &mut Cx) -> Verdict {
    use base64::Engine as _;
    let cri = cx.cri()?;
    let registry = cri.registry()?;
    let first = cri.publish("basic", "1", &unique(&cri, "basic"))?;
    let second = cri.publish("encoded", "1", &unique(&cri, "encoded"))?;
    registry.set_access(Access::Basic(Credentials::new("ann", "pass word")));
    cri.try_pull_with(&first, Some(password("ann", "pass word"))).await.must_succeed()?;
    cri.try_pull(&second).await.must_fail().map_err(|s| s.of("image.pull.auth-not-persisted"))?;
    let auth = base64::engine::general_purpose::STANDARD.encode("ann:pass word");
    let encoded = v1::AuthConfig { auth, ..Default::default() };
    cri.try_pull_with(&second, Some(encoded))
        .await
        .must_succeed()
        .map_err(|s| s.of("image.pull.auth-base64"))?;
    Ok(())
}

/// Tokens are asked for by password or identity token, or used as given.
#[case(covers = ["image.pull.auth-token-flow", "image.pull.auth-identity-token", "image.pull.auth-registry-token"])]
async fn bearer_credentials(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let registry = cri.registry()?;
    let publish = |name: &'static str| cri.publish(name, "1", &unique(&cri, name));
    let reference = publish("bearer")?;
    registry.set_access(Access::Bearer(Credentials::new("ann", "secret")));
    cri.try_pull_with(&reference, Some(password("ann", "secret"))).await.must_succeed()?;
    check!(registry.counters().tokens > 0, "the token service was asked", "it was not");
    let reference = publish("identity")?;
    registry.set_access(Access::Identity("identity-token".into()));
    let identity = v1::AuthConfig { identity_token: "identity-token".into(), ..Default::default() };
    cri.try_pull_with(&reference, Some(identity))
        .await
        .must_succeed()
        .map_err(|s| s.of("image.pull.auth-identity-token"))?;
    let reference = publish("token")?;
    registry.set_access(Access::Token("given-token".into()));
    let token = v1::AuthConfig { registry_token: "given-token".into(), ..Default::default() };
    cri.try_pull_with(&reference, Some(token))
        .await
        .must_succeed()
        .map_err(|s| s.of("image.pull.auth-registry-token"))?;
    Ok(())
}

/// Wrong credentials are an error, and the image is not there.
#[case(covers = ["image.pull.auth-wrong", "image.pull.retry-after-5xx"])]
async fn wrong_credentials(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let registry = cri.registry()?;
    let reference = cri.publish("wrong", "1", &unique(&cri, "wrong"))?;
    registry.set_access(Access::Basic(Credentials::new("ann", "right")));
    cri.try_pull_with(&reference, Some(password("ann", "wrong"))).await.must_fail()?;
    check!(cri.image_status(&reference).await.must_succeed()?.is_none(), "no image", "one");
    registry.set_access(Access::Open);
    registry.fault(Rule::new(Action::status(503)).on(Target::Manifest).times(1));
    cx.record("image.pull-retries-503", cri.try_pull(&reference).await.is_ok());
    Ok(())
}

/// A redirected blob is fetched; who answered the redirect is not given the credentials of another host.
#[case(covers = ["image.pull.auth-server-address"])]
async fn credentials_stay_where_they_belong(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let registry = cri.registry()?;
    let layer = Layer::new().file("own", format!("redirect-{}", cri.tag()), 0o644);
    let reference = cri.publish("moved", "1", &cri.catalogue().waiting().layer(layer).build())?;
    registry.fault(Rule::new(Action::Redirect { hops: 1 }).on(Target::Blob));
    let mut auth = password("ann", "secret");
    auth.server_address = "another.example".into();
    cri.try_pull_with(&reference, Some(auth)).await.must_succeed()?;
    let told = registry.seen().iter().filter(|s| s.authorization == "basic").count();
    check_eq!(told, 0, "requests with the credentials of another host");
    Ok(())
}

/// An unknown handler of an image is refused where the field is known.
#[case(covers = ["image.pull.runtime-handler-unknown"])]
async fn handlers_of_images(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    if cri.handler_features().await?.is_none() {
        return cri.not_applicable("runtime-handlers", "Status declares no handlers");
    }
    let reference = cri.publish("handler", "1", &unique(&cri, "handler"))?;
    cri.removes(&reference);
    let image =
        v1::ImageSpec { image: reference, runtime_handler: "no-such-handler".into(), ..Default::default() };
    cri.client()
        .pull_image(v1::PullImageRequest { image: Some(image), ..Default::default() })
        .await
        .must_fail()?;
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
