//! Label selectors as kubectl takes them: kubernetes/apimachinery pkg/labels/selector.go @ v0.36.0.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector, SelectorExt as _};

use super::Entry;

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
///
/// # Errors
/// What is not understood.
pub(crate) fn parse_selector(text: &str) -> Result<Selector, String> {
    let mut expressions = Vec::new();
    let mut rest = text;
    while !rest.trim().is_empty() {
        // A comma within parentheses does not end a requirement.
        let mut depth = 0_u32;
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            *c == ',' && depth == 0
        });
        let (one, after) = end.map_or((rest, ""), |(at, _)| (&rest[..at], &rest[at + 1..]));
        expressions.push(requirement(one.trim()).ok_or_else(|| format!("{:?} is no label selector", one.trim()))?);
        rest = after;
    }
    Ok(expressions.into_iter().collect())
}

/// Whether an object has the labels that are selected, if any are. One that cannot be read may have them.
pub(crate) fn selects(selector: Option<&Selector>, entry: &Entry) -> bool {
    let (Some(selector), Some(object)) = (selector, entry.shown()) else { return true };
    let labels = object.json["metadata"]["labels"].as_object().into_iter().flatten();
    selector.matches(&labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect())
}

fn requirement(text: &str) -> Option<Expression> {
    let word = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        text.chars().all(plain).then(|| text.to_owned())
    };
    let key = |text: &str| word(text.trim()).filter(|key| !key.is_empty());
    if let Some(name) = text.strip_prefix('!') {
        return Some(Expression::DoesNotExist(key(name)?));
    }
    for (sign, make) in [
        ("!=", Expression::NotEqual as fn(String, String) -> Expression),
        ("==", Expression::Equal),
        ("=", Expression::Equal),
    ] {
        if let Some((name, value)) = text.split_once(sign) {
            return Some(make(key(name)?, word(value.trim())?));
        }
    }
    let Some((head, list)) = text.split_once('(') else { return Some(Expression::Exists(key(text)?)) };
    let values: Option<BTreeSet<String>> = list.strip_suffix(')')?.split(',').map(|value| word(value.trim())).collect();
    let mut head = head.split_whitespace();
    let (name, operator) = (key(head.next()?)?, head.next()?);
    match (operator, head.next()) {
        ("in", None) => Some(Expression::In(name, values?)),
        ("notin", None) => Some(Expression::NotIn(name, values?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn kubectls_selectors() {
        let labels: BTreeMap<String, String> =
            [("app", "web"), ("tier", "front"), ("example.com/x", "")].map(|(k, v)| (k.into(), v.into())).into();
        for (text, matches) in [
            ("", true),
            ("app=web", true),
            ("app == web, tier!=back", true),
            ("app!=web", false),
            ("tier in (front, back)", true),
            ("tier notin (front),app", false),
            ("app,!gone", true),
            ("gone", false),
            ("example.com/x=", true),
        ] {
            assert_eq!(parse_selector(text).map(|selector| selector.matches(&labels)), Ok(matches), "{text}");
        }
        for wrong in ["=a", "a in b", "a in (b", "a b", "a=b=c", "!", "a near (b)"] {
            assert!(parse_selector(wrong).is_err(), "{wrong}");
        }
    }
}
