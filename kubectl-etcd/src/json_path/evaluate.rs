//! Finds what an expression means in an object, as kubectl does: what is not there is nothing, and no error.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::parse::{Literal, Node, Operator, Slice};

/// A value of the object, or one that the expression brings along.
pub(super) type Found<'a> = Cow<'a, Value>;

/// Follows the steps of an expression.
///
/// # Errors
/// A step cannot be done with the value that it meets, in kubectl's words.
pub(super) fn find<'a>(from: &'a Value, nodes: &[Node]) -> Result<Vec<Found<'a>>, String> {
    walk(vec![Cow::Borrowed(from)], nodes)
}

fn walk<'a>(from: Vec<Found<'a>>, nodes: &[Node]) -> Result<Vec<Found<'a>>, String> {
    nodes.iter().try_fold(from, |values, node| step(values, node))
}

fn step<'a>(values: Vec<Found<'a>>, node: &Node) -> Result<Vec<Found<'a>>, String> {
    let mut found = Vec::new();
    match node {
        Node::Literal(literal) => found.push(Cow::Owned(value_of(literal))),
        Node::Field(name) => found.extend(values.into_iter().filter_map(|value| field(value, name))),
        Node::Wildcard => found.extend(values.into_iter().flat_map(children)),
        Node::Recursive => values.into_iter().for_each(|value| descend(value, &mut found)),
        Node::Slice(slice) => {
            for value in values {
                let items = match value {
                    Cow::Borrowed(Value::Null) => continue,
                    Cow::Borrowed(Value::Array(items)) => items,
                    other => return Err(format!("{} is not array or slice", go_type(&other))),
                };
                let range = bounds(*slice, items.len())?;
                if range.is_empty() {
                    return Ok(found);
                }
                let step = usize::try_from(slice.step.unwrap_or(1)).ok().filter(|&step| step > 0);
                let step = step.ok_or_else(|| "step must be > 0".to_owned())?;
                found.extend(items[range].iter().step_by(step).map(Cow::Borrowed));
            }
        }
        Node::Union(all) => {
            for nodes in all {
                found.extend(walk(values.clone(), nodes)?);
            }
        }
        Node::Exists(nodes) => {
            for item in filtered(values)? {
                // As with kubectl, a path that fails is there as far as it goes.
                if walk(vec![Cow::Borrowed(item)], nodes).map_or(true, |values| !values.is_empty()) {
                    found.push(Cow::Borrowed(item));
                }
            }
        }
        Node::Compare(left, operator, right) => {
            for item in filtered(values)? {
                let one = walk(vec![Cow::Borrowed(item)], left)?;
                let Some(one) = single(&one)? else { continue };
                let other = walk(vec![Cow::Borrowed(item)], right)?;
                let Some(other) = single(&other)? else { continue };
                if operator.holds(one, other)? {
                    found.push(Cow::Borrowed(item));
                }
            }
        }
        Node::Word(word) => return Err(format!("unrecognized identifier {word}")),
    }
    Ok(found)
}

/// The lists that a filter goes through. Only values of the object are lists.
fn filtered(values: Vec<Found<'_>>) -> Result<Vec<&Value>, String> {
    let mut items = Vec::new();
    for value in values {
        match value {
            Cow::Borrowed(Value::Array(own)) => items.extend(own),
            other => {
                // The type and not the value, which may be secret.
                return Err(format!("{} is not array or slice and cannot be filtered", go_type(&other)));
            }
        }
    }
    Ok(items)
}

fn single<'a>(values: &'a [Found<'_>]) -> Result<Option<&'a Value>, String> {
    match values {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err("can only compare one element at a time".to_owned()),
    }
}

fn field<'a>(value: Found<'a>, name: &str) -> Option<Found<'a>> {
    match value {
        Cow::Borrowed(value) => value.as_object()?.get(name).map(Cow::Borrowed),
        Cow::Owned(_) => None,
    }
}

fn children(value: Found<'_>) -> Vec<Found<'_>> {
    match value {
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Object(fields)) => fields.values().map(Cow::Borrowed).collect(),
        _ => Vec::new(),
    }
}

/// A value and all that is in it. Numbers, truth values and what is empty have nothing in them, and are left out as kubectl leaves them out.
fn descend<'a>(value: Found<'a>, found: &mut Vec<Found<'a>>) {
    let inside = children(value.clone());
    let is_text = matches!(value.as_ref(), Value::String(text) if !text.is_empty());
    if is_text || !inside.is_empty() {
        found.push(value);
    }
    inside.into_iter().for_each(|value| descend(value, found));
}

/// What a slice takes of a list.
fn bounds(slice: Slice, length: usize) -> Result<std::ops::Range<usize>, String> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_end = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
    let start = from_end(slice.start.unwrap_or(0));
    let end = match slice.end {
        _ if slice.single => start.saturating_add(1),
        Some(end) => from_end(end),
        None => length,
    };
    let outside = |index: i64| format!("array index out of bounds: index {index}, length {length}");
    match (usize::try_from(start), usize::try_from(end)) {
        _ if start == end => Ok(0..0),
        (Ok(from), Ok(to)) if start < length && end <= length => match from <= to {
            true => Ok(from..to),
            false => Err(format!("starting index {start} is greater than ending index {end}")),
        },
        (Ok(_), _) if start < length => Err(outside(end.saturating_sub(1))),
        _ => Err(outside(start)),
    }
}

fn value_of(literal: &Literal) -> Value {
    match literal {
        Literal::Text(text) => Value::from(text.as_str()),
        Literal::Integer(number) => Value::from(*number),
        Literal::Float(number) => Value::from(*number),
        Literal::Bool(bool) => Value::from(*bool),
    }
}

impl Operator {
    fn holds(&self, one: &Value, other: &Value) -> Result<bool, String> {
        let order = match (one, other) {
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            (Value::Number(one), Value::Number(other)) if one.is_f64() == other.is_f64() => {
                match (one.as_i64(), other.as_i64()) {
                    (Some(one), Some(other)) => Some(one.cmp(&other)),
                    _ => one.as_f64().partial_cmp(&other.as_f64()),
                }
            }
            (Value::Bool(one), Value::Bool(other)) if matches!(self, Operator::Equal | Operator::NotEqual) => {
                Some(one.cmp(other))
            }
            (Value::Bool(_), Value::Bool(_)) => return Err("invalid type for comparison".to_owned()),
            (Value::Array(_) | Value::Object(_) | Value::Null, _)
            | (_, Value::Array(_) | Value::Object(_) | Value::Null) => {
                return Err("invalid type for comparison".to_owned());
            }
            _ => return Err("incompatible types for comparison".to_owned()),
        };
        Ok(match self {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Operator::Unknown(text) => return Err(format!("unrecognized filter operator {text}")),
        })
    }
}

/// What Go calls the type of a value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Object(_) => "map[string]interface {}",
        Value::Array(_) | Value::Null => "[]interface {}",
    }
}
