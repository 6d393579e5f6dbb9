//! Label and field selectors.

use serde_json::Value;

use super::{request::Query, resource::Resource, respond::Failure};

/// Which objects of a collection are meant.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Label>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
struct Label {
    key: String,
    /// `None`: the key itself is what matters.
    values: Option<Vec<String>>,
    /// Whether the label is to be (in), or not.
    wanted: bool,
}

impl Selector {
    pub(super) fn read(query: &Query, res: &Resource) -> Result<Self, Failure> {
        let labels = split(query.get("labelSelector").unwrap_or_default()).map(label).collect::<Result<_, _>>()?;
        let mut fields = Vec::new();
        for term in query.get("fieldSelector").unwrap_or_default().split(',').filter(|t| !t.is_empty()) {
            let (field, wanted, value) = equality(term).ok_or_else(|| {
                Failure::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'"))
            })?;
            if !supported(res, field) {
                return Err(Failure::bad_request(format!("field label not supported: {field}")));
            }
            fields.push((field.to_owned(), wanted, value.to_owned()));
        }
        Ok(Self { labels, fields })
    }

    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object may match, by its text: most of what is not meant is told by that in a fraction of the time. A
    /// string that a field must have is in the text, between quotes, unless the text has escapes.
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        let mut strings = self.fields.iter().filter(|(_, wanted, value)| *wanted && is_plain_string(value)).peekable();
        strings.peek().is_none()
            || memchr::memchr(b'\\', text).is_some()
            || strings.all(|(_, _, value)| memchr::memmem::find(text, format!("\"{value}\"").as_bytes()).is_some())
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|label| {
            let has = match (&label.values, labels[&label.key].as_str()) {
                (None, value) => value.is_some(),
                (Some(values), Some(value)) => values.iter().any(|v| v == value),
                (Some(_), None) => false,
            };
            has == label.wanted
        }) && self.fields.iter().all(|(field, wanted, value)| {
            let pointer = format!("/{}", field.replace('.', "/"));
            let found = object.pointer(&pointer).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
            (found.unwrap_or_default() == *value) == *wanted
        })
    }
}

/// Whether JSON has it as a string and no other way, and needs no escapes for it.
fn is_plain_string(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !matches!(value, "true" | "false" | "null")
}

fn supported(res: &Resource, field: &str) -> bool {
    let more: &[&str] = match res.kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Node" => &["spec.unschedulable"],
        "Namespace" => &["status.phase"],
        "Secret" => &["type"],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.fieldPath",
            "reason",
            "type",
        ],
        _ => &[],
    };
    field == "metadata.name" || (field == "metadata.namespace" && res.namespaced) || more.contains(&field)
}

fn equality(term: &str) -> Option<(&str, bool, &str)> {
    if let Some((key, value)) = term.split_once("!=") {
        return Some((key.trim(), false, value.trim()));
    }
    let (key, value) = term.split_once("==").or_else(|| term.split_once('='))?;
    Some((key.trim(), true, value.trim()))
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|term| !term.is_empty())
}

fn label(term: &str) -> Result<Label, Failure> {
    let bad = || Failure::bad_request(format!("unable to parse requirement: {term:?} is no label selector"));
    let one = |key: &str, values: Option<Vec<String>>, wanted: bool| {
        let key = key.trim();
        if key.is_empty() || key.contains([' ', '(', ')']) {
            return Err(bad());
        }
        Ok(Label { key: key.to_owned(), values, wanted })
    };
    let set = |list: &str| {
        let list = list.trim().strip_prefix('(').and_then(|l| l.strip_suffix(')')).ok_or_else(bad)?;
        Ok::<_, Failure>(Some(list.split(',').map(|v| v.trim().to_owned()).collect()))
    };
    if let Some((key, list)) = term.split_once(" notin ") {
        return one(key, set(list)?, false);
    }
    if let Some((key, list)) = term.split_once(" in ") {
        return one(key, set(list)?, true);
    }
    if let Some((key, wanted, value)) = equality(term) {
        return one(key, Some(vec![value.to_owned()]), wanted);
    }
    match term.strip_prefix('!') {
        Some(key) => one(key, None, false),
        None => one(term, None, true),
    }
}
