//! The questions before something is changed: yes or no, or the name of the cluster. `--yes` and `--confirm` answer them before they are
//! asked; without a terminal, nobody can be asked.

use super::visible::quoted;
use super::{Exit, Failed, Outcome, Printer};

/// A question that is answered by yes or no.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) text: String,
    /// What was not done, should the answer be no: "nothing was deleted".
    pub(crate) otherwise: &'a str,
    /// How `--yes` is typed, after what the user is to do first, if anything.
    pub(crate) hint: &'a str,
}

impl Question<'_> {
    /// Asks, unless `yes` is the answer already.
    ///
    /// # Errors
    /// Exit 4: the answer is no, or there is no terminal to ask on.
    pub(crate) async fn ask(self, yes: bool, printer: Printer) -> Outcome {
        let refused = |why: &str| Failed::new(Exit::Refused, why).effect(self.otherwise);
        match yes {
            true => Ok(()),
            false if !Printer::interactive() => {
                Err(refused("confirmation required: no terminal to ask on").hint(self.hint))
            }
            false => match printer.ask(format!("{} (y/N) ", self.text)).await.as_str() {
                "y" | "Y" | "yes" => Ok(()),
                _ => Err(refused("not confirmed")),
            },
        }
    }
}

/// What is known before anything is asked.
#[derive(Debug)]
pub(crate) enum Consent {
    /// The flag names this cluster.
    Given,
    /// The name has to be typed.
    Wanted,
}

/// What the flag says of the cluster's name, before anything else is done. `before` is what to look at before the name is given.
///
/// # Errors
/// Exit 4: the flag names another cluster, or there is neither a flag nor a terminal to ask on.
pub(crate) fn consent(flag: Option<&str>, cluster: &str, interactive: bool, before: &str) -> Outcome<Consent> {
    let see = "see which cluster the kubeconfig leads to\n  kubectl config current-context";
    consent_to("cluster", flag, cluster, interactive, before).map_err(|failed| match flag {
        Some(_) => failed.hint(see),
        None => failed,
    })
}

/// The flag with a name, as it is typed: one that begins as a flag does is no word of its own.
fn flag_with(name: &str) -> String {
    let between = if name.starts_with('-') { '=' } else { ' ' };
    format!("--confirm{between}{}", quoted(name))
}

/// The same for anything that has a name; `noun` is what it is.
///
/// # Errors
/// As [`consent`].
pub(crate) fn consent_to(
    noun: &str,
    flag: Option<&str>,
    name: &str,
    interactive: bool,
    before: &str,
) -> Outcome<Consent> {
    let refused = |why: String| Failed::new(Exit::Refused, why).unchanged();
    match flag {
        Some(named) if named == name => Ok(Consent::Given),
        Some(named) => Err(refused(format!("--confirm names {noun} {named}, and this is {noun} {name}"))),
        None if interactive => Ok(Consent::Wanted),
        None => Err(refused("confirmation required: no terminal to ask on".to_owned())
            .hint(format!("{before}; then name the {noun}\n  {}", flag_with(name)))),
    }
}

/// Asks for the name of the cluster, if the flag has not given it.
///
/// # Errors
/// Exit 4: what is typed is not the cluster's name.
pub(crate) async fn confirm(consent: Consent, cluster: &str, printer: Printer) -> Outcome {
    confirm_name("cluster", consent, cluster, printer).await
}

/// The same for anything that has a name.
///
/// # Errors
/// As [`confirm`].
pub(crate) async fn confirm_name(noun: &str, consent: Consent, name: &str, printer: Printer) -> Outcome {
    if let Consent::Given = consent {
        return Ok(());
    }
    let typed = printer.ask(format!("Type the name of the {noun} ({name}) to continue: ")).await;
    if typed == name {
        return Ok(());
    }
    Err(Failed::new(Exit::Refused, format!("not confirmed: the typed name is not the name of the {noun}")).unchanged())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_own_name_is_consent() {
        for interactive in [true, false] {
            assert!(matches!(consent(Some("prod"), "prod", interactive, "look"), Ok(Consent::Given)));
            for wrong in ["", "Prod", "prod ", "yes"] {
                let failed = consent(Some(wrong), "prod", interactive, "look").expect_err(wrong);
                assert_eq!(failed.exit, Exit::Refused);
            }
        }
        assert!(matches!(consent(None, "prod", true, "look"), Ok(Consent::Wanted)));
        let nobody = consent(None, "my cluster", false, "look").expect_err("nobody");
        assert!(nobody.exit == Exit::Refused && nobody.hints[0].ends_with("--confirm 'my cluster'"), "{nobody}");
        assert!(nobody.to_string().contains("\nnothing was changed\n"), "{nobody}");
        let nobody = consent(None, "-prod", false, "look").expect_err("nobody");
        assert!(nobody.hints[0].ends_with("--confirm=-prod"), "{nobody}");
    }

    #[tokio::test]
    async fn yes_is_never_asked_for() {
        let question = || Question { text: "Delete 2 pods?".into(), otherwise: "nothing was deleted", hint: "--yes" };
        assert!(question().ask(true, Printer::new(false)).await.is_ok());
    }
}
