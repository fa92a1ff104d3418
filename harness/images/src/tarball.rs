//! A tar writer that can say anything, also what honest writers refuse: absolute and climbing
//! names, device nodes, duplicate entries. POSIX ustar with GNU long names; mtime is always 0.

const BLOCK: usize = 512;

/// One member of an archive, as it goes into its header.
pub(crate) struct Member<'a> {
    pub name: &'a [u8],
    pub link: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub device: (u32, u32),
    pub data: &'a [u8],
}

/// Appends members to a growing archive.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Adds one member; names over 100 bytes get a GNU long-name member before it.
    pub fn add(&mut self, member: &Member<'_>) {
        self.long(b'L', member.name);
        self.long(b'K', member.link);
        self.header(member, member.data.len());
        self.data(member.data);
    }

    /// Ends the archive with two empty blocks.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.resize(self.out.len() + 2 * BLOCK, 0);
        self.out
    }

    fn long(&mut self, kind: u8, text: &[u8]) {
        if text.len() <= 100 {
            return;
        }
        let mut data = text.to_vec();
        data.push(0);
        let member = Member {
            name: b"././@LongLink",
            link: b"",
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            device: (0, 0),
            data: &data,
        };
        self.header(&member, data.len());
        self.data(&data);
    }

    fn header(&mut self, m: &Member<'_>, size: usize) {
        let mut head = [0_u8; BLOCK];
        put(&mut head[..100], m.name);
        octal(&mut head[100..108], u64::from(m.mode));
        octal(&mut head[108..116], u64::from(m.uid));
        octal(&mut head[116..124], u64::from(m.gid));
        octal(&mut head[124..136], size as u64);
        octal(&mut head[136..148], 0);
        head[156] = m.kind;
        put(&mut head[157..257], m.link);
        put(&mut head[257..265], b"ustar  ");
        if matches!(m.kind, b'3' | b'4') {
            octal(&mut head[329..337], u64::from(m.device.0));
            octal(&mut head[337..345], u64::from(m.device.1));
        }
        head[148..156].fill(b' ');
        let sum: u64 = head.iter().map(|b| u64::from(*b)).sum();
        octal(&mut head[148..155], sum);
        self.out.extend_from_slice(&head);
    }

    fn data(&mut self, data: &[u8]) {
        self.out.extend_from_slice(data);
        let rest = data.len() % BLOCK;
        if rest != 0 {
            self.out.resize(self.out.len() + BLOCK - rest, 0);
        }
    }
}

/// Copies as much of `text` as fits.
fn put(field: &mut [u8], text: &[u8]) {
    let n = text.len().min(field.len());
    field[..n].copy_from_slice(&text[..n]);
}

/// Writes a number as octal digits with a NUL at the end; too big ones in base 256 (GNU).
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    if digits < 21 && value >> (3 * digits) != 0 {
        field.fill(0);
        let n = field.len();
        let bytes = value.to_be_bytes();
        field[n - bytes.len().min(n)..].copy_from_slice(&bytes[bytes.len() - bytes.len().min(n)..]);
        field[0] |= 0x80;
        return;
    }
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
}
