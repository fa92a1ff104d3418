//! Pulls: names, platforms, formats, credentials, hostile content.

use super::image::{spec, unique};
use crate::prelude::*;
use futures_util::future::join_all;
use plimsoll_kit::cri::images_kit::registry::{Access, Action, Credentials, Rule, Target};
use plimsoll_kit::cri::images_kit::{Compression, Layer, hostile};

/// The table of this file.
pub static CASES: &[Case] = &[
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
];

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
