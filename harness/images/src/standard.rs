//! The images that suites and benchmarks use, made from one guest program.
//!
//! The caller gives the bytes of the probe; it is at [`PROBE_PATH`] in every image here. Images of
//! the same kind share their base layer, as images in the field do.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::blob::{ImageSet, Platform};
use crate::compress::Compression;
use crate::image::{Family, Image, index};
use crate::layer::Layer;

/// Where the guest program is in every image.
pub const PROBE_PATH: &str = "/probe";

/// Account of the images that is not root: `plimsoll`, uid and gid 1234, further groups 2001, 2002.
pub const USER: &str = "plimsoll";
/// Its user and group id.
pub const USER_ID: u32 = 1234;
/// Groups that `/etc/group` of the images adds for [`USER`].
pub const USER_GROUPS: [u32; 2] = [2001, 2002];

const PASSWD: &str = "root:x:0:0:root:/root:/probe\n\
                      plimsoll:x:1234:1234:Plimsoll:/home/plimsoll:/probe\n\
                      nobody:x:65534:65534:nobody:/:/probe\n";
const GROUP: &str = "root:x:0:\nplimsoll:x:1234:\nextra:x:2001:plimsoll\nmore:x:2002:plimsoll,root\n\
                     nogroup:x:65534:\n";

/// Builds the standard images of one guest program.
#[derive(Clone, Debug)]
pub struct Catalogue {
    probe: Bytes,
}

impl Catalogue {
    /// Images around this guest program.
    pub fn new(probe: impl Into<Bytes>) -> Self {
        Self { probe: probe.into() }
    }

    /// The lowest layer: the guest, accounts and the usual directories.
    pub fn base(&self) -> Layer {
        let mut layer = Layer::new();
        for dir in ["dev", "etc", "home", "proc", "run", "sys", "var"] {
            layer = layer.dir(dir, 0o755);
        }
        layer
            .dir("root", 0o700)
            .dir("tmp", 0o1777)
            .dir("home/plimsoll", 0o755)
            .owned_by(USER_ID, USER_ID)
            .file("etc/passwd", PASSWD.as_bytes(), 0o644)
            .file("etc/group", GROUP.as_bytes(), 0o644)
            .file("probe", self.probe.clone(), 0o755)
    }

    /// A pause image: the guest waits for a signal and reaps children.
    pub fn pause(&self) -> ImageSet {
        Image::new()
            .layer(Layer::new().file("probe", self.probe.clone(), 0o755))
            .entrypoint([PROBE_PATH, "pause"])
            .build()
    }

    /// The image that most cases use: no entrypoint, the default command waits.
    pub fn plain(&self) -> ImageSet {
        self.waiting().build()
    }

    /// Like [`Catalogue::plain`], still open for changes.
    pub fn waiting(&self) -> Image {
        Image::new()
            .layer(self.base())
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .cmd([PROBE_PATH, "pause"])
    }

    /// [`Catalogue::plain`] made unique by a label: own configuration, hence own image id.
    pub fn tagged(&self, tag: &str) -> ImageSet {
        self.waiting().label("plimsoll.tag", tag).build()
    }

    /// `count` layers over the base; layer N has `layers/N`, and all write `layers/top`.
    pub fn layers(&self, count: usize) -> ImageSet {
        let mut image = self.waiting();
        for n in 0..count {
            let text = n.to_string();
            image = image.layer(
                Layer::new().dir("layers", 0o755).file(&format!("layers/{n}"), text.clone(), 0o644).file(
                    "layers/top",
                    text,
                    0o644,
                ),
            );
        }
        image.build()
    }

    /// Whiteouts: `gone/file` hidden, `opaque/` emptied and given `opaque/new`, `back` removed and
    /// brought back with the content `again`, `dir` replaced by a file.
    pub fn whiteouts(&self) -> ImageSet {
        let lower = Layer::new()
            .dir("gone", 0o755)
            .file("gone/file", "lower", 0o644)
            .file("gone/stays", "lower", 0o644)
            .dir("opaque", 0o755)
            .file("opaque/old", "lower", 0o644)
            .file("back", "lower", 0o644)
            .dir("dir", 0o755)
            .file("dir/inside", "lower", 0o644);
        let middle = Layer::new()
            .whiteout("gone/file")
            .whiteout("back")
            .dir("opaque", 0o755)
            .opaque("opaque")
            .file("opaque/new", "upper", 0o644);
        let upper = Layer::new().file("back", "again", 0o644).whiteout("dir").file("dir", "file", 0o644);
        self.waiting().layer(lower).layer(middle).layer(upper).build()
    }

    /// The default user is `spec`, such as `1234`, `plimsoll` or `1234:2001`.
    pub fn user(&self, spec: &str) -> ImageSet {
        self.waiting().user(spec).build()
    }

    /// Wants a volume at `/data`, which holds `seed` owned by [`USER_ID`].
    pub fn volume(&self) -> ImageSet {
        let layer = Layer::new()
            .dir("data", 0o750)
            .owned_by(USER_ID, USER_ID)
            .file("data/seed", "seed", 0o640)
            .owned_by(USER_ID, USER_ID);
        self.waiting().layer(layer).volume("/data").build()
    }

    /// Entrypoint and command together: `/probe report` then `from-image`.
    pub fn entrypoint(&self, entrypoint: &[&str], cmd: &[&str]) -> ImageSet {
        self.waiting().entrypoint(entrypoint.iter().copied()).cmd(cmd.iter().copied()).build()
    }

    /// Neither entrypoint nor command: a container must bring its own.
    pub fn no_command(&self) -> ImageSet {
        Image::new().layer(self.base()).build()
    }

    /// Variables `PLIMSOLL_IMAGE=yes` and `PLIMSOLL_BOTH=image`.
    pub fn env(&self) -> ImageSet {
        self.waiting().env("PLIMSOLL_IMAGE", "yes").env("PLIMSOLL_BOTH", "image").build()
    }

    /// Starts in `/work/dir`, which no layer has.
    pub fn working_dir(&self) -> ImageSet {
        self.waiting().working_dir("/work/dir").build()
    }

    /// Asks to be stopped with this signal.
    pub fn stop_signal(&self, signal: &str) -> ImageSet {
        self.waiting().stop_signal(signal).build()
    }

    /// Labels `plimsoll.one=1` and `plimsoll.two=2`.
    pub fn labels(&self) -> ImageSet {
        self.waiting().label("plimsoll.one", "1").label("plimsoll.two", "2").build()
    }

    /// An index: this host's platform and two foreign ones whose layer differs.
    pub fn multi_platform(&self) -> ImageSet {
        let mut images = Vec::new();
        for architecture in ["s390x", "riscv64"] {
            let platform = Platform::new("linux", architecture);
            let layer = Layer::new().file("platform", architecture, 0o644);
            images.push(Image::new().platform(platform).layer(layer).build());
        }
        let host = Platform::host();
        let layer = Layer::new().file("platform", host.architecture.clone(), 0o644);
        images.push(self.waiting().platform(host).layer(layer).build());
        index(Family::Oci, &images)
    }

    /// Layers compressed like this.
    pub fn compressed(&self, compression: Compression) -> ImageSet {
        self.waiting()
            .compression(compression)
            .label("plimsoll.compression", &format!("{compression:?}"))
            .build()
    }

    /// Media types of docker's schema 2.
    pub fn docker(&self) -> ImageSet {
        self.waiting().family(Family::Docker).build()
    }

    /// A layer of `size` bytes that do not compress, spread over files of at most 8 MiB.
    pub fn big(&self, size: usize) -> ImageSet {
        const PART: usize = 8 << 20;
        let mut layer = Layer::new().dir("big", 0o755);
        let (mut state, mut left, mut n) = (0x9e37_79b9_7f4a_7c15_u64, size, 0);
        while left > 0 {
            let len = left.min(PART);
            let mut data = Vec::with_capacity(len + 8);
            while data.len() < len {
                // xorshift64: fast, fixed and incompressible.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                data.extend_from_slice(&state.to_le_bytes());
            }
            data.truncate(len);
            layer = layer.file(&format!("big/{n}"), data, 0o644);
            left -= len;
            n += 1;
        }
        self.waiting().layer_as(layer, Compression::None).build()
    }

    /// Every well-formed image by short name, for `plimsoll images`; `big` is the size of the big one in
    /// bytes.
    pub fn all(&self, big: usize) -> BTreeMap<&'static str, ImageSet> {
        BTreeMap::from([
            ("pause", self.pause()),
            ("plain", self.plain()),
            ("layers", self.layers(12)),
            ("whiteouts", self.whiteouts()),
            ("user-id", self.user("1234")),
            ("user-name", self.user(USER)),
            ("user-group", self.user("1234:2001")),
            ("user-unknown", self.user("nobody-here")),
            ("volume", self.volume()),
            ("entrypoint", self.entrypoint(&[PROBE_PATH], &["pause"])),
            ("no-command", self.no_command()),
            ("env", self.env()),
            ("working-dir", self.working_dir()),
            ("stop-signal", self.stop_signal("SIGUSR1")),
            ("labels", self.labels()),
            ("multi-platform", self.multi_platform()),
            ("tar", self.compressed(Compression::None)),
            ("zstd", self.compressed(Compression::Zstd)),
            ("docker", self.docker()),
            ("big", self.big(big)),
        ])
    }
}
