//! Text from a snapshot, a node or a server, as a terminal may be given it: nothing that moves the cursor, turns the direction of writing or
//! takes no room is passed on; it is shown as Go and Rust write it in a literal, `\x1b` or `\u202e`.

use std::borrow::Cow;
use std::fmt::Write as _;

pub(crate) use etcd_recovery::quoted;

/// Text of several lines: newlines and tabs are its layout.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_hidden(c) && c != '\n' && c != '\t')
}

/// A message: its further lines are indented by two spaces at least. A newline before anything else is none of ours.
pub(super) fn message(message: &str) -> Cow<'_, str> {
    let forged = |line: &str| !line.is_empty() && !line.starts_with("  ");
    let lines = message.trim_end_matches('\n');
    if !lines.split('\n').skip(1).any(forged) {
        return text(message);
    }
    let mut whole = String::new();
    for (number, line) in lines.split('\n').enumerate() {
        whole.push_str(if number == 0 {
            ""
        } else if forged(line) {
            "\\n"
        } else {
            "\n"
        });
        whole.push_str(&text(line));
    }
    Cow::Owned(whole)
}

/// A name, a cell or anything else that is one line: a newline in it is none of the layout.
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    escape(name, |c| is_hidden(c) || is_selector(c))
}

/// Whether a name shows as what it is.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.chars().any(|c| is_hidden(c) || is_selector(c))
}

/// JSON whose strings show everything that is in them. The data is the same.
pub(super) fn json(mut text: String) -> String {
    // serde_json escapes C0 itself; the rest can only be within a string.
    let hidden = |c: char| is_hidden(c) && c != '\n';
    if !text.chars().any(hidden) {
        return text;
    }
    let plain = std::mem::take(&mut text);
    for c in plain.chars() {
        if hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// YAML whose strings show everything that is in them. The data is the same.
///
/// # Errors
/// The value cannot be represented.
pub(crate) fn yaml(value: &impl serde::Serialize) -> Result<String, String> {
    let plain = serde_saphyr::to_string(value).map_err(|error| error.to_string())?;
    // What YAML calls not printable is in double quotes and escaped already.
    if !plain.chars().any(|c| is_hidden(c) && c != '\n' && c != '\t') {
        return Ok(plain);
    }
    // The rest is sent through as U+0080, which YAML has to escape, with a word that the value does not have, and its number.
    let mut word = "u".to_owned();
    while plain.contains(&word) {
        word.push('u');
    }
    let mut value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    mark(&mut value, &word);
    let marked = serde_saphyr::to_string(&value).map_err(|error| error.to_string())?;
    Ok(marked.replace(&format!("\\x80{word}"), "\\U"))
}

/// Puts a mark in the place of everything hidden that YAML would print as it is.
fn mark(value: &mut serde_json::Value, word: &str) {
    use serde_json::Value;
    let marked = |text: &str| -> String {
        let one = |c: char| match is_hidden(c) && !c.is_control() {
            true => format!("\u{80}{word}{:08X}", u32::from(c)),
            false => c.to_string(),
        };
        text.chars().map(one).collect()
    };
    match value {
        Value::String(text) => *text = marked(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mark(item, word)),
        Value::Object(fields) => {
            let taken = std::mem::take(fields);
            fields.extend(taken.into_iter().map(|(name, mut field)| {
                mark(&mut field, word);
                (marked(&name), field)
            }));
        }
        _ => {}
    }
}

fn escape(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let _infallible = match (c, u32::from(c)) {
            _ if !hidden(c) => shown.write_char(c),
            ('\n', _) => shown.write_str("\\n"),
            ('\t', _) => shown.write_str("\\t"),
            ('\r', _) => shown.write_str("\\r"),
            (_, code @ ..=0xff) => write!(shown, "\\x{code:02x}"),
            (_, code @ ..=0xffff) => write!(shown, "\\u{code:04x}"),
            (_, code) => write!(shown, "\\U{code:08x}"),
        };
    }
    Cow::Owned(shown)
}

/// C0, DEL and C1; what turns the direction of writing; what is shown as nothing: Default_Ignorable_Code_Point and the format characters of
/// Unicode 16 (DerivedCoreProperties.txt, UnicodeData.txt), and the separators of lines and paragraphs. Not the variation selectors,
/// which emoji end with.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The variation selectors: in a name they make two of one.
fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Something of every kind.
    const HOSTILE: &str = "a\u{1b}[31m\u{7}\r\u{7f}\u{9b}2J\u{85}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}\\x80u z";

    #[test]
    fn nothing_hidden_is_passed_on() {
        let shown = r"a\x1b[31m\x07\r\x7f\x9b2J\x85\u202e\u2066\u200b\ufeff\U000e0041\x80u z";
        assert_eq!(text(HOSTILE), shown);
        assert_eq!(name(HOSTILE), shown);
        for c in ('\0'..=char::MAX).filter(|c| c.is_control()) {
            assert!(name(&c.to_string()).is_ascii() && !is_plain(&c.to_string()), "{c:?}");
        }
    }

    #[test]
    fn lines_are_layout_in_a_text_and_not_in_a_name() {
        assert_eq!(text("a\n\tb"), "a\n\tb");
        assert_eq!(name("a\n\tb"), r"a\n\tb");
        assert!(!is_plain("a\nb"));
    }

    #[test]
    fn a_message_has_no_lines_but_those_that_are_indented() {
        assert_eq!(message("see\n  kubectl etcd cleanup"), "see\n  kubectl etcd cleanup");
        assert_eq!(message("see\n\n  kubectl etcd cleanup\n"), "see\n\n  kubectl etcd cleanup\n");
        assert_eq!(message("node a\nerror: \u{1b}[2J\n  rm -r /"), "node a\\nerror: \\x1b[2J\n  rm -r /");
        assert_eq!(message("a\n b"), "a\\n b");
    }

    #[test]
    fn a_name_stays_one_word_in_a_command() {
        for (word, shown) in [
            ("cp1.example.com", "cp1.example.com"),
            ("x; rm -r /", "'x; rm -r /'"),
            ("a'$(b)", "'a'\\''$(b)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn what_people_write_stays() {
        for plain in ["web-0", "caf\u{e9}", "\u{4f60}\u{597d}", "\u{5d0}\u{5d1}", "C:\\x1b"] {
            assert!(matches!(name(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
        // An emoji in a text; in a name it would be another name that looks the same.
        assert_eq!(text("\u{26a0}\u{fe0f}"), "\u{26a0}\u{fe0f}");
        assert_eq!(name("web\u{fe0f}"), r"web\ufe0f");
    }

    #[test]
    fn data_are_equal_when_they_are_read_again() {
        let long = format!("{} {HOSTILE}", "words ".repeat(300));
        let value = json!({
            "plain": "one\ntwo\n", "uu": "\\x80u0000202E", "a": HOSTILE, "lines": format!("# \u{202e}\n  {HOSTILE}\n\n"), HOSTILE: [HOSTILE, 1, 1.5, null],
            "long": long, "bidi": "\u{202e}", "end\u{200b}": {"deep\u{2069}": ["\u{80}u0000202E\u{202e}", "- \u{200b}"]},
            "fffe": "\u{fffe}\u{200d}", "supplement": "\u{e0041}\u{10ffff}",
        });
        let as_json = json(serde_json::to_string_pretty(&value).expect("JSON"));
        let as_yaml = yaml(&value).expect("YAML");
        for text in [&as_json, &as_yaml] {
            let raw: Vec<char> = text.chars().filter(|&c| c != '\n' && is_hidden(c)).collect();
            assert!(raw.is_empty(), "{raw:?} in {text}");
        }
        assert_eq!(serde_json::from_str::<Value>(&as_json).expect("JSON"), value);
        assert_eq!(serde_yaml_ng::from_str::<Value>(&as_yaml).expect("YAML"), value);
        assert!(as_yaml.contains("bidi: \"\\U0000202E\"\n"), "{as_yaml}");
        // And what hides nothing is written as ever.
        let plain = json!({"a": "one\ntwo\n", "b": ["\u{e9}"]});
        assert_eq!(yaml(&plain).expect("YAML"), serde_saphyr::to_string(&plain).expect("YAML"));
    }
}
