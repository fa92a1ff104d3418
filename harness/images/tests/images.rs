//! Generated images: deterministic, honest unless asked to lie, readable by others' code.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeMap;
use std::io::Read as _;

use plimsoll_images::standard::{Catalogue, PROBE_PATH};
use plimsoll_images::{Compression, Image, ImageSet, Layer, Platform, archive, digest_of, hostile};

fn catalogue() -> Catalogue {
    Catalogue::new(b"\x7fELF not really a program".to_vec())
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    archive
        .entries()
        .unwrap()
        .map(|e| String::from_utf8_lossy(&e.unwrap().path_bytes()).into_owned())
        .collect()
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for (name, image) in catalogue().all(100_000) {
        let again = &catalogue().all(100_000)[name];
        assert_eq!(image.root(), again.root(), "{name}");
        assert!(image.lies().is_empty(), "{name} lies about {:?}", image.lies());
    }
}

#[test]
fn a_known_image_keeps_its_digest() {
    // If this changes, every digest that users recorded changes: bump deliberately.
    assert_eq!(digest_of(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let image = Image::new()
        .platform(Platform::new("linux", "amd64"))
        .layer_as(Layer::new().file("a", "b", 0o644), Compression::None)
        .build();
    let config = image.manifest_for(&Platform::new("linux", "amd64")).unwrap().config;
    assert_eq!(config.size as usize, image.blob(&config.digest).unwrap().data.len());
    insta_like(&image);
}

fn insta_like(image: &ImageSet) {
    let manifest: serde_json::Value =
        serde_json::from_slice(&image.blob(&image.root().digest).unwrap().data).unwrap();
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    let config: serde_json::Value =
        serde_json::from_slice(&image.blob(manifest["config"]["digest"].as_str().unwrap()).unwrap().data)
            .unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
}

#[test]
fn layers_read_back_with_their_metadata() {
    let long = format!("{}/file", "directory-with-a-long-name/".repeat(6));
    let layer = Layer::new()
        .dir("d", 0o1777)
        .file(&long, "content", 0o4755)
        .owned_by(3_000_000, 7)
        .symlink("s", "target")
        .hardlink("h", &long)
        .char_device("c", 1, 3)
        .fifo("p")
        .whiteout("d/gone")
        .opaque("d");
    let tar = layer.tar();
    let mut archive = tar::Archive::new(&tar[..]);
    let mut seen = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut data = String::new();
        entry.read_to_string(&mut data).unwrap();
        let header = entry.header();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        seen.insert(name, (header.entry_type(), header.mode().unwrap(), header.uid().unwrap(), data));
    }
    assert_eq!(seen[&long], (tar::EntryType::Regular, 0o4755, 3_000_000, "content".into()));
    assert_eq!(seen["d/"].1, 0o1777);
    assert_eq!(seen["s"].0, tar::EntryType::Symlink);
    assert_eq!(seen["h"].0, tar::EntryType::Link);
    assert_eq!(seen["c"].0, tar::EntryType::Char);
    assert_eq!(seen["p"].0, tar::EntryType::Fifo);
    assert!(seen.contains_key("d/.wh.gone") && seen.contains_key("d/.wh..wh..opq"));
}

#[test]
fn every_compression_unpacks_to_the_diff_id() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let image = catalogue().compressed(compression);
        let manifest = image.manifest_for(&Platform::host()).unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(&image.blob(&manifest.config.digest).unwrap().data).unwrap();
        for (n, layer) in manifest.layers.iter().enumerate() {
            let data = &image.blob(&layer.digest).unwrap().data;
            let mut tar = Vec::new();
            match compression {
                Compression::None => tar = data.to_vec(),
                Compression::Gzip => {
                    flate2::read::GzDecoder::new(&data[..]).read_to_end(&mut tar).unwrap();
                }
                Compression::Zstd => {
                    ruzstd::decoding::StreamingDecoder::new(&data[..])
                        .unwrap()
                        .read_to_end(&mut tar)
                        .unwrap();
                }
            }
            assert_eq!(config["rootfs"]["diff_ids"][n], digest_of(&tar), "{compression:?}");
        }
    }
}

#[test]
fn multi_platform_resolves_to_the_host() {
    let image = catalogue().multi_platform();
    assert!(image.root().media_type.contains("index"));
    let manifest = image.manifest_for(&Platform::host()).unwrap();
    assert_eq!(manifest.layers.len(), 2);
    assert!(image.manifest_for(&Platform::new("linux", "s390x")).is_some());
    assert!(image.manifest_for(&Platform::new("windows", "amd64")).is_none());
}

#[test]
fn hostile_images_lie_exactly_where_they_say() {
    let base = catalogue().base();
    assert_eq!(hostile::wrong_layer_digest(&base).lies().len(), 1);
    assert_eq!(hostile::wrong_config_digest(&base).lies().len(), 1);
    for honest in [
        hostile::climbing_name(&base, "/tmp/x"),
        hostile::wrong_layer_size(&base),
        hostile::wrong_diff_id(&base),
        hostile::bomb(&base, 1 << 20),
        hostile::broken_manifest(),
    ] {
        assert!(honest.lies().is_empty());
    }
    let bomb = hostile::bomb(&base, 8 << 20);
    assert!(bomb.size() < 1 << 20, "a bomb is small: {}", bomb.size());
    let wrong_size = hostile::wrong_layer_size(&base);
    let layer = &wrong_size.manifest_for(&Platform::host()).unwrap().layers[0];
    assert_ne!(layer.size as usize, wrong_size.blob(&layer.digest).unwrap().data.len());
    let tar = Layer::new().file("../../x", "", 0o644).tar();
    assert_eq!(names(&tar), ["../../x"], "names are written as given");
}

#[test]
fn archives_hold_every_blob() {
    let image = catalogue().plain();
    let oci = archive::oci_archive(&[("example.test/plain:1", &image)]);
    let listed = names(&oci);
    assert!(listed.contains(&"oci-layout".to_owned()) && listed.contains(&"index.json".to_owned()));
    for (digest, _) in image.blobs() {
        assert!(listed.contains(&format!("blobs/{}", digest.replace(':', "/"))), "{digest}");
    }
    let docker = archive::docker_archive(&[("example.test/plain:1", &image)]).unwrap();
    assert!(names(&docker).contains(&"manifest.json".to_owned()));
    let broken = hostile::broken_manifest();
    assert!(archive::docker_archive(&[("x:1", &broken)]).is_err());
}

#[test]
fn a_layout_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let image = catalogue().plain();
    let target = dir.path().join("layout");
    archive::write_layout(&[("example.test/plain:1", &image)], &target).unwrap();
    for (digest, blob) in image.blobs() {
        let data = std::fs::read(target.join("blobs").join(digest.replace(':', "/"))).unwrap();
        assert_eq!(data, blob.data);
    }
    let blocked = dir.path().join("file").join("layout");
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(archive::write_layout(&[("example.test/plain:1", &image)], &blocked).is_err());
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["file", "layout"]);
}

#[test]
fn big_images_have_the_size_asked_for_and_do_not_compress() {
    let image = catalogue().big(3 << 20);
    assert!(image.size() > 3 << 20 && image.size() < 4 << 20);
    let data = image.blobs().map(|(_, b)| b.data.clone()).max_by_key(bytes::Bytes::len).unwrap();
    assert!(Compression::Gzip.apply(&data).len() > data.len() * 9 / 10);
    assert_eq!(PROBE_PATH, "/probe");
}
