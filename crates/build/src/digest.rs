//! A digest of source files: of their names, relative to the workspace, and their contents. Neither the place, nor the times of the files,
//! nor the order of a folder counts; nor do line ends, which Git writes as the platform has them.

use std::io;
use std::path::Path;

use siphasher::sip::SipHasher24;

/// Decide with which dependencies programs are built.
const FILES: [&str; 2] = ["Cargo.lock", "Cargo.toml"];
/// The folder of crates, of which the sidecar is made, and the sidecar itself.
const CRATES: &str = "crates";
const SIDECAR: &str = "sidecar";
/// Crates of the plugin alone: they neither run on nodes nor speak with what does.
const PLUGIN: [&str; 1] = ["doctor"];
/// Folders of a crate that no program is built from.
const PASSED_OVER: [&str; 6] = ["tests", "benches", "examples", "simulator", "fuzz", "target"];

/// The digest of all [`sources`] below a folder.
pub(crate) fn of(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for source in sources(root)? {
        gather(root, source, &mut files)?;
    }
    files.sort();
    let mut all = Vec::new();
    for (name, contents) in files {
        for part in [name.as_bytes(), &contents] {
            // Lengths, so that no two lists of files are the same bytes.
            all.extend_from_slice(&(part.len() as u64).to_le_bytes());
            all.extend_from_slice(part);
        }
    }
    Ok(format!("{:016x}", SipHasher24::new().hash(&all)))
}

/// What programs that run on nodes, or speak with those, are built from: files and folders, relative to the workspace.
pub(crate) fn sources(root: &Path) -> io::Result<Vec<String>> {
    let crates = names(&root.join(CRATES))?.into_iter().filter(|name| !PLUGIN.contains(&name.as_str()));
    let crates = crates.map(|name| format!("{CRATES}/{name}"));
    let mut all: Vec<String> = FILES.iter().map(|&file| file.to_owned()).collect();
    for one in crates.chain([SIDECAR.to_owned()]) {
        let parts = names(&root.join(&one))?.into_iter().filter(|name| !PASSED_OVER.contains(&name.as_str()));
        all.extend(parts.map(|name| format!("{one}/{name}")));
    }
    Ok(all)
}

/// The names in a folder but for those of editors, which begin with a dot or end with a tilde.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| about(folder, &error))? {
        if let Ok(name) = entry.map_err(|error| about(folder, &error))?.file_name().into_string()
            && !name.starts_with('.')
            && !name.ends_with('~')
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Adds a file, or all files below a folder.
fn gather(root: &Path, name: String, files: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let path = root.join(&name);
    if path.is_dir() {
        return names(&path)?.into_iter().try_for_each(|below| gather(root, format!("{name}/{below}"), files));
    }
    let mut contents = std::fs::read(&path).map_err(|error| about(&path, &error))?;
    contents.retain(|byte| *byte != b'\r');
    files.push((name, contents));
    Ok(())
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// Writes the sources somewhere else, the last ones first.
    fn copy(to: &Path, line_end: &str) {
        let mut files = Vec::new();
        for source in sources(&workspace()).unwrap() {
            gather(&workspace(), source, &mut files).unwrap();
        }
        for (name, contents) in files.into_iter().rev() {
            let path = to.join(&name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let contents = String::from_utf8(contents).unwrap();
            std::fs::write(path, contents.replace('\n', line_end)).unwrap();
        }
    }

    #[test]
    fn the_same_sources_are_the_same_build_wherever_they_are() {
        for line_end in ["\n", "\r\n"] {
            let folder = tempfile::tempdir().unwrap();
            copy(folder.path(), line_end);
            // What a platform or an editor leaves there, and tests.
            for name in [
                "sidecar/src/.DS_Store",
                "crates/wire/src/lib.rs~",
                "sidecar/tests/more.rs",
                "crates/doctor/src/lib.rs",
            ] {
                let path = folder.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "x").unwrap();
            }
            assert_eq!(of(folder.path()).unwrap(), crate::ID, "{line_end:?}");
        }
    }

    #[test]
    fn any_change_of_what_runs_on_a_node_is_another_build() {
        for name in ["Cargo.lock", "sidecar/src/serve.rs", "crates/wire/src/lib.rs", "crates/snapshot/Cargo.toml"] {
            let folder = tempfile::tempdir().unwrap();
            copy(folder.path(), "\n");
            let path = folder.path().join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{text}\n")).unwrap();
            assert_ne!(of(folder.path()).unwrap(), crate::ID, "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path(), "\n");
        std::fs::rename(folder.path().join("sidecar/src/serve.rs"), folder.path().join("sidecar/src/other.rs"))
            .unwrap();
        assert_ne!(of(folder.path()).unwrap(), crate::ID);
        std::fs::remove_dir_all(folder.path().join("sidecar")).unwrap();
        assert!(of(folder.path()).unwrap_err().to_string().contains("sidecar"));
    }

    /// An image that is built from a context without some of the sources would be another build.
    #[test]
    fn the_images_context_has_all_sources() {
        let ignored = std::fs::read_to_string(workspace().join(".dockerignore")).unwrap();
        for pattern in ignored.lines() {
            let named = sources(&workspace()).unwrap().iter().any(|source| source.starts_with(pattern));
            assert!(!named && !pattern.contains(['*', '?', '[']), "{pattern}");
        }
    }
}
