//! The syntax of unit files, and of the files of variables that they name.

use anyhow::{Result, bail};

/// One `Key=value` line of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// The lines of a unit file. A line that ends with a backslash goes on in the next; comments between are left out.
pub(super) fn lines(text: &str, log: &mut Vec<String>) -> Vec<Line> {
    let (mut all, mut section, mut pending) = (Vec::new(), String::new(), String::new());
    for raw in text.lines() {
        let line = raw.trim();
        if line.starts_with(['#', ';']) || (pending.is_empty() && line.is_empty()) {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            pending.push_str(part);
            pending.push(' ');
            continue;
        }
        let line = std::mem::take(&mut pending) + line;
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if section.is_empty() {
            log.push(format!("Assignment outside of section. Ignoring: {line}"));
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim_end().to_owned(), value.trim().to_owned());
            all.push(Line { section: section.clone(), key, value });
        } else {
            log.push(format!("Missing '=', ignoring line: {line}"));
        }
    }
    all
}

/// The words of a value: apart by white space, whole within quotes, with C's escapes.
pub(super) fn words(text: &str) -> Result<Vec<String>> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().push(escaped(&mut chars)?),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => all.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        bail!("unbalanced quotes: {text}");
    }
    all.extend(word);
    Ok(all)
}

fn escaped(chars: &mut std::str::Chars) -> Result<char> {
    Ok(match chars.next() {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some('s') => ' ',
        Some(c @ ('\\' | '"' | '\'')) => c,
        other => bail!("the lab does not know the escape \\{}", other.unwrap_or(' ')),
    })
}

/// The variables of a file that `EnvironmentFile=` names.
pub(super) fn variables(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '#' | ';' => while chars.next().is_some_and(|c| c != '\n') {},
            c => {
                let mut key = String::from(c);
                while let Some(c) = chars.next_if(|c| !matches!(c, '=' | '\n')) {
                    key.push(c);
                }
                if chars.next() == Some('=') {
                    let value = value(&mut chars);
                    let key = key.trim_end();
                    if is_name(key) {
                        all.push((key.to_owned(), value));
                    }
                }
            }
        }
    }
    all
}

/// Whether this can be a variable's name.
pub(super) fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A value to the end of its line: what is quoted may go over more than one, and white space outside of quotes ends with the line.
fn value(chars: &mut std::iter::Peekable<std::str::Chars>) -> String {
    let (mut value, mut kept, mut quote, mut bare) = (String::new(), 0, None, false);
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\n', None) => break,
            ('\\', None) => {
                bare = true;
                value.extend(chars.next().filter(|next| *next != '\n'));
            }
            ('\\', Some('"')) => match chars.next() {
                Some('\n') | None => {}
                Some(next @ ('"' | '\\' | '$' | '`')) => value.push(next),
                Some(next) => value.extend(['\\', next]),
            },
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) if !bare => quote = Some(c),
            (c, None) if c.is_whitespace() => {
                if bare {
                    value.push(c);
                }
                continue;
            }
            (c, _) => {
                bare = quote.is_none();
                value.push(c);
            }
        }
        kept = value.len();
    }
    value.truncate(kept);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_files_have_sections_comments_and_long_lines() {
        let mut log = Vec::new();
        let text = "A=0\n# no\n[Unit]\nA = 1\n; no\nB=2 \\\n# between\n  3\n\n[Service]\nC=\nno sign\n";
        let line = |section: &str, key: &str, value: &str| Line {
            section: section.into(),
            key: key.into(),
            value: value.into(),
        };
        let want = [line("Unit", "A", "1"), line("Unit", "B", "2  3"), line("Service", "C", "")];
        assert_eq!(lines(text, &mut log), want);
        assert_eq!(log, ["Assignment outside of section. Ignoring: A=0", "Missing '=', ignoring line: no sign"]);
    }

    #[test]
    fn words_are_quoted_and_escaped() {
        assert_eq!(words(r#"/a  "b c" d'e f'g "" \"x\s"#).unwrap(), ["/a", "b c", "de fg", "", "\"x "]);
        assert!(words("/a 'b").is_err() && words(r"\q").is_err());
    }

    #[test]
    fn files_of_variables_have_comments_and_quotes() {
        let text =
            "# no\n; no\nA=1 2  \n B = \"x \\\"y\\\" \\n\" \nC='a\nb'\nD=\\\"q\\\" \\\n r\nE=\n1F=no\nno\nG=it's\n";
        let want = [("A", "1 2"), ("B", "x \"y\" \\n"), ("C", "a\nb"), ("D", "\"q\"  r"), ("E", "")];
        let mut want: Vec<_> = want.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        want.push(("G".into(), "it's".into()));
        assert_eq!(variables(text), want);
    }
}
