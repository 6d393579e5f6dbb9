//! Reads a JSONPath template as kubectl does.

/// A step of an expression, from values to values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// A value of its own: quoted text, a number, a truth value.
    Literal(Literal),
    /// `.name`, `['name']`
    Field(String),
    /// `.*`
    Wildcard,
    /// `..`
    Recursive,
    /// `[1]`, `[1:3]`, `[::2]`, `[*]`
    Slice(Slice),
    /// `[0,2]`, `['a','b']`
    Union(Vec<Vec<Node>>),
    /// `[?(@.a)]`
    Exists(Vec<Node>),
    /// `[?(@.a==1)]`
    Compare(Vec<Node>, Operator, Vec<Node>),
    /// A word that is nothing of all this; told when it is reached.
    Word(String),
}

/// A value that is written into an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
}

/// The bounds of a slice, as they were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
    pub(super) step: Option<i64>,
    /// Whether only one index was written.
    pub(super) single: bool,
}

/// How two values are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// Told when it is reached.
    Unknown(String),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    /// Text outside of braces.
    Text(String),
    /// `{...}`
    Expression(Vec<Node>),
    /// `{range ...}` and what is repeated, up to its `{end}` or the end of the template.
    Range(Vec<Node>, Vec<Part>),
}

/// How deep filters and unions may be within each other: no template of a person is.
const DEPTH: usize = 16;

/// Reads a template.
///
/// # Errors
/// What is not understood, in kubectl's words.
pub(super) fn template(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let (nodes, left) = expression(&rest[open + 1..], 0)?;
        let left = left.strip_prefix('}').ok_or_else(|| "unclosed action".to_owned())?;
        parts.push(Part::Expression(nodes));
        rest = left;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(nest(&mut parts.into_iter(), 0)?.0)
}

/// Puts what is between `{range}` and `{end}` into the range. Says whether an `{end}` was the last.
fn nest(parts: &mut dyn Iterator<Item = Part>, depth: usize) -> Result<(Vec<Part>, bool), String> {
    let mut nested = Vec::new();
    while let Some(part) = parts.next() {
        let nodes = match part {
            Part::Expression(nodes) => nodes,
            other => {
                nested.push(other);
                continue;
            }
        };
        let is = |word: &str| matches!(nodes.first(), Some(Node::Word(first)) if first == word);
        if is("range") {
            if depth == DEPTH {
                return Err("too many ranges within each other".to_owned());
            }
            let (body, ended) = nest(parts, depth + 1)?;
            // What no `{end}` ends is done once more for what the range was taken of.
            let again = if ended { Vec::new() } else { body.clone() };
            nested.push(Part::Range(nodes.into_iter().skip(1).collect(), body));
            nested.extend(again);
        } else if is("end") {
            if depth == 0 {
                return Err("not in range, nothing to end".to_owned());
            }
            return Ok((nested, true));
        } else {
            nested.push(Part::Expression(nodes));
        }
    }
    Ok((nested, false))
}

/// Reads an expression up to `}` or the end of the text. Gives what is left, from the brace on.
fn expression(text: &str, depth: usize) -> Result<(Vec<Node>, &str), String> {
    if depth > DEPTH {
        return Err("too many filters within each other".to_owned());
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut rest = text;
    loop {
        let Some(first) = rest.chars().next() else { return Ok((nodes, rest)) };
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '}' => return Ok((nodes, rest)),
            '\n' | '\r' => return Err("unclosed action".to_owned()),
            // The object is what every expression begins with.
            ' ' | '@' | '$' => after,
            '[' if after.starts_with("?(") => filter(&after[2..], &mut nodes, depth)?,
            '[' => array(after, &mut nodes, depth)?,
            '"' | '\'' => {
                let (value, left) = quoted(after, first)?;
                nodes.push(Node::Literal(Literal::Text(value)));
                left
            }
            '.' if after.starts_with('.') => {
                if nodes.last() == Some(&Node::Recursive) {
                    return Err("invalid multiple recursive descent".to_owned());
                }
                nodes.push(Node::Recursive);
                let left = &after[1..];
                if left.starts_with(is_word) { field(left, &mut nodes) } else { left }
            }
            '.' => field(after, &mut nodes),
            '+' | '-' | '0'..='9' => number(rest, &mut nodes)?,
            c if is_word(c) => {
                let (word, left) = rest.split_at(rest.find(ends_word).unwrap_or(rest.len()));
                nodes.push(match word {
                    "true" => Node::Literal(Literal::Bool(true)),
                    "false" => Node::Literal(Literal::Bool(false)),
                    word => Node::Word(word.to_owned()),
                });
                left
            }
            c => return Err(format!("unrecognized character in action: U+{:04X} '{c}'", u32::from(c))),
        };
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether a character ends a field or a word.
fn ends_word(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

/// A field; a backslash takes the next character as it is.
fn field<'a>(text: &'a str, nodes: &mut Vec<Node>) -> &'a str {
    let mut escaped = false;
    let end = text.find(|c: char| match (escaped, c) {
        (true, _) => {
            escaped = false;
            false
        }
        (false, '\\') => {
            escaped = true;
            false
        }
        (false, c) => ends_word(c),
    });
    let (name, left) = text.split_at(end.unwrap_or(text.len()));
    nodes.push(if name == "*" { Node::Wildcard } else { Node::Field(name.replace('\\', "")) });
    left
}

fn number<'a>(text: &'a str, nodes: &mut Vec<Node>) -> Result<&'a str, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = digits.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let sign = usize::from(text.starts_with(['+', '-']));
    let (number, left) = text.split_at(sign + digits);
    let literal = match (number.parse(), number.parse::<f64>()) {
        (Ok(integer), _) => Literal::Integer(integer),
        (_, Ok(float)) => Literal::Float(float),
        _ => return Err(format!("cannot parse number {number}")),
    };
    nodes.push(Node::Literal(literal));
    Ok(left)
}

/// What is between brackets; `text` begins after the first.
fn array<'a>(text: &'a str, nodes: &mut Vec<Node>, depth: usize) -> Result<&'a str, String> {
    let line = text.split('\n').next().unwrap_or_default();
    let (inside, _) = line.split_once(']').ok_or_else(|| "unterminated array".to_owned())?;
    let left = &text[inside.len() + 1..];
    let parts: Vec<&str> = inside.split(',').collect();
    if let [_, _, ..] = parts.as_slice() {
        let part = |part: &&str| {
            let mut own = Vec::new();
            bracketed(part.trim_matches(' '), &mut own, depth)?;
            Ok(own)
        };
        nodes.push(Node::Union(parts.iter().map(part).collect::<Result<_, String>>()?));
    } else {
        bracketed(inside, nodes, depth)?;
    }
    Ok(left)
}

/// One key, index or slice.
fn bracketed(text: &str, nodes: &mut Vec<Node>, depth: usize) -> Result<(), String> {
    let key = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).filter(|key| !key.contains('\''));
    if let Some(key) = key {
        // A key is read as a field is: its dots have to be escaped.
        nodes.extend(expression(&format!(".{key}"), depth + 1)?.0);
        return Ok(());
    }
    nodes.push(Node::Slice(slice(if text == "*" { ":" } else { text })?));
    Ok(())
}

fn slice(text: &str) -> Result<Slice, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_number = |part: &&str| part.strip_prefix('-').unwrap_or(part).chars().all(|c| c.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(is_number) {
        return Err(format!("invalid array index {text}"));
    }
    let number = |place: usize| match parts.get(place) {
        None | Some(&"") => Ok(None),
        Some(part) => part.parse().map(Some).map_err(|_| format!("array index {part} is not a number")),
    };
    Ok(Slice { start: number(0)?, end: number(1)?, step: number(2)?, single: parts.len() == 1 })
}

/// A filter; `text` begins after `[?(`.
fn filter<'a>(text: &'a str, nodes: &mut Vec<Node>, depth: usize) -> Result<&'a str, String> {
    // Within a first pair of quotes a parenthesis is text.
    let (mut quote, mut closed, mut before) = (None, false, '(');
    let mut end = None;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            ('\n', _) => break,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open && before != '\\' => closed = true,
            (')', _) if quote.is_some() == closed => {
                end = Some(at);
                break;
            }
            _ => {}
        }
        before = c;
    }
    let (inside, left) = text.split_at(end.ok_or_else(|| "unterminated filter".to_owned())?);
    let left = left.strip_prefix(")]").ok_or_else(|| "unclosed array expect ]".to_owned())?;
    let operand = |text: &str| match expression(text, depth + 1)? {
        (nodes, "") => Ok(nodes),
        _ => Err("unrecognized character in action: U+007D '}'".to_owned()),
    };
    let sign = |c: char| "!<>=".contains(c);
    let comparison = inside.find(sign).filter(|&at| at > 0).and_then(|at| {
        let (one, rest) = inside.split_at(at);
        let other = rest.trim_start_matches(sign);
        (!other.is_empty()).then(|| (one, &rest[..rest.len() - other.len()], other))
    });
    nodes.push(match comparison {
        None => Node::Exists(operand(inside)?),
        Some((one, operator, other)) => Node::Compare(operand(one)?, Operator::of(operator), operand(other)?),
    });
    Ok(left)
}

impl Operator {
    fn of(text: &str) -> Operator {
        match text {
            "==" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterEqual,
            other => Operator::Unknown(other.to_owned()),
        }
    }
}

/// A quoted text, after its first quote, and what is left.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => break,
            c if c == quote => return Ok((value, &text[at + 1..])),
            '\\' => {
                value.push(escape(&mut chars).ok_or_else(|| format!("unquote string {text} error invalid syntax"))?)
            }
            c => value.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}

/// What a backslash stands for, as in a literal of Go.
fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let (_, c) = chars.next()?;
    Some(match c {
        'x' => code(None, chars, 2, 16)?,
        'u' => code(None, chars, 4, 16)?,
        'U' => code(None, chars, 8, 16)?,
        '0'..='7' => code(Some(c), chars, 3, 8)?,
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '\'' | '"' => c,
        _ => return None,
    })
}

/// A character by its number.
fn code(first: Option<char>, chars: &mut std::str::CharIndices<'_>, digits: usize, radix: u32) -> Option<char> {
    let rest = chars.by_ref().map(|(_, c)| c).take(digits - usize::from(first.is_some()));
    let text: String = first.into_iter().chain(rest).collect();
    let all = text.len() == digits && text.chars().all(|c| c.is_digit(radix));
    u32::from_str_radix(&text, radix).ok().filter(|_| all).and_then(char::from_u32)
}
