//! A layer as a list of entries.

use bytes::Bytes;

use crate::tarball::{Member, Writer};

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with its content.
    File(Bytes),
    /// A directory.
    Dir,
    /// A symbolic link to this text.
    Symlink(String),
    /// A hard link to an earlier entry by name.
    Hardlink(String),
    /// Character device, major and minor.
    Char(u32, u32),
    /// Block device, major and minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// One entry of a layer. The name is written as given, so it can also be absolute or climb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name in the archive, without a leading slash in honest layers.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, set-id bits included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A layer under construction; entries keep their order and may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    entries: Vec<Entry>,
}

impl Layer {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds any entry.
    #[must_use]
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds a file owned by root.
    #[must_use]
    pub fn file(self, name: &str, data: impl Into<Bytes>, mode: u32) -> Self {
        self.add(name, Kind::File(data.into()), mode)
    }

    /// Adds a directory owned by root.
    #[must_use]
    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.add(name, Kind::Dir, mode)
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.add(name, Kind::Symlink(target.into()), 0o777)
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.add(name, Kind::Hardlink(target.into()), 0o644)
    }

    /// Adds a character device.
    #[must_use]
    pub fn char_device(self, name: &str, major: u32, minor: u32) -> Self {
        self.add(name, Kind::Char(major, minor), 0o666)
    }

    /// Adds a block device.
    #[must_use]
    pub fn block_device(self, name: &str, major: u32, minor: u32) -> Self {
        self.add(name, Kind::Block(major, minor), 0o660)
    }

    /// Adds a named pipe.
    #[must_use]
    pub fn fifo(self, name: &str) -> Self {
        self.add(name, Kind::Fifo, 0o644)
    }

    /// Hides one name of the layers below (image-spec, layer, whiteouts).
    #[must_use]
    pub fn whiteout(self, name: &str) -> Self {
        let (dir, base) = name.rsplit_once('/').map_or(("", name), |(d, b)| (d, b));
        let slash = if dir.is_empty() { "" } else { "/" };
        self.file(&format!("{dir}{slash}.wh.{base}"), Bytes::new(), 0o644)
    }

    /// Hides everything that the layers below have in a directory (opaque whiteout).
    #[must_use]
    pub fn opaque(self, dir: &str) -> Self {
        self.file(&format!("{}/.wh..wh..opq", dir.trim_end_matches('/')), Bytes::new(), 0o644)
    }

    /// Gives the entry added last to another owner.
    #[must_use]
    pub fn owned_by(mut self, uid: u32, gid: u32) -> Self {
        if let Some(last) = self.entries.last_mut() {
            (last.uid, last.gid) = (uid, gid);
        }
        self
    }

    /// The entries, first to last.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The layer as an uncompressed tar archive; its digest is the diff id.
    pub fn tar(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        for entry in &self.entries {
            let mut name = entry.name.clone();
            if entry.kind == Kind::Dir && !name.ends_with(b"/") {
                name.push(b'/');
            }
            let none: &[u8] = b"";
            let (kind, link, device, data) = match &entry.kind {
                Kind::File(data) => (b'0', none, (0, 0), data.as_ref()),
                Kind::Dir => (b'5', none, (0, 0), none),
                Kind::Symlink(to) => (b'2', to.as_bytes(), (0, 0), none),
                Kind::Hardlink(to) => (b'1', to.as_bytes(), (0, 0), none),
                Kind::Char(major, minor) => (b'3', none, (*major, *minor), none),
                Kind::Block(major, minor) => (b'4', none, (*major, *minor), none),
                Kind::Fifo => (b'6', none, (0, 0), none),
            };
            let (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
            writer.add(&Member { name: &name, link, kind, mode, uid, gid, device, data });
        }
        writer.finish()
    }

    fn add(self, name: &str, kind: Kind, mode: u32) -> Self {
        self.entry(Entry { name: name.as_bytes().to_vec(), kind, mode, uid: 0, gid: 0 })
    }
}
