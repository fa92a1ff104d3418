//! Images that a careful unpacker must refuse or defuse. They attack nothing by themselves: each
//! tries to leave a marker where an unpacker must not write, or to lie about its content.
//!
//! What a test looks for is in each function's description.

use bytes::Bytes;

use crate::blob::{Descriptor, ImageSet, json};
use crate::compress::Compression;
use crate::image::Image;
use crate::layer::{Entry, Kind, Layer};

/// Content of every marker file.
pub const MARKER: &[u8] = b"plimsoll marker: an image layer wrote outside its root file system\n";

/// Largest size in bytes that [`bomb`] expands to.
pub const BOMB_LIMIT: usize = 1 << 30;

/// A member named `../../../..<path>`: no file may appear at `path` on the host.
pub fn climbing_name(base: &Layer, path: &str) -> ImageSet {
    let name = format!("{}{}", "../".repeat(24), path.trim_start_matches('/'));
    Image::new().layer(base.clone()).layer(Layer::new().file(&name, MARKER, 0o644)).build()
}

/// An absolute member name: it must land inside the root file system or be refused.
pub fn absolute_name(base: &Layer, path: &str) -> ImageSet {
    Image::new().layer(base.clone()).layer(Layer::new().file(path, MARKER, 0o644)).build()
}

/// A link to a host directory, then a file through it in the same layer.
pub fn through_symlink(base: &Layer, dir: &str, file: &str) -> ImageSet {
    let layer = Layer::new().symlink("trap", dir).file(&format!("trap/{file}"), MARKER, 0o644);
    Image::new().layer(base.clone()).layer(layer).build()
}

/// The same link, but the file through it comes in the next layer.
pub fn through_symlink_of_lower_layer(base: &Layer, dir: &str, file: &str) -> ImageSet {
    Image::new()
        .layer(base.clone())
        .layer(Layer::new().symlink("trap", dir))
        .layer(Layer::new().file(&format!("trap/{file}"), MARKER, 0o644))
        .build()
}

/// A hard link to a file of the host: the container must not see its content.
pub fn hardlink_out(base: &Layer, host_file: &str) -> ImageSet {
    let target = format!("{}{}", "../".repeat(24), host_file.trim_start_matches('/'));
    Image::new().layer(base.clone()).layer(Layer::new().hardlink("stolen", &target)).build()
}

/// A whiteout that climbs: the host file must survive.
pub fn climbing_whiteout(base: &Layer, host_file: &str) -> ImageSet {
    let (dir, name) = host_file.rsplit_once('/').unwrap_or(("", host_file));
    let path = format!("{}{}/.wh.{name}", "../".repeat(24), dir.trim_start_matches('/'));
    Image::new().layer(base.clone()).layer(Layer::new().file(&path, Bytes::new(), 0o644)).build()
}

/// A whiteout of `..`: the parent of the root file system must survive.
pub fn whiteout_of_parent(base: &Layer) -> ImageSet {
    Image::new().layer(base.clone()).layer(Layer::new().file(".wh...", Bytes::new(), 0o644)).build()
}

/// Device nodes; unpacking may keep them, using them must be refused by the device cgroup.
pub fn device_nodes(base: &Layer) -> ImageSet {
    let layer = Layer::new()
        .dir("dangerous", 0o755)
        .char_device("dangerous/mem", 1, 1)
        .char_device("dangerous/kmsg", 1, 11)
        .block_device("dangerous/loop0", 7, 0);
    Image::new().layer(base.clone()).layer(layer).build()
}

/// A set-user-id root file and one with a name that is not UTF-8.
pub fn odd_files(base: &Layer) -> ImageSet {
    let odd = Entry {
        name: b"odd-\xff\xfe".to_vec(),
        kind: Kind::File(Bytes::from_static(b"odd")),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    Image::new()
        .layer(base.clone())
        .layer(Layer::new().entry(odd).file("suid", &b"#!"[..], 0o4755).fifo("pipe"))
        .build()
}

/// A layer whose bytes do not hash to the digest in the manifest: the pull must fail.
pub fn wrong_layer_digest(base: &Layer) -> ImageSet {
    let mut set = Image::new().layer(base.clone()).build();
    let layer = first_layer(&set);
    if let Some(blob) = layer.and_then(|digest| set.blobs.get_mut(&digest)) {
        let mut data = blob.data.to_vec();
        let middle = data.len() / 2;
        if let Some(byte) = data.get_mut(middle) {
            *byte ^= 0xff;
        }
        blob.data = data.into();
    }
    set
}

/// A configuration whose bytes do not hash to the digest in the manifest: the pull must fail.
pub fn wrong_config_digest(base: &Layer) -> ImageSet {
    let mut set = Image::new().layer(base.clone()).build();
    if let Some(blob) = set.config_digest().and_then(|digest| set.blobs.get_mut(&digest)) {
        let mut data = blob.data.to_vec();
        // Same length, still JSON.
        if let Some(at) = data.windows(4).position(|w| w == b"2000") {
            data[at..at + 4].copy_from_slice(b"2001");
        }
        blob.data = data.into();
    }
    set
}

/// A manifest that gives a layer's size wrongly: the pull must fail.
pub fn wrong_layer_size(base: &Layer) -> ImageSet {
    let set = Image::new().layer(base.clone()).build();
    let Some(mut manifest) = set.manifest_for(&crate::Platform::host()) else { return set };
    for layer in &mut manifest.layers {
        layer.size += 7;
    }
    let data = json(&manifest);
    let mut root = Descriptor::of(set.root.media_type.clone(), &data);
    root.platform.clone_from(&set.root.platform);
    let mut lying = ImageSet::with_root(root, data);
    lying.blobs.extend(set.blobs.into_iter().filter(|(digest, _)| *digest != set.root.digest));
    lying
}

/// A configuration that claims another diff id than the layer's: the pull or unpack must fail.
pub fn wrong_diff_id(base: &Layer) -> ImageSet {
    Image::new().layer(base.clone()).claim_diff_ids(vec![crate::digest_of(b"another layer")]).build()
}

/// A configuration with fewer diff ids than layers: the pull or unpack must fail.
pub fn missing_diff_id(base: &Layer) -> ImageSet {
    let only = crate::digest_of(&base.tar());
    let second = Layer::new().file("second", &b"2"[..], 0o644);
    Image::new().layer(base.clone()).layer(second).claim_diff_ids(vec![only]).build()
}

/// A small blob that expands to `size` zero bytes (at most [`BOMB_LIMIT`]) in one file.
pub fn bomb(base: &Layer, size: usize) -> ImageSet {
    let zeros = Bytes::from(vec![0; size.min(BOMB_LIMIT)]);
    let layer = Layer::new().file("bomb", zeros, 0o644);
    Image::new().layer(base.clone()).layer_as(layer, Compression::Gzip).build()
}

/// A manifest that is no JSON.
pub fn broken_manifest() -> ImageSet {
    let data = Bytes::from_static(b"{\"schemaVersion\":2,");
    ImageSet::with_root(Descriptor::of("application/vnd.oci.image.manifest.v1+json", &data), data)
}

/// An index whose only platform is not this host's: the pull must fail and say so.
pub fn foreign_platform(base: &Layer) -> ImageSet {
    let image = Image::new().platform(crate::Platform::new("linux", "s390x")).layer(base.clone()).build();
    crate::index(crate::Family::Oci, &[image])
}

fn first_layer(set: &ImageSet) -> Option<String> {
    let manifest = set.manifest_for(&crate::Platform::host())?;
    manifest.layers.first().map(|layer| layer.digest.clone())
}
