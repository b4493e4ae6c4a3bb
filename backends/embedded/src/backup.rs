//! A copy of everything in one file, taken while calls go on, and a data directory made from it.
//!
//! The file: 8 octets of magic, then one zstd stream with a checksum of the entries. It begins with the last number given
//! out (u64). An entry is the part's letter, the lengths of key and value (u32 each) and both; a letter 0 and the count
//! of entries (u64) end it. Numbers are little-endian.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, Readable};

use crate::database::{DATABASE, OpenError, make_database, own};
use crate::log::{Log, jump_numbers};
use crate::options::Options;
use crate::parts::Parts;
use crate::store::note_gap;

const MAGIC: [u8; 8] = *b"SIGNETb1";
const END: u8 = 0;
/// Most of it is sealed and does not compress: the least effort will do.
const LEVEL: i32 = 1;
/// Octets written in one batch while restoring.
const BATCH: usize = 4 * 1024 * 1024;
/// No key or value of ours is longer; what claims to be is damage.
const LONGEST: u32 = 1 << 30;

/// Why a backup was not written or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file could not be made, read or written.
    #[error("the backup could not be read or written")]
    Io(#[from] std::io::Error),
    /// The file is no backup, is not whole, or was changed.
    #[error("the file is not a whole backup")]
    Damaged,
    /// The data directory holds a database already.
    #[error("the data directory is not empty")]
    NotEmpty,
    /// The database did not do what was asked.
    #[error("the database could not be read or written")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<fjall::Error> for BackupError {
    fn from(error: fjall::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// The parts that are kept, each with the letter that stands for it.
fn kept(parts: &Parts) -> [(u8, &Keyspace); 4] {
    [(b'r', &parts.rows), (b'b', &parts.blobs), (b'j', &parts.jobs), (b'i', &parts.index)]
}

/// Writes everything as of now to `to`; returns the number of entries.
pub(crate) fn write(log: &Log, parts: &Parts, to: &Path) -> Result<u64, BackupError> {
    log.sync_blocking().map_err(|error| BackupError::Database(Box::new(error)))?;
    let (last, snapshot) = log.snapshot();
    let target = to.file_name().ok_or(std::io::ErrorKind::InvalidInput).map_err(std::io::Error::from)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if to.try_exists()? {
        return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists).into());
    }
    let mut unfinished = target.to_owned();
    unfinished.push(".part");
    let unfinished = Unfinished(folder.join(unfinished));
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished.0)?;
    let mut file = BufWriter::with_capacity(256 * 1024, file);
    file.write_all(&MAGIC)?;
    let mut stream = zstd::Encoder::new(file, LEVEL)?;
    stream.include_checksum(true)?;
    stream.write_all(&last.to_le_bytes())?;
    let mut count = 0_u64;
    for (letter, part) in kept(parts) {
        for guard in snapshot.iter(part) {
            let (key, value) = guard.into_inner()?;
            stream.write_all(&[letter])?;
            stream.write_all(&length(&key)?)?;
            stream.write_all(&length(&value)?)?;
            stream.write_all(&key)?;
            stream.write_all(&value)?;
            count += 1;
        }
    }
    stream.write_all(&[END])?;
    stream.write_all(&count.to_le_bytes())?;
    let file = stream.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    std::fs::rename(&unfinished.0, to)?;
    File::open(folder)?.sync_all()?;
    Ok(count)
}

/// Makes the data directory `dir` (mode 0700) from the backup `from`; memory stays bounded. A directory that holds a
/// database stays as it is; one whose restoring was cut short begins anew. Returns the number of entries.
///
/// Cursors of the change feed that were given out after the backup was made are expired in what it makes.
///
/// # Errors
/// [`BackupError::NotEmpty`], [`BackupError::Damaged`], or what reading and writing says.
pub fn restore(from: &Path, dir: &Path) -> Result<u64, BackupError> {
    let _owner = own(dir)?;
    if dir.join(DATABASE).try_exists()? {
        return Err(BackupError::NotEmpty);
    }
    let mut file = BufReader::with_capacity(256 * 1024, File::open(from)?);
    if octets::<8>(&mut file)? != MAGIC {
        return Err(BackupError::Damaged);
    }
    let mut stream = zstd::Decoder::with_buffer(file)?;
    let last = u64::from_le_bytes(octets(&mut stream)?);
    make_database(dir, &Options::default(), |database, parts| fill(&mut stream, last, database, parts))
}

/// Puts every entry of a backup whose numbers end with `last` into a new database.
fn fill(stream: &mut impl Read, last: u64, database: &Database, parts: &Parts) -> Result<u64, BackupError> {
    let mut batch = database.batch();
    let (mut count, mut size) = (0_u64, 0);
    loop {
        let [letter] = octets(stream)?;
        if letter == END {
            break;
        }
        let part = kept(parts).into_iter().find(|(of, _)| *of == letter).ok_or(BackupError::Damaged)?.1;
        let (key, value) = (u32::from_le_bytes(octets(stream)?), u32::from_le_bytes(octets(stream)?));
        let (key, value) = (take(stream, key)?, take(stream, value)?);
        size += key.len() + value.len();
        batch.insert(part, key, value);
        count += 1;
        if size >= BATCH {
            std::mem::replace(&mut batch, database.batch()).commit()?;
            size = 0;
        }
    }
    let is_whole = u64::from_le_bytes(octets(stream)?) == count;
    // To the very end, where the checksum stands.
    if !is_whole || stream.read(&mut [0]).map_err(damaged)? != 0 {
        return Err(BackupError::Damaged);
    }
    batch.commit()?;
    note_gap(&parts.rows, last, jump_numbers(&parts.rows, last)?)?;
    Ok(count)
}

fn length(octets: &[u8]) -> Result<[u8; 4], BackupError> {
    let length = u32::try_from(octets.len()).ok().filter(|length| *length <= LONGEST);
    length.map(u32::to_le_bytes).ok_or(BackupError::Damaged)
}

fn take(stream: &mut impl Read, length: u32) -> Result<Vec<u8>, BackupError> {
    if length > LONGEST {
        return Err(BackupError::Damaged);
    }
    let mut octets = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut octets).map_err(damaged)?;
    if octets.len() as u64 == u64::from(length) { Ok(octets) } else { Err(BackupError::Damaged) }
}

fn octets<const COUNT: usize>(stream: &mut impl Read) -> Result<[u8; COUNT], BackupError> {
    let mut octets = [0; COUNT];
    stream.read_exact(&mut octets).map_err(damaged)?;
    Ok(octets)
}

/// What zstd finds wrong and an early end are the file's fault, the rest the machine's.
fn damaged(error: std::io::Error) -> BackupError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::Other | std::io::ErrorKind::InvalidData => {
            BackupError::Damaged
        }
        _ => BackupError::Io(error),
    }
}

/// A file that goes unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is not there where all went well.
        let _ = std::fs::remove_file(&self.0);
    }
}
