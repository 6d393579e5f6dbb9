//! A compressed file, into a file without a name: snapshots hold every Secret, and nothing of one is left behind.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::recognise::{BEGINNING, Compression, Kind, recognise};
use super::unnamed::{BETWEEN_LOOKS, SPARE, Unnamed, room};
use super::wrong;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome, Progress, bytes};

/// Bytes that are unpacked at once.
const PIECE: usize = 1 << 18;

/// What is unpacked, and where to.
pub(super) struct Unpacking<'a> {
    pub(super) path: &'a Path,
    pub(super) file: &'a File,
    pub(super) compression: Compression,
    /// Where the unpacked file may lie: the first folder that can be written to and has the room.
    pub(super) folders: &'a [PathBuf],
    pub(super) cancelled: &'a AtomicBool,
    pub(super) progress: &'a Progress,
}

/// Why unpacking ended early.
enum Stop {
    /// The compressed file cannot be read.
    Read(io::Error),
    /// What it holds is not what it should be.
    Damaged(String),
    /// The unpacked file cannot be written.
    Write(io::Error),
    /// It has no more room, with so many bytes unpacked.
    Room(u64),
    /// It is no snapshot either.
    Wrong(Failed),
    Cancelled,
}

impl Unpacking<'_> {
    /// Unpacks the whole file.
    ///
    /// # Errors
    /// It is cut, damaged or followed by something else (exit 3); it holds something that is no snapshot (exit 2); there is no room, or it
    /// cannot be read or written. Nothing is left behind.
    pub(super) fn run(&self) -> Outcome<File> {
        let announced = self.announced();
        let (mut target, folder) = self.target(announced)?;
        let place = folder.display();
        self.fill(&mut target).map(|()| target).map_err(|stop| {
            let name = self.path.display();
            let failed = || Failed::plain(format!("cannot unpack {name} to an unnamed file in {place}"));
            match stop {
                Stop::Read(error) => Failed::plain(format!("cannot read {name}")).source(&error),
                Stop::Damaged(why) => {
                    let how = self.compression.name();
                    Failed::new(Exit::Damaged, format!("{name} is compressed with {how} and is damaged")).cause(why)
                }
                Stop::Write(error) if error.kind() == io::ErrorKind::StorageFull => self.no_room(announced, failed()),
                Stop::Write(error) => failed().source(&error),
                Stop::Room(unpacked) => self.no_room(announced.or(Some(unpacked)), failed()),
                Stop::Wrong(failed) => failed,
                Stop::Cancelled => Failed::new(Exit::Interrupted, format!("stopped unpacking {name}")),
            }
        })
    }

    fn no_room(&self, least: Option<u64>, failed: Failed) -> Failed {
        let least = least.map_or_else(String::new, |least| format!(": the snapshot takes at least {}", bytes(least)));
        let (how, name) = (self.compression.name(), quoted(&self.path.display().to_string()));
        failed
            .cause(format!("there is not enough room{least}, and {} are left free", bytes(SPARE)))
            .hint(format!("unpack it where there is room, and name the snapshot\n  {how} -dc {name} > SNAPSHOT"))
    }

    /// How many bytes there are once they are unpacked, if the file says it and is not lying: gzip knows it up to 4 GiB only.
    fn announced(&self) -> Option<u64> {
        let beginning = super::beginning(self.file).ok()?;
        match self.compression {
            Compression::Zstd => zstd::zstd_safe::get_frame_content_size(&beginning).ok().flatten(),
            Compression::Gzip => None,
        }
    }

    /// A file without a name, which only this user can read.
    fn target(&self, announced: Option<u64>) -> Outcome<(File, PathBuf)> {
        match Unnamed::new(self.folders, announced) {
            Ok(unnamed) => {
                let folder = unnamed.folder.clone();
                Ok((unnamed.into_file(), folder))
            }
            Err(none) => {
                let failed = Failed::plain(format!("cannot unpack {}", self.path.display())).causes(none.refused);
                Err(match none.full {
                    Some(folder) => self.no_room(announced, failed.cause(format!("{} is too full", folder.display()))),
                    None => failed.hint("name a folder that can be written to\n  TMPDIR=FOLDER"),
                })
            }
        }
    }

    fn fill(&self, target: &mut File) -> Result<(), Stop> {
        let total = self.file.metadata().map_err(Stop::Read)?.len();
        let road = Road::default();
        let mut packed = BufReader::with_capacity(PIECE, Counted { file: self.file, road: &road });
        let mut filling =
            Filling { target, unpacking: self, road: &road, total, written: 0, looked: 0, beginning: Vec::new() };
        let mut begin = 0;
        // Both formats may come in several parts, one behind the other: `cat a.gz b.gz`, pigz, pzstd.
        loop {
            let before = filling.written;
            let part = match self.compression {
                Compression::Gzip => filling.take(&mut flate2::bufread::GzDecoder::new(&mut packed)),
                Compression::Zstd => zstd::stream::read::Decoder::with_buffer(&mut packed)
                    .map_err(Stop::Read)
                    .and_then(|decoder| filling.take(&mut decoder.single_frame())),
            };
            part.map_err(|stop| match stop {
                Stop::Damaged(_) if begin > 0 && filling.written == before => {
                    let more = total.saturating_sub(begin);
                    Stop::Damaged(format!(
                        "the compressed data ends at byte {begin}, and {more} bytes of something else follow"
                    ))
                }
                stop => stop,
            })?;
            let ends = packed.fill_buf().map_err(Stop::Read)?.is_empty();
            begin = road.read.get() - packed.buffer().len() as u64;
            if ends {
                return filling.end();
            }
        }
    }
}

/// How far the compressed file was read, and why it was not read further.
#[derive(Default)]
struct Road {
    read: Cell<u64>,
    broken: Cell<Option<io::Error>>,
}

/// The compressed file, counted.
struct Counted<'a> {
    file: &'a File,
    road: &'a Road,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Ok(read) => {
                self.road.read.set(self.road.read.get() + read as u64);
                Ok(read)
            }
            // The decoder must not take it for damage.
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.road.broken.set(Some(error));
                Err(told)
            }
            interrupted => interrupted,
        }
    }
}

/// The unpacked file as far as it is written.
struct Filling<'a> {
    target: &'a mut File,
    unpacking: &'a Unpacking<'a>,
    road: &'a Road,
    total: u64,
    written: u64,
    /// How many bytes there were when the room was looked at.
    looked: u64,
    /// What it begins with, until that is looked at.
    beginning: Vec<u8>,
}

impl Filling<'_> {
    /// Takes one part to its end.
    fn take(&mut self, decoder: &mut impl Read) -> Result<(), Stop> {
        let mut piece = vec![0; PIECE];
        loop {
            if self.unpacking.cancelled.load(Relaxed) {
                return Err(Stop::Cancelled);
            }
            let read = match decoder.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let cut = error.kind() == io::ErrorKind::UnexpectedEof;
                    return Err(match self.road.broken.take() {
                        Some(broken) => Stop::Read(broken),
                        None if cut => Stop::Damaged("the compressed data ends too early: the file was cut".to_owned()),
                        None => Stop::Damaged(format!("up to byte {}: {error}", self.road.read.get())),
                    });
                }
            };
            let piece = piece.get(..read).unwrap_or_default();
            self.look_at(piece)?;
            self.written += read as u64;
            if self.written - self.looked >= BETWEEN_LOOKS {
                self.looked = self.written;
                if room(self.target).is_some_and(|room| room < SPARE) {
                    return Err(Stop::Room(self.written));
                }
            }
            self.target.write_all(piece).map_err(Stop::Write)?;
            self.unpacking.progress.update(self.road.read.get().min(self.total), self.total);
        }
    }

    /// Looks at the beginning, once it is there: what is no snapshot need not be unpacked.
    fn look_at(&mut self, piece: &[u8]) -> Result<(), Stop> {
        let missing = BEGINNING.saturating_sub(self.beginning.len());
        if missing == 0 {
            return Ok(());
        }
        self.beginning.extend(piece.iter().take(missing));
        if self.beginning.len() == BEGINNING { self.judge() } else { Ok(()) }
    }

    fn judge(&self) -> Result<(), Stop> {
        let Unpacking { path, compression, .. } = self.unpacking;
        match recognise(&self.beginning) {
            Kind::Snapshot => Ok(()),
            Kind::Compressed(inner) => {
                let name = path.display();
                let failed = Failed::new(
                    Exit::Usage,
                    format!("{name} is compressed twice, with {} and {}", compression.name(), inner.name()),
                );
                Err(Stop::Wrong(failed.hint(format!(
                    "unpack it once, and name what comes out\n  {} -dc {} > SNAPSHOT",
                    compression.name(),
                    quoted(&name.to_string())
                ))))
            }
            Kind::Encrypted(other) | Kind::Other(other) => Err(Stop::Wrong(wrong(path, Some(*compression), other))),
        }
    }

    fn end(&self) -> Result<(), Stop> {
        if self.beginning.len() < BEGINNING { self.judge() } else { Ok(()) }
    }
}
