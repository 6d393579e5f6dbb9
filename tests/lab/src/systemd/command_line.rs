//! The command line that a service is started with: its words with the variables in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where programs are looked for that are named without a folder; also the `PATH` of services.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether this may be a program of a unit, without regard to whether it is there.
pub(super) fn check_program(program: &str) -> Result<(), String> {
    if program.starts_with('/') || (!program.is_empty() && !program.contains('/')) {
        Ok(())
    } else {
        Err(format!("Neither a valid executable name nor an absolute path: {program}"))
    }
}

/// The program by its path.
pub(super) fn find(program: &str) -> PathBuf {
    if program.starts_with('/') {
        return program.into();
    }
    let mut places = PATH.split(':').map(|folder| PathBuf::from(folder).join(program));
    places.find(|place| place.exists()).unwrap_or_else(|| program.into())
}

/// Puts the values of variables in their places: of `$NAME`, where that is a whole word, as many words as its value has; of `${NAME}`
/// anywhere its value. `$$` is one sign. A variable that is not set has no value.
pub(super) fn expand(words: &[String], variables: &BTreeMap<String, String>) -> Vec<String> {
    let value = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    let mut all = Vec::new();
    for word in words {
        match word.strip_prefix('$') {
            Some(name) if !name.is_empty() && !name.starts_with(['{', '$']) => {
                all.extend(value(name).split_whitespace().map(str::to_owned));
            }
            _ => all.push(expand_in(word, value)),
        }
    }
    all
}

fn expand_in<'a>(word: &str, value: impl Fn(&str) -> &'a str) -> String {
    let (mut all, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('$') {
        all.push_str(before);
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            all.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            all.push_str(value(name));
            rest = after;
        } else {
            all.push('$');
        }
    }
    all + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_words_or_parts_of_them() {
        let variables = [("A", "1 2"), ("B", "b")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let words = ["$A", "${A}", "x${B}y${C}", "$C", "$$A", "x$B", "${B", "$"].map(str::to_owned);
        let want = ["1", "2", "1 2", "xby", "$A", "x$B", "${B", "$"];
        assert_eq!(expand(&words, &variables.into()), want);
    }

    #[test]
    fn programs_are_absolute_or_on_the_path() {
        assert!(check_program("/a").is_ok() && check_program("a").is_ok());
        assert!(check_program("a/b").is_err() && check_program("").is_err());
        assert!(find("sh").is_absolute());
        assert_eq!(find("/no/such"), PathBuf::from("/no/such"));
    }
}
