//! `plimsoll images`: the generated images as files and in registries, and an image of this executable.

use crate::args::{ExportArgs, ImagesVerb, Layout, PushArgs};
use crate::output;
use crate::run::{TOOL, bundled};
use crate::usage::{self, Failure};
use plimsoll_kit::cri::images_kit::archive::{self, ArchiveError, Named};
use plimsoll_kit::cri::images_kit::push::{PushError, Pusher};
use plimsoll_kit::cri::images_kit::registry::Credentials;
use plimsoll_kit::cri::images_kit::standard::Catalogue;
use plimsoll_kit::cri::images_kit::{Image, ImageSet, Layer};
use plimsoll_kit::probe::PROBE;
use plimsoll_model::ExitCode;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of the big image.
const BIG: usize = 64 << 20;
/// Name of the image of this executable.
const OWN_NAME: &str = "plimsoll.test/plimsoll:latest";

/// `plimsoll images`.
pub fn verb(verb: &ImagesVerb) -> Result<ExitCode, Failure> {
    match verb {
        ImagesVerb::List => list(),
        ImagesVerb::Export(args) => export(args)?,
        ImagesVerb::Push(args) => push(args)?,
    }
    Ok(ExitCode::Success)
}

fn list() {
    for (name, image) in Catalogue::new(PROBE).all(BIG) {
        let bytes: usize = image.blobs().map(|(_, blob)| blob.data.len()).sum();
        output::line(&format!("{name:<16} {:>9} KiB  {}", bytes.div_ceil(1024), image.root().digest));
    }
}

/// The wanted images by name; all of them when none is named.
fn chosen(names: &[String]) -> Result<BTreeMap<&'static str, ImageSet>, Failure> {
    let mut all = Catalogue::new(PROBE).all(BIG);
    if let Some(unknown) = names.iter().find(|n| !all.contains_key(n.as_str())) {
        return Err(Failure::usage(format!("no image is called `{unknown}`"))
            .hint("`plimsoll images list` shows them"));
    }
    all.retain(|name, _| names.is_empty() || names.iter().any(|n| n == name));
    Ok(all)
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    if args.dest == Path::new("self") {
        let path = args.file.clone().unwrap_or_else(|| PathBuf::from("plimsoll-image.tar"));
        let image = own_image()?;
        return write(&[(OWN_NAME, &image)], &path, layout_of(args.layout, &path));
    }
    if let Some(extra) = &args.file {
        return Err(Failure::usage(format!("`{}` is one path too many", extra.display()))
            .hint("a second path goes with `plimsoll images export self` only"));
    }
    let images = chosen(&args.image)?;
    let prefix = args.prefix.trim_end_matches('/');
    let names: Vec<String> = images.keys().map(|n| format!("{prefix}/{n}:1")).collect();
    let named: Vec<Named<'_>> = names.iter().map(String::as_str).zip(images.values()).collect();
    write(&named, &args.dest, layout_of(args.layout, &args.dest))
}

/// As asked for, or by the name: an archive for `*.tar`, else a directory.
fn layout_of(asked: Option<Layout>, path: &Path) -> Layout {
    let tar = path.extension().is_some_and(|e| e == "tar");
    asked.unwrap_or(if tar { Layout::OciArchive } else { Layout::Directory })
}

fn write(images: &[Named<'_>], path: &Path, layout: Layout) -> Result<(), Failure> {
    let failed = |e: ArchiveError| Failure::usage(e.to_string());
    if layout == Layout::Directory && path.exists() {
        return Err(Failure::usage(format!("{} exists already", path.display()))
            .hint("name a directory that does not exist: it appears whole or not at all"));
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| usage::file("make", parent, &e))?;
    }
    match layout {
        Layout::Directory => archive::write_layout(images, path).map_err(failed)?,
        Layout::OciArchive => archive::write_file(path, &archive::oci_archive(images)).map_err(failed)?,
        Layout::DockerArchive => {
            archive::write_file(path, &archive::docker_archive(images).map_err(failed)?).map_err(failed)?;
        }
    }
    output::note(&format!("{} image(s) in {}", images.len(), path.display()));
    for (name, image) in images {
        output::line(&format!("{name} {}", image.root().digest));
    }
    Ok(())
}

/// A container image of this one static executable: nothing else is needed in it.
fn own_image() -> Result<ImageSet, Failure> {
    let program = bundled()?.program;
    let bytes = fs::read(&program).map_err(|e| usage::file("read", &program, &e))?;
    let mut layer = Layer::new();
    for dir in ["dev", "etc", "proc", "run", "sys", "var", "work"] {
        layer = layer.dir(dir, 0o755);
    }
    layer = layer.dir("tmp", 0o1777).dir("var/tmp", 0o1777).file("plimsoll", bytes, 0o755);
    let image = Image::new()
        .layer(layer)
        .entrypoint(["/plimsoll"])
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .working_dir("/work")
        .label("org.opencontainers.image.title", "plimsoll")
        .label("org.opencontainers.image.version", TOOL.rsplit(' ').next().unwrap_or_default());
    Ok(image.build())
}

fn push(args: &PushArgs) -> Result<(), Failure> {
    let host = args.registry.split('/').next().unwrap_or_default();
    if host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(Failure::usage(format!("`{}` is no registry", args.registry))
            .hint("write HOST:PORT or HOST:PORT/PREFIX of a registry that speaks plain HTTP"));
    }
    let images = chosen(&args.image)?;
    let mut pusher = Pusher::new();
    if let Some(text) = &args.credentials {
        let text = fs::read_to_string(text).map_err(|e| usage::file("read", text, &e))?;
        let (username, password) = text
            .trim_end_matches(['\r', '\n'])
            .split_once(':')
            .ok_or_else(|| Failure::usage("the file of credentials does not hold USER:PASSWORD"))?;
        pusher = pusher.credentials(Credentials { username: username.into(), password: password.into() });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::trouble(format!("the event loop cannot be made: {e}")))?;
    for (name, image) in images {
        let reference = format!("{}/{name}:1", args.registry.trim_end_matches('/'));
        runtime.block_on(pusher.push(&reference, &image)).map_err(|e| match e {
            PushError::Reference(_) => {
                Failure::usage(e.to_string()).hint("write HOST:PORT or HOST:PORT/PREFIX of a registry")
            }
            _ => Failure::trouble(e.to_string()),
        })?;
        output::line(&format!("{reference} {}", image.root().digest));
    }
    Ok(())
}
