//! What systemctl was called with, and what it is to say.

/// What systemctl is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Reload,
    Job { verb: Verb, unit: String, block: bool },
    IsActive { unit: String },
    ResetFailed { unit: String },
    Enable { unit: String },
    Disable { unit: String },
    Show { unit: String, properties: Vec<String> },
}

/// What can be done to a unit that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// What systemctl prints, and its exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u8,
    pub(super) output: String,
    pub(super) errors: String,
}

impl Answer {
    /// An error, as a whole line.
    pub(super) fn error(code: u8, why: &str) -> Self {
        Self { code, output: String::new(), errors: format!("{why}\n") }
    }

    /// As the client reads it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let length = (self.output.len() as u64).to_be_bytes();
        [&[self.code], &length[..], self.output.as_bytes(), self.errors.as_bytes()].concat()
    }
}

/// The arguments as the client sends them.
pub(super) fn decode(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Understands the arguments, or says why not.
pub(super) fn parse(args: &[String]) -> Result<Request, String> {
    let (mut words, mut block, mut properties, mut only_words) = (Vec::new(), true, None::<Vec<String>>, false);
    for arg in args {
        match arg.as_str() {
            word if only_words || !word.starts_with('-') => words.push(word),
            "--" => only_words = true,
            "--no-block" => block = false,
            option => match option.strip_prefix("--property=") {
                Some(names) => properties.get_or_insert_default().extend(names.split(',').map(str::to_owned)),
                None => return Err(format!("systemctl: unrecognized option '{option}'")),
            },
        }
    }
    let Some((verb, words)) = words.split_first() else { return Err("the lab's systemctl lists no units".into()) };
    let unit = || match words {
        [] => Err("Too few arguments.".to_owned()),
        [unit] if unit.contains('.') => Ok((*unit).to_owned()),
        [unit] => Ok(format!("{unit}.service")),
        _ => Err("the lab's systemctl takes one unit".into()),
    };
    let job = |verb| unit().map(|unit| Request::Job { verb, unit, block });
    let request = match *verb {
        "daemon-reload" if words.is_empty() => Request::Reload,
        "daemon-reload" => return Err("Too many arguments.".into()),
        "start" => job(Verb::Start)?,
        "stop" => job(Verb::Stop)?,
        "restart" => job(Verb::Restart)?,
        "is-active" => Request::IsActive { unit: unit()? },
        "reset-failed" => Request::ResetFailed { unit: unit()? },
        "enable" => Request::Enable { unit: unit()? },
        "disable" => Request::Disable { unit: unit()? },
        "show" => {
            let properties = properties.take().ok_or("the lab's systemctl shows properties that are named")?;
            Request::Show { unit: unit()?, properties }
        }
        verb => return Err(format!("Unknown command verb {verb}.")),
    };
    if properties.is_some() || (!block && !matches!(request, Request::Job { .. })) {
        return Err(format!("the lab's systemctl does not know this option of {verb}"));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_known_is_understood() {
        let unit = || "etcd.service".to_owned();
        let job = |verb, block| Request::Job { verb, unit: unit(), block };
        for (line, want) in [
            ("daemon-reload", Request::Reload),
            ("start etcd", job(Verb::Start, true)),
            ("stop --no-block etcd.service", job(Verb::Stop, false)),
            ("--no-block restart -- etcd", job(Verb::Restart, false)),
            ("is-active etcd", Request::IsActive { unit: unit() }),
            ("reset-failed etcd", Request::ResetFailed { unit: unit() }),
            ("enable etcd", Request::Enable { unit: unit() }),
            ("disable etcd.service", Request::Disable { unit: unit() }),
            ("show etcd --property=Id,A", Request::Show { unit: unit(), properties: vec!["Id".into(), "A".into()] }),
        ] {
            assert_eq!(parsed(line), Ok(want), "{line}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        for line in [
            "",
            "frob",
            "start",
            "start a b",
            "start --now a",
            "show a",
            "start a --property=Id",
            "daemon-reload a",
            "is-active a --no-block",
            "enable --now a",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert_eq!(parsed("frob"), Err("Unknown command verb frob.".into()));
    }

    #[test]
    fn arguments_and_answers_survive_the_way() {
        assert_eq!(decode(b"show\0a b\0\0"), ["show", "a b", ""]);
        assert!(decode(b"").is_empty());
        let answer = Answer { code: 3, output: "o".into(), errors: "e!".into() };
        assert_eq!(answer.encode(), b"\x03\0\0\0\0\0\0\0\x01oe!");
    }
}
