//! An object through the eyes of a column.

use jiff::Timestamp;
use serde_json::Value;

/// An object, and what its cells depend on besides.
pub(super) struct View<'a> {
    pub(super) object: &'a Value,
    pub(super) wide: bool,
    pub(super) now: Timestamp,
}

/// What is not there.
pub(super) const NONE: &str = "<none>";

impl<'a> View<'a> {
    /// The value at a JSON pointer; null if there is none.
    pub(super) fn at(&self, pointer: &str) -> &'a Value {
        self.object.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// A text; empty if there is none.
    pub(super) fn text(&self, pointer: &str) -> &'a str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// A text, or what is shown in its place.
    pub(super) fn text_or(&self, pointer: &str, other: &str) -> String {
        or(self.text(pointer), other)
    }

    /// A number; 0 if there is none.
    pub(super) fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or_default()
    }

    /// The items of a list; none if it is none.
    pub(super) fn items(&self, pointer: &str) -> &'a [Value] {
        items(self.at(pointer))
    }

    /// How many items or fields there are.
    pub(super) fn count(&self, pointer: &str) -> usize {
        match self.at(pointer) {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        }
    }

    /// Whether a field is there.
    pub(super) fn has(&self, pointer: &str) -> bool {
        !self.at(pointer).is_null()
    }

    /// How long ago the object was made.
    pub(super) fn age(&self) -> String {
        self.since("/metadata/creationTimestamp")
    }

    /// How long ago a moment was.
    pub(super) fn since(&self, pointer: &str) -> String {
        match self.moment(pointer) {
            Some(moment) => human_duration(self.now.as_second() - moment.as_second()),
            None => "<unknown>".to_owned(),
        }
    }

    /// A moment.
    pub(super) fn moment(&self, pointer: &str) -> Option<Timestamp> {
        self.text(pointer).parse().ok()
    }

    /// The condition of a type.
    pub(super) fn condition(&self, kind: &str) -> Option<&'a Value> {
        self.items("/status/conditions").iter().find(|one| one["type"] == kind)
    }

    /// Whether a condition is true.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|one| one["status"] == "True")
    }

    /// Names and images of the containers of a pod's specification.
    pub(super) fn containers(&self, spec: &str) -> [String; 2] {
        let of = |field: &str| {
            let all = self.items(&format!("{spec}/containers")).iter();
            all.map(|one| one[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(",")
        };
        [of("name"), of("image")]
    }
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn or(text: &str, other: &str) -> String {
    if text.is_empty() { other.to_owned() } else { text.to_owned() }
}

/// `True`, `False`, or what is shown where neither is said.
pub(super) fn truth(value: &Value, other: &str) -> String {
    match value.as_bool() {
        Some(true) => "True".to_owned(),
        Some(false) => "False".to_owned(),
        None => other.to_owned(),
    }
}

/// A number or a text, as quantities, ports and shares are.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Labels as `a=b,c=d`.
pub(crate) fn labels(value: &Value) -> String {
    let all = value.as_object().into_iter().flatten();
    let all: Vec<String> = all.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    or(&all.join(","), NONE)
}

/// A label selector: what it names by equality first, then its expressions, by key.
pub(super) fn selector(value: &Value) -> String {
    let mut all: Vec<(String, String)> = Vec::new();
    for (key, value) in value["matchLabels"].as_object().into_iter().flatten() {
        all.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for one in items(&value["matchExpressions"]) {
        let key = one["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = items(&one["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let text = match one["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        };
        all.push((key.to_owned(), text));
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    or(&all.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","), NONE)
}

/// The first three of a list, and how many more there are.
pub(super) fn first_three(all: &[String], none: &str) -> String {
    match all {
        [] => none.to_owned(),
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first},{second},{third} + {} more...", rest.len())
        }
        all => all.join(","),
    }
}

/// A span of time as kubectl's `AGE` has it: two units while the first is small.
pub(crate) fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |unit: i64, name: char, small: i64, small_name: char| match seconds % unit / small {
        0 => format!("{}{name}", seconds / unit),
        rest => format!("{}{name}{rest}{small_name}", seconds / unit),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, 'm', 1, 's'),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, 'h', MINUTE, 'm'),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, 'd', HOUR, 'h'),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(YEAR, 'y', DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_read_as_kubectl_prints_them() {
        // The cases of apimachinery's own tests of duration.HumanDuration.
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (1, "1s"),
            (70, "70s"),
            (119, "119s"),
            (190, "3m10s"),
            (180, "3m"),
            (4200, "70m"),
            (47 * 60, "47m"),
            (3 * 3600, "3h"),
            (5 * 3600, "5h"),
            (7 * 3600 + 3540, "7h59m"),
            (8 * 3600, "8h"),
            (48 * 3600, "2d"),
            (7 * 86_400 + 23 * 3600, "7d23h"),
            (8 * 86_400 - 1, "7d23h"),
            (100 * 86_400, "100d"),
            (700 * 86_400, "700d"),
            (2 * 31_536_000 + 3 * 86_400, "2y3d"),
            (8 * 31_536_000, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }

    #[test]
    fn selectors_and_labels() {
        let all = json!({
            "matchLabels": {"b": "1", "a": "2"},
            "matchExpressions": [
                {"key": "aa", "operator": "In", "values": ["y", "x"]}, {"key": "z", "operator": "NotIn", "values": ["x"]},
                {"key": "c", "operator": "Exists"}, {"key": "d", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector(&all), "a=2,aa in (x,y),b=1,c,!d,z notin (x)");
        assert_eq!((selector(&json!({})).as_str(), labels(&json!({"b": "1", "a": ""}))), (NONE, "a=,b=1".to_owned()));
    }
}
