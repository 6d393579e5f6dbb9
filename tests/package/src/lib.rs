//! What krew asks of a plugin's manifest and archives, and what this project asks on top.
//!
//! krew's own validator downloads every archive, so it can run only after a release. These are its rules (krew 0.4.5:
//! `internal/index/validation`, `internal/installation`, `internal/download`, `cmd/validate-krew-manifest`) over files at hand.

pub mod archive;
pub mod manifest;

pub use archive::Archive;
pub use manifest::Manifest;

/// A rule that a manifest or an archive breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum Fault {
    #[error("not a krew manifest: {0}")]
    Unreadable(String),
    #[error("apiVersion is {0:?}, krew knows {API_VERSION:?}", API_VERSION = manifest::API_VERSION)]
    ApiVersion(String),
    #[error("kind is {0:?}, must be \"Plugin\"")]
    Kind(String),
    #[error("the name {0:?} has other characters than letters, digits, _ and -")]
    Name(String),
    #[error("the file is named {found:?}, krew wants {wanted:?}")]
    FileName { found: String, wanted: String },
    #[error("the version {0:?} is not v and a semantic version")]
    Version(String),
    #[error("shortDescription is missing")]
    NoShortDescription,
    #[error("shortDescription has a line break")]
    ShortDescriptionBreaks,
    #[error("shortDescription has {0} characters, krew search shows 50")]
    ShortDescriptionLong(usize),
    #[error("there are no platforms")]
    NoPlatforms,
    #[error("platform {0}: the selector is empty")]
    SelectorEmpty(usize),
    #[error("platform {platform}: the selector names {key:?}, krew knows os and arch")]
    SelectorKey { platform: usize, key: String },
    #[error("platform {0}: the selector matches nothing that krew supports")]
    SelectorMatchesNothing(usize),
    #[error("{0} is matched by more than one platform")]
    Overlap(String),
    #[error("{0} is matched by no platform")]
    Uncovered(String),
    #[error("platform {platform}: uri is {uri:?}, must be https and end in {wanted:?}")]
    Uri { platform: usize, uri: String, wanted: String },
    #[error("platform {platform}: sha256 {sha256:?} is not 64 lower-case hexadecimal digits")]
    Sha256 { platform: usize, sha256: String },
    #[error("platform {0}: sha256 is the placeholder of an archive not yet built")]
    Sha256Placeholder(usize),
    #[error("platform {0}: bin is missing")]
    NoBin(usize),
    #[error("platform {platform}: bin is {bin:?}; it ends in .exe on Windows and only there")]
    BinSuffix { platform: usize, bin: String },
    #[error("platform {0}: files is there but empty")]
    FilesEmpty(usize),
    #[error("platform {platform}: the file operation from {from:?} to {to:?} needs both, and a clean path to go to")]
    FileOperation { platform: usize, from: String, to: String },
    #[error("the archive is no gzip'd tar")]
    NotTarGz,
    #[error("the archive cannot be read: {0}")]
    Damaged(String),
    #[error("{0:?} in the archive is absolute or has .. in it")]
    EntryPath(String),
    #[error("{0:?} in the archive is neither a folder nor a regular file")]
    EntryType(String),
    #[error("the archive has no LICENSE with text in it")]
    NoLicense,
    #[error("the archive has no {0:?}")]
    BinMissing(String),
    #[error("{0:?} in the archive is not executable")]
    BinNotExecutable(String),
    #[error("the archive's sha256 is {found}, the manifest says {wanted}")]
    Checksum { found: String, wanted: String },
    #[error("no platform of the manifest downloads {0:?}")]
    NoSuchPlatform(String),
}
