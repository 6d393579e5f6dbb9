//! The manifest: reading it, its rules, and writing a release into it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Archive, Fault};

pub(crate) const API_VERSION: &str = "krew.googlecontainertools.github.com/v1alpha2";

/// The checksum that stands for an archive that was not built yet.
pub const PLACEHOLDER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// krew's list; nothing else can be installed on (`internal/index/validation`).
const SUPPORTED: [(&str, &str); 11] = [
    ("linux", "amd64"),
    ("linux", "arm64"),
    ("linux", "arm"),
    ("linux", "386"),
    ("linux", "ppc64le"),
    ("darwin", "amd64"),
    ("darwin", "arm64"),
    ("darwin", "386"),
    ("windows", "amd64"),
    ("windows", "arm64"),
    ("windows", "386"),
];

/// What this project releases.
const RELEASED: [(&str, &str); 5] =
    [("linux", "amd64"), ("linux", "arm64"), ("darwin", "amd64"), ("darwin", "arm64"), ("windows", "amd64")];

/// A krew manifest, as far as krew reads it; other fields are ignored, as krew ignores them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    version: String,
    short_description: String,
    platforms: Vec<Platform>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Platform {
    selector: Selector,
    uri: String,
    sha256: String,
    bin: String,
    files: Option<Vec<FileOperation>>,
}

/// Only `matchLabels`: a manifest of ours has no need of expressions, so they are refused rather than half understood.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FileOperation {
    from: String,
    to: String,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Fault::Unreadable`] where it is no YAML, or has a value of another type than krew's.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        serde_yaml_ng::from_str(text).map_err(|error| Fault::Unreadable(error.to_string()))
    }

    /// Every rule that the manifest breaks, by itself. `file_name` is what it is to be submitted as.
    ///
    /// `released` asks for every checksum; without it a placeholder is let pass.
    pub fn faults(&self, file_name: &str, released: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        let name = &self.metadata.name;
        if self.api_version != API_VERSION {
            faults.push(Fault::ApiVersion(self.api_version.clone()));
        }
        if self.kind != "Plugin" {
            faults.push(Fault::Kind(self.kind.clone()));
        }
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            faults.push(Fault::Name(name.clone()));
        }
        let wanted = format!("{name}.yaml");
        if file_name != wanted {
            faults.push(Fault::FileName { found: file_name.to_owned(), wanted });
        }
        if self.spec.version.strip_prefix('v').is_none_or(|version| semver::Version::parse(version).is_err()) {
            faults.push(Fault::Version(self.spec.version.clone()));
        }
        let short = &self.spec.short_description;
        if short.is_empty() {
            faults.push(Fault::NoShortDescription);
        } else if short.contains(['\r', '\n']) {
            faults.push(Fault::ShortDescriptionBreaks);
        } else if short.chars().count() > 50 {
            faults.push(Fault::ShortDescriptionLong(short.chars().count()));
        }
        if self.spec.platforms.is_empty() {
            faults.push(Fault::NoPlatforms);
        }
        for (number, platform) in self.spec.platforms.iter().enumerate() {
            self.platform_faults(number, platform, released, &mut faults);
        }
        for (os, arch) in SUPPORTED {
            let matching = self.spec.platforms.iter().filter(|platform| platform.selector.matches(os, arch)).count();
            if matching > 1 {
                faults.push(Fault::Overlap(format!("{os}/{arch}")));
            } else if matching == 0 && RELEASED.contains(&(os, arch)) {
                faults.push(Fault::Uncovered(format!("{os}/{arch}")));
            }
        }
        faults
    }

    fn platform_faults(&self, number: usize, platform: &Platform, released: bool, faults: &mut Vec<Fault>) {
        let labels = &platform.selector.match_labels;
        if labels.is_empty() {
            faults.push(Fault::SelectorEmpty(number));
        }
        for key in labels.keys().filter(|key| !["os", "arch"].contains(&key.as_str())) {
            faults.push(Fault::SelectorKey { platform: number, key: key.clone() });
        }
        let matched: Vec<_> = SUPPORTED.iter().filter(|(os, arch)| platform.selector.matches(os, arch)).collect();
        if matched.is_empty() {
            faults.push(Fault::SelectorMatchesNothing(number));
        }
        if let [(os, arch)] = matched.as_slice() {
            let wanted = archive_name(&self.spec.version, os, arch);
            if !platform.uri.starts_with("https://") || !platform.uri.ends_with(&format!("/{wanted}")) {
                faults.push(Fault::Uri { platform: number, uri: platform.uri.clone(), wanted });
            }
        }
        let digits = platform.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !digits || platform.sha256.len() != PLACEHOLDER.len() {
            faults.push(Fault::Sha256 { platform: number, sha256: platform.sha256.clone() });
        } else if released && platform.sha256 == PLACEHOLDER {
            faults.push(Fault::Sha256Placeholder(number));
        }
        if platform.bin.is_empty() {
            faults.push(Fault::NoBin(number));
        } else if matched.iter().any(|(os, _)| platform.bin.ends_with(".exe") != (*os == "windows")) {
            faults.push(Fault::BinSuffix { platform: number, bin: platform.bin.clone() });
        }
        match platform.files.as_deref() {
            None => {}
            Some([]) => faults.push(Fault::FilesEmpty(number)),
            Some(operations) => {
                for FileOperation { from, to } in operations.iter().filter(|o| o.from.is_empty() || !clean(&o.to)) {
                    faults.push(Fault::FileOperation { platform: number, from: from.clone(), to: to.clone() });
                }
            }
        }
    }

    /// Every rule that an archive named `file_name` breaks, read against the platform that downloads it.
    pub fn archive_faults(&self, file_name: &str, bytes: &[u8]) -> Vec<Fault> {
        let suffix = format!("/{file_name}");
        let Some(platform) = self.spec.platforms.iter().find(|platform| platform.uri.ends_with(&suffix)) else {
            return vec![Fault::NoSuchPlatform(file_name.to_owned())];
        };
        let mut faults = match Archive::read(bytes) {
            Ok(archive) => archive.faults(&platform.bin),
            Err(fault) => vec![fault],
        };
        let found = crate::archive::sha256(bytes);
        if found != platform.sha256 {
            faults.push(Fault::Checksum { found, wanted: platform.sha256.clone() });
        }
        faults
    }
}

impl Selector {
    fn matches(&self, os: &str, arch: &str) -> bool {
        self.match_labels.iter().all(|(key, value)| match key.as_str() {
            "os" => value == os,
            "arch" => value == arch,
            _ => false,
        })
    }
}

/// The name of a release's archive.
pub fn archive_name(version: &str, os: &str, arch: &str) -> String {
    format!("kubectl-etcd_{version}_{os}_{arch}.tar.gz")
}

/// Whether krew's move step takes the path as a target: `.` or a relative path without `.`, `..` or empty parts.
fn clean(path: &str) -> bool {
    path == "." || path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// The manifest `template` for the release `version` (with its `v`), with the checksums of the archives at hand.
///
/// `archives` maps file names to checksums; platforms without one keep the placeholder. The leading comment, which is about the
/// committed file, is left out.
///
/// # Errors
/// [`Fault::Unreadable`] for a template that is no manifest, [`Fault::NoSuchPlatform`] for an archive that no platform downloads.
pub fn render(template: &str, version: &str, archives: &BTreeMap<String, String>) -> Result<String, Fault> {
    let old = Manifest::parse(template)?.spec.version;
    let mut sha256 = PLACEHOLDER;
    let mut used = Vec::new();
    let mut rendered = String::new();
    for line in template.lines().skip_while(|line| line.starts_with('#')) {
        let indent = &line[..line.len() - line.trim_start().len()];
        let line = match line.trim_start().split_once(": ") {
            Some(("version", _)) => format!("{indent}version: {version}"),
            Some(("uri", uri)) => {
                let uri = uri.replace(&old, version);
                let name = uri.rsplit('/').next().unwrap_or_default();
                sha256 = archives.get(name).map_or(PLACEHOLDER, String::as_str);
                used.push(name.to_owned());
                format!("{indent}uri: {uri}")
            }
            Some(("sha256", _)) => format!("{indent}sha256: \"{sha256}\""),
            _ => line.to_owned(),
        };
        rendered.push_str(&line);
        rendered.push('\n');
    }
    match archives.keys().find(|name| !used.contains(name)) {
        Some(stray) => Err(Fault::NoSuchPlatform(stray.clone())),
        None => Ok(rendered),
    }
}
