//! The sidecar that is sent to nodes: one that this program carries for their type of machine, or a file.

use std::io::{self, Read as _};
use std::path::Path;

use bytes::Bytes;

use crate::output::{Exit, Failed, Outcome};

/// Longest program that is sent.
const LONGEST: u64 = 256 << 20;

/// Compressed sidecars, by the type of machine as `uname -m` says it. A build without `KUBECTL_ETCD_SIDECARS` has none.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sidecars.rs"));

const CANNOT_UNPACK: &str = "cannot unpack the sidecar that this program carries";

/// A static `etcd-sidecar`.
#[derive(Debug, Clone)]
pub(super) struct Binary {
    /// Its bytes.
    pub(super) bytes: Bytes,
    /// SHA-256 of them, hexadecimal.
    pub(super) sha256: String,
}

/// Where sidecars come from.
#[derive(Debug, Clone)]
pub(super) enum Binaries {
    /// This program.
    Embedded {
        /// Bytes of the largest one, unpacked.
        largest: u64,
    },
    /// A file of the user's, for every node.
    File(Binary),
}

impl Binaries {
    /// Looks which sidecars there are.
    ///
    /// # Errors
    /// The file is none; or none is named, and this build carries none.
    pub(super) fn find(file: Option<&Path>) -> Outcome<Binaries> {
        match file {
            Some(file) => Ok(Binaries::File(read(file)?)),
            None if EMBEDDED.is_empty() => Err(Failed::new(Exit::Usage, "this build of the plugin carries no sidecar to send to nodes")
                .hint("name a static etcd-sidecar of the same version, as it is in the sidecar's image\n  --sidecar-binary FILE")),
            None => {
                let sizes = EMBEDDED.iter().map(|(_, packed)| unpacked_size(packed)).collect::<io::Result<Vec<u64>>>();
                let sizes = sizes.map_err(|error| Failed::plain(CANNOT_UNPACK).source(&error))?;
                Ok(Binaries::Embedded { largest: sizes.into_iter().max().unwrap_or(0) })
            }
        }
    }

    /// How large the largest of them is at most, in bytes.
    pub(super) fn largest(&self) -> u64 {
        match self {
            Binaries::Embedded { largest } => *largest,
            Binaries::File(binary) => binary.bytes.len() as u64,
        }
    }

    /// The sidecar for a type of machine.
    ///
    /// # Errors
    /// There is none for it.
    pub(super) fn of(&self, machine: &str) -> Outcome<Binary> {
        match self {
            Binaries::File(binary) => {
                let is = machine_of(&binary.bytes);
                match is {
                    Some(is) if is != canonical(machine) => Err(Failed::new(
                        Exit::Refused,
                        format!("the file of --sidecar-binary is a program for {is}, and the node is {machine}"),
                    )),
                    _ => Ok(binary.clone()),
                }
            }
            Binaries::Embedded { .. } => {
                let found = EMBEDDED.iter().find(|(of, _)| *of == canonical(machine));
                let (_, packed) = found.ok_or_else(|| {
                    Failed::new(Exit::Refused, format!("this plugin carries no sidecar for {machine}"))
                        .hint("name a static etcd-sidecar of the same version for that type of machine\n  --sidecar-binary FILE")
                })?;
                let bytes = zstd::decode_all(*packed).map_err(|error| Failed::plain(CANNOT_UNPACK).source(&error))?;
                Ok(Binary::new(bytes))
            }
        }
    }
}

impl Binary {
    fn new(bytes: Vec<u8>) -> Binary {
        let mut digest = etcd_wire::Digest::new();
        digest.update(&bytes);
        Binary { sha256: etcd_wire::Sha256(digest.finish()).to_string(), bytes: Bytes::from(bytes) }
    }
}

/// How many bytes come of what is compressed.
fn unpacked_size(packed: &[u8]) -> io::Result<u64> {
    io::copy(&mut zstd::Decoder::new(packed)?, &mut io::sink())
}

fn read(path: &Path) -> Outcome<Binary> {
    let failed = || Failed::plain(format!("cannot use the sidecar {}", path.display()));
    let file = fs_err::File::open(path).map_err(|error| failed().source(&error))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| failed().source(&error))?;
    if bytes.len() as u64 > LONGEST || machine_of(&bytes).is_none() {
        return Err(failed().cause("it is no program for 64-bit Linux on x86_64 or aarch64"));
    }
    Ok(Binary::new(bytes))
}

/// One word for the types of machine that have several.
fn canonical(machine: &str) -> &str {
    match machine {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

/// For which machine a program is, by the header of ELF (elf.h: 64 bits, little-endian, `e_machine`).
fn machine_of(bytes: &[u8]) -> Option<&'static str> {
    bytes.strip_prefix(b"\x7fELF\x02\x01")?;
    match bytes.get(18..20)? {
        [62, 0] => Some("x86_64"),
        [183, 0] => Some("aarch64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(machine: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        bytes[18] = machine;
        bytes
    }

    #[test]
    fn a_file_is_sent_to_the_machines_that_it_is_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sidecar");
        fs_err::write(&path, program(62)).expect("written");
        let found = Binaries::find(Some(&path)).expect("a program");
        assert_eq!(found.largest(), 64);
        let binary = found.of("x86_64").expect("for this machine");
        assert_eq!((binary.bytes.len(), binary.sha256.len()), (64, 64));
        assert!(found.of("amd64").is_ok());
        assert_eq!(found.of("aarch64").expect_err("another").exit, Exit::Refused);
        for wrong in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF", &program(3)] {
            fs_err::write(&path, wrong).expect("written");
            assert!(Binaries::find(Some(&path)).is_err());
        }
        assert!(Binaries::find(Some(&folder.path().join("none"))).is_err());
    }

    #[test]
    fn what_this_build_carries_can_be_unpacked() {
        for (machine, _) in EMBEDDED {
            let all = Binaries::find(None).expect("sidecars");
            let binary = all.of(machine).expect("a program");
            assert_eq!(machine_of(&binary.bytes), Some(*machine));
            assert!(binary.bytes.len() as u64 <= all.largest());
        }
        if EMBEDDED.is_empty() {
            let failed = Binaries::find(None).expect_err("none");
            assert!(failed.to_string().contains("--sidecar-binary"), "{failed}");
        }
    }
}
