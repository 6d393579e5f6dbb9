//! Two objects beside each other, as a unified diff of their YAML.

use serde_json::Value;
use similar::TextDiff;

use super::hidden::hide_pair;
use crate::output::visible;

/// Lines around a change.
const CONTEXT: usize = 3;

/// What changes from one object to the other; `None` is one that is not there. Values of Secrets are hidden. Nothing, if they are equal.
pub(crate) fn unified(before: (&str, Option<&Value>), after: (&str, Option<&Value>)) -> String {
    let (mut old, mut new) = (before.1.cloned().unwrap_or_default(), after.1.cloned().unwrap_or_default());
    hide_pair(&mut old, &mut new);
    let (old, new) = (yaml(&old), yaml(&new));
    let mut diff = TextDiff::configure();
    diff.timeout(std::time::Duration::from_secs(2));
    let diff = diff.diff_lines(&old, &new);
    diff.unified_diff().context_radius(CONTEXT).header(&visible::name(before.0), &visible::name(after.0)).to_string()
}

fn yaml(object: &Value) -> String {
    if object.is_null() {
        return String::new();
    }
    // What is JSON can always be written as YAML.
    visible::yaml(object).unwrap_or_else(|_| format!("{object:#}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_that_patch_takes() {
        let one = json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "text": "one\ntwo\n"});
        let mut other = one.clone();
        other["e"] = json!(6);
        assert_eq!(unified(("a/x", Some(&one)), ("b/x", Some(&one))), "");
        assert_eq!(
            unified(("a/x", Some(&one)), ("b/x", Some(&other))),
            "--- a/x\n+++ b/x\n@@ -2,7 +2,7 @@\n b: 2\n c: 3\n d: 4\n-e: 5\n+e: 6\n text: |\n   one\n   two\n"
        );
        assert_eq!(unified(("a/x", Some(&json!({"a": 1}))), ("b/x", None)), "--- a/x\n+++ b/x\n@@ -1 +0,0 @@\n-a: 1\n");
        assert_eq!(
            unified(("a/x", None), ("b/x", Some(&json!({"a": 1, "b": 2})))),
            "--- a/x\n+++ b/x\n@@ -0,0 +1,2 @@\n+a: 1\n+b: 2\n"
        );
    }

    #[test]
    fn secrets_differ_without_their_values() {
        let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "data": {"key": value}});
        let text = unified(("a", Some(&secret("b25l"))), ("b", Some(&secret("dHdv"))));
        assert!(text.contains("-  key: \"<hidden: 3 bytes, before>\"\n+  key: \"<hidden: 3 bytes, after>\""), "{text}");
        assert!(!unified(("a", None), ("b", Some(&secret("b25l")))).contains("b25l"));
    }
}
