//! The records of a ZIP file, parsed from bytes.
//!
//! Threats: every number here is a claim. Parsers take a slice and never look beyond it; a length that runs
//! out of the slice is "not a record". Nothing is allocated. Where the plain field of a number holds its
//! sentinel, and only there, the ZIP64 field counts.

/// `PK\x01\x02`
pub const CENTRAL: [u8; 4] = *b"PK\x01\x02";
/// `PK\x03\x04`
pub const LOCAL: [u8; 4] = *b"PK\x03\x04";
/// `PK\x05\x06`
pub const END: [u8; 4] = *b"PK\x05\x06";
/// `PK\x06\x06`
pub const END64: [u8; 4] = *b"PK\x06\x06";
/// `PK\x06\x07`
pub const LOCATOR64: [u8; 4] = *b"PK\x06\x07";
/// `PK\x07\x08`
pub const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

/// The fixed part of a central record.
pub const CENTRAL_LEN: usize = 46;
/// The fixed part of a local header.
pub const LOCAL_LEN: usize = 30;
/// The fixed part of an end record.
pub const END_LEN: usize = 22;
/// The fixed part of a ZIP64 end record.
pub const END64_LEN: usize = 56;
/// A ZIP64 locator.
pub const LOCATOR64_LEN: usize = 20;

const SENTINEL: u32 = u32::MAX;

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

/// General-purpose bits that say that bytes are encrypted: the entry, strongly, or the directory itself.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// Sizes and checksum follow the data.
const HAS_DESCRIPTOR: u16 = 1 << 3;
/// Name and comment are UTF-8.
const UTF8: u16 = 1 << 11;

/// One record of the central directory.
#[derive(Debug, Clone, Copy)]
pub struct Central<'a> {
    /// The system that made it (high byte of "version made by"): 3 is Unix.
    pub host: u8,
    /// General-purpose bits.
    pub flags: Flags,
    /// Compression method.
    pub method: u16,
    /// DOS time and date.
    pub dos: (u16, u16),
    /// CRC-32 of the decoded bytes.
    pub crc: u32,
    /// Bytes in the file.
    pub packed: u64,
    /// Decoded bytes.
    pub size: u64,
    /// The disk it starts on; anything but 0 is elsewhere.
    pub disk: u32,
    /// Where its local header says it is.
    pub header: u64,
    /// External attributes: the Unix mode in the upper half.
    pub external: u32,
    /// The stored name.
    pub name: &'a [u8],
    /// Extra fields.
    pub extra: &'a [u8],
    /// The ZIP64 field is needed and is not whole.
    pub bad_zip64: bool,
    /// A ZIP64 number that says otherwise than a plain one that is not its sentinel.
    pub contradicts_zip64: bool,
}

/// General-purpose bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// The bytes are not readable without a key.
    pub fn encrypted(self) -> bool {
        self.0 & ENCRYPTED != 0
    }

    /// Sizes and checksum are behind the data, so a local header may not know them.
    pub fn has_descriptor(self) -> bool {
        self.0 & HAS_DESCRIPTOR != 0
    }

    /// The name is UTF-8.
    pub fn utf8(self) -> bool {
        self.0 & UTF8 != 0
    }
}

/// What a parser made of the bytes it was given.
#[derive(Debug)]
pub enum Parsed<T> {
    /// A record, and how many bytes it takes.
    Record(T, usize),
    /// The slice ends within the record.
    Short,
    /// This is something else.
    Other,
}

impl<'a> Central<'a> {
    /// The record at the start of `b`.
    pub fn parse(b: &'a [u8]) -> Parsed<Central<'a>> {
        if b.len() < 4 {
            return Parsed::Short;
        }
        if b[..4] != CENTRAL {
            return Parsed::Other;
        }
        if b.len() < CENTRAL_LEN {
            return Parsed::Short;
        }
        let [name_len, extra_len, comment_len] = [28, 30, 32].map(|at| usize::from(u16_at(b, at)));
        let len = CENTRAL_LEN + name_len + extra_len + comment_len;
        if b.len() < len {
            return Parsed::Short;
        }
        let name = &b[CENTRAL_LEN..][..name_len];
        let extra = &b[CENTRAL_LEN + name_len..][..extra_len];
        let mut record = Central {
            host: b[5],
            flags: Flags(u16_at(b, 8)),
            method: u16_at(b, 10),
            dos: (u16_at(b, 12), u16_at(b, 14)),
            crc: u32_at(b, 16),
            packed: u32_at(b, 20).into(),
            size: u32_at(b, 24).into(),
            disk: u16_at(b, 34).into(),
            external: u32_at(b, 38),
            header: u32_at(b, 42).into(),
            name,
            extra,
            bad_zip64: false,
            contradicts_zip64: false,
        };
        record.apply_zip64();
        Parsed::Record(record, len)
    }

    fn apply_zip64(&mut self) {
        let Some(field) = extra_fields(self.extra).find(|(id, _)| *id == 1).map(|(_, body)| body) else {
            // Without the field a sentinel is a number like any other.
            return;
        };
        let mut rest = field;
        let mut wide = |value: &mut u64| {
            if *value != u64::from(SENTINEL) {
                return true;
            }
            let Some((head, tail)) = rest.split_at_checked(8) else { return false };
            *value = u64_at(head, 0);
            rest = tail;
            true
        };
        let plain = [self.size, self.packed];
        let whole = wide(&mut self.size) && wide(&mut self.packed) && wide(&mut self.header);
        self.bad_zip64 = !whole;
        if self.disk == u32::from(u16::MAX)
            && let Some(disk) = rest.first_chunk::<4>()
        {
            self.disk = u32::from_le_bytes(*disk);
        }
        // A field that repeats sizes which the plain fields hold as well is common, and must agree.
        if plain.iter().all(|v| *v != u64::from(SENTINEL)) && field.len() >= 16 {
            self.contradicts_zip64 = (u64_at(field, 0), u64_at(field, 8)) != (self.size, self.packed);
        }
    }

    /// The Unix mode with the file type, where the maker recorded one.
    pub fn unix_mode(&self) -> Option<u32> {
        let mode = self.external >> 16;
        (matches!(self.host, 3 | 19) && mode != 0).then_some(mode)
    }
}

/// The fixed part of a local header, and its name when the slice holds it.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// General-purpose bits.
    pub flags: Flags,
    /// Compression method.
    pub method: u16,
    /// DOS time and date.
    pub dos: (u16, u16),
    /// CRC-32; zero when it follows the data.
    pub crc: u32,
    /// Bytes in the file, likewise.
    pub packed: u64,
    /// Decoded bytes, likewise.
    pub size: u64,
    /// Length of the name.
    pub name_len: usize,
    /// The name; shorter than `name_len` when the slice ends before.
    pub name: &'a [u8],
    /// The extra fields, if the slice holds them.
    pub extra: &'a [u8],
    /// Length of the extra fields.
    pub extra_len: usize,
}

impl<'a> Local<'a> {
    /// The header at the start of `b`, which holds at least the fixed part.
    pub fn parse(b: &'a [u8]) -> Option<Local<'a>> {
        if b.len() < LOCAL_LEN || b[..4] != LOCAL {
            return None;
        }
        let [name_len, extra_len] = [26, 28].map(|at| usize::from(u16_at(b, at)));
        let rest = &b[LOCAL_LEN..];
        let name = &rest[..name_len.min(rest.len())];
        let extra = rest.get(name_len..name_len + extra_len).unwrap_or_default();
        let mut local = Local {
            flags: Flags(u16_at(b, 6)),
            method: u16_at(b, 8),
            dos: (u16_at(b, 10), u16_at(b, 12)),
            crc: u32_at(b, 14),
            packed: u32_at(b, 18).into(),
            size: u32_at(b, 22).into(),
            name_len,
            name,
            extra,
            extra_len,
        };
        if local.packed == u64::from(SENTINEL) || local.size == u64::from(SENTINEL) {
            let field = extra_fields(extra).find(|(id, _)| *id == 1).map(|(_, body)| body);
            if let Some(field) = field.filter(|f| f.len() >= 16) {
                (local.size, local.packed) = (u64_at(field, 0), u64_at(field, 8));
            }
        }
        Some(local)
    }

    /// Where its entry's bytes begin, if the header is at `header`.
    pub fn data(&self, header: u64) -> u64 {
        header + (LOCAL_LEN + self.name_len + self.extra_len) as u64
    }

    /// Whether the header claims to know sizes and checksum, so that they can be compared.
    pub fn knows_sizes(&self) -> bool {
        let unknown = self.flags.has_descriptor() && self.crc == 0;
        !unknown && self.packed != u64::from(SENTINEL) && self.size != u64::from(SENTINEL)
    }
}

/// An end record, with the ZIP64 numbers where the plain ones are sentinels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Number of records in the directory.
    pub count: u64,
    /// Bytes of the directory.
    pub size: u64,
    /// Where the directory says it starts.
    pub offset: u64,
    /// Length of the comment behind the record.
    pub comment_len: usize,
    /// Any of the numbers is a sentinel that ZIP64 has to replace.
    pub needs_zip64: bool,
    /// It speaks of other disks.
    pub split: bool,
}

impl End {
    /// The record at the start of `b`.
    pub fn parse(b: &[u8]) -> Option<End> {
        if b.len() < END_LEN || b[..4] != END {
            return None;
        }
        let [disk, start_disk, here, count] = [4, 6, 8, 10].map(|at| u16_at(b, at));
        let (size, offset) = (u32_at(b, 12), u32_at(b, 16));
        Some(End {
            count: count.into(),
            size: size.into(),
            offset: offset.into(),
            comment_len: u16_at(b, 20).into(),
            needs_zip64: count == u16::MAX || size == SENTINEL || offset == SENTINEL,
            split: !(matches!(disk, 0 | u16::MAX) && matches!(start_disk, 0 | u16::MAX) && here == count),
        })
    }

    /// Where a ZIP64 locator says that the ZIP64 end record is.
    pub fn locate64(b: &[u8]) -> Option<u64> {
        (b.len() >= LOCATOR64_LEN && b[..4] == LOCATOR64 && u32_at(b, 4) == 0).then(|| u64_at(b, 8))
    }

    /// Takes the numbers of a ZIP64 end record where the plain ones are sentinels.
    pub fn widen(mut self, b: &[u8]) -> Option<End> {
        if b.len() < END64_LEN || b[..4] != END64 {
            return None;
        }
        let [here, count] = [24, 32].map(|at| u64_at(b, at));
        self.split |= here != count || u32_at(b, 16) != 0 || u32_at(b, 20) != 0;
        if self.count == u64::from(u16::MAX) {
            self.count = count;
        }
        if self.size == u64::from(SENTINEL) {
            self.size = u64_at(b, 40);
        }
        if self.offset == u64::from(SENTINEL) {
            self.offset = u64_at(b, 48);
        }
        Some(self)
    }
}

/// The extra fields as (id, body); stops at the first that does not fit.
pub fn extra_fields(mut extra: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = extra.split_at_checked(4)?;
        let (body, rest) = rest.split_at_checked(u16_at(head, 2).into())?;
        extra = rest;
        Some((u16_at(head, 0), body))
    })
}

/// The checksum and sizes behind the data of an entry whose header did not know them: with or without a
/// signature, with four or eight bytes a size.
pub fn descriptor_fits(b: &[u8], crc: u32, packed: u64, size: u64) -> bool {
    [b.strip_prefix(&DESCRIPTOR), Some(b)].into_iter().flatten().any(|b| {
        let narrow = b.len() >= 12
            && u32_at(b, 0) == crc
            && (u64::from(u32_at(b, 4)), u64::from(u32_at(b, 8))) == (packed, size);
        let wide = b.len() >= 20 && u32_at(b, 0) == crc && (u64_at(b, 4), u64_at(b, 12)) == (packed, size);
        narrow || wide
    })
}
