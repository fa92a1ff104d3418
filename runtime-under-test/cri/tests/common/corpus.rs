//! Hostile images: each is refused, or unpacked without touching anything outside. The names of files that must
//! never appear outside are all [`MARK`].

use serde_json::{Value, json};

use crate::common::{Image, digest};

/// Name of every file that a layer of the corpus tries to put where it does not belong.
pub const MARK: &str = "plimsoll-escape";

/// What must become of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The pull is refused.
    Refused,
    /// Refused or unpacked; nothing outside changes.
    Harmless,
}

/// One hostile image.
pub struct Hostile {
    pub name: String,
    pub image: Image,
    pub fate: Fate,
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A tar header by hand, so that it can also be wrong.
fn header(name: &[u8], kind: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..336].copy_from_slice(b"0000001");
    block[337..344].copy_from_slice(b"0000003");
    checksum(&mut block);
    block
}

fn checksum(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn entry(name: &str, kind: u8, link: &str, data: &[u8]) -> Vec<u8> {
    let mut out = header(name.as_bytes(), kind, data.len() as u64, link.as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn end(mut tar: Vec<u8>) -> Vec<u8> {
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut len = body + 1;
        while len.to_string().len() + body != len {
            len += 1;
        }
        text.push_str(&format!("{len} {key}={value}\n"));
    }
    entry("pax", b'x', "", text.as_bytes())
}

/// An image of one layer whose blob is as given; `plain` is what it unpacks to, for a right diffID.
fn one_layer(blob: Vec<u8>, plain: &[u8], kind: &str, config: &Value) -> Image {
    let config = json!({"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": [digest(plain)]}});
    let config = config.to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": kind, "digest": digest(&blob), "size": blob.len()}]});
    with_manifest(manifest.to_string().into_bytes(), vec![config, blob])
}

fn with_manifest(manifest: Vec<u8>, blobs: Vec<Vec<u8>>) -> Image {
    let config = blobs.first().map(|b| digest(b)).unwrap_or_default();
    let name = digest(&manifest);
    let mut map: std::collections::BTreeMap<_, _> = blobs.into_iter().map(|b| (digest(&b), b)).collect();
    map.insert(name.clone(), manifest);
    Image { blobs: map, manifest: name, config }
}

fn of_tar(tar: &[u8]) -> Image {
    one_layer(tar.to_vec(), tar, LAYER, &json!({}))
}

/// Names that climb or start at the root, for every kind of entry.
fn names(out: &mut Vec<Hostile>) {
    let paths = [
        format!("../{MARK}"),
        format!("../../../../../../../../{MARK}"),
        format!("a/../../{MARK}"),
        format!("/{MARK}"),
        format!("//{MARK}"),
        format!("./../{MARK}"),
        format!("/../../{MARK}"),
        format!("a/./b/../../../../../tmp/{MARK}"),
    ];
    for (n, path) in paths.iter().enumerate() {
        for (kind, link) in [(b'0', ""), (b'5', ""), (b'2', "/etc"), (b'1', "../../etc/hostname"), (b'6', "")]
        {
            let mut tar = entry("a/", b'5', "", b"");
            tar.extend(entry("a/b/", b'5', "", b""));
            tar.extend(entry(path, kind, link, if kind == b'0' { b"out" } else { b"" }));
            push(out, format!("name-{n}-{}", kind as char), of_tar(&end(tar)), Fate::Harmless);
        }
    }
}

fn push(out: &mut Vec<Hostile>, name: String, image: Image, fate: Fate) {
    out.push(Hostile { name, image, fate });
}

/// A link that leads out, and then an entry below it.
fn links(out: &mut Vec<Hostile>, outside: &str) {
    for (n, target) in
        ["/", "..", "../../../..", outside, "/proc/self/root", "/proc/self/cwd"].iter().enumerate()
    {
        for (kind, below) in [
            (b'0', format!("link/{MARK}")),
            (b'5', format!("link/{MARK}")),
            (b'2', format!("link/{MARK}")),
            (b'0', "link/.wh.canary".to_owned()),
            (b'0', "link/.wh..wh..opq".to_owned()),
        ] {
            let mut tar = entry("link", b'2', target, b"");
            tar.extend(entry(&below, kind, "/etc/hostname", if kind == b'0' { b"x" } else { b"" }));
            push(
                out,
                format!("link-{n}-{}-{}", kind as char, below.len()),
                of_tar(&end(tar)),
                Fate::Harmless,
            );
        }
    }
    for (n, target) in
        ["../../etc/passwd", "/etc/passwd", "/proc/self/environ", "missing", "self"].iter().enumerate()
    {
        let tar = entry("self", b'1', target, b"");
        push(out, format!("hardlink-{n}"), of_tar(&end(tar)), Fate::Harmless);
    }
    let mut chain = Vec::new();
    for n in 0..60 {
        chain.extend(entry(&format!("l{n}"), b'2', &format!("l{}", n + 1), b""));
    }
    chain.extend(entry(&format!("l0/{MARK}"), b'0', "", b"x"));
    push(out, "link-chain".into(), of_tar(&end(chain)), Fate::Harmless);
    let mut swap = entry("d/", b'5', "", b"");
    swap.extend(entry("d", b'2', outside, b""));
    swap.extend(entry(&format!("d/{MARK}"), b'0', "", b"x"));
    push(out, "directory-becomes-link".into(), of_tar(&end(swap)), Fate::Harmless);
}

fn whiteouts(out: &mut Vec<Hostile>) {
    for (n, name) in
        [".wh.", ".wh..", ".wh...", "../.wh.canary", ".wh..wh..opq", ".wh..wh.plnk", "a/../../.wh.canary"]
            .iter()
            .enumerate()
    {
        push(out, format!("whiteout-{n}"), of_tar(&end(entry(name, b'0', "", b""))), Fate::Harmless);
    }
}

/// Headers that lie.
fn headers(out: &mut Vec<Hostile>) {
    let file = entry("f", b'0', "", b"content");
    for cut in [1, 100, 511, 513, 519] {
        push(out, format!("cut-at-{cut}"), of_tar(&file[..cut.min(file.len())]), Fate::Harmless);
    }
    let mut bad = file.clone();
    bad[0] = b'g';
    push(out, "wrong-checksum".into(), of_tar(&end(bad)), Fate::Refused);
    for (n, size) in [
        &b"77777777777"[..],
        b"99999999999",
        b"-0000000001",
        b"\x80\0\0\0\x3f\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ]
    .iter()
    .enumerate()
    {
        let mut bad = header(b"f", b'0', 0, b"");
        bad[124..124 + size.len()].copy_from_slice(size);
        checksum(&mut bad);
        push(out, format!("size-{n}"), of_tar(&end(bad)), Fate::Refused);
    }
    for (n, records) in [
        vec![("path", format!("../../{MARK}"))],
        vec![("path", format!("/{MARK}"))],
        vec![("linkpath", "../../etc/passwd".to_owned())],
        vec![("size", "18446744073709551615".to_owned())],
        vec![("size", "-1".to_owned())],
        vec![("size", "99999999999".to_owned())],
        vec![("path", "p".repeat(8000))],
        vec![("SCHILY.xattr.security.capability", "\u{1}\u{0}".to_owned())],
        vec![("SCHILY.xattr.trusted.overlay.redirect", "/etc".to_owned())],
        vec![("GNU.sparse.major", "1".to_owned()), ("GNU.sparse.realsize", "99999999999999".to_owned())],
        vec![("mtime", "99999999999999999999".to_owned())],
        vec![("uid", "4294967295".to_owned())],
    ]
    .iter()
    .enumerate()
    {
        let records: Vec<(&str, &str)> = records.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let mut tar = pax(&records);
        tar.extend(entry("f", b'0', "", b"x"));
        push(out, format!("pax-{n}"), of_tar(&end(tar)), Fate::Harmless);
    }
    let mut broken = entry("pax", b'x', "", b"999 path=x\n");
    broken.extend(entry("f", b'0', "", b"x"));
    push(out, "pax-length".into(), of_tar(&end(broken)), Fate::Harmless);
    for (n, name) in [format!("../{MARK}"), "n".repeat(9000), "a/".repeat(3000)].iter().enumerate() {
        let mut tar = entry("././@LongLink", b'L', "", name.as_bytes());
        tar.extend(entry("f", b'0', "", b"x"));
        push(out, format!("long-name-{n}"), of_tar(&end(tar)), Fate::Harmless);
    }
    for (n, kind) in [b'3', b'4', b'7', b'S', b'V', b'Z', 0xff].iter().enumerate() {
        push(out, format!("kind-{n}"), of_tar(&end(entry("dev", *kind, "", b""))), Fate::Harmless);
    }
    push(out, "garbage".into(), of_tar(&[0x5a; 4096]), Fate::Refused);
    let mut trailing = end(entry("f", b'0', "", b"x"));
    trailing.extend(entry(&format!("../{MARK}"), b'0', "", b"x"));
    push(out, "behind-the-end".into(), of_tar(&trailing), Fate::Harmless);
}

/// Compressed layers that are broken or that explode. A zstd block that repeats one byte takes four bytes.
fn compressed(out: &mut Vec<Hostile>) {
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
    let blob = |blob: Vec<u8>, kind: &str| one_layer(blob, b"", kind, &json!({}));
    push(out, "gzip-cut".into(), blob(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1], gzip), Fate::Refused);
    push(out, "gzip-garbage".into(), blob([&[0x1f, 0x8b][..], &[0xff; 200]].concat(), gzip), Fate::Refused);
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    // A window of 2 GiB and more.
    push(
        out,
        "zstd-window".into(),
        blob([&magic[..], &[0x00, 0xb0, 0x01, 0, 0]].concat(), zstd),
        Fate::Refused,
    );
    push(out, "zstd-cut".into(), blob(magic.to_vec(), zstd), Fate::Refused);
    let mut bomb = magic.to_vec();
    bomb.extend([0x00, 0x38]); // no checksum, a window of 128 KiB
    let first = header(b"zeros", b'0', 7 << 30, b"");
    bomb.extend(&((first.len() as u32) << 3).to_le_bytes()[..3]);
    bomb.extend(first);
    for _ in 0..(7_u64 << 30) / (128 << 10) {
        bomb.extend(&((131_072_u32 << 3) | (1 << 1)).to_le_bytes()[..3]);
        bomb.push(0);
    }
    bomb.extend([1, 0, 0]);
    push(out, "zstd-bomb".into(), blob(bomb, zstd), Fate::Refused);
}

/// What is done to a good manifest.
type Change = Box<dyn Fn(&mut Value)>;

/// Manifests and configurations that lie.
fn documents(out: &mut Vec<Hostile>) {
    let tar = end(entry("f", b'0', "", b"x"));
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]}});
    let good = |config: &Value, change: &dyn Fn(&mut Value)| {
        let config = config.to_string().into_bytes();
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
            "layers": [{"mediaType": LAYER, "digest": digest(&tar), "size": tar.len()}]});
        change(&mut manifest);
        with_manifest(manifest.to_string().into_bytes(), vec![config, tar.clone()])
    };
    let of = |change: &dyn Fn(&mut Value)| good(&config, change);
    let wrong = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let changes: Vec<(&str, Change)> = vec![
        ("schema-1", Box::new(|m| m["schemaVersion"] = json!(1))),
        ("no-config", Box::new(|m| m["config"] = Value::Null)),
        ("no-layers", Box::new(|m| m["layers"] = Value::Null)),
        ("both-kinds", Box::new(|m| m["manifests"] = json!([]))),
        ("layer-digest-missing", Box::new(move |m| m["layers"][0]["digest"] = json!(wrong))),
        (
            "layer-digest-path",
            Box::new(|m| m["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd")),
        ),
        ("layer-digest-short", Box::new(|m| m["layers"][0]["digest"] = json!("sha256:00"))),
        (
            "layer-digest-algorithm",
            Box::new(|m| m["layers"][0]["digest"] = json!("md5:d41d8cd98f00b204e9800998ecf8427e")),
        ),
        ("layer-size-zero", Box::new(|m| m["layers"][0]["size"] = json!(0))),
        ("layer-size-more", Box::new(|m| m["layers"][0]["size"] = json!(1_u64 << 60))),
        ("layer-size-negative", Box::new(|m| m["layers"][0]["size"] = json!(-1))),
        ("layer-foreign", Box::new(|m| m["layers"][0]["urls"] = json!(["http://127.0.0.1:9/x"]))),
        ("layer-type", Box::new(|m| m["layers"][0]["mediaType"] = json!("application/x-executable"))),
        (
            "layer-twice",
            Box::new(|m| {
                let l = m["layers"][0].clone();
                m["layers"] = json!([l.clone(), l]);
            }),
        ),
        (
            "layers-many",
            Box::new(|m| {
                let l = m["layers"][0].clone();
                m["layers"] = json!(vec![l; 5000]);
            }),
        ),
        ("config-digest", Box::new(move |m| m["config"]["digest"] = json!(wrong))),
        ("config-is-layer", Box::new(|m| m["config"]["digest"] = m["layers"][0]["digest"].clone())),
        ("types-swapped", Box::new(|m| m["layers"] = json!({"0": 1}))),
    ];
    for (name, change) in changes {
        push(out, format!("manifest-{name}"), of(&*change), Fate::Refused);
    }
    for (n, text) in
        ["", "{}", "[]", "null", "{\"schemaVersion\":2}", "\u{0}", "{\"schemaVersion\":2,"].iter().enumerate()
    {
        push(
            out,
            format!("manifest-text-{n}"),
            with_manifest(text.as_bytes().to_vec(), vec![]),
            Fate::Refused,
        );
    }
    push(out, "manifest-deep".into(), with_manifest("[".repeat(100_000).into_bytes(), vec![]), Fate::Refused);
    push(out, "manifest-long".into(), with_manifest(vec![b' '; 8 << 20], vec![]), Fate::Refused);
    let index = |entries: Value| {
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}).to_string().into_bytes()
    };
    push(out, "index-empty".into(), with_manifest(index(json!([])), vec![]), Fate::Refused);
    let missing = json!([{"mediaType": MANIFEST, "digest": wrong, "size": 5, "platform": {"os": "linux", "architecture": "amd64"}}]);
    push(out, "index-missing".into(), with_manifest(index(missing), vec![]), Fate::Refused);
    let configs: Vec<(&str, Value)> = vec![
        (
            "diff-ids-none",
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}),
        ),
        (
            "diff-ids-wrong",
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [wrong]}}),
        ),
        (
            "diff-ids-path",
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:../../x"]}}),
        ),
        ("array", json!([1, 2, 3])),
        ("text", json!("config")),
        (
            "env-number",
            json!({"architecture": "amd64", "os": "linux", "config": {"Env": 5}, "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]}}),
        ),
    ];
    for (name, config) in configs {
        push(out, format!("config-{name}"), good(&config, &|_| ()), Fate::Refused);
    }
}

/// Image configurations whose values aim at the host; they are pulled, and a container of them is made if it can be.
pub fn configs() -> Vec<(String, Image)> {
    let values = [
        json!({"User": "../../../etc/passwd"}),
        json!({"User": "4294967296"}),
        json!({"User": "-1:-1"}),
        json!({"User": "no-such-user"}),
        json!({"WorkingDir": "../../../../tmp/plimsoll-escape"}),
        json!({"WorkingDir": "relative"}),
        json!({"Env": ["NO_EQUALS", "=x", "A\u{0}B=1"]}),
        json!({"Volumes": {"/../../../tmp/plimsoll-escape": {}}}),
        json!({"Volumes": {"relative/../..": {}}}),
        json!({"StopSignal": "SIGNOTHING"}),
        json!({"Entrypoint": ["\u{0}"]}),
        json!({"Entrypoint": [""], "Cmd": [""]}),
        json!({"Labels": {"io.kubernetes.pod.name": "other"}}),
    ];
    let tar = end(entry("f", b'0', "", b"x"));
    values
        .iter()
        .enumerate()
        .map(|(n, v)| (format!("aim-{n}"), one_layer(tar.clone(), &tar, LAYER, v)))
        .collect()
}

/// The whole corpus. `outside` is a host directory that holds a file `canary`.
pub fn corpus(outside: &str) -> Vec<Hostile> {
    let mut out = Vec::new();
    names(&mut out);
    links(&mut out, outside);
    whiteouts(&mut out);
    headers(&mut out);
    compressed(&mut out);
    documents(&mut out);
    out
}
