//! The fields of a kubeconfig, checked and put in the form that kube takes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Bool,
    /// Bytes in base64, in as many lines as it likes.
    Base64,
    List,
    /// Names and texts.
    Texts,
    /// Names and lists of texts.
    Lists,
    Extensions,
    Section(&'static [(&'static str, Kind)]),
    /// A list of sections.
    Sections(&'static [(&'static str, Kind)]),
}

use Kind::{Base64, Bool, Extensions, List, Lists, Section, Sections, Text, Texts};

/// client-go: tools/clientcmd/api/v1/types.go. What a connection has no use for is left out.
const CONFIG: &[(&str, Kind)] = &[
    ("kind", Text),
    ("apiVersion", Text),
    ("current-context", Text),
    ("clusters", Sections(&[("name", Text), ("cluster", Section(CLUSTER))])),
    ("users", Sections(&[("name", Text), ("user", Section(USER))])),
    ("contexts", Sections(&[("name", Text), ("context", Section(CONTEXT))])),
];
const CLUSTER: &[(&str, Kind)] = &[
    ("server", Text),
    ("tls-server-name", Text),
    ("insecure-skip-tls-verify", Bool),
    ("certificate-authority", Text),
    ("certificate-authority-data", Base64),
    ("proxy-url", Text),
    ("disable-compression", Bool),
    ("extensions", Extensions),
];
const USER: &[(&str, Kind)] = &[
    ("client-certificate", Text),
    ("client-certificate-data", Base64),
    ("client-key", Text),
    ("client-key-data", Base64),
    ("token", Text),
    ("tokenFile", Text),
    ("as", Text),
    ("as-uid", Text),
    ("as-groups", List),
    ("as-user-extra", Lists),
    ("username", Text),
    ("password", Text),
    ("auth-provider", Section(&[("name", Text), ("config", Texts)])),
    ("exec", Section(EXEC)),
];
const EXEC: &[(&str, Kind)] = &[
    ("command", Text),
    ("args", List),
    ("env", Sections(&[("name", Text), ("value", Text)])),
    ("apiVersion", Text),
    ("installHint", Text),
    ("provideClusterInfo", Bool),
    ("interactiveMode", Text),
];
const CONTEXT: &[(&str, Kind)] = &[("cluster", Text), ("user", Text), ("namespace", Text)];

/// The document of a file as kube's types take it: fields that it knows, each of its kind. An error names the field.
pub(super) fn normalised(document: Value) -> Result<Value, String> {
    let mut config = match document {
        Value::Null => Map::new(),
        Value::Object(fields) => section("", fields, CONFIG)?,
        _ => return Err("it does not have the form of a kubeconfig".to_owned()),
    };
    for (field, right) in [("apiVersion", "v1"), ("kind", "Config")] {
        match config.get(field).and_then(Value::as_str) {
            Some(value) if value != right => return Err(format!("its {field} is {value:?}, not {right:?}")),
            _ => {}
        }
    }
    for (list, inner) in [("clusters", "cluster"), ("users", "user"), ("contexts", "context")] {
        let Some(Value::Array(entries)) = config.get_mut(list) else { continue };
        let mut names: Vec<String> = Vec::new();
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            let name = entry.entry("name").or_insert_with(|| Value::from(""));
            let name = name.as_str().unwrap_or_default().to_owned();
            if names.contains(&name) {
                return Err(format!("{list} has the name {name:?} twice"));
            }
            names.push(name);
            let content = entry.entry(inner).or_insert_with(|| Value::Object(Map::new()));
            if let (Some(context), "contexts") = (content.as_object_mut(), list) {
                context.entry("cluster").or_insert_with(|| Value::from(""));
            }
        }
    }
    Ok(Value::Object(config))
}

fn section(path: &str, mut fields: Map<String, Value>, kinds: &[(&str, Kind)]) -> Result<Map<String, Value>, String> {
    let mut known = Map::new();
    for (name, kind) in kinds {
        let value = fields.remove(*name).unwrap_or_default();
        let path = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        let value = field(&path, value, *kind)?;
        // Empty is as good as not there, as everywhere in client-go.
        if !matches!(&value, Value::Null) && !matches!(&value, Value::String(text) if text.is_empty()) {
            known.insert((*name).to_owned(), value);
        }
    }
    Ok(known)
}

fn field(path: &str, value: Value, kind: Kind) -> Result<Value, String> {
    let texts = |value: Value| match value {
        Value::Array(items) => {
            let items = items.into_iter().map(|item| field(path, item, Text));
            items.collect::<Result<Vec<Value>, String>>().map(Value::Array)
        }
        other => Err(wrong(path, &other, "a list of texts")),
    };
    let mapped = |value: Value, each: &dyn Fn(Value) -> Result<Value, String>| match value {
        Value::Object(entries) => {
            let entries = entries.into_iter().map(|(name, value)| Ok((name, each(value)?)));
            entries.collect::<Result<Map<String, Value>, String>>().map(Value::Object)
        }
        other => Err(wrong(path, &other, "a map")),
    };
    match (kind, value) {
        (_, Value::Null) => Ok(Value::Null),
        (Text, value @ Value::String(_)) | (Bool, value @ Value::Bool(_)) => Ok(value),
        (Text, other) => Err(wrong(path, &other, "a text in quotes")),
        // Words of YAML 1.1.
        (Bool, Value::String(word)) => match word.to_ascii_lowercase().as_str() {
            "yes" | "y" | "on" | "true" => Ok(Value::Bool(true)),
            "no" | "n" | "off" | "false" => Ok(Value::Bool(false)),
            _ => Err(wrong(path, &Value::String(word), "true or false")),
        },
        (Bool, other) => Err(wrong(path, &other, "true or false")),
        (Base64, Value::String(text)) => {
            let bytes = decoded(&text).ok_or_else(|| format!("{path} is not base64"))?;
            Ok(Value::String(STANDARD.encode(bytes)))
        }
        (Base64, other) => Err(wrong(path, &other, "base64")),
        (List, value) => texts(value),
        (Texts, value) => mapped(value, &|value| field(path, value, Text)),
        (Lists, value) => mapped(value, &texts),
        (Extensions, Value::Array(entries)) => {
            let whole = |entry: &Value| entry["name"].is_string() && entry.get("extension").is_some();
            Ok(Value::Array(entries.into_iter().filter(whole).collect()))
        }
        (Extensions, other) => Err(wrong(path, &other, "a list")),
        (Section(kinds), Value::Object(fields)) => section(path, fields, kinds).map(Value::Object),
        (Section(_), other) => Err(wrong(path, &other, "a map")),
        (Sections(kinds), Value::Array(entries)) => {
            let sections = entries.into_iter().enumerate().map(|(index, entry)| {
                let name = entry["name"].as_str().map_or_else(|| index.to_string(), str::to_owned);
                field(&format!("{path}[{name}]"), entry, Section(kinds))
            });
            sections.collect::<Result<Vec<Value>, String>>().map(Value::Array)
        }
        (Sections(_), other) => Err(wrong(path, &other, "a list")),
    }
}

fn wrong(path: &str, value: &Value, right: &str) -> String {
    let kind = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    format!("{path} is {kind}, not {right}")
}

/// Bytes in base64. Go passes over line ends. A field that is tagged `!!binary` is either what it would be without the tag,
/// or base64 of that (PyYAML writes so): then the bytes are base64 of a PEM file once more.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let once = |text: &[u8]| {
        let packed: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        STANDARD.decode(packed).ok()
    };
    let bytes = once(text.as_bytes())?;
    let twice = once(&bytes).filter(|bytes| bytes.windows(11).any(|window| window == b"-----BEGIN "));
    Some(twice.unwrap_or(bytes))
}
