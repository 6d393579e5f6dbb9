//! A line of a trust file: a public key, or a line of `allowed_signers` (ssh-keygen(1), section ALLOWED SIGNERS).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, PublicKey};

/// A public key, and what its signatures count for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trusted {
    pub(super) key: KeyData,
    /// Principals, or the comment.
    pub(super) name: String,
    /// Patterns of namespaces; nothing: all.
    namespaces: Option<String>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

/// What public keys of OpenSSH begin with.
const TYPES: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];

fn is_key(text: &str) -> bool {
    TYPES.iter().any(|begin| text.starts_with(begin))
}

impl Trusted {
    /// Reads a line that is neither empty nor a comment.
    pub(super) fn parse(line: &str) -> Result<Trusted, String> {
        if line.starts_with("-----BEGIN") {
            return Err("this is no public key; name the .pub file".to_owned());
        }
        if is_key(line) {
            return Trusted::of_key(line);
        }
        let (principals, rest) = word(line)?;
        let (options, key) = match is_key(rest) {
            true => ("", rest),
            false => word_of_options(rest)?,
        };
        let mut trusted = Trusted::of_key(key)?;
        trusted.name = unquoted(principals).to_owned();
        for option in options_of(options)? {
            trusted.obey(option)?;
        }
        Ok(trusted)
    }

    fn of_key(text: &str) -> Result<Trusted, String> {
        let kind = text.split_whitespace().next().unwrap_or_default();
        if kind != Algorithm::Ed25519.as_str() {
            let shown: String = kind.chars().take(40).collect();
            return match is_key(kind) {
                true => Err(format!("the key is of type {shown}, and only ssh-ed25519 is supported")),
                false => Err("this is neither a public key nor a line of allowed_signers".to_owned()),
            };
        }
        let key = PublicKey::from_openssh(text).map_err(|_| "the public key is damaged".to_owned())?;
        Ok(Trusted::of_public(&key))
    }

    /// A key that counts always and for everything.
    pub(super) fn of_public(key: &PublicKey) -> Trusted {
        let name = key.comment().to_owned();
        Trusted { key: key.key_data().clone(), name, namespaces: None, valid_after: None, valid_before: None }
    }

    fn obey(&mut self, option: (String, Option<String>)) -> Result<(), String> {
        let (name, value) = option;
        let twice = |before: bool| if before { Err(format!("option {name} is there twice")) } else { Ok(()) };
        match (name.as_str(), value) {
            ("namespaces", Some(value)) => {
                twice(self.namespaces.is_some())?;
                self.namespaces = Some(value);
            }
            ("valid-after", Some(value)) => {
                twice(self.valid_after.is_some())?;
                self.valid_after = Some(time(&value)?);
            }
            ("valid-before", Some(value)) => {
                twice(self.valid_before.is_some())?;
                self.valid_before = Some(time(&value)?);
            }
            ("cert-authority", None) => return Err("certificates are not supported: name the keys".to_owned()),
            _ => {
                let shown: String = name.chars().take(40).collect();
                return Err(format!("option {shown:?} is not understood"));
            }
        }
        Ok(())
    }

    /// Why signatures of this key do not count; nothing if they do.
    pub(super) fn limit(&self, namespace: &str, now: Timestamp) -> Option<String> {
        if let Some(patterns) = self.namespaces.as_ref().filter(|patterns| !in_list(namespace, patterns)) {
            return Some(format!("has namespaces={patterns:?}, which does not include {namespace}"));
        }
        if let Some(after) = self.valid_after.filter(|after| now < *after) {
            return Some(format!("is valid only after {after}"));
        }
        self.valid_before.filter(|before| now > *before).map(|before| format!("is valid only before {before}"))
    }
}

/// The first word of a line, which may be in quotes, and the rest behind it.
fn word(line: &str) -> Result<(&str, &str), String> {
    let end = match line.strip_prefix('"') {
        Some(rest) => rest.find('"').map(|end| end + 2),
        None => line.find(char::is_whitespace),
    };
    let (word, rest) = end.and_then(|end| line.split_at_checked(end)).ok_or("there is no public key in it")?;
    Ok((word, rest.trim_start()))
}

fn unquoted(word: &str) -> &str {
    word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or(word)
}

/// The options before a key: up to the first space that is not in quotes.
fn word_of_options(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            letter if letter.is_whitespace() && !quoted => {
                let (options, rest) = text.split_at(at);
                return Ok((options, rest.trim_start()));
            }
            _ => {}
        }
    }
    Err("this is neither a public key nor a line of allowed_signers".to_owned())
}

/// `name`, `name="value"`, separated by commas. Names in lower case.
fn options_of(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut all = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (value, after) = match after.strip_prefix('=') {
            None => (None, after),
            Some(after) => {
                let (value, after) =
                    quoted(after).ok_or_else(|| format!("the value of option {name:?} is not in quotes"))?;
                (Some(value), after)
            }
        };
        all.push((name.to_ascii_lowercase(), value));
        rest = match (after.is_empty(), after.strip_prefix(',')) {
            (true, _) => "",
            (false, Some(more)) if !more.is_empty() => more,
            _ => return Err("its options are not understood".to_owned()),
        };
    }
    Ok(all)
}

/// A value in quotes, in which `\"` is a quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut letters = inside.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, inside.get(at + 1..)?)),
            '\\' if inside.get(at + 1..).is_some_and(|next| next.starts_with('"')) => {
                letters.next();
                value.push('"');
            }
            letter => value.push(letter),
        }
    }
    None
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`; with `Z` in UTC, otherwise in the time zone of this machine.
fn time(text: &str) -> Result<Timestamp, String> {
    let bad =
        || format!("{text:?} is not a time of allowed_signers: expected YYYYMMDD or YYYYMMDDHHMMSS, with Z for UTC");
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let whole = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return Err(bad()),
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%S", &whole).map_err(|_| bad())?;
    Ok(civil.to_zoned(zone).map_err(|_| bad())?.timestamp())
}

/// Whether a text is in a list of patterns, as OpenSSH's `match_pattern_list` decides: a pattern with `!` that matches excludes it.
fn in_list(text: &str, patterns: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(text.as_bytes(), pattern.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches(text.as_bytes(), pattern.as_bytes()),
        }
    }
    found
}

/// `*` is any text, `?` any letter.
fn matches(text: &[u8], pattern: &[u8]) -> bool {
    // reached[i]: the pattern so far matches the first i bytes.
    let mut reached = vec![false; text.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for letter in pattern {
        let mut next = vec![false; text.len() + 1];
        let mut any = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let before = at.checked_sub(1);
            let from = before.and_then(|before| reached.get(before)).copied().unwrap_or(false);
            let same = before.and_then(|before| text.get(before)).is_some_and(|byte| byte == letter);
            any |= reached.get(at).copied().unwrap_or(false);
            *slot = match letter {
                b'*' => any,
                b'?' => from,
                _ => from && same,
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn now() -> Timestamp {
        "2026-11-27T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn lines_give_keys_names_and_limits() {
        for (line, name, limit) in [
            (format!("{KEY} backup@ci"), "backup@ci", None),
            (KEY.to_owned(), "", None),
            (format!("ops {KEY}"), "ops", None),
            (format!("\"ops team\" {KEY}"), "ops team", None),
            (format!("ops,ci namespaces=\"git,kubectl-*\" {KEY} x"), "ops,ci", None),
            (format!("ops NAMESPACES=\"git\" {KEY}"), "ops", Some("has namespaces=\"git\"")),
            (format!("ops namespaces=\"*,!kubectl-etcd\" {KEY}"), "ops", Some("does not include kubectl-etcd")),
            (
                format!("ops valid-after=\"20261127130000Z\" {KEY}"),
                "ops",
                Some("is valid only after 2026-11-27T13:00:00Z"),
            ),
            (format!("ops valid-after=\"202611271100Z\",valid-before=\"20261128Z\" {KEY}"), "ops", None),
            (format!("ops valid-before=\"20261127Z\" {KEY}"), "ops", Some("is valid only before 2026-11-27T00:00:00Z")),
        ] {
            let trusted = Trusted::parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(trusted.name, name, "{line}");
            let found = trusted.limit("kubectl-etcd", now());
            assert_eq!(found.is_some(), limit.is_some(), "{line}: {found:?}");
            assert!(found.unwrap_or_default().contains(limit.unwrap_or_default()), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (line, said) in [
            ("hello", "no public key"),
            ("ops hello", "neither"),
            ("ops hello world", "neither"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "no public key"),
            ("ssh-rsa AAAA", "type ssh-rsa"),
            ("ops ecdsa-sha2-nistp256 AAAA", "type ecdsa-sha2-nistp256"),
            ("sk-ssh-ed25519@openssh.com AAAA", "type sk-ssh-ed25519@openssh.com"),
            ("ssh-ed25519 AAAA", "damaged"),
            (&format!("ops cert-authority {KEY}"), "certificates are not supported"),
            (&format!("ops no-touch-required {KEY}"), "\"no-touch-required\" is not understood"),
            (&format!("ops namespaces {KEY}"), "\"namespaces\" is not understood"),
            (&format!("ops namespaces=git {KEY}"), "not in quotes"),
            (&format!("ops namespaces=\"git {KEY}"), "neither"),
            (&format!("ops namespaces=\"a\",namespaces=\"b\" {KEY}"), "twice"),
            (&format!("ops namespaces=\"a\"valid-after=\"20260101\" {KEY}"), "its options"),
            (&format!("ops namespaces=\"a\", {KEY}"), "its options"),
            (&format!("ops valid-after=\"2026\" {KEY}"), "not a time"),
            (&format!("ops valid-after=\"20261301Z\" {KEY}"), "not a time"),
            (&format!("ops valid-after=\"2026+101Z\" {KEY}"), "not a time"),
        ] {
            let error = Trusted::parse(line).expect_err(line);
            assert!(error.contains(said), "{line}: {error}");
        }
    }

    #[test]
    fn patterns_are_those_of_openssh() {
        for (text, patterns, expected) in [
            ("a", "a", true),
            ("a", "b,a", true),
            ("ab", "a?", true),
            ("a", "a?", false),
            ("abc", "a*c", true),
            ("ac", "a*c", true),
            ("abcd", "a*c", false),
            ("a", "*", true),
            ("", "*", true),
            ("a", "!a,*", false),
            ("a", "*,!a", false),
            ("a", "!b", false),
            ("a", "", false),
        ] {
            assert_eq!(in_list(text, patterns), expected, "{text} {patterns}");
        }
    }
}
