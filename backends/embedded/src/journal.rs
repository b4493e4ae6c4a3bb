//! fjall's journal as files: the one in use is synced and measured, what a power cut tore is cut off, and what is not
//! needed any more is emptied.
//!
//! A journal is a row of batches: start (1, items u32, sequence u64), items (2, kind u8, compression u8, part u64, key
//! length u16, value length u32, length on disk u32, key, value) or clears (4, part u64), end (3, XXH3 of all items
//! u64, "FJL" 3); numbers little-endian.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Octets of an item between its tag and its key.
const ITEM_HEAD: usize = 20;

/// The journal in use.
pub(crate) struct Journal {
    number: u64,
    file: File,
}

impl Journal {
    /// The newest of those in `directory`.
    pub(crate) fn newest(directory: &Path) -> std::io::Result<Self> {
        let missing = || std::io::Error::new(ErrorKind::NotFound, "the database has no journal");
        let number = numbers(directory)?.pop().ok_or_else(missing)?;
        Self::open(directory, number)?.ok_or_else(missing)
    }

    fn open(directory: &Path, number: u64) -> std::io::Result<Option<Self>> {
        match File::open(path(directory, number)) {
            Ok(file) => Ok(Some(Self { number, file })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Becomes the newest, where fjall has begun others since.
    pub(crate) fn follow(&mut self, directory: &Path) -> std::io::Result<()> {
        while let Some(next) = Self::open(directory, self.number + 1)? {
            *self = next;
        }
        Ok(())
    }

    /// Puts what it holds on disk.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// Octets that journals take on disk: those before this one, and this.
    pub(crate) fn octets(&self, directory: &Path) -> std::io::Result<(u64, u64)> {
        let mut before = 0;
        for number in numbers(directory)?.into_iter().filter(|&number| number < self.number) {
            match std::fs::metadata(path(directory, number)) {
                Ok(data) => before += data.blocks() * 512,
                // The database drops journals while we look.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok((before, self.file.metadata()?.blocks() * 512))
    }
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number}.jnl"))
}

/// The numbers of the journals in `directory`, ascending.
fn numbers(directory: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".jnl")).and_then(|name| name.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Cuts off what follows the last whole batch of the newest journal in `database`, and keeps it beside the journal
/// (`<number>.torn`). Whoever was told that a write is durable was told after a sync of all before it; so what is torn
/// was promised to nobody, unless the disk itself lost it. Older journals were synced in full, and stay as they are.
pub(crate) fn mend(database: &Path) -> std::io::Result<()> {
    let Some(number) = numbers(database)?.pop() else { return Ok(()) };
    let path = path(database, number);
    let whole = whole_octets(&path)?;
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let torn = file.metadata()?.len().saturating_sub(whole);
    if torn == 0 {
        return Ok(());
    }
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(whole))?;
    let mut copy = File::create(database.join(format!("{number}.torn")))?;
    std::io::copy(&mut file, &mut copy)?;
    copy.sync_all()?;
    file.set_len(whole)?;
    file.sync_all()?;
    tracing::warn!(octets = torn, "the end of the journal was torn and has been cut off");
    Ok(())
}

/// Empties the journals of a database that holds everything in files. Does nothing if somebody has it open.
pub(crate) fn empty(database: &Path) -> std::io::Result<()> {
    let lock = File::open(database.join("lock"))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    // The file itself stays: fjall takes a database without a journal for a new one.
    if let Some(number) = numbers(database)?.pop() {
        let file = OpenOptions::new().write(true).open(path(database, number))?;
        file.set_len(0)?;
        file.sync_all()?;
    }
    lock.unlock()
}

/// Where the last whole batch ends.
fn whole_octets(path: &Path) -> std::io::Result<u64> {
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let mut whole = 0;
    loop {
        match batch_octets(&mut reader) {
            Ok(Some(octets)) => whole += octets,
            Ok(None) => return Ok(whole),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(whole),
            Err(error) => return Err(error),
        }
    }
}

/// The length of the batch that begins here, or `None` if there is no whole one.
fn batch_octets(reader: &mut impl Read) -> std::io::Result<Option<u64>> {
    if octet(reader)? != START {
        return Ok(None);
    }
    let mut left = u32::from_le_bytes(octets(reader)?);
    octets::<8>(reader)?;
    let mut length = 13;
    let mut hash = Xxh3::new();
    loop {
        let tag = octet(reader)?;
        length += 1;
        match tag {
            ITEM if left > 0 => {
                let head = octets::<ITEM_HEAD>(reader)?;
                let number = |at: usize| {
                    head[at..at + 4].iter().rev().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet))
                };
                let key = u64::from(u16::from_le_bytes([head[10], head[11]]));
                let body = key + number(16);
                hash.update(&[tag]);
                hash.update(&head);
                if !hash_octets(reader, body, &mut hash)? {
                    return Ok(None);
                }
                length += ITEM_HEAD as u64 + body;
                left -= 1;
            }
            CLEAR if left > 0 => {
                let part = octets::<8>(reader)?;
                hash.update(&[tag]);
                hash.update(&part);
                length += 8;
                left -= 1;
            }
            END if left == 0 => {
                let sum = u64::from_le_bytes(octets(reader)?);
                let is_whole = sum == hash.digest() && octets::<4>(reader)? == TRAILER;
                return Ok(is_whole.then_some(length + 12));
            }
            _ => return Ok(None),
        }
    }
}

fn hash_octets(reader: &mut impl Read, mut count: u64, hash: &mut Xxh3) -> std::io::Result<bool> {
    let mut buffer = [0; 8192];
    while count > 0 {
        let size = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        let read = reader.read(&mut buffer[..size])?;
        if read == 0 {
            return Ok(false);
        }
        hash.update(&buffer[..read]);
        count -= read as u64;
    }
    Ok(true)
}

fn octet(reader: &mut impl Read) -> std::io::Result<u8> {
    octets::<1>(reader).map(|[octet]| octet)
}

fn octets<const COUNT: usize>(reader: &mut impl Read) -> std::io::Result<[u8; COUNT]> {
    let mut octets = [0; COUNT];
    reader.read_exact(&mut octets)?;
    Ok(octets)
}
