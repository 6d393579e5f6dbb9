//! What the words after the first file are: a second file, or types.

use std::path::PathBuf;

/// What a file is compared with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum With {
    /// Another file.
    File(PathBuf),
    /// The running cluster.
    Cluster,
}

/// Tells the second file from the types. `is_file` looks whether there is a regular file of a name.
///
/// # Errors
/// Neither a second file nor `--live` is there.
pub(super) fn split(words: &[String], live: bool, is_file: impl Fn(&str) -> bool) -> Result<(With, &[String]), String> {
    if live {
        return match words.first() {
            Some(first) if first.ends_with(".db") && is_file(first) => {
                Err(format!("--live and a second file ({first}) exclude each other"))
            }
            _ => Ok((With::Cluster, words)),
        };
    }
    let looks_like_one = |word: &str| is_file(word) || word.contains(std::path::is_separator) || word.ends_with(".db");
    match words.split_first() {
        Some((first, types)) if looks_like_one(first) => Ok((With::File(first.into()), types)),
        Some((first, _)) => Err(format!("{first:?} is no file: name a second file, or pass --live")),
        None => Err("missing: a second file, or --live".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_file_is_told_from_types() {
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let there = |name: &str| ["new.db", "backup", "pods"].contains(&name);
        for (text, live, expected) in [
            ("new.db", false, Some((Some("new.db"), ""))),
            ("backup cm,secrets", false, Some((Some("backup"), "cm,secrets"))),
            // A file that is there comes before a type of its name.
            ("pods pods", false, Some((Some("pods"), "pods"))),
            ("gone.db pods web", false, Some((Some("gone.db"), "pods web"))),
            ("../gone cm/a", false, Some((Some("../gone"), "cm/a"))),
            ("", true, Some((None, ""))),
            ("pods", true, Some((None, "pods"))),
            ("cm/a cm/b", true, Some((None, "cm/a cm/b"))),
            ("new.db", true, None),
            ("", false, None),
            ("cm", false, None),
        ] {
            let typed = words(text);
            let said = split(&typed, live, there).ok();
            let expected = expected
                .map(|(file, types)| (file.map_or(With::Cluster, |file| With::File(file.into())), words(types)));
            assert_eq!(said.map(|(with, types)| (with, types.to_vec())), expected, "{text} {live}");
        }
    }
}
